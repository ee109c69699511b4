/* One round of one guest: all that its checks are made on, so that they can be made again (learn) and written
 * down (bundle). No I/O and no decision here: appraisal/ decides. */
#ifndef LT_TENANT_ROUND_H
#define LT_TENANT_ROUND_H

#include "appraisal/chain.h"
#include "residency/bundle.h"
#include "tenant/hosts.h"
#include "tenant/ref.h"
#include "verifier/agent.h"

#define LT_ASKED_PCRS 0x0000ffffu /* of every guest; its policy's PCRs come on top */

struct lt_round {
    uint8_t tenant_id[16], uuid[LT_UUID];
    char uuid_text[LT_UUID_TEXT];
    /* at t1 */
    char nonce[LT_NONCE + 1];
    bool nonce_used;
    uint64_t t1_ms;
    int64_t started; /* wall */
    uint32_t mask;   /* asked for; PCR 16 comes by itself */
    struct lt_agent agent;
    struct lt_ref *identity; /* struct lt_guest_identity */
    struct lt_ref *policy;   /* struct lt_policy; NULL: none yet */
    struct lt_guest_history history;
    /* from the guest */
    bool has_quote;
    struct lt_quote quote;
    char *pubkey;
    struct lt_blob boot_log, ima;
    struct lt_boot_replay replay;
    /* from the provider */
    bool has_proof;
    uint64_t t5_ms;
    int64_t received;          /* wall */
    struct lt_ref *host_quote; /* struct lt_host_quote, shared by its batch */
    struct lt_proof proof;
    struct lt_host_view host;
    struct lt_host_history host_history;
    /* what came out */
    struct lt_round_facts facts;
    struct lt_verdict verdict;
    unsigned retry_after_s;
};

/* A guest policy with the bytes it was parsed from. */
struct lt_policy {
    struct lt_guest_policy *parsed;
    uint8_t *bytes;
    size_t n;
};
/* Takes bytes (also on failure). */
int lt_policy_new(uint8_t *bytes, size_t n, struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
const struct lt_guest_policy *lt_policy_parsed(const struct lt_ref *policy); /* NULL of NULL */

void lt_round_free(struct lt_round *r);

/* The agent's answer to quotes/integrity, Keylime's envelope. An error is transport trouble: unreachable. */
int lt_round_read_quote(struct lt_round *r, const char *body, size_t n, struct lt_err *e) LT_MUST_CHECK;
/* One item of the provider's `proofs`; quotes: the parsed `quotes` of that reply, NULL where malformed. The
 * same. */
int lt_round_read_proof(struct lt_round *r, const json_t *item, struct lt_ref *const *quotes, size_t count,
                        struct lt_err *e) LT_MUST_CHECK;

/* Checks 1-3, and 4-11, of what was read, under this policy (NULL: none). lt_round_appraise_host concludes;
 * after lt_round_appraise_guest that is the caller's, if the round ends there. */
void lt_round_appraise_guest(const struct lt_round *r, const struct lt_guest_policy *policy,
                             struct lt_round_facts *f, struct lt_verdict *v);
void lt_round_appraise_host(const struct lt_round *r, const struct lt_guest_policy *policy,
                            uint64_t window_ms, struct lt_quote_cache *cache, struct lt_round_facts *f,
                            struct lt_verdict *v);
void lt_round_conclude(const struct lt_guest_policy *policy, struct lt_verdict *v);

/* The bundle of a round that has a quote, as text; caller frees. NULL without memory. */
char *lt_round_bundle(const struct lt_round *r);

#endif
