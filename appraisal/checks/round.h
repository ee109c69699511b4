/* The eleven checks of docs/protocol.md section 5 on one round. Pure: no I/O, no clock; everything is in the
 * inputs.
 *
 *   lt_verdict_init(&v)
 *   lt_checks_appraise_guest(…)   1-3; facts.commitment is what goes to the provider
 *   lt_verdict_stopped(&v)?       then lt_verdict_conclude and done
 *   lt_checks_appraise_host(…)    4-11
 *   lt_verdict_conclude(&v, …)    result and reason
 *   lt_history_guest_learn, lt_history_host_learn
 *
 * Of a guest without a host: lt_checks_unlinked in place of 4-11.
 * Of a host by itself: lt_checks_host_alone(&v), then lt_checks_appraise_host without a guest. */
#ifndef LT_APPRAISAL_CHECKS_ROUND_H
#define LT_APPRAISAL_CHECKS_ROUND_H

#include "appraisal/checks/history.h"
#include "appraisal/checks/identity.h"
#include "appraisal/checks/measured.h"
#include "appraisal/checks/opened.h"
#include "appraisal/checks/result_cache.h"
#include "appraisal/checks/verdict.h"
#include "residency/proof.h"

#define LT_CHECKS_NONCE 64         /* characters that Keylime's agents take */
#define LT_CHECKS_TRANSPORT_PCR 16 /* names the guest's transport key; in every Keylime quote */

/* All pointers are borrowed. NULL where said: absent, and the check that needs it is not made. */
struct lt_checks_guest_round {
    uint8_t tenant_id[16], guest_uuid[16];
    const struct lt_checks_identity_guest *identity;
    char nonce[LT_CHECKS_NONCE + 1]; /* text; a round's has LT_RESIDENCY_NONCE characters */
    /* Exactly these PCRs must be quoted: the policy's, those asked for besides, and 16. 0: not known
     * (absent). */
    uint32_t required_pcrs;
    struct lt_slice attest, signature; /* as received */
    const struct lt_pcrs *pcrs;
    const char *pubkey; /* PEM text as received, or the one kept from before; NULL: absent */
    struct lt_measured_logs logs;
    const struct lt_checks_ek *ek;          /* NULL: nobody was asked */
    const struct lt_policy_guest *policy;   /* NULL: absent */
    const struct lt_history_guest *history; /* as it was at t1; NULL: absent */
    struct lt_ima_progress *progress;       /* of the IMA list; NULL: the list is whole */
};

struct lt_checks_host_round {
    const struct lt_checks_guest_round *guest; /* NULL: a host by itself; then there is no proof either */
    const struct lt_residency_host_quote *quote;
    const struct lt_proof *proof;
    const struct lt_checks_identity_host *identity; /* of the host the quote names */
    const struct lt_policy_host *policy;            /* the document HDR.policy_digest names; NULL: absent */
    /* Of a host by itself: the host policies that count (NULL: none is published), and whether a certificate
     * of its EK that nobody could judge is named and left out. */
    const struct lt_policy_digests *accepted;
    bool accept_ek_unproven;
    struct lt_measured_logs logs;
    const struct lt_checks_openers *openers; /* NULL: nothing was asked for: a sealed vTPM stays copyable */
    struct lt_result_cache *measured_cache;  /* NULL: none */
    bool timed;                              /* false (offline): 10 and 11 are not made */
    uint64_t t1_ms, t5_ms, window_ms;
    bool nonce_used;                       /* in a round before this one */
    const struct lt_history_host *history; /* of this AK_h, NULL: absent. Asked as of t1 */
    struct lt_result_cache *cache;         /* NULL: none */
};

/* Checks 1-3. *f is zeroed first; evidence and commitment are always computed. */
void lt_checks_appraise_guest(const struct lt_checks_guest_round *in, struct lt_history_round_facts *f,
                              struct lt_verdict *v);
/* After 1-3: 10 is made, 4-9 and 11 are named as not made, for that reason, and what else the verdict rests
 * on is weighed: the link is `unlinked`. in: guest, times and nonce_used; the rest is not looked at. */
void lt_checks_unlinked(const struct lt_checks_host_round *in, const struct lt_history_round_facts *f,
                        const char *why, struct lt_verdict *v);
/* The lowest link that a policy accepts, for lt_verdict_conclude. NULL: none but resident. */
enum lt_verdict_link lt_checks_least_link(const struct lt_policy_guest *p);
/* Right after lt_verdict_init: 5, 6, 7, 9 and 10 are made, the others are named as not made. */
void lt_checks_host_alone(struct lt_verdict *v);
/* Checks 4-11, and the rest of *f; of a host by itself *f is zeroed first. */
void lt_checks_appraise_host(const struct lt_checks_host_round *in, struct lt_history_round_facts *f,
                             struct lt_verdict *v);

#endif
