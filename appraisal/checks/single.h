/* One quote by itself, as somebody brings it: checks 1 and 3, without a round, a host or a history. What that
 * leaves out is named in not_made; whether the quote is of now is the business of whoever drew its nonce.
 * Pure. */
#ifndef LT_APPRAISAL_CHECKS_SINGLE_H
#define LT_APPRAISAL_CHECKS_SINGLE_H

#include "appraisal/checks/round.h"

struct lt_single {
    struct lt_slice ek, ak; /* TPM2B_PUBLIC */
    bool activated;         /* this verifier found both in one TPM; else that is not made */
    const char *nonce;      /* 1 to LT_CHECKS_NONCE characters */
    struct lt_slice attest, signature;
    const struct lt_pcrs *pcrs;
    /* A guest policy, and the documents that it may name: a runtime policy and a boot policy. policy.p NULL:
     * check 3 is not asked for. pinned: PEM of the key that envelopes must be signed with; NULL: none is open
     */
    struct lt_slice policy, runtime, boot;
    const char *pinned;
    struct lt_measured_logs logs; /* but documents */
};

/* *v: the checks as they came out, as of offline appraisal. An error is the policy's or a document's, or no
 * memory. */
int lt_single_judge(const struct lt_single *in, struct lt_verdict *v, struct lt_err *e) LT_MUST_CHECK;
/* The quote is good, and the policy, if one was given, was judged in all of its parts and is met. */
bool lt_single_valid(const struct lt_single *in, const struct lt_verdict *v);

#endif
