/* What the client shows, and what a server must show. Private to the HTTP client.
 *
 * The SSL_CTX of a connection carries what is expected, its SSL what was found, so that a request on a kept
 * connection is judged by the very certificate of that connection. */
#ifndef LT_COMMON_HTTP_TRUST_H
#define LT_COMMON_HTTP_TRUST_H

#include "common/pki/crl.h"
#include "common/pki/peer.h"

#include <openssl/ssl.h>

struct lt_http_trust {
    X509_STORE *store; /* the CA; NULL: none, only pins */
    char *ca_pem;
    unsigned role;      /* the server's; 0: any */
    struct lt_crl *crl; /* borrowed; NULL: none */
    char *ours;         /* "FILE (subject, until DAY)", for messages; NULL: we have none */
    X509 *cert;         /* ours; NULL: none */
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
};

void lt_http_trust_init(void); /* once a process */
/* PEM files, as struct lt_http_client_conf has them. lt_http_trust_free also after a failure. */
int lt_http_trust_load(struct lt_http_trust *t, const char *cert, const char *key, const char *ca,
                       struct lt_err *e) LT_MUST_CHECK;
void lt_http_trust_free(struct lt_http_trust *t);

/* The fingerprint of the one certificate in a PEM text. */
int lt_http_trust_pin(const char *pem, uint8_t pin[32], struct lt_err *e) LT_MUST_CHECK;
/* Before a handshake. pin NULL: by CA and role. t must outlive the connection, *why (told when the server is
 * refused) its handshake. */
int lt_http_trust_install(const struct lt_http_trust *t, const uint8_t *pin, SSL_CTX *ctx,
                          struct lt_err *why) LT_MUST_CHECK;
/* After it, for each request: was this connection accepted by this very rule? *server stays zero for a pin.
 */
int lt_http_trust_check(const SSL *ssl, const uint8_t *pin, struct lt_peer *server,
                        struct lt_err *e) LT_MUST_CHECK;

#endif
