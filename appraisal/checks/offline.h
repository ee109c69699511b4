/* A bundle's checks, done again by anybody: 1 and 4-9 without activation and history. What is left out is
 * named in not_made (docs/protocol.md section 5, "Offline"). The result is consistent or inconsistent, never
 * trusted. */
#ifndef LT_APPRAISAL_CHECKS_OFFLINE_H
#define LT_APPRAISAL_CHECKS_OFFLINE_H

#include "appraisal/checks/ek_certificates.h"
#include "appraisal/checks/verdict.h"
#include "appraisal/policy/policy.h"
#include "residency/bundle.h"

struct lt_offline {
    const struct lt_ek_certificates_roots *roots; /* NULL: EK chains are not checked */
    int64_t now;                                  /* wall time for certificates, seconds since 1970 */
    const struct lt_policy_guest *policy; /* NULL: no accepted sets, no check 3, no expected digests */
    const char
        *policy_key; /* PEM: layers in a DSSE envelope must be signed with it; NULL: plain documents only */
};

/* Layers, boot policies and the host policies that openers are judged by are taken from the bundle: a policy
 * names them by digest, so that it does not matter who brings them. Those that are not there are named as
 * left out. Total but for what a bundle cannot have (a host policy or openers that are none): LT_E_MALFORMED,
 * and LT_E_NO_MEMORY. */
int lt_offline_appraise(const struct lt_bundle *b, const struct lt_offline *o, struct lt_verdict *v,
                        struct lt_err *e) LT_MUST_CHECK;

#endif
