/* lt_pki_revoke of common/pki/issue.h: a CA's list of revoked certificates. */
#include "common/file.h"
#include "common/limits.h"
#include "common/pki/issue.h"
#include "common/pki/peer.h"
#include "common/run/clock.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

struct work {
    X509 *ca, *cert;
    EVP_PKEY *key;
    X509_CRL *old, *list;
    BIO *out;
};

static void work_free(struct work *w)
{
    X509_free(w->ca);
    X509_free(w->cert);
    EVP_PKEY_free(w->key);
    X509_CRL_free(w->old);
    X509_CRL_free(w->list);
    BIO_free(w->out);
}

static int no_memory(struct lt_err *e)
{
    ERR_clear_error();
    return lt_fail(e, LT_E_NO_MEMORY, "list of revoked certificates: no memory");
}

static int read_pem(const char *path, bool secret, BIO **b, uint8_t **p, size_t *n, struct lt_err *e)
{
    LT_TRY(secret ? lt_file_read_secret(path, 1 << 16, p, n, e) : lt_file_read(path, LT_MAX_CRL, p, n, e));
    *b = BIO_new_mem_buf(*p, (int)*n);
    return *b ? 0 : no_memory(e);
}

static int read_cert(const char *path, X509 **out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    BIO *b = NULL;
    size_t n;

    LT_TRY(read_pem(path, false, &b, &p, &n, e));
    *out = PEM_read_bio_X509(b, NULL, NULL, NULL);
    BIO_free(b);
    ERR_clear_error();
    return *out ? 0 : lt_fail(e, LT_E_CONFIG, "%s: not a certificate in PEM", path);
}

static int read_key(const char *path, X509 *ca, EVP_PKEY **out, struct lt_err *e)
{
    uint8_t *p = NULL;
    BIO *b = NULL;
    size_t n = 0;
    int rc = read_pem(path, true, &b, &p, &n, e);

    *out = rc ? NULL : PEM_read_bio_PrivateKey(b, NULL, NULL, (void *)"");
    BIO_free(b);
    if (p)
        lt_wipe(p, n);
    free(p);
    ERR_clear_error();
    if (rc)
        return rc;
    return *out && X509_check_ca(ca) == 1 && X509_check_private_key(ca, *out) == 1
               ? 0
               : lt_fail(e, LT_E_CONFIG, "%s: not the key of this CA", path);
}

/* The list that is there goes on; none is a beginning. */
static int read_old(const char *path, struct work *w, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    BIO *b = NULL;
    size_t n;

    if (access(path, F_OK))
        return 0;
    LT_TRY(read_pem(path, false, &b, &p, &n, e));
    w->old = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL);
    BIO_free(b);
    bool good = w->old && X509_CRL_verify(w->old, w->key) == 1;
    ERR_clear_error();
    return good ? 0
                : lt_fail(e, LT_E_CONFIG, "%s: not a list of revoked certificates of this CA; move it away",
                          path);
}

/* reason 0: not said. */
static int add_entry(X509_CRL *list, const ASN1_INTEGER *serial, const ASN1_TIME *when, long reason)
{
    X509_REVOKED *r = X509_REVOKED_new();
    ASN1_ENUMERATED *why = reason ? ASN1_ENUMERATED_new() : NULL;
    bool ok = r && X509_REVOKED_set_serialNumber(r, (ASN1_INTEGER *)serial) &&
              X509_REVOKED_set_revocationDate(r, (ASN1_TIME *)when);

    if (ok && reason)
        ok = why && ASN1_ENUMERATED_set(why, reason) &&
             X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, why, 0, 0) == 1;
    ASN1_ENUMERATED_free(why);
    if (ok && X509_CRL_add0_revoked(list, r))
        return 1;
    X509_REVOKED_free(r);
    return 0;
}

static int add_number(X509_CRL *list, uint64_t number)
{
    ASN1_INTEGER *is = ASN1_INTEGER_new();
    int ok = is && ASN1_INTEGER_set_uint64(is, number) &&
             X509_CRL_add1_ext_i2d(list, NID_crl_number, is, 0, 0) == 1;

    ASN1_INTEGER_free(is);
    return ok;
}

/* A list without a number that we can read begins anew, from 0. */
static uint64_t number_of(const X509_CRL *list)
{
    ASN1_INTEGER *was = list ? X509_CRL_get_ext_d2i(list, NID_crl_number, NULL, NULL) : NULL;
    uint64_t n = 0;

    if (was && !ASN1_INTEGER_get_uint64(&n, was))
        n = 0;
    ASN1_INTEGER_free(was);
    ERR_clear_error();
    return n;
}

/* Of a CA that has a key identifier. */
static int add_authority(X509_CRL *list, X509 *ca)
{
    X509V3_CTX ctx;

    if (!X509_get0_subject_key_id(ca))
        return 1;
    X509V3_set_ctx(&ctx, ca, NULL, NULL, list, 0);
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid:always");
    int ok = x && X509_CRL_add_ext(list, x, -1);
    X509_EXTENSION_free(x);
    return ok;
}

static int keep_old(const struct work *w, X509_CRL *list)
{
    STACK_OF(X509_REVOKED) *all = w->old ? X509_CRL_get_REVOKED(w->old) : NULL;

    for (int i = 0; i < sk_X509_REVOKED_num(all); i++) {
        const X509_REVOKED *r = sk_X509_REVOKED_value(all, i);
        if (!add_entry(list, X509_REVOKED_get0_serialNumber(r), X509_REVOKED_get0_revocationDate(r), 0))
            return 0;
    }
    return 1;
}

/* Everything but entries and signature. */
static int begin(struct work *w, uint64_t number, int64_t life_s)
{
    X509_CRL *l = w->list = X509_CRL_new();
    ASN1_TIME *from = X509_gmtime_adj(NULL, -LT_PKI_EARLY_S), *next = X509_gmtime_adj(NULL, (long)life_s);
    int ok = l && from && next && X509_CRL_set_version(l, 1) &&
             X509_CRL_set_issuer_name(l, X509_get_subject_name(w->ca)) && X509_CRL_set1_lastUpdate(l, from) &&
             X509_CRL_set1_nextUpdate(l, next) && add_authority(l, w->ca) && add_number(l, number);

    ASN1_TIME_free(from);
    ASN1_TIME_free(next);
    return ok;
}

static int finish(struct work *w)
{
    return X509_CRL_sort(w->list) && X509_CRL_sign(w->list, w->key, EVP_sha256()) > 0;
}

static int build(struct work *w, int days, struct lt_err *e)
{
    X509_REVOKED *there;
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
    int ok = now && begin(w, number_of(w->old) + 1, (int64_t)days * 86400) && keep_old(w, w->list);

    if (ok && w->cert && !(w->old && X509_CRL_get0_by_cert(w->old, &there, w->cert) == 1))
        ok = add_entry(w->list, X509_get0_serialNumber(w->cert), now, 0);
    ok = ok && finish(w);
    ASN1_TIME_free(now);
    return ok ? 0 : no_memory(e);
}

static int add_given(X509_CRL *list, const struct lt_pki_entry *x)
{
    BIGNUM *bn = BN_bin2bn(x->serial, (int)x->serial_n, NULL);
    ASN1_INTEGER *serial = bn ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;
    ASN1_TIME *since = ASN1_TIME_adj(NULL, (time_t)x->since, 0, 0);
    int ok = serial && since && add_entry(list, serial, since, x->reason);

    BN_free(bn);
    ASN1_INTEGER_free(serial);
    ASN1_TIME_free(since);
    return ok;
}

/* The list is encoded once, for both. */
static int put_list(struct work *w, struct lt_buf *pem, struct lt_buf *der, struct lt_err *e)
{
    uint8_t *p = NULL;
    char *text;
    int n = i2d_X509_CRL(w->list, &p);

    w->out = BIO_new(BIO_s_mem());
    if (n > 0 && w->out && PEM_write_bio(w->out, PEM_STRING_X509_CRL, "", p, n) > 0) {
        long text_n = BIO_get_mem_data(w->out, &text);
        lt_buf_put(pem, text, (size_t)text_n);
        lt_buf_put(der, p, (size_t)n);
    }
    OPENSSL_free(p);
    if (!pem->n)
        return no_memory(e);
    LT_TRY(lt_buf_ok(pem, e));
    return lt_buf_ok(der, e);
}

int lt_pki_list(const char *ca_cert, const char *ca_key, const struct lt_pki_entry *entries, size_t count,
                uint64_t number, int64_t life_s, struct lt_buf *pem, struct lt_buf *der, struct lt_err *e)
{
    __attribute__((cleanup(work_free))) struct work w = {0};

    LT_TRY(read_cert(ca_cert, &w.ca, e));
    LT_TRY(read_key(ca_key, w.ca, &w.key, e));
    int ok = begin(&w, number, life_s);
    for (size_t i = 0; ok && i < count; i++)
        ok = add_given(w.list, &entries[i]);
    return ok && finish(&w) ? put_list(&w, pem, der, e) : no_memory(e);
}

int lt_pki_list_number(const char *path, uint64_t *number, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    BIO *b = NULL;
    size_t n;

    *number = 0;
    if (access(path, F_OK))
        return 0;
    LT_TRY(read_pem(path, false, &b, &p, &n, e));
    X509_CRL *list = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL);
    BIO_free(b);
    ERR_clear_error();
    *number = number_of(list);
    X509_CRL_free(list);
    return 0;
}

static int check_cert(const struct work *w, const char *path, struct lt_err *e)
{
    bool ours = X509_check_issued(w->ca, w->cert) == X509_V_OK && X509_verify(w->cert, w->key) == 1;

    ERR_clear_error();
    return ours ? 0 : lt_fail(e, LT_E_REFUSED, "%s: not a certificate of this CA", path);
}

int lt_pki_revoke(const char *ca_cert, const char *ca_key, const char *cert, const char *list, int days,
                  struct lt_err *e)
{
    __attribute__((cleanup(work_free))) struct work w = {0};
    char *pem;

    LT_TRY(read_cert(ca_cert, &w.ca, e));
    LT_TRY(read_key(ca_key, w.ca, &w.key, e));
    if (cert) {
        LT_TRY(read_cert(cert, &w.cert, e));
        LT_TRY(check_cert(&w, cert, e));
    }
    LT_TRY(read_old(list, &w, e));
    LT_TRY(build(&w, days, e));
    w.out = BIO_new(BIO_s_mem());
    if (!w.out || PEM_write_bio_X509_CRL(w.out, w.list) != 1)
        return no_memory(e);
    long n = BIO_get_mem_data(w.out, &pem);
    return lt_file_write(list, pem, (size_t)n, 0644, e);
}
