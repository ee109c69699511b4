#include "appraisal/ekcert.h"

#include "tpm/certkey.h"
#include "tpm/der.h"

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
#define MIN_SECURITY 112                  /* bits: RSA-2048, SHA-224; SP 800-57 part 1, table 2 */

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

/* The first certificate in the text. What some makers burn into their chips is BER at best: OpenSSL would
 * often read it, another reader otherwise. It is named, and not believed. */
static int read_pem(const char *pem, unsigned at, X509 **out, struct lt_err *e)
{
    size_t n = strlen(pem);
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    struct lt_err why = {0};
    long der_n = 0;
    int rc = 0;

    *out = NULL;
    if (n > 2 * LT_MAX_CERTIFICATE)
        return lt_fail(e, LT_E_TOO_LARGE, "EK certificate %u: %zu characters > %d", at, n,
                       2 * LT_MAX_CERTIFICATE);
    __attribute__((cleanup(cleanup_bio))) BIO *b = BIO_new_mem_buf(pem, (int)n);
    if (!b || PEM_read_bio(b, &name, &header, &der, &der_n) != 1 || strcmp(name, PEM_STRING_X509) || *header)
        rc = lt_fail(e, LT_E_MALFORMED, "EK certificate %u: not an X.509 certificate in PEM", at);
    if (!rc && lt_der_check((struct lt_slice){der, (size_t)der_n}, &why))
        rc = lt_fail(e, LT_E_MALFORMED, "EK certificate %u: %s (some makers' chips carry such certificates)",
                     at, why.msg);
    const unsigned char *p = der;
    if (!rc && !(*out = d2i_X509(NULL, &p, der_n)))
        rc = lt_fail(e, LT_E_MALFORMED, "EK certificate %u: DER, but not an X.509 certificate", at);
    ERR_clear_error();
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    return rc;
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

/* What OpenSSL lets pass: issuers by key usage alone, and signatures nobody should believe any more. Path
 * lengths are counted here too, since by_hand() hides the leaf from OpenSSL. */
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
        if (i && X509_get_pathlen(x) >= 0 && i - 1 > X509_get_pathlen(x))
            return lt_fail(e, LT_E_REFUSED, "EK certificate %d of the path: path length %ld exceeded", i,
                           X509_get_pathlen(x));
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

/* OpenSSL's path from x to a root; above: certificates of the path below x, for messages. */
static int build(const struct lt_ek_roots *r, X509 *x, STACK_OF(X509) * others, int64_t now, int above,
                 STACK_OF(X509) * *chain, struct lt_err *e)
{
    __attribute__((cleanup(cleanup_store_ctx))) X509_STORE_CTX *c = X509_STORE_CTX_new();

    if (!c || !X509_STORE_CTX_init(c, r->store, x, others))
        return lt_fail(e, LT_E_NO_MEMORY, "EK certificate: no memory");
    X509_STORE_CTX_set_time(c, 0, (time_t)now);
    X509_VERIFY_PARAM_set_depth(X509_STORE_CTX_get0_param(c), LT_MAX_CERTIFICATES);
    if (X509_verify_cert(c) != 1)
        return lt_fail(e, LT_E_REFUSED, "EK certificate %d of the path: %s",
                       X509_STORE_CTX_get_error_depth(c) + above,
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)));
    *chain = X509_STORE_CTX_get1_chain(c);
    return *chain ? 0 : lt_fail(e, LT_E_NO_MEMORY, "EK certificate: no memory");
}

/* OpenSSL builds no path from a leaf whose key it cannot load (id-RSAES-OAEP): the leaf's own step is made
 * here, the rest of the path is OpenSSL's. */
static int by_hand(const struct lt_ek_roots *r, X509 *leaf, STACK_OF(X509) * others, int64_t now,
                   STACK_OF(X509) * *chain, struct lt_err *e)
{
    __attribute__((cleanup(cleanup_stack))) STACK_OF(X509) *roots = X509_STORE_get1_all_certs(r->store);
    uint32_t flags = X509_get_extension_flags(leaf);
    time_t at = (time_t)now;
    int known = sk_X509_num(others), all = known + (roots ? sk_X509_num(roots) : 0);

    if (flags & (EXFLAG_INVALID | EXFLAG_CRITICAL))
        return lt_fail(e, LT_E_REFUSED,
                       "EK certificate 0 of the path: a critical extension that is unknown or bad");
    if (X509_cmp_time(X509_get0_notBefore(leaf), &at) >= 0 ||
        X509_cmp_time(X509_get0_notAfter(leaf), &at) <= 0)
        return lt_fail(e, LT_E_REFUSED, "EK certificate 0 of the path: not valid at this time");
    for (int i = 0; i < all; i++) {
        X509 *issuer = i < known ? sk_X509_value(others, i) : sk_X509_value(roots, i - known);
        EVP_PKEY *key = X509_get0_pubkey(issuer);
        if (!key || X509_check_issued(issuer, leaf) != X509_V_OK || X509_verify(leaf, key) != 1)
            continue;
        LT_TRY(build(r, issuer, others, now, 1, chain, e));
        if (sk_X509_insert(*chain, leaf, 0) && X509_up_ref(leaf))
            return 0;
        return lt_fail(e, LT_E_NO_MEMORY, "EK certificate: no memory");
    }
    return lt_fail(e, LT_E_REFUSED, "EK certificate 0 of the path: unable to get issuer certificate");
}

static int check_path(const struct lt_ek_roots *r, X509 *leaf, STACK_OF(X509) * others, int64_t now,
                      struct lt_err *e)
{
    __attribute__((cleanup(cleanup_stack))) STACK_OF(X509) *chain = NULL;
    int rc = X509_get0_pubkey(leaf) ? build(r, leaf, others, now, 0, &chain, e)
                                    : by_hand(r, leaf, others, now, &chain, e);

    if (!rc)
        rc = check_chain(chain, e);
    ERR_clear_error();
    return rc;
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
    rc = lt_certifies(leaf, ek, e);
    ERR_clear_error(); /* a key OpenSSL does not know left its complaint */
    if (rc)
        return lt_fail_in(e, "EK certificate 0");
    if ((rc = check_usage(leaf, e)) || (rc = check_name(leaf, e)))
        return rc;
    return check_path(r, leaf, others, now, e);
}
