/* LT_AUTO (common/alloc.h) for what OpenSSL makes: LT_AUTO(BIO) BIO *b = BIO_new(BIO_s_mem());
 * and why a call into it failed. */
#ifndef LT_COMMON_OPENSSL_H
#define LT_COMMON_OPENSSL_H

#include "common/alloc.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

LT_DEFINE_AUTO_OF(BIO, BIO, BIO_free);
LT_DEFINE_AUTO_OF(EVP_PKEY, EVP_PKEY, EVP_PKEY_free);
LT_DEFINE_AUTO_OF(X509, X509, X509_free);
LT_DEFINE_AUTO_OF(X509_STORE, X509_STORE, X509_STORE_free);
LT_DEFINE_AUTO_OF(X509_STORE_CTX, X509_STORE_CTX, X509_STORE_CTX_free);
LT_DEFINE_AUTO_OF(GENERAL_NAMES, GENERAL_NAMES, GENERAL_NAMES_free);

/* LT_AUTO(X509_STACK) STACK_OF(X509) *s: with the certificates in it. */
static inline void lt_openssl_x509s_free(STACK_OF(X509) * s)
{
    sk_X509_pop_free(s, X509_free);
}
LT_DEFINE_AUTO_OF(X509_STACK, STACK_OF(X509), lt_openssl_x509s_free);

/* ---- why a call failed ----
 * OpenSSL answers most failures with the same 0 or NULL, and want of memory is no word about a key, a
 * signature or a certificate. */

/* Before the calls: forgets what earlier ones left. */
void lt_openssl_begin(void);
/* After one that failed, on the same thread: true if memory ran out since. Empties OpenSSL's queue. */
bool lt_openssl_no_memory(void);

#endif
