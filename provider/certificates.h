/* The certificates a host's EK is shown with: what its agent read from the chip, and issuers that the
 * operator gave because the chip has none. Judged by the tenants, not here. */
#ifndef LT_PROVIDER_CERTIFICATES_H
#define LT_PROVIDER_CERTIFICATES_H

#include "common/json.h"

/* agent: the agent's list, leaf first; what stands around a certificate (tpm/certs.h) is left behind, and one
 * that cannot be read is kept as it came. given: PEM texts of issuers, or NULL: those of known (the same
 * host's list of before, or NULL) stay. Each once; at most LT_MAX_CERTIFICATES in all. *out is a new array.
 */
int lt_provider_certificates_join(const json_t *agent, const json_t *given, const json_t *known, json_t **out,
                                  struct lt_err *e) LT_MUST_CHECK;

#endif
