/* Certificates as makers, chips, agents and operators hand them over. One function for everybody who takes
 * some, so that no end refuses what another trims. */
#ifndef LT_TPM_CERTS_H
#define LT_TPM_CERTS_H

#include "common/bytes.h"

/* One certificate, without what stood around it; borrowed for the call. Not yet known to be X.509. */
typedef int (*lt_certs_take)(void *arg, struct lt_slice der, struct lt_err *e);

/* Hands each certificate in p to take, in order. p is
 *   PEM: blocks CERTIFICATE, any text around them; each block holds one certificate; or
 *   DER: certificates one behind the other.
 * In both, runs of 00 and FF around a certificate are padding (NV indices are larger than what lies in them),
 * and a certificate may lie in an OCTET STRING, as some chips keep theirs: one certificate in one, and none
 * in an OCTET STRING in another. Everything else is LT_E_MALFORMED with the byte or the block, also no
 * certificate at all, also behind a good one; LT_E_TOO_LARGE: more than most, or one above
 * LT_MAX_CERTIFICATE. A fault of take ends it. A SEQUENCE whose length is not DER's is handed over with all
 * that follows it, for its judge to name. */
int lt_certs_read(struct lt_slice p, unsigned most, lt_certs_take take, void *arg,
                  struct lt_err *e) LT_MUST_CHECK;

/* Is p PEM? What is not is taken for DER. */
bool lt_certs_is_pem(struct lt_slice p);

#endif
