/* MakeCredential in software (TPM 2.0 Part 1, 24), for RSA and ECC EKs (keylime-api 2.3). */
#ifndef LT_TPM_CREDENTIAL_H
#define LT_TPM_CREDENTIAL_H

#include "tpm/public.h"

/* name: of the AK the credential is bound to. secret: at most the EK's name digest size. Writes tpm2-tools'
 * file: BADCC0DE 00000001 | TPM2B_ID_OBJECT | TPM2B_ENCRYPTED_SECRET, at most LT_MAX_CREDENTIAL bytes. EK:
 * RSA-2048+ or a NIST curve, name algorithm SHA-256 or SHA-384, AES-CFB. */
int lt_credential_make(const struct lt_public *ek, const uint8_t name[LT_TPM_NAME], const void *secret,
                       size_t secret_n, struct lt_buf *out, struct lt_err *e) LT_MUST_CHECK;
/* The same for an AK with a Name of any length. */
int lt_credential_make_for(const struct lt_public *ek, struct lt_slice name, const void *secret,
                           size_t secret_n, struct lt_buf *out, struct lt_err *e) LT_MUST_CHECK;
/* Takes that apart for TPM2_ActivateCredential: the contents of the two TPM2Bs. Slices point into p. */
int lt_credential_parse(const void *p, size_t n, struct lt_slice *id_object, struct lt_slice *secret,
                        struct lt_err *e) LT_MUST_CHECK;

/* KDFa and KDFe (Part 1, 11.4.10), exposed for their known-answer tests. bits a multiple of 8. */
void lt_credential_kdfa(uint16_t hash, struct lt_slice key, const char *label, struct lt_slice u,
                        struct lt_slice v, uint32_t bits, uint8_t *out);
void lt_credential_kdfe(uint16_t hash, struct lt_slice z, const char *label, struct lt_slice u,
                        struct lt_slice v, uint32_t bits, uint8_t *out);

#endif
