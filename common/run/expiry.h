/* What runs out: one list a process of the certificates (and lists of revoked ones) it has loaded, and the
 * day's warnings about them. Thread safe. */
#ifndef LT_COMMON_RUN_EXPIRY_H
#define LT_COMMON_RUN_EXPIRY_H

#include "common/bytes.h"

#include <openssl/types.h>

#define LT_EXPIRY_CERTIFICATE_S (30 * 86400) /* warned so long before */
#define LT_EXPIRY_CRL_S (2 * 86400)
#define LT_EXPIRY_LINES 40 /* in one round of warnings; the others are counted */

/* Forgets what came in under this name: before it is loaded anew. what: a configuration key. */
void lt_expiry_forget(const char *what);
/* who: the subject; end: seconds since 1970; early_s: warned so long before. All copied. */
void lt_expiry_add(const char *what, const char *path, const char *who, int64_t end, int64_t early_s);
void lt_expiry_add_x509(const char *what, const char *path, const X509 *x);
/* Logs what has run out at wall time now or soon will, the first to end first, each with the day and with its
 * file. Returns how many there are. */
unsigned lt_expiry_warn(int64_t now);

/* Seconds since 1970 of an ASN.1 time; INT64_MAX: it cannot be read. "2026-11-30" of one. */
int64_t lt_expiry_seconds(const ASN1_TIME *t);
void lt_expiry_day(int64_t s, char out[16]);
/* A name for people and logs: printable, at most n - 1 bytes. */
void lt_expiry_name(const X509_NAME *name, char *out, size_t n);

#endif
