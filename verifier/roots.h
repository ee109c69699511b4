/* TPM makers' certificates from disk: one rule for the tenant's daemon and for every command. */
#ifndef LT_VERIFIER_ROOTS_H
#define LT_VERIFIER_ROOTS_H

#include "appraisal/checks/ek_certificates.h"

/* key: of the configuration, for messages and the watch over what runs out. path: a file of certificates, or
 * a directory, of which the files *.pem, *.crt, *.cer and *.der count and every other one (a README, say) is
 * let be. PEM or DER, by what is in them. A file that counts and holds no certificate, or one that is no
 * authority's, is refused with its name: LT_E_CONFIG; LT_E_IO: it cannot be read. */
int lt_roots_load(const char *key, const char *path, struct lt_ek_certificates_roots **out,
                  struct lt_err *e) LT_MUST_CHECK;

#endif
