#include "common/http/trust.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/run/clock.h"
#include "common/run/expiry.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct expected {
    const struct lt_http_trust *trust;
    bool pinned;
    uint8_t pin[32];
    struct lt_err *why;
};

struct found {
    bool good;
    bool pinned; /* good because it is the pinned one: names, dates and issuer were not looked at */
    unsigned crl_generation; /* of the lists it was last held against */
    struct lt_peer peer;
};

static int expected_at, found_at; /* ex_data indexes */

static void free_ex(void *parent, void *p, CRYPTO_EX_DATA *ad, int at, long argl, void *argp)
{
    (void)parent, (void)ad, (void)at, (void)argl, (void)argp;
    free(p);
}

void lt_http_trust_init(void)
{
    expected_at = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_ex);
    found_at = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_ex);
}

/* ---- verification ---- */

static int fingerprint(X509 *x, uint8_t out[32])
{
    unsigned n = 0;
    return x && X509_digest(x, EVP_sha256(), out, &n) == 1 && n == 32 ? 0 : LT_E_INTERNAL;
}

static int check_chain(const struct lt_http_trust *t, X509_STORE_CTX *theirs, struct lt_err *e)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int rc = 0;

    if (!ctx ||
        !X509_STORE_CTX_init(ctx, t->store, X509_STORE_CTX_get0_cert(theirs),
                             X509_STORE_CTX_get0_untrusted(theirs)) ||
        !X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER))
        rc = lt_fail(e, LT_E_NO_MEMORY, "server certificate: no memory");
    else if (X509_verify_cert(ctx) != 1)
        rc = lt_fail(e, LT_E_UNAUTHENTICATED, "server certificate: %s",
                     X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return rc;
}

static int check_role(const struct lt_peer *p, unsigned role, struct lt_err *e)
{
    if (!p->may_serve)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "server certificate: no extended key usage serverAuth");
    if (role && !(p->roles & role))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "server certificate: role %s, %s expected",
                       p->roles ? lt_peer_role_name(p->roles) : "none",
                       lt_peer_role_name(role) ? lt_peer_role_name(role) : "another");
    return 0;
}

static int revoked_one(const struct lt_http_trust *t, const X509 *x, struct lt_err *e)
{
    uint8_t *der = NULL;
    int n = i2d_X509(x, &der);
    int rc =
        n > 0 ? lt_crl_check(t->crl, der, (size_t)n, e) : lt_fail(e, LT_E_UNAUTHENTICATED, "cannot be read");

    OPENSSL_free(der);
    return rc ? lt_fail_in(e, rc, "server certificate") : 0;
}

/* The leaf, and all that was shown beside it. */
static int check_revoked(const struct lt_http_trust *t, const X509 *leaf, const STACK_OF(X509) * others,
                         struct lt_err *e)
{
    if (!t->crl)
        return 0;
    LT_TRY(revoked_one(t, leaf, e));
    for (int i = 0; i < sk_X509_num(others); i++)
        LT_TRY(revoked_one(t, sk_X509_value(others, i), e));
    return 0;
}

static int check_by_ca(const struct expected *x, X509_STORE_CTX *theirs, struct found *f)
{
    const struct lt_http_trust *t = x->trust;
    uint8_t *der = NULL;

    if (!t->store)
        return lt_fail(x->why, LT_E_UNAUTHENTICATED,
                       "server certificate: no CA is configured and none is pinned");
    LT_TRY(check_chain(t, theirs, x->why));
    int n = i2d_X509(X509_STORE_CTX_get0_cert(theirs), &der);
    int rc = n > 0 ? lt_peer_from_der(der, (size_t)n, &f->peer, x->why)
                   : lt_fail(x->why, LT_E_UNAUTHENTICATED, "server certificate: cannot be read");
    OPENSSL_free(der);
    if (!rc)
        rc = check_role(&f->peer, t->role, x->why);
    f->crl_generation = lt_crl_generation(t->crl);
    return rc ? rc
              : check_revoked(t, X509_STORE_CTX_get0_cert(theirs), X509_STORE_CTX_get0_untrusted(theirs),
                              x->why);
}

static int check_by_pin(const struct expected *x, X509_STORE_CTX *theirs, struct found *f)
{
    f->pinned = true;
    if (fingerprint(X509_STORE_CTX_get0_cert(theirs), f->peer.fingerprint) ||
        memcmp(f->peer.fingerprint, x->pin, sizeof x->pin))
        return lt_fail(x->why, LT_E_UNAUTHENTICATED, "server certificate: not the pinned one");
    return 0;
}

/* Whose certificate it was that is refused. */
static void tell_subject(const X509 *x, struct lt_err *why)
{
    char name[96];
    size_t n = strlen(why->msg);

    if (!x)
        return;
    lt_expiry_name(X509_get_subject_name(x), name, sizeof name);
    snprintf(why->msg + n, sizeof why->msg - n, " (it is \"%s\")", name);
}

/* Takes the place of OpenSSL's own verification. */
static int verify_server(X509_STORE_CTX *ctx, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct expected *x = arg;
    struct found *f = lt_new(struct found);

    /* Once a connection: a second time (*why may be gone) there is nothing to verify. */
    if (!ssl || SSL_get_ex_data(ssl, found_at) || !SSL_set_ex_data(ssl, found_at, f)) {
        free(f);
        X509_STORE_CTX_set_error(ctx, X509_V_ERR_OUT_OF_MEM);
        return 0;
    }
    f->good = !(x->pinned ? check_by_pin(x, ctx, f) : check_by_ca(x, ctx, f));
    if (!f->good)
        tell_subject(X509_STORE_CTX_get0_cert(ctx), x->why);
    X509_STORE_CTX_set_error(ctx, f->good ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
    return f->good;
}

int lt_http_trust_install(const struct lt_http_trust *t, const uint8_t *pin, SSL_CTX *ctx, struct lt_err *why)
{
    struct expected *x = lt_new(struct expected);

    if (!SSL_CTX_set_ex_data(ctx, expected_at, x)) {
        free(x);
        return LT_E_NO_MEMORY;
    }
    x->trust = t;
    x->why = why;
    x->pinned = pin;
    if (pin)
        memcpy(x->pin, pin, sizeof x->pin);
    SSL_CTX_set_cert_verify_callback(ctx, verify_server, x);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    if (t->cert && (SSL_CTX_use_certificate(ctx, t->cert) != 1 || SSL_CTX_use_PrivateKey(ctx, t->key) != 1))
        return LT_E_INTERNAL;
    for (int i = 0; i < sk_X509_num(t->chain); i++)
        if (SSL_CTX_add1_chain_cert(ctx, sk_X509_value(t->chain, i)) != 1)
            return LT_E_INTERNAL;
    return 0;
}

/* The lists of revoked certificates were read anew since this connection was made. */
static int check_again(const SSL *ssl, struct found *f, struct lt_err *e)
{
    const struct expected *x = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), expected_at);
    unsigned now = lt_crl_generation(x->trust->crl);

    if (f->crl_generation == now)
        return 0;
    LT_TRY(check_revoked(x->trust, SSL_get0_peer_certificate(ssl), SSL_get_peer_cert_chain(ssl), e));
    f->crl_generation = now;
    return 0;
}

int lt_http_trust_check(const SSL *ssl, const uint8_t *pin, struct lt_peer *server, struct lt_err *e)
{
    struct found *f = ssl ? SSL_get_ex_data(ssl, found_at) : NULL;

    if (!f || !f->good || f->pinned != (pin != NULL) || (pin && memcmp(f->peer.fingerprint, pin, 32)))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "server certificate: the connection is another server's");
    if (pin)
        return 0;
    if (lt_clock_wall_s() > f->peer.not_after)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "server certificate: expired since the connection was made");
    LT_TRY(check_again(ssl, f, e));
    *server = f->peer;
    return 0;
}

/* ---- loading ---- */

int lt_http_trust_pin(const char *pem, uint8_t pin[32], struct lt_err *e)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    int rc =
        fingerprint(x, pin) ? lt_fail(e, LT_E_UNAUTHENTICATED, "the pinned certificate cannot be read") : 0;

    X509_free(x);
    BIO_free(b);
    ERR_clear_error();
    return rc;
}

/* For the sentence of a client that was refused. */
static char *describe(const char *file, const X509 *x)
{
    char name[96], day[16], *text;

    lt_expiry_name(X509_get_subject_name(x), name, sizeof name);
    lt_expiry_day(lt_expiry_seconds(X509_get0_notAfter(x)), day);
    return asprintf(&text, "%s (%s, until %s)", file, name, day) < 0 ? NULL : text;
}

static int load_identity(struct lt_http_trust *t, const char *cert_file, const char *key_file,
                         struct lt_err *e)
{
    LT_AUTOFREE uint8_t *cert = NULL;
    uint8_t *key = NULL;
    size_t n, key_n;

    if (!cert_file != !key_file)
        return lt_fail(e, LT_E_CONFIG, "client: certificate and key go together");
    if (!cert_file)
        return 0;
    LT_TRY(lt_file_read(cert_file, 1 << 20, &cert, &n, e));
    LT_TRY(lt_file_read_secret(key_file, 1 << 16, &key, &key_n, e));
    BIO *b = BIO_new_mem_buf(cert, (int)n), *kb = BIO_new_mem_buf(key, (int)key_n);
    t->cert = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    t->chain = sk_X509_new_null();
    for (X509 *x; t->cert && t->chain && (x = PEM_read_bio_X509(b, NULL, NULL, NULL));)
        if (!sk_X509_push(t->chain, x))
            X509_free(x);
    t->key = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, (void *)"") : NULL;
    BIO_free(b);
    BIO_free(kb);
    lt_wipe(key, key_n);
    free(key);
    bool good = t->cert && t->key && X509_check_private_key(t->cert, t->key) == 1;
    ERR_clear_error();
    t->ours = good ? describe(cert_file, t->cert) : NULL;
    return good ? 0 : lt_fail(e, LT_E_CONFIG, "%s, %s: not a certificate and its key", cert_file, key_file);
}

static int load_ca(struct lt_http_trust *t, const char *path, struct lt_err *e)
{
    size_t n, count = 0;

    if (!path)
        return 0;
    LT_TRY(lt_file_read(path, 1 << 20, (uint8_t **)&t->ca_pem, &n, e));
    BIO *b = BIO_new_mem_buf(t->ca_pem, (int)n);
    t->store = X509_STORE_new();
    for (X509 *x; b && t->store && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)); X509_free(x))
        count += X509_STORE_add_cert(t->store, x) == 1;
    BIO_free(b);
    ERR_clear_error();
    if (!count)
        return lt_fail(e, LT_E_CONFIG, "%s: no CA certificate in PEM", path);
    X509_STORE_set_flags(t->store, X509_V_FLAG_PARTIAL_CHAIN); /* the named CA is the anchor, root or not */
    return 0;
}

int lt_http_trust_load(struct lt_http_trust *t, const char *cert, const char *key, const char *ca,
                       struct lt_err *e)
{
    LT_TRY(load_identity(t, cert, key, e));
    return load_ca(t, ca, e);
}

void lt_http_trust_free(struct lt_http_trust *t)
{
    X509_STORE_free(t->store);
    free(t->ca_pem);
    free(t->ours);
    X509_free(t->cert);
    sk_X509_pop_free(t->chain, X509_free);
    EVP_PKEY_free(t->key);
}
