/* Lists of revoked certificates (RFC 5280 section 5) of the CAs whose certificates a program accepts: read at
 * start and again on demand, one object for its servers and its clients. */
#ifndef LT_COMMON_PKI_CRL_H
#define LT_COMMON_PKI_CRL_H

#include "common/bytes.h"

struct lt_crl;

/* path: a file of lists in PEM, or one in DER; ca: a PEM file. Every CA of that file must have a list here,
 * signed by it, begun and not yet due for its next update; a list with a critical extension (a partial one)
 * is not understood. LT_E_CONFIG with key, file and remedy. key: the configuration's word for path. All three
 * copied. */
int lt_crl_open(const char *key, const char *path, const char *ca, struct lt_crl **out,
                struct lt_err *e) LT_MUST_CHECK;
/* NULL is fine, here and below. */
void lt_crl_free(struct lt_crl *c);
/* Reads the files again. On failure the lists of before stay in force. */
int lt_crl_reload(struct lt_crl *c, struct lt_err *e) LT_MUST_CHECK;

/* Which reading is in force: changes with every reload that succeeds. 0 for NULL. */
unsigned lt_crl_generation(const struct lt_crl *c);
/* LT_E_UNAUTHENTICATED: this certificate (DER) is on a list. A list whose next update is overdue stays in
 * force: what it names stays revoked. Thread safe. */
int lt_crl_check(struct lt_crl *c, const uint8_t *der, size_t n, struct lt_err *e) LT_MUST_CHECK;

#endif
