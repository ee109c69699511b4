#include "appraisal/ekcert.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define OID_EK_CERTIFICATE "2.23.133.8.1" /* tcg-kp-EKCertificate, TCG EK Credential Profile 3.2.16 */
#define MAX_ROOTS 4096                    /* certificates in one store, count */

struct lt_ek_roots {
    X509_STORE *store;
    unsigned count;
};

static void cleanup_bio(BIO **b)
{
    BIO_free(*b);
}

static void cleanup_x509(X509 **x)
{
    X509_free(*x);
}

static void cleanup_stack(STACK_OF(X509) * *s)
{
    sk_X509_pop_free(*s, X509_free);
}

static void cleanup_store_ctx(X509_STORE_CTX **c)
{
    X509_STORE_CTX_free(*c);
}

int lt_ek_roots_new(struct lt_ek_roots **out, struct lt_err *e)
{
    struct lt_ek_roots *r = calloc(1, sizeof *r);

    *out = NULL;
    if (!r || !(r->store = X509_STORE_new())) {
        free(r);
        return lt_fail(e, LT_E_NO_MEMORY, "EK roots: no memory");
    }
    *out = r;
    return 0;
}

void lt_ek_roots_free(struct lt_ek_roots *r)
{
    if (r)
        X509_STORE_free(r->store);
    free(r);
}

unsigned lt_ek_roots_count(const struct lt_ek_roots *r)
{
    return r->count;
}

int lt_ek_roots_add(struct lt_ek_roots *r, const void *pem, size_t n, const char *name, struct lt_err *e)
{
    unsigned found = 0;

    if (n > LT_MAX_CERTIFICATE * 64u)
        return lt_fail(e, LT_E_TOO_LARGE, "EK roots %s: %zu bytes", name, n);
    __attribute__((cleanup(cleanup_bio))) BIO *b = BIO_new_mem_buf(pem, (int)n);
    for (; b; found++) {
        __attribute__((cleanup(cleanup_x509))) X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
        if (!x)
            break;
        if (r->count == MAX_ROOTS || !X509_STORE_add_cert(r->store, x))
            return lt_fail(e, LT_E_REFUSED, "EK roots %s: certificate %u cannot be added", name, found);
        r->count++;
    }
    ERR_clear_error();
    if (!found)
        return lt_fail(e, LT_E_MALFORMED, "EK roots %s: no PEM certificate in it", name);
    return 0;
}

/* The first certificate in the text. */
static int read_pem(const char *pem, unsigned at, X509 **out, struct lt_err *e)
{
    size_t n = strlen(pem);

    *out = NULL;
    if (n > 2 * LT_MAX_CERTIFICATE)
        return lt_fail(e, LT_E_TOO_LARGE, "EK certificate %u: %zu characters > %d", at, n,
                       2 * LT_MAX_CERTIFICATE);
    __attribute__((cleanup(cleanup_bio))) BIO *b = BIO_new_mem_buf(pem, (int)n);
    if (b)
        *out = PEM_read_bio_X509(b, NULL, NULL, NULL);
    ERR_clear_error();
    if (!*out)
        return lt_fail(e, LT_E_MALFORMED, "EK certificate %u: not an X.509 certificate in PEM", at);
    return 0;
}

/* The leaf's extended key usage must name tcg-kp-EKCertificate. */
static int check_usage(X509 *leaf, struct lt_err *e)
{
    EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(leaf, NID_ext_key_usage, NULL, NULL);
    char oid[64];
    bool found = false;

    for (int i = 0; i < sk_ASN1_OBJECT_num(usage); i++) {
        int n = OBJ_obj2txt(oid, sizeof oid, sk_ASN1_OBJECT_value(usage, i), 1);
        found = found || (n > 0 && !strcmp(oid, OID_EK_CERTIFICATE));
    }
    EXTENDED_KEY_USAGE_free(usage);
    if (!found)
        return lt_fail(e, LT_E_REFUSED, "EK certificate 0: extended key usage %s is missing",
                       OID_EK_CERTIFICATE);
    if (X509_check_ca(leaf))
        return lt_fail(e, LT_E_REFUSED, "EK certificate 0: it is a certificate authority's");
    return 0;
}

static int check_key(X509 *leaf, const struct lt_public *ek, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf spki = LT_BUF(LT_MAX_PUBLIC);
    uint8_t *der = NULL;
    int rc = lt_public_spki(ek, &spki, e);

    if (rc)
        return rc;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
    bool same = n > 0 && lt_slice_eq((struct lt_slice){der, (size_t)n}, (struct lt_slice){spki.p, spki.n});
    OPENSSL_free(der);
    return same ? 0 : lt_fail(e, LT_E_REFUSED, "EK certificate 0: its key is not the EK");
}

static int check_path(const struct lt_ek_roots *r, X509 *leaf, STACK_OF(X509) * others, int64_t now,
                      struct lt_err *e)
{
    __attribute__((cleanup(cleanup_store_ctx))) X509_STORE_CTX *c = X509_STORE_CTX_new();

    if (!c || !X509_STORE_CTX_init(c, r->store, leaf, others))
        return lt_fail(e, LT_E_NO_MEMORY, "EK certificate: no memory");
    X509_STORE_CTX_set_time(c, 0, (time_t)now);
    X509_VERIFY_PARAM_set_depth(X509_STORE_CTX_get0_param(c), LT_MAX_CERTIFICATES);
    int ok = X509_verify_cert(c);
    ERR_clear_error();
    if (ok == 1)
        return 0;
    return lt_fail(e, LT_E_REFUSED, "EK certificate %d of the path: %s", X509_STORE_CTX_get_error_depth(c),
                   X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)));
}

int lt_ek_certificates_check(const struct lt_ek_roots *r, char *const *pem, unsigned count,
                             const struct lt_public *ek, int64_t now, struct lt_err *e)
{
    __attribute__((cleanup(cleanup_x509))) X509 *leaf = NULL;
    __attribute__((cleanup(cleanup_stack))) STACK_OF(X509) *others = sk_X509_new_null();
    int rc;

    if (count < 1 || count > LT_MAX_CERTIFICATES)
        return lt_fail(e, LT_E_MALFORMED, "EK certificates: %u, not 1 to %d", count, LT_MAX_CERTIFICATES);
    if ((rc = read_pem(pem[0], 0, &leaf, e)))
        return rc;
    for (unsigned i = 1; i < count; i++) {
        X509 *x;
        if ((rc = read_pem(pem[i], i, &x, e)))
            return rc;
        if (!others || !sk_X509_push(others, x)) {
            X509_free(x);
            return lt_fail(e, LT_E_NO_MEMORY, "EK certificate: no memory");
        }
    }
    if ((rc = check_key(leaf, ek, e)) || (rc = check_usage(leaf, e)))
        return rc;
    return check_path(r, leaf, others, now, e);
}
