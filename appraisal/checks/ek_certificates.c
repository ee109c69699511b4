#include "appraisal/checks/ek_certificates.h"

#include "common/alloc.h"
#include "common/limits.h"
#include "common/openssl.h"
#include "tpm/certkey.h"
#include "tpm/certs.h"
#include "tpm/der.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define OID_EK_CERTIFICATE "2.23.133.8.1" /* tcg-kp-EKCertificate, TCG EK Credential Profile 3.2.16 */
#define MAX_ROOTS 4096                    /* certificates in one store, count */
#define MIN_SECURITY 112                  /* bits: RSA-2048, SHA-224; SP 800-57 part 1, table 2 */

struct lt_ek_certificates_roots {
    X509_STORE *store;
    unsigned count;
};

int lt_ek_certificates_roots_new(struct lt_ek_certificates_roots **out, struct lt_err *e)
{
    struct lt_ek_certificates_roots *r = lt_new(struct lt_ek_certificates_roots);

    *out = NULL;
    if (!(r->store = X509_STORE_new())) {
        free(r);
        return lt_fail(e, LT_E_NO_MEMORY, "EK roots: no memory");
    }
    X509_STORE_set_flags(r->store, X509_V_FLAG_PARTIAL_CHAIN);
    *out = r;
    return 0;
}

void lt_ek_certificates_roots_free(struct lt_ek_certificates_roots *r)
{
    if (r)
        X509_STORE_free(r->store);
    free(r);
}

unsigned lt_ek_certificates_roots_count(const struct lt_ek_certificates_roots *r)
{
    return r->count;
}

static int no_memory(struct lt_err *e)
{
    return lt_fail(e, LT_E_NO_MEMORY, "EK certificate: no memory");
}

/* One certificate into one X509. */
static int take_x509(void *arg, struct lt_slice der, struct lt_err *e)
{
    X509 **out = arg;
    const unsigned char *at = der.p;

    lt_openssl_begin();
    *out = d2i_X509(NULL, &at, (long)der.n);
    bool starved = !*out && lt_openssl_no_memory();
    ERR_clear_error();
    if (*out && at == der.p + der.n)
        return 0;
    X509_free(*out);
    *out = NULL;
    return starved ? no_memory(e) : lt_fail(e, LT_E_MALFORMED, "not an X.509 certificate");
}

struct adding {
    struct lt_ek_certificates_roots *roots;
    unsigned at; /* in this file */
};

/* An anchor ends a path, whoever issued it: the operator named it. So it must be fit for that. */
static int take_root(void *arg, struct lt_slice der, struct lt_err *e)
{
    struct adding *a = arg;
    LT_AUTO(X509) X509 *x = NULL;
    unsigned at = a->at++;
    char subject[128];

    LT_TRY_IN(take_x509(&x, der, e), e, "certificate %u", at);
    int ca = X509_check_ca(x); /* 3: version 1 and self-signed */
    X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof subject);
    if (ca != 1 && ca != 3)
        return lt_fail(e, LT_E_REFUSED,
                       "certificate %u (%s): not a certificate authority's; only those of makers, roots or "
                       "intermediates, belong here",
                       at, *subject ? subject : "no subject");
    if (a->roots->count == MAX_ROOTS || !X509_STORE_add_cert(a->roots->store, x))
        return lt_fail(e, LT_E_REFUSED, "certificate %u (%s): cannot be added, %u are there", at, subject,
                       a->roots->count);
    a->roots->count++;
    return 0;
}

int lt_ek_certificates_roots_add(struct lt_ek_certificates_roots *r, const void *bytes, size_t n,
                                 const char *name, struct lt_err *e)
{
    struct adding a = {.roots = r};

    if (n > LT_MAX_ROOTS_FILE)
        return lt_fail(e, LT_E_TOO_LARGE, "EK roots %s: %zu bytes", name, n);
    int rc = lt_certs_read((struct lt_slice){bytes, n}, MAX_ROOTS, take_root, &a, e);
    ERR_clear_error();
    return rc ? lt_fail_in(e, rc, "EK roots %s", name) : 0;
}

static int take_der(void *arg, struct lt_slice der, struct lt_err *e)
{
    struct lt_err why = {0};

    if (lt_der_check(der, &why))
        return lt_fail(e, LT_E_MALFORMED, "%s (some makers' chips carry such certificates)", why.msg);
    return take_x509(arg, der, e);
}

/* The one certificate in the text. What some makers burn into their chips is BER at best: OpenSSL would
 * often read it, another reader otherwise. It is named, and not believed. */
static int read_pem(const char *pem, unsigned at, X509 **out, struct lt_err *e)
{
    size_t n = strlen(pem);
    struct lt_err why = {0};

    *out = NULL;
    if (n > 2 * LT_MAX_CERTIFICATE)
        return lt_fail(e, LT_E_TOO_LARGE, "EK certificate %u: %zu characters > %d", at, n,
                       2 * LT_MAX_CERTIFICATE);
    if (!lt_certs_is_pem((struct lt_slice){(const uint8_t *)pem, n}))
        return lt_fail(e, LT_E_MALFORMED, "EK certificate %u: not an X.509 certificate in PEM", at);
    int rc = lt_certs_read((struct lt_slice){(const uint8_t *)pem, n}, 1, take_der, out, &why);
    if (!rc)
        return 0;
    X509_free(*out);
    *out = NULL;
    return lt_fail(e, rc, "EK certificate %u: %s", at, why.msg);
}

static bool is_oid(const ASN1_OBJECT *o, const char *dotted)
{
    char text[64];
    int n = OBJ_obj2txt(text, sizeof text, o, 1);
    return n > 0 && n < (int)sizeof text && !strcmp(text, dotted);
}

/* The leaf's extended key usage must name tcg-kp-EKCertificate. */
static int check_usage(X509 *leaf, struct lt_err *e)
{
    EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(leaf, NID_ext_key_usage, NULL, NULL);
    bool found = false;

    for (int i = 0; i < sk_ASN1_OBJECT_num(usage); i++)
        found = found || is_oid(sk_ASN1_OBJECT_value(usage, i), OID_EK_CERTIFICATE);
    EXTENDED_KEY_USAGE_free(usage);
    if (!found)
        return lt_fail(e, LT_E_REFUSED, "EK certificate 0: extended key usage %s is missing",
                       OID_EK_CERTIFICATE);
    if (X509_check_ca(leaf))
        return lt_fail(e, LT_E_REFUSED, "EK certificate 0: it is a certificate authority's");
    return 0;
}

/* EK Credential Profile 3.2.9: manufacturer, model and version of the TPM in a directoryName, in one RDN or
 * in three; critical where the subject is empty. */
static int check_name(X509 *leaf, struct lt_err *e)
{
    static const char *const want[] = {"2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"};
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    unsigned found = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        for (int k = 0; g->type == GEN_DIRNAME && k < X509_NAME_entry_count(g->d.directoryName); k++) {
            const X509_NAME_ENTRY *entry = X509_NAME_get_entry(g->d.directoryName, k);
            for (unsigned w = 0; w < 3; w++)
                if (is_oid(X509_NAME_ENTRY_get_object(entry), want[w]) &&
                    ASN1_STRING_length(X509_NAME_ENTRY_get_data(entry)) > 0)
                    found |= 1u << w;
        }
    }
    GENERAL_NAMES_free(names);
    for (unsigned w = 0; w < 3; w++)
        if (!(found >> w & 1))
            return lt_fail(e, LT_E_REFUSED, "EK certificate 0: subject alternative name has no TPM %s (%s)",
                           (const char *const[]){"manufacturer", "model", "version"}[w], want[w]);
    return 0;
}

/* What OpenSSL lets pass: issuers by key usage alone, and signatures nobody should believe any more. */
static int check_chain(const STACK_OF(X509) * chain, struct lt_err *e)
{
    int last = sk_X509_num(chain) - 1, bits;

    for (int i = 0; i <= last; i++) {
        X509 *x = sk_X509_value(chain, i);
        const EVP_PKEY *key = X509_get0_pubkey(x);
        int ca = X509_check_ca(x);
        if (i && ca != 1 && !(i == last && ca == 3)) /* 3: a version 1 root, which the operator chose */
            return lt_fail(e, LT_E_REFUSED, "EK certificate %d of the path: basic constraints do not say CA",
                           i);
        if (i && (!key || EVP_PKEY_get_security_bits(key) < MIN_SECURITY))
            return lt_fail(e, LT_E_REFUSED, "EK certificate %d of the path: its key of %d bits is too weak",
                           i, key ? EVP_PKEY_get_bits(key) : 0);
        if (i < last && (!X509_get_signature_info(x, NULL, NULL, &bits, NULL) || bits < MIN_SECURITY))
            return lt_fail(e, LT_E_REFUSED,
                           "EK certificate %d of the path: signed with %s, which is too weak", i,
                           OBJ_nid2ln(X509_get_signature_nid(x)));
    }
    return last > 0 ? 0 : lt_fail(e, LT_E_REFUSED, "EK certificate 0: it is its own root");
}

/* OpenSSL loads no key marked id-RSAES-OAEP, and builds no path from a leaf without one. lt_certkey_certifies
 * has found this key to be the EK, so the leaf is given the EK as OpenSSL writes it. The bytes that are
 * signed are kept as they came (X509_verify is asked about those), and every check of the path is made for
 * this leaf. */
static int lend_key(X509 *leaf, const struct lt_public *ek, struct lt_err *e)
{
    EVP_PKEY *key = NULL;

    if (X509_get0_pubkey(leaf))
        return 0;
    LT_TRY(lt_public_pkey(ek, &key, e));
    int good = X509_set_pubkey(leaf, key);
    EVP_PKEY_free(key);
    return good ? 0 : no_memory(e);
}

static int check_path(const struct lt_ek_certificates_roots *r, X509 *leaf, STACK_OF(X509) * others,
                      int64_t now, struct lt_err *e)
{
    LT_AUTO(X509_STORE_CTX) X509_STORE_CTX *c = X509_STORE_CTX_new();

    if (!c || !X509_STORE_CTX_init(c, r->store, leaf, others))
        return no_memory(e);
    X509_STORE_CTX_set_time(c, 0, (time_t)now);
    X509_VERIFY_PARAM_set_depth(X509_STORE_CTX_get0_param(c), LT_MAX_CERTIFICATES);
    if (X509_verify_cert(c) != 1)
        return lt_fail(e, LT_E_REFUSED, "EK certificate %d of the path: %s",
                       X509_STORE_CTX_get_error_depth(c),
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)));
    return check_chain(X509_STORE_CTX_get0_chain(c), e);
}

/* The chain behind the leaf. Nobody signed that it is one: what cannot be read there is as good as not
 * there, and whether the path is whole without it decides. */
static int read_others(char *const *pem, unsigned count, STACK_OF(X509) * others, struct lt_err *e)
{
    for (unsigned i = 1; i < count; i++) {
        struct lt_err why = {0};
        X509 *x;
        int rc = read_pem(pem[i], i, &x, &why);
        if (rc == LT_E_NO_MEMORY || (!rc && (!others || !sk_X509_push(others, x)))) {
            X509_free(x);
            return no_memory(e);
        }
    }
    return 0;
}

static int check_leaf(const struct lt_ek_certificates_roots *r, X509 *leaf, STACK_OF(X509) * others,
                      const struct lt_public *ek, int64_t now, struct lt_err *e)
{
    LT_TRY_IN(lt_certkey_certifies(leaf, ek, e), e, "EK certificate 0");
    LT_TRY(check_usage(leaf, e));
    LT_TRY(check_name(leaf, e));
    LT_TRY(lend_key(leaf, ek, e));
    return check_path(r, leaf, others, now, e);
}

int lt_ek_certificates_check(const struct lt_ek_certificates_roots *r, char *const *pem, unsigned count,
                             const struct lt_public *ek, int64_t now, struct lt_err *e)
{
    LT_AUTO(X509) X509 *leaf = NULL;
    LT_AUTO(X509_STACK) STACK_OF(X509) *others = sk_X509_new_null();

    if (count < 1 || count > LT_MAX_CERTIFICATES)
        return lt_fail(e, LT_E_MALFORMED, "EK certificates: %u, not 1 to %d", count, LT_MAX_CERTIFICATES);
    LT_TRY(read_pem(pem[0], 0, &leaf, e));
    LT_TRY(read_others(pem, count, others, e));
    lt_openssl_begin();
    int rc = check_leaf(r, leaf, others, ek, now, e);
    bool starved = rc && lt_openssl_no_memory(); /* none of its refusals tells that from a bad certificate */
    ERR_clear_error();
    return starved ? no_memory(e) : rc;
}

/* ---- what a refused chain is worth ---- */

/* Who signed x; *named: somebody bears the issuer's name, whether or not he signed. */
static X509 *signer_of(X509 *x, STACK_OF(X509) * among, bool *named)
{
    for (int i = 0; i < sk_X509_num(among); i++) {
        X509 *by = sk_X509_value(among, i);
        EVP_PKEY *key = X509_get0_pubkey(by);
        if (X509_NAME_cmp(X509_get_subject_name(by), X509_get_issuer_name(x)))
            continue;
        *named = true;
        if (key && X509_verify(x, key) == 1)
            return by;
    }
    return NULL;
}

static void name_issuer(const X509 *x, struct lt_err *e)
{
    LT_AUTO(BIO) BIO *b = BIO_new(BIO_s_mem());
    const char *text = "";
    long n = 0;

    /* RFC 2253 with control characters escaped: it is an outsider's text. */
    if (b && X509_NAME_print_ex(b, X509_get_issuer_name(x), 0, XN_FLAG_RFC2253) >= 0)
        n = BIO_get_mem_data(b, &text);
    (void)lt_fail(e, LT_E_NOT_FOUND, "issuer \"%.*s\"", n < 120 ? (int)n : 120, text);
}

static enum lt_ek_certificates_standing climb(X509 *x, STACK_OF(X509) * others, STACK_OF(X509) * roots,
                                              struct lt_err *e)
{
    for (unsigned depth = 0; depth <= LT_MAX_CERTIFICATES; depth++) {
        bool named = false, own = !X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x));
        if (signer_of(x, roots, &named))
            return LT_EK_CERTIFICATES_SIGNED;
        X509 *next = own ? NULL : signer_of(x, others, &named);
        if (!next && named)
            return LT_EK_CERTIFICATES_UNPROVEN;
        if (!next) {
            name_issuer(x, e);
            return LT_EK_CERTIFICATES_NO_ROOT;
        }
        x = next;
    }
    return LT_EK_CERTIFICATES_UNPROVEN;
}

enum lt_ek_certificates_standing lt_ek_certificates_standing(const struct lt_ek_certificates_roots *r,
                                                             char *const *pem, unsigned count,
                                                             const struct lt_public *ek, struct lt_err *e)
{
    LT_AUTO(X509_STACK) STACK_OF(X509) *others = sk_X509_new_null();
    LT_AUTO(X509_STACK) STACK_OF(X509) *roots = X509_STORE_get1_all_certs(r->store);
    LT_AUTO(X509) X509 *leaf = NULL;
    struct lt_err why = {0};

    if (!count || count > LT_MAX_CERTIFICATES || !others || !roots || read_pem(pem[0], 0, &leaf, &why) ||
        read_others(pem, count, others, &why))
        return LT_EK_CERTIFICATES_UNPROVEN;
    enum lt_ek_certificates_standing is =
        lt_certkey_certifies(leaf, ek, &why) ? LT_EK_CERTIFICATES_UNPROVEN : climb(leaf, others, roots, e);
    ERR_clear_error();
    return is;
}
