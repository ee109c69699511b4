#include "keylime/agent.h"

#include "common/hash.h"
#include "common/limits.h"
#include "common/openssl.h"
#include "tpm/certkey.h"
#include "tpm/certs.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

void lt_agent_free(struct lt_agent *a)
{
    free(a->ekcert);
    free(a->mtls_cert);
    free(a->ip);
    memset(a, 0, sizeof *a);
}

void lt_keylime_cleanup_agent(struct lt_agent *a)
{
    lt_agent_free(a);
}

static int der_of(X509 *x, uint8_t **der, size_t *n, struct lt_err *e)
{
    unsigned char *p = NULL;
    int len = i2d_X509(x, &p);

    if (len <= 0 || !p)
        return lt_fail(e, LT_E_NO_MEMORY, "certificate: no memory");
    if (len > LT_MAX_CERTIFICATE) {
        OPENSSL_free(p);
        return lt_fail(e, LT_E_TOO_LARGE, "certificate: %d bytes > %d", len, LT_MAX_CERTIFICATE);
    }
    *der = malloc((size_t)len);
    if (*der)
        memcpy(*der, p, (size_t)len);
    *n = (size_t)len;
    OPENSSL_free(p);
    return *der ? 0 : lt_fail(e, LT_E_NO_MEMORY, "certificate: no memory");
}

int lt_keylime_pem_leaf(const char *pem, uint8_t **der, size_t *n, struct lt_err *e)
{
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem, -1);
    LT_AUTO(X509) X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;

    *der = NULL;
    *n = 0;
    if (!x)
        return lt_fail(e, LT_E_MALFORMED, "certificate: not PEM of an X.509 certificate");
    return der_of(x, der, n, e);
}

struct ekcert {
    BIO *to;
    X509 *leaf;
};

static void cleanup_ekcert(struct ekcert *c)
{
    BIO_free(c->to);
    X509_free(c->leaf);
}

/* Kept as PEM that we wrote ourselves. */
static int take_certificate(void *arg, struct lt_slice der, struct lt_err *e)
{
    struct ekcert *c = arg;
    const unsigned char *at = der.p;
    LT_AUTO(X509) X509 *x = d2i_X509(NULL, &at, (long)der.n);

    if (!x)
        return lt_fail(e, LT_E_MALFORMED, "no X.509 certificate in it");
    if (at != der.p + der.n)
        return lt_fail(e, LT_E_MALFORMED, "bytes after the certificate");
    if (!PEM_write_bio_X509(c->to, x))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    if (!c->leaf)
        c->leaf = lt_take(&x);
    return 0;
}

/* ekcert is a PEM chain or base64 of one DER (keylime-api 2.2), as the chip gave it (tpm/certs.h). */
static int read_ekcert(const char *text, const struct lt_public *ek, char **out, struct lt_err *e)
{
    struct lt_slice given = {(const uint8_t *)text, strlen(text)};
    bool pem = lt_certs_is_pem(given);
    __attribute__((cleanup(cleanup_ekcert))) struct ekcert c = {.to = BIO_new(BIO_s_mem())};
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = NULL;
    LT_AUTOFREE uint8_t *der = NULL;

    if (!c.to)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    if (!pem) {
        LT_TRY(lt_unbase64(text, given.n, LT_MAX_CERTIFICATES * LT_MAX_CERTIFICATE, &der, &given.n, e));
        given.p = der;
    }
    LT_TRY(lt_certs_read(given, pem ? LT_MAX_CERTIFICATES : 1, take_certificate, &c, e));
    LT_TRY(lt_public_pkey(ek, &key, e));
    /* A key type OpenSSL does not load (id-RSAES-OAEP) is compared by modulus and exponent. */
    EVP_PKEY *certified = X509_get0_pubkey(c.leaf);
    if (certified ? EVP_PKEY_eq(certified, key) != 1 : lt_certkey_certifies(c.leaf, ek, LT_NO_ERR) != 0)
        return lt_fail(e, LT_E_REFUSED, "certifies another key than ek_tpm");
    char *p;
    long n = BIO_get_mem_data(c.to, &p);
    *out = strndup(p, (size_t)n);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "no memory");
}

static int read_public(const json_t *body, const char *key, uint8_t out[LT_MAX_PUBLIC], size_t *out_n,
                       struct lt_public *parsed, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    LT_TRY(lt_json_base64(body, key, LT_MAX_PUBLIC, &p, &n, e));
    LT_TRY_IN(lt_public_parse(p, n, parsed, e), e, "%s", key);
    memcpy(out, p, n);
    *out_n = n;
    return 0;
}

static int check_ek(const struct lt_public *ek, struct lt_err *e)
{
    const uint32_t must =
        LT_TPM_OBJ_FIXED_TPM | LT_TPM_OBJ_FIXED_PARENT | LT_TPM_OBJ_RESTRICTED | LT_TPM_OBJ_DECRYPT;
    const uint32_t may_not = LT_TPM_OBJ_SIGN | LT_TPM_OBJ_ENCRYPTED_DUPLICATION;

    if ((ek->attributes & must) != must || (ek->attributes & may_not))
        return lt_fail(e, LT_E_REFUSED, "ek_tpm: attributes 0x%08x are not those of an endorsement key",
                       ek->attributes);
    return 0;
}

/* A host name or an IP address; it becomes part of a URL. */
static bool address_ok(const char *s)
{
    size_t n = strlen(s);
    return n && n <= 253 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:_") == n &&
           s[0] != '-';
}

/* *out stays NULL for an absent key, null and "". */
static int optional_text(const json_t *body, const char *key, size_t max, const char **out, struct lt_err *e)
{
    *out = NULL;
    if (!lt_json_has(body, key))
        return 0;
    LT_TRY(lt_json_string(body, key, out, e));
    if (strlen(*out) > max)
        return lt_fail(e, LT_E_TOO_LARGE, "%s: %zu bytes > %zu", key, strlen(*out), max);
    if (!**out)
        *out = NULL;
    return 0;
}

static int read_contact(const json_t *body, struct lt_agent *a, struct lt_err *e)
{
    const char *ip, *cert;
    int64_t port = 0;
    int rc = optional_text(body, "ip", 253, &ip, e);

    if (!rc && ip && !address_ok(ip))
        rc = lt_fail(e, LT_E_MALFORMED, "ip: neither a host name nor an address");
    if (!rc && lt_json_has(body, "port"))
        rc = lt_json_int(body, "port", 0, 65535, &port, e);
    if (!rc)
        rc = optional_text(body, "mtls_cert", 2 * LT_MAX_CERTIFICATE, &cert, e);
    if (rc)
        return rc;
    if (cert && strcmp(cert, "disabled")) {
        LT_AUTOFREE uint8_t *der = NULL;
        size_t n;
        LT_TRY_IN(lt_keylime_pem_leaf(cert, &der, &n, e), e, "mtls_cert");
    }
    a->port = (int)port;
    if ((ip && !(a->ip = strdup(ip))) || (cert && !(a->mtls_cert = strdup(cert))))
        return lt_fail(e, LT_E_NO_MEMORY, "registration: no memory");
    return 0;
}

int lt_agent_ek_from_json(const json_t *body, struct lt_public *ek, char **ekcert, struct lt_err *e)
{
    uint8_t raw[LT_MAX_PUBLIC];
    const char *text;
    size_t n;

    *ekcert = NULL;
    LT_TRY(read_public(body, "ek_tpm", raw, &n, ek, e));
    LT_TRY(check_ek(ek, e));
    LT_TRY(optional_text(body, "ekcert", LT_MAX_EK_CHAIN, &text, e));
    if (text)
        LT_TRY_IN(read_ekcert(text, ek, ekcert, e), e, "ekcert");
    return 0;
}

int lt_agent_from_json(const json_t *body, const char *id, struct lt_agent *out, struct lt_err *e)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {0};
    struct lt_public ek, ak;

    memset(out, 0, sizeof *out);
    if (!lt_id_ok(id))
        return lt_fail(e, LT_E_MALFORMED, "agent id: not 1 to %d characters of [A-Za-z0-9_.-]", LT_ID_MAX);
    memcpy(a.id, id, strlen(id) + 1);
    LT_TRY(lt_agent_ek_from_json(body, &ek, &a.ekcert, e));
    memcpy(a.ek, ek.raw, a.ek_n = ek.raw_n);
    LT_TRY(read_public(body, "aik_tpm", a.ak, &a.ak_n, &ak, e));
    LT_TRY_IN(lt_public_check_ak(&ak, e), e, "aik_tpm");
    LT_TRY(read_contact(body, &a, e));
    *out = a;
    a = (struct lt_agent){0};
    return 0;
}

bool lt_keylime_agent_linkable(const struct lt_agent *a)
{
    struct lt_public ak;

    return !lt_public_parse(a->ak, a->ak_n, &ak, LT_NO_ERR) && ak.name_alg == LT_HASH_SHA256;
}

static void set_text(json_t *o, const char *key, const char *s)
{
    json_object_set_new(o, key, s ? lt_json_new_text(s) : json_null());
}

json_t *lt_agent_to_json(const struct lt_agent *a)
{
    LT_AUTOFREE uint8_t *der = NULL;
    size_t n;
    json_t *o = json_object();

    set_text(o, "agent_id", a->id);
    json_object_set_new(o, "aik_tpm", lt_json_new_base64(a->ak, a->ak_n));
    json_object_set_new(o, "ek_tpm", lt_json_new_base64(a->ek, a->ek_n));
    bool has = a->ekcert && !lt_keylime_pem_leaf(a->ekcert, &der, &n, LT_NO_ERR);
    json_object_set_new(o, "ekcert", has ? lt_json_new_base64(der, n) : json_null());
    set_text(o, "mtls_cert", a->mtls_cert);
    set_text(o, "ip", a->ip);
    json_object_set_new(o, "port", a->port ? json_integer(a->port) : json_null());
    json_object_set_new(o, "regcount", json_integer(a->regcount));
    json_object_set_new(o, "linkable", json_boolean(lt_keylime_agent_linkable(a)));
    return o;
}

static bool same_leaf(const char *a, const char *b)
{
    LT_AUTOFREE uint8_t *was = NULL, *is = NULL;
    struct lt_slice x = {0}, y = {0};

    if (lt_keylime_pem_leaf(a, &was, &x.n, LT_NO_ERR) || lt_keylime_pem_leaf(b, &is, &y.n, LT_NO_ERR))
        return false;
    x.p = was;
    y.p = is;
    return lt_slice_eq(x, y);
}

int lt_keylime_agent_check_identity(const struct lt_agent *stored, const struct lt_agent *offered,
                                    struct lt_err *e)
{
    const char *differs = NULL;

    if (stored->ek_n != offered->ek_n || memcmp(stored->ek, offered->ek, stored->ek_n))
        differs = "ek_tpm";
    else if (stored->ak_n != offered->ak_n || memcmp(stored->ak, offered->ak, stored->ak_n))
        differs = "aik_tpm";
    else if (stored->ekcert && (!offered->ekcert || !same_leaf(stored->ekcert, offered->ekcert)))
        differs = "ekcert";
    if (differs)
        return lt_fail(
            e, LT_E_FORBIDDEN,
            "agent %s: %s differs from the active registration's; an administrator must delete that first",
            stored->id, differs);
    return 0;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

bool lt_agent_same(const struct lt_agent *a, const struct lt_agent *b)
{
    return !strcmp(a->id, b->id) && a->ek_n == b->ek_n && !memcmp(a->ek, b->ek, a->ek_n) &&
           a->ak_n == b->ak_n && !memcmp(a->ak, b->ak, a->ak_n) && same_text(a->ekcert, b->ekcert) &&
           same_text(a->mtls_cert, b->mtls_cert) && same_text(a->ip, b->ip) && a->port == b->port;
}
