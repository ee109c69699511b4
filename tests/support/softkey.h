/* Software keys in TPM clothes: TPM2B_PUBLIC of an OpenSSL key, TPMT_SIGNATURE by one. */
#ifndef LT_TESTS_SUPPORT_SOFTKEY_H
#define LT_TESTS_SUPPORT_SOFTKEY_H

#include "common/hash.h"
#include "tests/support/unit.h"
#include "tpm/public.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

struct soft_shape {
    uint16_t name_alg;
    uint32_t attributes;
    uint16_t sym_bits; /* 0: TPM_ALG_NULL */
    uint16_t scheme, scheme_hash;
};

/* Attributes of an AK (0x00050072) and of an EK by the TCG template (0x000300b2). */
static const struct soft_shape soft_ak_rsa = {LT_HASH_SHA256, 0x00050072, 0, LT_TPM_ALG_RSASSA,
                                              LT_HASH_SHA256};
static const struct soft_shape soft_ak_ecc = {LT_HASH_SHA256, 0x00050072, 0, LT_TPM_ALG_ECDSA,
                                              LT_HASH_SHA256};
static const struct soft_shape soft_ak_rsa_384
    __attribute__((unused)) = {LT_HASH_SHA384, 0x00050072, 0, LT_TPM_ALG_RSASSA, LT_HASH_SHA384};
static const struct soft_shape soft_ak_ecc_384
    __attribute__((unused)) = {LT_HASH_SHA384, 0x00050072, 0, LT_TPM_ALG_ECDSA, LT_HASH_SHA384};
static const struct soft_shape soft_ek = {LT_HASH_SHA256, 0x000300b2, 128, LT_TPM_ALG_NULL, 0};
static const struct soft_shape soft_ek_high = {LT_HASH_SHA384, 0x000300b2, 256, LT_TPM_ALG_NULL, 0};

static inline EVP_PKEY *soft_rsa(size_t bits)
{
    EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits);
    assert_non_null(k);
    return k;
}

static inline EVP_PKEY *soft_ecc(const char *group)
{
    EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "EC", group);
    assert_non_null(k);
    return k;
}

static inline void soft_number(EVP_PKEY *k, const char *name, size_t size, struct lt_buf *b)
{
    BIGNUM *v = NULL;
    uint8_t bytes[512];

    assert_int_equal(EVP_PKEY_get_bn_param(k, name, &v), 1);
    assert_int_equal(BN_bn2binpad(v, bytes, (int)size), size);
    lt_buf_put16(b, bytes, size);
    BN_free(v);
}

static inline size_t soft_curve(EVP_PKEY *k, uint16_t *id)
{
    int bits = EVP_PKEY_get_bits(k);
    *id = bits == 256 ? LT_TPM_ECC_P256 : bits == 384 ? LT_TPM_ECC_P384 : LT_TPM_ECC_P521;
    return ((size_t)bits + 7) / 8;
}

/* Appends the whole TPM2B_PUBLIC. */
static inline void soft_public(EVP_PKEY *k, const struct soft_shape *s, struct lt_buf *out)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PUBLIC);
    bool rsa = EVP_PKEY_is_a(k, "RSA");

    lt_buf_u16(&b, rsa ? LT_TPM_ALG_RSA : LT_TPM_ALG_ECC);
    lt_buf_u16(&b, s->name_alg);
    lt_buf_u32(&b, s->attributes);
    lt_buf_u16(&b, 0);
    lt_buf_u16(&b, s->sym_bits ? LT_TPM_ALG_AES : LT_TPM_ALG_NULL);
    if (s->sym_bits) {
        lt_buf_u16(&b, s->sym_bits);
        lt_buf_u16(&b, LT_TPM_ALG_CFB);
    }
    lt_buf_u16(&b, s->scheme);
    if (s->scheme != LT_TPM_ALG_NULL)
        lt_buf_u16(&b, s->scheme_hash);
    if (rsa) {
        lt_buf_u16(&b, (uint16_t)EVP_PKEY_get_bits(k));
        lt_buf_u32(&b, 0);
        soft_number(k, OSSL_PKEY_PARAM_RSA_N, (size_t)EVP_PKEY_get_size(k), &b);
    } else {
        uint16_t curve;
        size_t size = soft_curve(k, &curve);
        lt_buf_u16(&b, curve);
        lt_buf_u16(&b, LT_TPM_ALG_NULL);
        soft_number(k, OSSL_PKEY_PARAM_EC_PUB_X, size, &b);
        soft_number(k, OSSL_PKEY_PARAM_EC_PUB_Y, size, &b);
    }
    OK(lt_buf_ok(&b, &err));
    lt_buf_put16(out, b.p, b.n);
}

static inline void soft_parse(EVP_PKEY *k, const struct soft_shape *s, struct lt_public *out)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PUBLIC);
    soft_public(k, s, &b);
    OK(lt_public_parse(b.p, b.n, out, &err));
}

/* Appends a TPMT_SIGNATURE: RSASSA or ECDSA with that hash, SHA-256 or SHA-384. */
static inline void soft_sign_by(EVP_PKEY *k, uint16_t hash, const void *p, size_t n, struct lt_buf *out)
{
    uint8_t sig[600];
    size_t sig_n = sizeof sig;
    EVP_MD_CTX *c = EVP_MD_CTX_new();

    assert_int_equal(
        EVP_DigestSignInit(c, NULL, hash == LT_HASH_SHA384 ? EVP_sha384() : EVP_sha256(), NULL, k), 1);
    assert_int_equal(EVP_DigestSign(c, sig, &sig_n, p, n), 1);
    EVP_MD_CTX_free(c);
    if (EVP_PKEY_is_a(k, "RSA")) {
        lt_buf_u16(out, LT_TPM_ALG_RSASSA);
        lt_buf_u16(out, hash);
        lt_buf_put16(out, sig, sig_n);
        return;
    }
    uint16_t curve;
    size_t size = soft_curve(k, &curve);
    const uint8_t *at = sig;
    ECDSA_SIG *rs = d2i_ECDSA_SIG(NULL, &at, (long)sig_n);
    uint8_t number[66];
    lt_buf_u16(out, LT_TPM_ALG_ECDSA);
    lt_buf_u16(out, hash);
    assert_true(BN_bn2binpad(ECDSA_SIG_get0_r(rs), number, (int)size) > 0);
    lt_buf_put16(out, number, size);
    assert_true(BN_bn2binpad(ECDSA_SIG_get0_s(rs), number, (int)size) > 0);
    lt_buf_put16(out, number, size);
    ECDSA_SIG_free(rs);
}

static inline void soft_sign(EVP_PKEY *k, const void *p, size_t n, struct lt_buf *out)
{
    soft_sign_by(k, LT_HASH_SHA256, p, n, out);
}

#endif
