/* TPMT_SIGNATURE checked under a key that was prepared once (the key's parsing is not paid per round). */
#ifndef LT_TPM_SIGNATURE_H
#define LT_TPM_SIGNATURE_H

#include "tpm/public.h"

struct lt_signature_key;

/* RSA: RSASSA-PKCS1-v1_5; ECC: ECDSA; each with SHA-256 or SHA-384, as the key's scheme says (SHA-256 without
 * one). LT_E_NO_MEMORY says nothing of the key. */
int lt_signature_key_new(const struct lt_public *p, struct lt_signature_key **out,
                         struct lt_err *e) LT_MUST_CHECK;
void lt_signature_key_free(struct lt_signature_key *k);

/* sig is a TPMT_SIGNATURE, at most LT_MAX_SIGNATURE bytes, nothing trailing; algorithm and hash must be the
 * key's. LT_E_MALFORMED or LT_E_BAD_SIGNATURE; LT_E_NO_MEMORY says nothing of the signature. Thread safe. */
int lt_signature_check(const struct lt_signature_key *k, struct lt_slice sig, struct lt_slice message,
                       struct lt_err *e) LT_MUST_CHECK;

#endif
