#include "common/pki/crl.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/openssl.h"
#include "common/run/clock.h"
#include "common/run/expiry.h"
#include "common/run/log.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE (16u << 20)

struct lt_crl {
    char *key, *path, *ca;
    pthread_rwlock_t lock; /* guards lists */
    STACK_OF(X509_CRL) * lists;
    atomic_uint generation;
};

static void lists_free(STACK_OF(X509_CRL) * s)
{
    sk_X509_CRL_pop_free(s, X509_CRL_free);
}
LT_DEFINE_AUTO_OF(lists, STACK_OF(X509_CRL), lists_free);

/* PEM, block after block, or else one in DER. */
static int parse(const uint8_t *p, size_t n, STACK_OF(X509_CRL) * out, struct lt_err *e)
{
    bool pem = n && memmem(p, n, "-----BEGIN ", 11);
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(p, (int)n);
    const unsigned char *at = p;

    for (;;) {
        ERR_clear_error();
        X509_CRL *one = pem ? PEM_read_bio_X509_CRL(b, NULL, NULL, NULL) : d2i_X509_CRL(NULL, &at, (long)n);
        bool end = pem && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        ERR_clear_error();
        if (!one)
            return end && sk_X509_CRL_num(out) ? 0
                                               : lt_fail(e, LT_E_CONFIG, "not lists of revoked certificates");
        if (!sk_X509_CRL_push(out, one)) {
            X509_CRL_free(one);
            return lt_fail(e, LT_E_NO_MEMORY, "no memory");
        }
        if (!pem)
            return at == p + n ? 0 : lt_fail(e, LT_E_CONFIG, "bytes behind the list");
    }
}

static int check_kind(const X509_CRL *l, struct lt_err *e)
{
    for (int i = 0; i < X509_CRL_get_ext_count(l); i++) {
        X509_EXTENSION *x = X509_CRL_get_ext(l, i);
        if (X509_EXTENSION_get_critical(x) || OBJ_obj2nid(X509_EXTENSION_get_object(x)) == NID_delta_crl)
            return lt_fail(e, LT_E_CONFIG, "a partial list (%s), which is not understood",
                           OBJ_nid2ln(OBJ_obj2nid(X509_EXTENSION_get_object(x))));
    }
    return 0;
}

static int check_list(const X509_CRL *l, X509 *ca, struct lt_err *e)
{
    int64_t now = lt_clock_wall_s(), from = lt_expiry_seconds(X509_CRL_get0_lastUpdate(l)),
            next = lt_expiry_seconds(X509_CRL_get0_nextUpdate(l));
    char day[16];

    LT_TRY(check_kind(l, e));
    if (X509_CRL_verify((X509_CRL *)l, X509_get0_pubkey(ca)) != 1) {
        ERR_clear_error();
        return lt_fail(e, LT_E_CONFIG, "not signed by that CA");
    }
    lt_expiry_day(next == INT64_MAX ? 0 : next, day);
    if (from == INT64_MAX || from > now)
        return lt_fail(e, LT_E_CONFIG, "of a time to come; is this machine's clock right?");
    if (next == INT64_MAX)
        return lt_fail(e, LT_E_CONFIG, "it does not say when the next one is due");
    return next > now ? 0
                      : lt_fail(e, LT_E_CONFIG,
                                "out of date: the next one was due on %s; fetch it from the CA", day);
}

/* The list of that CA, the newest if there are several. */
static int find_list(STACK_OF(X509_CRL) * lists, X509 *ca, const X509_CRL **out, struct lt_err *e)
{
    const X509_CRL *best = NULL;
    struct lt_err why = {0};
    char name[96];

    lt_expiry_name(X509_get_subject_name(ca), name, sizeof name);
    (void)lt_fail(&why, LT_E_CONFIG, "none is there; make one (limetree pki revoke) or fetch it from the CA");
    for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
        const X509_CRL *l = sk_X509_CRL_value(lists, i);
        if (X509_NAME_cmp(X509_CRL_get_issuer(l), X509_get_subject_name(ca)) || check_list(l, ca, &why))
            continue;
        if (!best || ASN1_TIME_compare(X509_CRL_get0_lastUpdate(l), X509_CRL_get0_lastUpdate(best)) > 0)
            best = l;
    }
    *out = best;
    return best ? 0 : lt_fail(e, LT_E_CONFIG, "the list of CA \"%s\": %s", name, why.msg);
}

static int load_cas(const char *path, STACK_OF(X509) * out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    size_t n;

    LT_TRY(lt_file_read(path, 1 << 20, &pem, &n, e));
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem, (int)n);
    for (X509 *x; b && (x = PEM_read_bio_X509(b, NULL, NULL, NULL));)
        if (!sk_X509_push(out, x)) {
            X509_free(x);
            return lt_fail(e, LT_E_NO_MEMORY, "no memory");
        }
    ERR_clear_error();
    return sk_X509_num(out) ? 0 : lt_fail(e, LT_E_CONFIG, "%s: no CA certificate in PEM", path);
}

/* The one list in force for each CA. */
static int choose(STACK_OF(X509_CRL) * all, STACK_OF(X509) * cas, STACK_OF(X509_CRL) * out, struct lt_err *e)
{
    for (int i = 0; i < sk_X509_num(cas); i++) {
        const X509_CRL *l;
        LT_TRY(find_list(all, sk_X509_value(cas, i), &l, e));
        if (!X509_CRL_up_ref((X509_CRL *)l) || !sk_X509_CRL_push(out, (X509_CRL *)l))
            return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    }
    return 0;
}

static int load(const struct lt_crl *c, STACK_OF(X509_CRL) * out, struct lt_err *e)
{
    LT_AUTO(lists) STACK_OF(X509_CRL) *all = sk_X509_CRL_new_null();
    LT_AUTO(X509_STACK) STACK_OF(X509) *cas = sk_X509_new_null();
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    if (!all || !cas || !out)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    LT_TRY(lt_file_read(c->path, MAX_FILE, &p, &n, e));
    LT_TRY(parse(p, n, all, e));
    LT_TRY(load_cas(c->ca, cas, e));
    return choose(all, cas, out, e);
}

static void watch(const struct lt_crl *c)
{
    char name[96];
    int revoked = 0;

    lt_expiry_forget(c->key);
    for (int i = 0; i < sk_X509_CRL_num(c->lists); i++) {
        const X509_CRL *l = sk_X509_CRL_value(c->lists, i);
        lt_expiry_name(X509_CRL_get_issuer(l), name, sizeof name);
        lt_expiry_add(c->key, c->path, name, lt_expiry_seconds(X509_CRL_get0_nextUpdate(l)), LT_EXPIRY_CRL_S);
        revoked += sk_X509_REVOKED_num(X509_CRL_get_REVOKED((X509_CRL *)l)) > 0
                       ? sk_X509_REVOKED_num(X509_CRL_get_REVOKED((X509_CRL *)l))
                       : 0;
    }
    lt_log(LT_LOG_INFO, "crl", "%s = %s: read, %d revoked", c->key, c->path, revoked);
}

int lt_crl_reload(struct lt_crl *c, struct lt_err *e)
{
    struct lt_err why = {0};

    if (!c)
        return 0;
    LT_AUTO(lists) STACK_OF(X509_CRL) *lists = sk_X509_CRL_new_null();
    if (load(c, lists, &why))
        return lt_fail(e, LT_E_CONFIG, "%s = %s: %s", c->key, c->path, why.msg);
    pthread_rwlock_wrlock(&c->lock);
    STACK_OF(X509_CRL) *old = c->lists;
    c->lists = lists;
    lists = old; /* NOLINT(clang-analyzer-deadcode.DeadStores): the cleanup frees it */
    watch(c);
    atomic_fetch_add(&c->generation, 1);
    pthread_rwlock_unlock(&c->lock);
    return 0;
}

int lt_crl_open(const char *key, const char *path, const char *ca, struct lt_crl **out, struct lt_err *e)
{
    struct lt_crl *c = lt_new(struct lt_crl);

    *out = NULL;
    pthread_rwlock_init(&c->lock, NULL);
    c->key = lt_alloc_text(key);
    c->path = lt_alloc_text(path);
    c->ca = lt_alloc_text(ca);
    int rc = lt_crl_reload(c, e);
    if (rc)
        lt_crl_free(c);
    else
        *out = c;
    return rc;
}

void lt_crl_free(struct lt_crl *c)
{
    if (!c)
        return;
    lists_free(c->lists);
    pthread_rwlock_destroy(&c->lock);
    free(c->key);
    free(c->path);
    free(c->ca);
    free(c);
}

unsigned lt_crl_generation(const struct lt_crl *c)
{
    return c ? atomic_load(&((struct lt_crl *)c)->generation) : 0;
}

int lt_crl_check(struct lt_crl *c, const uint8_t *der, size_t n, struct lt_err *e)
{
    const uint8_t *at = der;
    X509_REVOKED *entry;
    bool revoked = false;

    if (!c)
        return 0;
    X509 *x = n <= LONG_MAX ? d2i_X509(NULL, &at, (long)n) : NULL;
    ERR_clear_error();
    if (!x)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "cannot be read");
    pthread_rwlock_rdlock(&c->lock);
    for (int i = 0; i < sk_X509_CRL_num(c->lists); i++) {
        X509_CRL *l = sk_X509_CRL_value(c->lists, i);
        revoked = revoked || (!X509_NAME_cmp(X509_CRL_get_issuer(l), X509_get_issuer_name(x)) &&
                              X509_CRL_get0_by_serial(l, &entry, X509_get_serialNumber(x)) == 1);
    }
    pthread_rwlock_unlock(&c->lock);
    X509_free(x);
    return revoked ? lt_fail(e, LT_E_UNAUTHENTICATED, "revoked by its CA") : 0;
}
