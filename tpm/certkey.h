/* Is this certificate about this key? */
#ifndef LT_TPM_CERTKEY_H
#define LT_TPM_CERTKEY_H

#include "tpm/public.h"

/* The certificate's SubjectPublicKeyInfo holds the key: for RSA modulus and exponent are compared, under
 * rsaEncryption or id-RSAES-OAEP (EK Credential Profile 3.2.7 allows both; OpenSSL loads only the first), for
 * ECC the bytes. LT_E_REFUSED: another key. LT_E_MALFORMED: none that can be read. Signatures are not looked
 * at. */
int lt_certkey_certifies(const X509 *x, const struct lt_public *p, struct lt_err *e) LT_MUST_CHECK;

#endif
