/* DSSE envelopes (secure-systems-lab/dsse, protocol.md): a document signed by one pinned key. What the
 * envelope says of keys (keyid, certificates in it) takes no part: "x509" signers of Keylime are as good as
 * the key that is pinned. */
#ifndef LT_APPRAISAL_POLICY_DSSE_H
#define LT_APPRAISAL_POLICY_DSSE_H

#include "common/bytes.h"

#define LT_DSSE_TYPE "application/vnd.keylime+json" /* payloadType of policies */

/* An object with the key "payload"; says nothing of its worth. */
bool lt_dsse_is(const void *p, size_t n);
/* pem: one public key, ECDSA (P-256, P-384, P-521; DER signature over SHA-256) or RSA of 2048 bits and more
 * (PKCS#1 v1.5, SHA-256); else LT_E_CONFIG. *payload: decoded, the caller frees. LT_E_BAD_SIGNATURE: none of
 * the signatures is of that key. LT_E_REFUSED: not an envelope at all. */
int lt_dsse_open(const void *p, size_t n, const char *pem, uint8_t **payload, size_t *payload_n,
                 struct lt_err *e) LT_MUST_CHECK;

#endif
