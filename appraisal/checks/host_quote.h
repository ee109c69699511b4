/* Check 5 of docs/protocol.md section 5, for whoever holds a host's AK: the tenant for its verdict, the
 * provider before it hands a quote on. Pure. */
#ifndef LT_APPRAISAL_CHECKS_HOST_QUOTE_H
#define LT_APPRAISAL_CHECKS_HOST_QUOTE_H

#include "appraisal/checks/result_cache.h"
#include "residency/proof.h"
#include "tpm/attest.h"
#include "tpm/signature.h"

/* magic, type, signature under ak, extraData = H(header), the selection's bytes, the PCR digest over the 16
 * values, header version and flags. *h and *a are what was parsed, good only with 0; *a points into q. Whose
 * host it is, and whether the header is the one asked for, is the caller's to compare. LT_E_MALFORMED,
 * LT_E_MALFORMED. */
int lt_host_quote_check(const struct lt_residency_host_quote *q, const struct lt_signature_key *ak,
                        struct lt_residency_header *h, struct lt_attest *a, struct lt_err *e) LT_MUST_CHECK;

/* Host quotes whose check 5 passed: only successes are kept, only check 5 is spared. */
struct lt_result_cache *lt_host_quote_cache_new(void);
/* H over the length-prefixed header, attest, signature, PCR values and AK Name. */
void lt_host_quote_key(const struct lt_residency_host_quote *q, const uint8_t ak_name[LT_TPM_NAME],
                       uint8_t out[LT_SHA256]);

#endif
