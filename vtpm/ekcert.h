/* EK and platform certificates as swtpm_setup wants them (TCG EK Credential Profile 2.5): version 3, notAfter
 * 99991231235959Z, critical subject alternative name with the TPM's or platform's identity, its own EKU. */
#ifndef LT_VTPM_EKCERT_H
#define LT_VTPM_EKCERT_H

#include "common/bytes.h"

#include <openssl/types.h>

struct lt_ekcert {
    bool platform;                  /* else an EK certificate */
    bool allow_signing, decryption; /* swtpm_setup's words; key usage */
    const char *subject;            /* common name, at most 64 characters */
    const char *tpm_manufacturer, *tpm_model, *tpm_version;
    const char *platform_manufacturer, *platform_model, *platform_version;
};

/* "HEX" is an RSA modulus of 2048 to 4096 bits with exponent 65537; "x=HEX,y=HEX,id=secp256r1|secp384r1" a
 * point, which must be on its curve. Caller frees *out with EVP_PKEY_free. */
int lt_ekcert_key(const char *s, EVP_PKEY **out, struct lt_err *e) LT_MUST_CHECK;
/* DER, appended to der, signed with the CA's key, which must be that of its certificate. */
int lt_ekcert_issue(const struct lt_ekcert *c, EVP_PKEY *subject_key, X509 *ca, EVP_PKEY *ca_key,
                    struct lt_buf *der, struct lt_err *e) LT_MUST_CHECK;

#endif
