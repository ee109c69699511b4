/* What a verifier pins about hosts: the registry it was given and the TPM makers' roots. Immutable once
 * loaded. */
#ifndef LT_VERIFIER_TRUST_H
#define LT_VERIFIER_TRUST_H

#include "appraisal/checks/identity.h"
#include "residency/bundle.h"

struct lt_verifier_trust;

/* registry: file, limetree-registry/1; roots: as lt_roots_load takes it; NULL: not pinned, and the facts
 * that rest on it stay unknown. */
int lt_verifier_trust_load(const char *registry, const char *roots, struct lt_verifier_trust **out,
                           struct lt_err *e) LT_MUST_CHECK;
void lt_verifier_trust_free(struct lt_verifier_trust *t);
/* Unknown: no registry is pinned. */
enum lt_checks_fact lt_verifier_trust_registered(const struct lt_verifier_trust *t,
                                                 const uint8_t ek_digest[LT_SHA256]);
/* Sets in_registry, certificate, certificate_gap and certificate_text of id, whose EK parsed. */
void lt_verifier_trust_judge(const struct lt_verifier_trust *t, const struct lt_bundle_certificates *chain,
                             struct lt_checks_identity_host *id);

#endif
