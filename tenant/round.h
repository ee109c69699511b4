/* One round of one guest: all that its checks are made on, so that they can be made again (learn) and written
 * down (bundle). No I/O and no decision here: appraisal/ decides. */
#ifndef LT_TENANT_ROUND_H
#define LT_TENANT_ROUND_H

#include "appraisal/checks/round.h"
#include "common/ref.h"
#include "keylime/agent.h"
#include "keylime/quote.h"
#include "residency/bundle.h"
#include "tenant/list.h"
#include "tenant/seen.h"
#include "verifier/hosts.h"
#include "verifier/store/store.h"

#define LT_TENANT_ASKED_PCRS 0x0000ffffu /* of every guest; its policy's PCRs come on top */

struct lt_tenant_round {
    uint8_t tenant_id[16], uuid[LT_UUID];
    char uuid_text[LT_UUID_TEXT];
    /* at t1 */
    char nonce[LT_RESIDENCY_NONCE + 1];
    bool nonce_used;
    uint64_t t1_ms;
    int64_t started; /* wall */
    uint32_t mask;   /* asked for; PCR 16 comes by itself */
    struct lt_agent agent;
    bool has_basis;
    struct lt_store_basis basis; /* policy and EK that the verdict will be about */
    struct lt_ref *identity;     /* struct lt_checks_identity_guest */
    struct lt_ref *policy;       /* struct lt_tenant_policy; NULL: none yet */
    struct lt_history_guest history;
    const char *unlinked; /* why no provider is asked for a proof (static); NULL: it is */
    bool linked;          /* a host's proof of this guest was accepted before: nothing less will do */
    struct lt_checks_ek ek;
    struct lt_ref *sealed; /* struct lt_tenant_seen; NULL: nothing is remembered */
    /* from the guest */
    bool has_quote;
    uint64_t answered_ms; /* CLOCK_BOOTTIME of the last byte */
    struct lt_quote quote;
    char *pubkey;
    struct lt_boot_log *boot_log; /* NULL before has_quote */
    struct lt_list *list; /* borrowed while the guest flies: what is kept of its IMA list. NULL: nothing */
    uint64_t ima_asked;   /* unit that the guest was asked for (common/ima_list.h); 0: all */
    struct lt_ref *ima;   /* struct lt_bundle_blob, the whole list; NULL: the guest has none */
    uint64_t ima_first;   /* entry that its answer begins with */
    size_t ima_kept;      /* bytes of the list before that */
    bool rebooted;        /* since what is kept of the list */
    bool ima_broken;      /* the answer continues a list of an earlier boot, or of another form */
    size_t dropped;       /* bytes of logs that were judged and not kept; 0: none */
    /* from the provider */
    bool has_proof;
    uint64_t t5_ms;
    int64_t received;          /* wall */
    struct lt_ref *host_quote; /* struct lt_residency_host_quote, shared by its batch */
    struct lt_proof proof;
    struct lt_hosts_host_view host;
    struct lt_history_host host_history;
    struct lt_ref *openers; /* struct lt_sealing_view; NULL: its record names no list */
    bool contested;         /* other hosts claim this guest too */
    /* what came out */
    struct lt_history_round_facts facts;
    struct lt_verdict verdict;
    unsigned retry_after_s;
};

/* A guest policy with the bytes it was parsed from, and the documents it names. */
struct lt_tenant_policy {
    struct lt_policy_guest *parsed;
    struct lt_documents_document_set documents;
    uint8_t *bytes;
    size_t n;
};
/* Takes bytes (also on failure). d NULL: no documents. strict: refuse a policy that names a document which is
 * not there; else its check will not be made. */
int lt_tenant_policy_new(uint8_t *bytes, size_t n, struct lt_documents *d, bool strict, struct lt_ref **out,
                         struct lt_err *e) LT_MUST_CHECK;
bool lt_tenant_policy_complete(const struct lt_ref *policy);                        /* true of NULL */
const struct lt_policy_guest *lt_tenant_policy_parsed(const struct lt_ref *policy); /* NULL of NULL */

void lt_tenant_round_free(struct lt_tenant_round *r);

/* The agent's answer to quotes/integrity, Keylime's envelope. An error is transport trouble: unreachable. */
int lt_tenant_round_read_quote(struct lt_tenant_round *r, const char *body, size_t n,
                               struct lt_err *e) LT_MUST_CHECK;
/* One item of the provider's `proofs`; quotes: the parsed `quotes` of that reply, NULL where malformed; *at:
 * the index of its own. The same. */
int lt_tenant_round_read_proof(struct lt_tenant_round *r, const json_t *item, struct lt_ref *const *quotes,
                               size_t count, size_t *at, struct lt_err *e) LT_MUST_CHECK;

/* What is alike in an item and in one of its others: an error, or a proof and the index of its quote. */
int lt_tenant_round_read_answer(const json_t *j, struct lt_ref *const *quotes, size_t count,
                                struct lt_proof *proof, size_t *at, unsigned *retry_after_s,
                                struct lt_err *e) LT_MUST_CHECK;
/* The item is for this guest. */
int lt_tenant_round_check_item(const struct lt_tenant_round *r, const json_t *item,
                               struct lt_err *e) LT_MUST_CHECK;

/* Checks 1-3, and 4-11, of what was read, under this policy (struct lt_tenant_policy; NULL: none).
 * lt_tenant_round_appraise_host concludes; after lt_tenant_round_appraise_guest that is the caller's, if the
 * round ends there. With r->list the IMA list is judged from where that stands; without it whole. */
void lt_tenant_round_appraise_guest(const struct lt_tenant_round *r, const struct lt_ref *policy,
                                    struct lt_history_round_facts *f, struct lt_verdict *v);
struct lt_tenant_caches {
    struct lt_result_cache *quotes;
    struct lt_result_cache *measured;
};
void lt_tenant_round_appraise_host(const struct lt_tenant_round *r, const struct lt_ref *policy,
                                   uint64_t window_ms, const struct lt_tenant_caches *caches,
                                   struct lt_history_round_facts *f, struct lt_verdict *v);
/* 4-11 on one host's half of a round, which need not be the round's own. All borrowed. */
struct lt_tenant_host_half {
    struct lt_ref *quote;
    const struct lt_proof *proof;
    const struct lt_hosts_host_view *view;
    const struct lt_history_host *history;
    const struct lt_ref *openers; /* struct lt_sealing_view; NULL: none is named */
};
void lt_tenant_round_appraise_half(const struct lt_tenant_round *r, const struct lt_tenant_host_half *half,
                                   const struct lt_ref *policy, uint64_t window_ms,
                                   const struct lt_tenant_caches *caches, struct lt_history_round_facts *f,
                                   struct lt_verdict *v);
/* Without a host, after 1-3, for that reason; concludes. */
void lt_tenant_round_appraise_unlinked(const struct lt_tenant_round *r, const struct lt_ref *policy,
                                       uint64_t window_ms, const char *why,
                                       const struct lt_history_round_facts *f, struct lt_verdict *v);
/* What the guest's logs take in memory, and the host's, which other rounds have too. */
size_t lt_tenant_round_logs(const struct lt_tenant_round *r);
size_t lt_tenant_round_host_logs(const struct lt_tenant_round *r);
/* The guest's logs go, after they were judged: there is no room for them. It cannot be judged by them again.
 */
void lt_tenant_round_drop_logs(struct lt_tenant_round *r);

/* After check 3 of a flight: r->list goes on to where the list was matched, or begins anew. */
void lt_tenant_round_keep_list(struct lt_tenant_round *r);
void lt_tenant_round_conclude(const struct lt_policy_guest *policy, struct lt_verdict *v);

/* The bundle of a round that has a quote, as text; caller frees. NULL without memory. Documents that policies
 * name are in it up to LT_DOCUMENTS_BUNDLED_DOCUMENT each (d NULL: none). */
char *lt_tenant_round_bundle(const struct lt_tenant_round *r, struct lt_documents *d);
/* The same without logs and documents, and it says so. */
char *lt_tenant_round_bundle_without(const struct lt_tenant_round *r);

#endif
