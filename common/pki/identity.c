#include "common/pki/identity.h"

#include "common/file.h"
#include "common/ids.h"
#include "common/openssl.h"
#include "common/run/clock.h"
#include "common/run/expiry.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE (1u << 20)

static int no_memory(struct lt_err *e)
{
    return lt_fail(e, LT_E_NO_MEMORY, "certificate: no memory");
}

static int read_certs(const char *key, const char *path, STACK_OF(X509) * *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    LT_AUTO(X509_STACK) STACK_OF(X509) *all = sk_X509_new_null();
    struct lt_err why = {0};
    size_t n;

    if (lt_file_read(path, MAX_FILE, &pem, &n, &why))
        return lt_fail(e, why.code, "%s = %s", key, why.msg);
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem, (int)n);
    if (!b || !all)
        return no_memory(e);
    for (X509 *x; (x = PEM_read_bio_X509(b, NULL, NULL, NULL));)
        if (!sk_X509_push(all, x)) {
            X509_free(x);
            return no_memory(e);
        }
    ERR_clear_error();
    if (!sk_X509_num(all))
        return lt_fail(e, LT_E_CONFIG, "%s = %s: no certificate in PEM", key, path);
    *out = lt_take(&all);
    return 0;
}

/* NULL: it is in force today. */
static const char *wrong_day(const X509 *x, char text[96])
{
    int64_t now = lt_clock_wall_s(), from = lt_expiry_seconds(X509_get0_notBefore(x)),
            end = lt_expiry_seconds(X509_get0_notAfter(x));
    char day[16];

    if (from == INT64_MAX || end == INT64_MAX)
        return "its days cannot be read";
    lt_expiry_day(from > now ? from : end, day);
    if (from > now)
        snprintf(text, 96, "good from %s on only; is this machine's clock right?", day);
    else if (end <= now)
        snprintf(text, 96, "expired on %s", day);
    return from > now || end <= now ? text : NULL;
}

static void watch(const char *key, const char *path, const STACK_OF(X509) * certs)
{
    lt_expiry_forget(key);
    for (int i = 0; i < sk_X509_num(certs); i++)
        lt_expiry_add_x509(key, path, sk_X509_value(certs, i));
}

/* ---- the CA ---- */

static int load_ca(const char *key, const char *path, STACK_OF(X509) * *out, struct lt_err *e)
{
    LT_AUTO(X509_STACK) STACK_OF(X509) *all = NULL;
    char text[96], name[80];
    const char *why = NULL;
    int good = 0;

    LT_TRY(read_certs(key, path, &all, e));
    for (int i = 0; i < sk_X509_num(all); i++) {
        X509 *x = sk_X509_value(all, i);
        lt_expiry_name(X509_get_subject_name(x), name, sizeof name);
        if (!X509_check_ca(x))
            return lt_fail(e, LT_E_CONFIG, "%s = %s (%s): not a CA's certificate; the CA's own belongs here",
                           key, path, name);
        const char *day = wrong_day(x, text);
        good += !day;
        why = day ? day : why;
    }
    if (!good)
        return lt_fail(e, LT_E_CONFIG, "%s = %s (%s): %s; bring the CA's new certificate", key, path, name,
                       why);
    watch(key, path, all);
    *out = lt_take(&all);
    return 0;
}

int lt_identity_check_ca(const char *key, const char *path, struct lt_err *e)
{
    LT_AUTO(X509_STACK) STACK_OF(X509) *all = NULL;
    return load_ca(key, path, &all, e);
}

static bool same_key(const X509 *a, const X509 *b)
{
    const EVP_PKEY *ka = X509_get0_pubkey(a), *kb = X509_get0_pubkey(b);
    bool same = !ka || !kb || EVP_PKEY_eq(ka, kb) == 1; /* what cannot be told apart is not apart */

    ERR_clear_error();
    return same;
}

int lt_identity_check_apart(const char *key, const char *path, const char *other_key, const char *other,
                            struct lt_err *e)
{
    LT_AUTO(X509_STACK) STACK_OF(X509) *a = NULL;
    LT_AUTO(X509_STACK) STACK_OF(X509) *b = NULL;

    LT_TRY(read_certs(key, path, &a, e));
    LT_TRY(read_certs(other_key, other, &b, e));
    for (int i = 0; i < sk_X509_num(a); i++)
        for (int k = 0; k < sk_X509_num(b); k++)
            if (same_key(sk_X509_value(a, i), sk_X509_value(b, k)))
                return lt_fail(e, LT_E_CONFIG, "%s = %s: also a CA of %s; it must be one of its own", key,
                               path, other_key);
    return 0;
}

/* ---- the certificate ---- */

static int refuse(const struct lt_identity *i, const char *what, struct lt_err *e)
{
    return lt_fail(e, LT_E_CONFIG, "%s = %s: %s%s%s%s", i->cert_key, i->cert, what,
                   i->remedy ? "; issue the right one (" : "", i->remedy ? i->remedy : "",
                   i->remedy ? ")" : "");
}

static int check_key(const struct lt_identity *i, X509 *leaf, struct lt_err *e)
{
    struct lt_err why = {0};
    uint8_t *pem = NULL;
    size_t n;

    if (lt_file_read_secret(i->key, 1 << 16, &pem, &n, &why))
        return lt_fail(e, why.code, "%s = %s", i->key_key, why.msg);
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem, (int)n);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, (void *)"") : NULL;
    bool good = key && X509_check_private_key(leaf, key) == 1;
    EVP_PKEY_free(key);
    lt_wipe(pem, n);
    free(pem);
    ERR_clear_error();
    return good ? 0
                : lt_fail(e, LT_E_CONFIG, "%s = %s: %s", i->key_key, i->key,
                          key ? "not the key of the certificate beside it"
                              : "no private key in PEM without a password");
}

static int check_ids(const struct lt_identity *i, const struct lt_peer *p, struct lt_err *e)
{
    char text[160], has[LT_UUID_TEXT], wants[LT_UUID_TEXT];

    if (i->tenant_id && (!p->has_tenant || memcmp(p->tenant_id, i->tenant_id, 16))) {
        lt_uuid_format(p->tenant_id, has);
        lt_uuid_format(i->tenant_id, wants);
        snprintf(text, sizeof text, "for tenant %s, this one is %s", p->has_tenant ? has : "none", wants);
        return refuse(i, text, e);
    }
    if (i->host_id && (!p->has_host || memcmp(p->host_id, i->host_id, 16))) {
        lt_hex(p->host_id, 16, has);
        lt_hex(i->host_id, 16, wants);
        snprintf(text, sizeof text, "for host %s, this one is %s", p->has_host ? has : "none", wants);
        return refuse(i, text, e);
    }
    return 0;
}

static int check_names(const struct lt_identity *i, X509 *leaf, struct lt_err *e)
{
    struct lt_err why = {0};
    struct lt_peer p;
    uint8_t *der = NULL;
    char text[96];
    int n = i2d_X509(leaf, &der);
    int rc = n > 0 ? lt_peer_from_der(der, (size_t)n, &p, &why) : LT_E_NO_MEMORY;

    OPENSSL_free(der);
    if (rc)
        return refuse(i, n > 0 ? why.msg : "no memory", e);
    if (i->role && !(p.roles & i->role)) {
        snprintf(text, sizeof text, "its role is %s, %s is needed here",
                 p.roles ? lt_peer_role_name(p.roles) : "none", lt_peer_role_name(i->role));
        return refuse(i, text, e);
    }
    if (i->serve && !p.may_serve)
        return refuse(i, "it is not for a server (no extended key usage serverAuth)", e);
    if (i->call && !p.may_call)
        return refuse(i, "it is not for a client (extended key usage without clientAuth)", e);
    return check_ids(i, &p, e);
}

static int check_issuer(const struct lt_identity *i, STACK_OF(X509) * certs, STACK_OF(X509) * cas,
                        struct lt_err *e)
{
    LT_AUTO(X509_STORE) X509_STORE *store = X509_STORE_new();
    LT_AUTO(X509_STORE_CTX) X509_STORE_CTX *c = X509_STORE_CTX_new();
    char text[200];

    for (int k = 0; store && k < sk_X509_num(cas); k++)
        if (!X509_STORE_add_cert(store, sk_X509_value(cas, k)))
            return no_memory(e);
    if (!store || !c || !X509_STORE_CTX_init(c, store, sk_X509_value(certs, 0), certs))
        return no_memory(e);
    X509_STORE_CTX_set_flags(c, X509_V_FLAG_PARTIAL_CHAIN); /* as both stacks do */
    int good = X509_verify_cert(c);
    snprintf(text, sizeof text, "not under %s = %s: %s", i->ca_key, i->ca,
             X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)));
    ERR_clear_error();
    return good == 1 ? 0 : refuse(i, text, e);
}

int lt_identity_peer(const char *key, const char *path, struct lt_peer *out, struct lt_err *e)
{
    LT_AUTO(X509_STACK) STACK_OF(X509) *certs = NULL;
    uint8_t *der = NULL;

    LT_TRY(read_certs(key, path, &certs, e));
    int n = i2d_X509(sk_X509_value(certs, 0), &der);
    int rc = n > 0 ? lt_peer_from_der(der, (size_t)n, out, e) : no_memory(e);
    OPENSSL_free(der);
    return rc ? lt_fail_in(e, rc, "%s = %s", key, path) : 0;
}

int lt_identity_check(const struct lt_identity *i, struct lt_err *e)
{
    LT_AUTO(X509_STACK) STACK_OF(X509) *certs = NULL;
    LT_AUTO(X509_STACK) STACK_OF(X509) *cas = NULL;
    char text[96];

    LT_TRY(read_certs(i->cert_key, i->cert, &certs, e));
    X509 *leaf = sk_X509_value(certs, 0);
    const char *day = wrong_day(leaf, text);
    if (day)
        return refuse(i, day, e);
    LT_TRY(check_key(i, leaf, e));
    LT_TRY(check_names(i, leaf, e));
    if (i->ca) {
        LT_TRY(load_ca(i->ca_key, i->ca, &cas, e));
        LT_TRY(check_issuer(i, certs, cas, e));
    }
    watch(i->cert_key, i->cert, certs);
    return 0;
}
