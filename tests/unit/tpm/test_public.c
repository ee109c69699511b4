#include "tpm/public.h"

#include "tests/support/softkey.h"

#include <openssl/x509.h>

static EVP_PKEY *rsa, *ecc;

/* SubjectPublicKeyInfo against OpenSSL's, and the key back. */
static void check_spki(EVP_PKEY *k, const struct soft_shape *shape)
{
    struct lt_public p;
    uint8_t *der = NULL, digest[32], want[32];
    LT_AUTOBUF struct lt_buf b = LT_BUF(1024);
    EVP_PKEY *back;

    soft_parse(k, shape, &p);
    int n = i2d_PUBKEY(k, &der);
    assert_true(n > 0);
    OK(lt_public_spki(&p, &b, &err));
    assert_int_equal(b.n, n);
    assert_memory_equal(b.p, der, b.n);
    lt_sha256(der, (size_t)n, want);
    OK(lt_public_ek_digest(&p, digest, &err));
    assert_memory_equal(digest, want, 32);
    OK(lt_public_pkey(&p, &back, &err));
    assert_int_equal(EVP_PKEY_eq(back, k), 1);
    EVP_PKEY_free(back);
    OPENSSL_free(der);
}

static void test_spki(void **state)
{
    (void)state;
    static const size_t sizes[] = {1024, 2048, 3072, 4096};
    static const char *const groups[] = {"P-256", "P-384", "P-521"};

    for (size_t i = 0; i < 4; i++) {
        EVP_PKEY *k = sizes[i] == 2048 ? rsa : soft_rsa(sizes[i]);
        check_spki(k, &soft_ak_rsa);
        check_spki(k, &soft_ek);
        if (k != rsa)
            EVP_PKEY_free(k);
    }
    for (size_t i = 0; i < 3; i++)
        for (int again = 0; again < 20; again++) { /* some have coordinates with leading zeros */
            EVP_PKEY *k = soft_ecc(groups[i]);
            check_spki(k, again % 2 ? &soft_ak_ecc : &soft_ek_high);
            EVP_PKEY_free(k);
        }
}

static void test_fields(void **state)
{
    (void)state;
    struct lt_public p;

    soft_parse(rsa, &soft_ek, &p);
    assert_int_equal(p.type, LT_TPM_ALG_RSA);
    assert_int_equal(p.name_alg, LT_HASH_SHA256);
    assert_int_equal(p.attributes, 0x000300b2);
    assert_int_equal(p.sym_alg, LT_TPM_ALG_AES);
    assert_int_equal(p.sym_bits, 128);
    assert_int_equal(p.sym_mode, LT_TPM_ALG_CFB);
    assert_int_equal(p.scheme, LT_TPM_ALG_NULL);
    assert_int_equal(p.rsa_bits, 2048);
    assert_int_equal(p.rsa_exponent, 65537);
    assert_int_equal(p.rsa_modulus.n, 256);
    soft_parse(ecc, &soft_ak_ecc, &p);
    assert_int_equal(p.type, LT_TPM_ALG_ECC);
    assert_int_equal(p.curve, LT_TPM_ECC_P256);
    assert_int_equal(p.sym_alg, LT_TPM_ALG_NULL);
    assert_int_equal(p.scheme, LT_TPM_ALG_ECDSA);
    assert_int_equal(p.scheme_hash, LT_HASH_SHA256);
    assert_int_equal(p.x.n, 32);
}

/* A point whose x begins with zeros, sent short: the digest is the padded key's (protocol.md section 3). */
static void test_short_coordinate(void **state)
{
    (void)state;
    struct lt_public p;
    uint8_t in[LT_MAX_PUBLIC], digest[32], again[32];
    EVP_PKEY *k = NULL;

    for (;;) {
        k = soft_ecc("P-256");
        soft_parse(k, &soft_ak_ecc, &p);
        if (!p.x.p[0])
            break;
        EVP_PKEY_free(k);
    }
    OK(lt_public_ek_digest(&p, digest, &err));
    size_t x = (size_t)(p.x.p - p.raw);
    memcpy(in, p.raw, x);
    memcpy(in + x, p.raw + x + 1, p.raw_n - x - 1);
    lt_put_u16(in, (uint16_t)(p.raw_n - 3));
    lt_put_u16(in + x - 2, 31);
    size_t n = p.raw_n - 1;
    OK(lt_public_parse(in, n, &p, &err));
    assert_int_equal(p.x.n, 31);
    OK(lt_public_ek_digest(&p, again, &err));
    assert_memory_equal(digest, again, 32);
    EVP_PKEY_free(k);
}

static int parse_only(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    struct lt_public out;
    return lt_public_parse(p, n, &out, LT_NO_ERR);
}

/* Refused, or another key, attribute, policy or scheme: a Name that covers every byte says which. */
static int parse_same(const uint8_t *p, size_t n, void *state)
{
    struct lt_public out;
    const struct lt_public *was = state;
    uint8_t a[LT_TPM_NAME], b[LT_TPM_NAME];

    int rc = lt_public_parse(p, n, &out, LT_NO_ERR);
    if (rc)
        return rc;
    if (lt_public_name(&out, a, LT_NO_ERR) || lt_public_name(was, b, LT_NO_ERR) || memcmp(a, b, sizeof a))
        return -1;
    return 0;
}

static void test_every_prefix_and_bit(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {rsa, ecc, rsa, ecc};
    const struct soft_shape *shapes[] = {&soft_ak_rsa, &soft_ak_ecc, &soft_ek, &soft_ek};

    for (size_t i = 0; i < 4; i++) {
        struct lt_public p;
        soft_parse(keys[i], shapes[i], &p);
        unit_every_prefix(parse_only, p.raw, p.raw_n, NULL);
        unit_every_bit(parse_same, p.raw, p.raw_n, &p);
    }
}

/* One field overwritten at a time. Offsets: 0 size, 2 type, 4 nameAlg, 6 attributes, 10 policy size, 12 on.
 */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        bool ecc, ek;
        size_t at;
        uint16_t value;
        int code;
    } cases[] = {
        {false, false, 2, 0x0008, LT_E_UNSUPPORTED},                /* keyed hash */
        {false, false, 4, 0x0004, LT_E_UNSUPPORTED_NAME_ALGORITHM}, /* sha1 */
        {false, false, 4, 0x0010, LT_E_UNSUPPORTED_NAME_ALGORITHM}, /* none */
        {false, false, 10, 31, LT_E_MALFORMED},                     /* policy */
        {false, false, 10, 65, LT_E_MALFORMED},
        {false, false, 12, 0x0026, LT_E_UNSUPPORTED},           /* Camellia */
        {false, true, 14, 192, LT_E_UNSUPPORTED},               /* AES-192 */
        {false, true, 16, 0x0042, LT_E_UNSUPPORTED},            /* CBC */
        {false, false, 14, LT_TPM_ALG_ECDSA, LT_E_UNSUPPORTED}, /* another type's scheme */
        {true, false, 14, LT_TPM_ALG_RSASSA, LT_E_UNSUPPORTED},
        {false, false, 16, 0x0012, LT_E_UNSUPPORTED}, /* SM3 in the scheme */
        {false, false, 18, 512, LT_E_UNSUPPORTED},    /* bits */
        {false, false, 18, 1024, LT_E_MALFORMED},     /* a modulus twice as long */
        {false, false, 18, 3072, LT_E_MALFORMED},
        {false, false, 22, 1, LT_E_MALFORMED}, /* exponent 1: everything would verify */
        {false, false, 22, 4, LT_E_MALFORMED},
        {false, false, 26, 0x7fff, LT_E_MALFORMED},  /* modulus of 2047 bits */
        {true, false, 18, 0x0010, LT_E_UNSUPPORTED}, /* BN-P256 */
        {true, false, 20, 0x0020, LT_E_UNSUPPORTED}, /* KDF1 */
        {true, false, 22, 33, LT_E_MALFORMED},       /* x too long */
        {true, false, 22, 0, LT_E_MALFORMED},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_public p, q;
        soft_parse(cases[i].ecc ? ecc : rsa,
                   cases[i].ek    ? &soft_ek
                   : cases[i].ecc ? &soft_ak_ecc
                                  : &soft_ak_rsa,
                   &p);
        lt_put_u16(p.raw + cases[i].at, cases[i].value);
        if (lt_public_parse(p.raw, p.raw_n, &q, &err) != cases[i].code)
            fail_msg("case %zu: %d (%s)", i, err.code, err.msg);
        assert_int_equal(q.raw_n, 0);
    }
    struct lt_public p;
    uint8_t large[LT_MAX_PUBLIC + 1] = {0};
    FAILS(LT_E_TOO_LARGE, lt_public_parse(large, sizeof large, &p, &err));
}

static void test_point_off_curve(void **state)
{
    (void)state;
    struct lt_public p, q;
    EVP_PKEY *k;

    soft_parse(ecc, &soft_ak_ecc, &p);
    p.raw[p.raw_n - 1] ^= 1;
    OK(lt_public_parse(p.raw, p.raw_n, &q, &err));
    FAILS(LT_E_MALFORMED, lt_public_pkey(&q, &k, &err));
    assert_null(k);
}

static void test_name(void **state)
{
    (void)state;
    struct lt_public p, copy;
    uint8_t name[LT_TPM_NAME], want[LT_TPM_NAME] = {0x00, 0x0b};

    soft_parse(ecc, &soft_ak_ecc, &p);
    lt_sha256(p.raw + 2, p.raw_n - 2, want + 2);
    OK(lt_public_name(&p, name, &err));
    assert_memory_equal(name, want, LT_TPM_NAME);
    lt_public_copy(&copy, &p);
    memset(&p, 0, sizeof p);
    assert_ptr_equal(copy.y.p, copy.raw + copy.raw_n - 32);
    assert_null(copy.rsa_modulus.p);
    EVP_PKEY *k;
    OK(lt_public_pkey(&copy, &k, &err));
    assert_int_equal(EVP_PKEY_eq(k, ecc), 1);
    EVP_PKEY_free(k);
    soft_parse(ecc, &soft_ek_high, &p);
    FAILS(LT_E_UNSUPPORTED_NAME_ALGORITHM, lt_public_name(&p, name, &err));
    FAILS(LT_E_UNSUPPORTED_NAME_ALGORITHM, lt_tpm_qualified_name(&p, &copy, name, &err));
}

/* Names of any algorithm, and of an AK under an EK with another one (Part 1, 16.5), by a second hand. */
static void test_any_name(void **state)
{
    (void)state;
    const struct soft_shape *eks[] = {&soft_ek, &soft_ek_high}, *aks[] = {&soft_ak_ecc, &soft_ak_ecc_384};
    EVP_PKEY *ek_key = soft_ecc("P-384");

    for (int i = 0; i < 4; i++) {
        struct lt_public ek, ak;
        struct lt_tpm_name is, qn;
        uint8_t text[256] = {0x40, 0, 0, 0x0b}, want[64];
        uint16_t in = eks[i / 2]->name_alg, out = aks[i % 2]->name_alg;

        soft_parse(ek_key, eks[i / 2], &ek);
        soft_parse(ecc, aks[i % 2], &ak);
        lt_public_any_name(&ek, &is);
        assert_int_equal(is.n, 2 + lt_hash_size(in));
        assert_int_equal(is.p[0] << 8 | is.p[1], in);
        memcpy(text + 4, is.p, is.n);
        const struct lt_slice first = {text, 4 + is.n};
        lt_hash(in, &first, 1, want);
        memcpy(text + 2, want, lt_hash_size(in)); /* the same algorithm stands before it */
        memcpy(text, is.p, 2);
        lt_public_any_name(&ak, &is);
        memcpy(text + 2 + lt_hash_size(in), is.p, is.n);
        const struct lt_slice second = {text, 2 + lt_hash_size(in) + is.n};
        lt_hash(out, &second, 1, want);
        lt_tpm_any_qualified_name(&ek, &ak, &qn);
        assert_int_equal(qn.n, 2 + lt_hash_size(out));
        assert_int_equal(qn.p[0] << 8 | qn.p[1], out);
        assert_memory_equal(qn.p + 2, want, lt_hash_size(out));
        uint8_t narrow[LT_TPM_NAME];
        if (i) {
            FAILS(LT_E_UNSUPPORTED_NAME_ALGORITHM, lt_tpm_qualified_name(&ek, &ak, narrow, &err));
            continue;
        }
        OK(lt_tpm_qualified_name(&ek, &ak, narrow, &err));
        assert_memory_equal(narrow, qn.p, LT_TPM_NAME);
    }
    EVP_PKEY_free(ek_key);
}

static void test_check_ak(void **state)
{
    (void)state;
    struct lt_public p;

    soft_parse(rsa, &soft_ak_rsa, &p);
    OK(lt_public_check_ak(&p, &err));
    FAILS(LT_E_REFUSED, lt_public_check_ak_host(&p, &err));
    p.rsa_bits = 1024; /* a TPM makes such keys on demand, and others factor them */
    FAILS(LT_E_REFUSED, lt_public_check_ak(&p, &err));
    soft_parse(ecc, &soft_ak_ecc, &p);
    OK(lt_public_check_ak(&p, &err));
    static const uint32_t judged[] = {LT_TPM_OBJ_FIXED_TPM,
                                      LT_TPM_OBJ_FIXED_PARENT,
                                      LT_TPM_OBJ_SENSITIVE_DATA_ORIGIN,
                                      LT_TPM_OBJ_RESTRICTED,
                                      LT_TPM_OBJ_SIGN,
                                      LT_TPM_OBJ_DECRYPT,
                                      LT_TPM_OBJ_ENCRYPTED_DUPLICATION};
    for (size_t i = 0; i < 7; i++) {
        p.attributes ^= judged[i];
        FAILS(LT_E_REFUSED, lt_public_check_ak(&p, &err));
        p.attributes ^= judged[i];
    }
    p.scheme_hash = LT_HASH_SHA384; /* a guest's may; a host's may not (below) */
    OK(lt_public_check_ak(&p, &err));
    static const uint16_t weak[] = {LT_HASH_SHA1, LT_HASH_SHA512};
    for (size_t i = 0; i < 2; i++) {
        p.scheme_hash = weak[i];
        FAILS(LT_E_REFUSED, lt_public_check_ak(&p, &err));
    }
    p.scheme_hash = LT_HASH_SHA256;
    p.scheme = LT_TPM_ALG_NULL;
    FAILS(LT_E_REFUSED, lt_public_check_ak(&p, &err));
    p.scheme = LT_TPM_ALG_ECDSA;
    p.attributes = LT_TPM_AK_HOST_ATTRIBUTES;
    OK(lt_public_check_ak_host(&p, &err));
    p.scheme_hash = LT_HASH_SHA384;
    FAILS(LT_E_REFUSED, lt_public_check_ak_host(&p, &err));
    p.scheme_hash = LT_HASH_SHA256;
    for (unsigned bit = 0; bit < 32; bit++) {
        p.attributes = LT_TPM_AK_HOST_ATTRIBUTES ^ 1u << bit;
        FAILS(LT_E_REFUSED, lt_public_check_ak_host(&p, &err));
    }
}

int main(void)
{
    rsa = soft_rsa(2048);
    ecc = soft_ecc("P-256");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spki),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_short_coordinate),
        cmocka_unit_test(test_every_prefix_and_bit),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_point_off_curve),
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_any_name),
        cmocka_unit_test(test_check_ak),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ecc);
    return rc;
}
