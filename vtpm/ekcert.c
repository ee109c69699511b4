#include "vtpm/ekcert.h"

#include "common/hash.h"
#include "common/openssl.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

LT_DEFINE_AUTO_OF(BIGNUM, BIGNUM, BN_free);
LT_DEFINE_AUTO_OF(OSSL_PARAM_BLD, OSSL_PARAM_BLD, OSSL_PARAM_BLD_free);
LT_DEFINE_AUTO_OF(OSSL_PARAM, OSSL_PARAM, OSSL_PARAM_free);
LT_DEFINE_AUTO_OF(EVP_PKEY_CTX, EVP_PKEY_CTX, EVP_PKEY_CTX_free);
LT_DEFINE_AUTO_OF(X509_NAME, X509_NAME, X509_NAME_free);

static int crypto(struct lt_err *e, const char *what)
{
    return lt_fail(e, LT_E_INTERNAL, "certificate: %s failed", what);
}

static int from_params(const char *type, OSSL_PARAM *params, EVP_PKEY **out, struct lt_err *e)
{
    LT_AUTO(EVP_PKEY_CTX) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return lt_fail(e, LT_E_MALFORMED, "EK: not a public key of type %s", type);
    LT_AUTO(EVP_PKEY_CTX) EVP_PKEY_CTX *check = EVP_PKEY_CTX_new_from_pkey(NULL, *out, NULL);
    if (!check || EVP_PKEY_public_check(check) != 1) {
        EVP_PKEY_free(*out);
        *out = NULL;
        return lt_fail(e, LT_E_MALFORMED, "EK: not a valid public key of type %s", type);
    }
    return 0;
}

static int rsa_key(const char *hex, EVP_PKEY **out, struct lt_err *e)
{
    uint8_t modulus[512];
    size_t n = strlen(hex) / 2;

    if (n < 256 || n > sizeof modulus || lt_unhex(hex, modulus, n, e))
        return lt_fail(e, LT_E_MALFORMED, "EK: %zu characters are no RSA modulus of 2048 to 4096 bits",
                       strlen(hex));
    LT_AUTO(BIGNUM) BIGNUM *m = BN_bin2bn(modulus, (int)n, NULL);
    LT_AUTO(BIGNUM) BIGNUM *exponent = BN_new();
    LT_AUTO(OSSL_PARAM_BLD) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (!m || !exponent || !bld || !BN_set_word(exponent, RSA_F4) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, m) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exponent))
        return crypto(e, "RSA key");
    LT_AUTO(OSSL_PARAM) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    return params ? from_params("RSA", params, out, e) : crypto(e, "RSA key");
}

static const struct curve {
    const char *id, *group;
    int digits;
} curves[] = {{"secp256r1", "P-256", 64}, {"secp384r1", "P-384", 96}};

static int ec_key(const char *s, EVP_PKEY **out, struct lt_err *e)
{
    char x[97] = "", y[97] = "", id[16] = "";
    uint8_t point[1 + 2 * 48] = {4};
    const struct curve *c = NULL;
    int used = 0;

    if (sscanf(s, "x=%96[0-9A-Fa-f],y=%96[0-9A-Fa-f],id=%15[a-z0-9]%n", x, y, id, &used) != 3 || s[used])
        return lt_fail(e, LT_E_MALFORMED, "EK: neither an RSA modulus nor x=…,y=…,id=…");
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        if (!strcmp(id, curves[i].id))
            c = &curves[i];
    if (!c)
        return lt_fail(e, LT_E_UNSUPPORTED, "EK: curve %s", id);
    /* Leading zeros may be missing. */
    char padded[2][97];
    const char *given[2] = {x, y};
    for (int i = 0; i < 2; i++) {
        int have = (int)strlen(given[i]);
        if (have > c->digits)
            return lt_fail(e, LT_E_MALFORMED, "EK: a coordinate of %d digits on %s", have, id);
        memset(padded[i], '0', (size_t)(c->digits - have));
        memcpy(padded[i] + c->digits - have, given[i], (size_t)have + 1);
    }
    size_t half = (size_t)c->digits / 2;
    if (lt_unhex(padded[0], point + 1, half, e) || lt_unhex(padded[1], point + 1 + half, half, e))
        return LT_E_MALFORMED;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)c->group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * half),
        OSSL_PARAM_construct_end()};
    return from_params("EC", params, out, e);
}

int lt_ekcert_key(const char *s, EVP_PKEY **out, struct lt_err *e)
{
    *out = NULL;
    return !strncmp(s, "x=", 2) ? ec_key(s, out, e) : rsa_key(s, out, e);
}

static bool put(X509_NAME *name, const char *oid, const char *value)
{
    ASN1_OBJECT *o = OBJ_txt2obj(oid, 1);
    bool ok =
        o && X509_NAME_add_entry_by_OBJ(name, o, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) == 1;
    ASN1_OBJECT_free(o);
    return ok;
}

/* One critical directoryName; its attributes are the TCG's (EK profile 3.2.9, platform profile). */
static int add_identity(X509 *x, const struct lt_ekcert *c, struct lt_err *e)
{
    const char *const tpm[3][2] = {{"2.23.133.2.1", c->tpm_manufacturer},
                                   {"2.23.133.2.2", c->tpm_model},
                                   {"2.23.133.2.3", c->tpm_version}};
    const char *const platform[3][2] = {{"2.23.133.5.1.1", c->platform_manufacturer},
                                        {"2.23.133.5.1.4", c->platform_model},
                                        {"2.23.133.5.1.5", c->platform_version}};
    const char *const(*list)[2] = c->platform ? platform : tpm;
    LT_AUTO(GENERAL_NAMES) GENERAL_NAMES *names = GENERAL_NAMES_new();
    LT_AUTO(X509_NAME) X509_NAME *name = X509_NAME_new();
    GENERAL_NAME *one = GENERAL_NAME_new();

    if (!names || !one || !name || !sk_GENERAL_NAME_push(names, one)) {
        GENERAL_NAME_free(one);
        return crypto(e, "subject alternative name");
    }
    for (int i = 0; i < 3; i++)
        if (!put(name, list[i][0], list[i][1]))
            return lt_fail(e, LT_E_CONFIG, "certificate: identity \"%s\" cannot be encoded", list[i][1]);
    GENERAL_NAME_set0_value(one, GEN_DIRNAME, lt_take(&name));
    return X509_add1_ext_i2d(x, NID_subject_alt_name, names, 1, 0) == 1
               ? 0
               : crypto(e, "subject alternative name");
}

static int add_text(X509 *x, X509 *ca, int nid, const char *value, struct lt_err *e)
{
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, ca, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(x, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok ? 0 : crypto(e, value);
}

static int add_extensions(X509 *x, const struct lt_ekcert *c, EVP_PKEY *key, X509 *ca, struct lt_err *e)
{
    const char *wrap = EVP_PKEY_is_a(key, "RSA") ? "keyEncipherment" : "keyAgreement";
    char usage[64];

    snprintf(usage, sizeof usage, "critical%s%s%s", c->allow_signing ? ",digitalSignature" : "",
             c->allow_signing && !c->decryption ? "" : ",", c->allow_signing && !c->decryption ? "" : wrap);
    LT_TRY(add_text(x, ca, NID_basic_constraints, "critical,CA:FALSE", e));
    LT_TRY(add_identity(x, c, e));
    LT_TRY(add_text(x, ca, NID_ext_key_usage, c->platform ? "2.23.133.8.2" : "2.23.133.8.1", e));
    LT_TRY(add_text(x, ca, NID_key_usage, usage, e));
    /* Absent where the CA's certificate has no subject key identifier. */
    return X509_get0_subject_key_id(ca) ? add_text(x, ca, NID_authority_key_identifier, "keyid:always", e)
                                        : 0;
}

int lt_ekcert_issue(const struct lt_ekcert *c, EVP_PKEY *subject_key, X509 *ca, EVP_PKEY *ca_key,
                    struct lt_buf *der, struct lt_err *e)
{
    LT_AUTO(X509) X509 *x = X509_new();
    LT_AUTO(X509_NAME) X509_NAME *subject = X509_NAME_new();
    LT_AUTO(BIGNUM) BIGNUM *serial = NULL;
    uint8_t random[16];
    unsigned char *out = NULL;

    if (X509_check_private_key(ca, ca_key) != 1)
        return lt_fail(e, LT_E_CONFIG, "certificate: ca_key is not the key of ca_cert");
    lt_random(random, sizeof random);
    random[0] = (random[0] & 0x7f) | 0x40; /* positive, and never short */
    serial = BN_bin2bn(random, sizeof random, NULL);
    if (!x || !subject || !serial || X509_set_version(x, X509_VERSION_3) != 1 ||
        !BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x)) ||
        !X509_gmtime_adj(X509_getm_notBefore(x), 0) ||
        ASN1_TIME_set_string_X509(X509_getm_notAfter(x), "99991231235959Z") != 1 ||
        X509_set_issuer_name(x, X509_get_subject_name(ca)) != 1 || X509_set_pubkey(x, subject_key) != 1)
        return crypto(e, "filling it");
    if (!put(subject, "2.5.4.3", c->subject) || X509_set_subject_name(x, subject) != 1)
        return lt_fail(e, LT_E_MALFORMED, "certificate: subject \"%.80s\" cannot be encoded", c->subject);
    LT_TRY(add_extensions(x, c, subject_key, ca, e));
    if (X509_sign(x, ca_key, EVP_sha256()) <= 0)
        return crypto(e, "signing");
    int n = i2d_X509(x, &out);
    if (n <= 0)
        return crypto(e, "encoding");
    lt_buf_put(der, out, (size_t)n);
    OPENSSL_free(out);
    return lt_buf_ok(der, e);
}
