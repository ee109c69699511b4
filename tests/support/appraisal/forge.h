/* A whole round forged with software keys: a guest with its vTPM, a host, a batch of 12 and an inventory
 * of 5. Healthy as it comes out of forge_init and forge_build; a test changes what it attacks before building
 * (the "plan") or after. */
#ifndef LT_TESTS_SUPPORT_APPRAISAL_FORGE_H
#define LT_TESTS_SUPPORT_APPRAISAL_FORGE_H

#include "appraisal/checks/round.h"
#include "residency/bundle.h"
#include "tests/support/softkey.h"

#define FORGE_BATCH 12
#define FORGE_RECORDS 5
#define FORGE_T1 1000000u
#define FORGE_NOW 1800000000 /* wall time of the round, seconds since 1970 */

/* The IMA list of one of both machines and its one layer, "base". */
struct forge_ima {
    /* plan: used if paths[0] is set. A file's digest is the SHA-256 of its path */
    const char *paths[64];   /* measured, after boot_aggregate */
    const char *allowed[64]; /* in the layer; none set: what is measured */
    const char *exclude;     /* JSON string in the layer's excludes; NULL: none */
    const char *options;     /* JSON after "layers", as ,"ima":{…}; NULL: none */
    const char *window;      /* JSON in the layer's object; NULL: none */
    unsigned behind;         /* so many last entries are in the list and not yet in PCR 10 */
    bool violation;          /* a ToMToU entry at the end */
    bool other_aggregate;    /* boot_aggregate of other PCRs */
    bool vacuous;            /* IMA was off: no entry, PCR 10 of zeros */
    bool boot;               /* a boot policy too: PCR 4 as it is */
    /* built */
    struct lt_buf list, layer, table, boot_doc;
    struct lt_ima_table *t;
    struct lt_boot_policy *boot_policy;
    uint8_t digest[LT_SHA256]; /* of the list */
    uint8_t log_digest[LT_SHA256];
    struct lt_measured_documents documents;
};

struct forge {
    /* ---- plan ---- */
    EVP_PKEY *guest_ak, *guest_ek, *host_ak, *host_ek; /* borrowed, shared by all forges */
    struct soft_shape guest_ak_shape, host_ak_shape;
    bool guest_ak_in_owner, host_ak_in_owner; /* qualifiedSigner of a key under the owner hierarchy */
    uint16_t guest_type, host_type;           /* of the attest */
    uint32_t guest_mask;                      /* signed; the values below follow it */
    bool dark_guest, dark_host;               /* no command line was measured: PCR 8 is zero */
    uint32_t guest_named, host_named;         /* PCRs that the policies name, with the values they have */
    uint16_t guest_bank;                      /* of the signed selection */
    bool guest_two_banks;
    uint8_t host_selection[10];
    uint8_t tenant_id[16], committed_tenant[16], uuid[16];
    char nonce[LT_RESIDENCY_NONCE + 1];
    struct lt_attest_clock_info guest_clock, host_clock;
    struct lt_pcrs guest_pcrs, host_pcrs; /* PCR 13 and 16 are set by forge_build unless kept */
    bool keep_pcr13, foreign_host_id;
    uint8_t pcr13[32];
    bool listed; /* false: the guest is not among the residents */
    struct lt_residency_record record;
    uint32_t header_flags;
    const char *accept;         /* JSON array of the guest's policy */
    bool pin_digests, pin_host; /* firmware and domain, host policy in the guest's policy */
    uint32_t batch_index;
    struct forge_ima ima_g, ima_h;
    /* Called while it is built, when PCRs, logs and identities stand: fills f->list, whose digest goes into a
     * record of version 2. Preset: forge_list, the host's state in LT_OPENERS_STATE_MIN. */
    void (*openers)(struct forge *f);
    const char
        *sealing; /* JSON of the guest's policy, as ,"escrow":[…]; NULL: "seals" with the sealing policy */
    const char *sealing_boot; /* boot policy of the sealing policy; NULL: none */
    uint32_t sealing_named;   /* PCRs whose values the sealing policy lists */

    /* ---- built ---- */
    struct lt_buf ak_g, ek_g, ak_h, ek_h, attest_g, sig_g, attest_h, sig_h, log_g, log_h, policy_g, policy_h;
    char pubkey[64];
    struct lt_checks_identity_guest *guest_id;
    struct lt_checks_identity_host *host_id;
    struct lt_policy_guest *guest_policy;
    struct lt_policy_host *host_policy;
    struct lt_boot_log *guest_log, *host_log;
    struct lt_residency_host_quote quote;
    struct lt_proof proof;
    struct lt_history_guest history;
    struct lt_history_host host_history;
    struct lt_checks_guest_round guest;
    struct lt_checks_host_round host;
    struct lt_history_round_facts facts;
    struct lt_openers list;
    struct lt_buf policy_s; /* the sealing policy: another host policy of the guest's, which holds the list */
    struct lt_policy_host *seal_policy;
    struct lt_boot_policy *seal_boot;
    struct lt_measured_documents seal_documents;
    const struct lt_checks_identity_host *hosts[4];
    struct lt_checks_openers_policy held[4];
    struct lt_checks_openers openers_in; /* what the round is given: list, hosts[0] and held[0] */
};

void forge_init(struct forge *f);
void forge_second_host(struct forge *f);
void forge_build(struct forge *f);
void forge_free(struct forge *f);
void forge_list(struct forge *f);
/* An opener of the host's EK: its PCR values in mask as they are quoted. */
struct lt_openers_one forge_state(const struct forge *f, uint32_t mask);
/* Both halves (also after a failed 1-3: what a live round would not do) and the conclusion. */
void forge_judge(struct forge *f, struct lt_verdict *v);
/* A bundle of the round as it is. */
void forge_bundle(struct forge *f, struct lt_bundle *b);

/* States of the eleven checks as text: P passed, F failed, - not made. */
void forge_states(const struct lt_verdict *v, char out[LT_CHECKS + 1]);
/* Judges and compares; what names the case. */
void forge_expect(struct forge *f, const char *what, enum lt_verdict_result result, const char *reason,
                  const char *states);

/* The guest has measured three files, the host what the level `appraised` asks for; both as their layers
 * allow. */
void forge_measure(struct forge *f);

/* A crypto-agile log with a SHA-256 bank. */
void forge_log_begin(struct lt_buf *b);
void forge_log_event(struct lt_buf *b, uint32_t pcr, uint32_t type, const uint8_t digest[32],
                     const void *data, uint32_t n);

#endif
