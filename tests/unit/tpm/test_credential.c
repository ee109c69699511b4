#include "tpm/credential.h"

#include "tests/support/softkey.h"

#include <openssl/hmac.h>
#include <openssl/rsa.h>

static const char secret[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"; /* 32 and a NUL */

static void vector_name(uint8_t name[LT_TPM_NAME])
{
    name[0] = 0;
    name[1] = 0x0b;
    for (uint8_t i = 0; i < 32; i++)
        name[2 + i] = i;
}

/* keylime-api A.2 */
static void test_kdfa(void **state)
{
    (void)state;
    uint8_t seed[32], name[LT_TPM_NAME], out[32], want[32];
    const struct lt_slice key = {seed, 32}, u = {name, LT_TPM_NAME}, none = {0};

    memset(seed, 0x11, sizeof seed);
    vector_name(name);
    lt_credential_kdfa(LT_HASH_SHA256, key, "STORAGE", u, none, 128, out);
    unit_hex("0dd5ae261e796204e357c32c6c276989", want, 16);
    assert_memory_equal(out, want, 16);
    lt_credential_kdfa(LT_HASH_SHA256, key, "INTEGRITY", none, none, 256, out);
    unit_hex("94789f5bdf2e06996955def207b39ac5450e89e24dd1474bd9efc38901e2fd81", want, 32);
    assert_memory_equal(out, want, 32);
}

/* More than a block: the second is HMAC with counter 2, cut to size. */
static void test_kdf_blocks(void **state)
{
    (void)state;
    uint8_t out[48], block[32], in[64];
    const struct lt_slice z = {(const uint8_t *)"zzzz", 4}, u = {(const uint8_t *)"u", 1},
                          v = {(const uint8_t *)"vv", 2};

    lt_credential_kdfa(LT_HASH_SHA256, z, "L", u, v, 384, out);
    memcpy(in, "\0\0\0\2L\0uvv\0\0\1\x80", 13);
    lt_hmac(LT_HASH_SHA256, "zzzz", 4, in, 13, block);
    assert_memory_equal(out + 32, block, 16);
    lt_credential_kdfe(LT_HASH_SHA256, z, "L", u, v, 384, out);
    lt_sha256("\0\0\0\1zzzzL\0uvv", 13, block);
    assert_memory_equal(out, block, 32);
    lt_sha256("\0\0\0\2zzzzL\0uvv", 13, block);
    assert_memory_equal(out + 32, block, 16);
}

/* ---- the TPM's side, in software and from the specification alone ---- */

static void open_seed_rsa(EVP_PKEY *k, const EVP_MD *md, struct lt_slice enc, uint8_t *seed, size_t want)
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
    size_t n = 512;
    uint8_t out[512];

    assert_int_equal(EVP_PKEY_decrypt_init(c), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(c, md), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(c, md), 1);
    assert_int_equal(EVP_PKEY_CTX_set0_rsa_oaep_label(c, OPENSSL_memdup("IDENTITY", 9), 9), 1);
    assert_int_equal(EVP_PKEY_decrypt(c, out, &n, enc.p, enc.n), 1);
    assert_int_equal(n, want);
    memcpy(seed, out, n);
    EVP_PKEY_CTX_free(c);
}

static void open_seed_ecc(EVP_PKEY *k, const struct lt_public *ek, struct lt_slice enc, uint8_t *seed)
{
    struct lt_reader r = lt_reader(enc.p, enc.n, "TPMS_ECC_POINT");
    size_t size = lt_tpm_curve_size(ek->curve), z_n = 66;
    struct lt_slice x, y;
    uint8_t point[1 + 132] = {4}, z[66];

    OK(lt_read_slice16(&r, size, &x, &err));
    OK(lt_read_slice16(&r, size, &y, &err));
    OK(lt_reader_end(&r, &err));
    assert_int_equal(x.n, size);
    assert_int_equal(y.n, size);
    memcpy(point + 1, x.p, size);
    memcpy(point + 1 + size, y.p, size);
    EVP_PKEY *peer = EVP_PKEY_new();
    assert_int_equal(EVP_PKEY_copy_parameters(peer, k), 1);
    assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, point, 1 + 2 * size), 1);
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
    assert_int_equal(EVP_PKEY_derive_init(c), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(c, peer), 1);
    assert_int_equal(EVP_PKEY_derive(c, z, &z_n), 1);
    lt_credential_kdfe(ek->name_alg, (struct lt_slice){z, z_n}, "IDENTITY", x, ek->x,
                       8 * (uint32_t)lt_hash_size(ek->name_alg), seed);
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(peer);
}

/* TPM2_ActivateCredential: the outer HMAC first, then the decryption. Returns the secret's size, -1: refused.
 */
static int activate_for(EVP_PKEY *k, const struct lt_public *ek, struct lt_slice name, struct lt_slice id,
                        struct lt_slice enc, uint8_t *out)
{
    static const uint8_t iv[16];
    bool high = ek->name_alg == LT_HASH_SHA384;
    const EVP_MD *md = high ? EVP_sha384() : EVP_sha256();
    size_t d = lt_hash_size(ek->name_alg);
    uint8_t seed[64], sym[32], key[64], mac[64], in[512], clear[128];
    struct lt_reader r = lt_reader(id.p, id.n, "TPMS_ID_OBJECT");
    struct lt_slice outer, identity, seed_s = {seed, d}, none = {0};

    if (ek->type == LT_TPM_ALG_RSA)
        open_seed_rsa(k, md, enc, seed, d);
    else
        open_seed_ecc(k, ek, enc, seed);
    OK(lt_read_slice16(&r, d, &outer, &err));
    assert_int_equal(outer.n, d);
    OK(lt_read_slice(&r, lt_reader_left(&r), &identity, &err));
    lt_credential_kdfa(ek->name_alg, seed_s, "INTEGRITY", none, none, 8 * (uint32_t)d, key);
    memcpy(in, identity.p, identity.n);
    memcpy(in + identity.n, name.p, name.n);
    HMAC(md, key, (int)d, in, identity.n + name.n, mac, NULL);
    if (memcmp(mac, outer.p, d))
        return -1;
    lt_credential_kdfa(ek->name_alg, seed_s, "STORAGE", name, none, ek->sym_bits, sym);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n = 0;
    assert_int_equal(EVP_DecryptInit_ex(c, high ? EVP_aes_256_cfb() : EVP_aes_128_cfb(), NULL, sym, iv), 1);
    assert_int_equal(EVP_DecryptUpdate(c, clear, &n, identity.p, (int)identity.n), 1);
    EVP_CIPHER_CTX_free(c);
    int size = clear[0] << 8 | clear[1];
    assert_int_equal(n, size + 2);
    memcpy(out, clear + 2, (size_t)size);
    return size;
}

static int activate(EVP_PKEY *k, const struct lt_public *ek, const uint8_t name[LT_TPM_NAME],
                    struct lt_slice id, struct lt_slice enc, uint8_t *out)
{
    return activate_for(k, ek, (struct lt_slice){name, LT_TPM_NAME}, id, enc, out);
}

/* A Name of SHA-384, as agents with that hash have: every byte of it counts. */
static void test_a_long_name(void **state)
{
    (void)state;
    EVP_PKEY *ek_key = soft_ecc("P-384"), *ak_key = soft_ecc("P-384");
    const struct soft_shape *eks[] = {&soft_ek, &soft_ek_high};

    for (int i = 0; i < 2; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_CREDENTIAL);
        struct lt_public ek, ak;
        struct lt_tpm_name name;
        struct lt_slice id, enc;
        uint8_t got[128];

        soft_parse(ek_key, eks[i], &ek);
        soft_parse(ak_key, &soft_ak_ecc_384, &ak);
        lt_public_any_name(&ak, &name);
        assert_int_equal(name.n, 50);
        OK(lt_credential_make_for(&ek, (struct lt_slice){name.p, name.n}, secret, 32, &b, &err));
        OK(lt_credential_parse(b.p, b.n, &id, &enc, &err));
        assert_int_equal(activate_for(ek_key, &ek, (struct lt_slice){name.p, name.n}, id, enc, got), 32);
        assert_memory_equal(got, secret, 32);
        name.p[49] ^= 1;
        assert_int_equal(activate_for(ek_key, &ek, (struct lt_slice){name.p, name.n}, id, enc, got), -1);
        name.p[49] ^= 1;
        assert_int_equal(activate_for(ek_key, &ek, (struct lt_slice){name.p, LT_TPM_NAME}, id, enc, got), -1);
    }
    EVP_PKEY_free(ek_key);
    EVP_PKEY_free(ak_key);
}

static void test_activation(void **state)
{
    (void)state;
    struct {
        EVP_PKEY *k;
        const struct soft_shape *shape;
        size_t file;
    } cases[] = {
        {soft_rsa(2048), &soft_ek, 336}, /* keylime-api 2.3 */
        {soft_rsa(3072), &soft_ek_high, 8 + 2 + 2 + 48 + 2 + 32 + 2 + 384},
        {soft_ecc("P-256"), &soft_ek, 8 + 2 + 68 + 2 + 68},
        {soft_ecc("P-384"), &soft_ek_high, 8 + 2 + 84 + 2 + 100},
        {soft_ecc("P-521"), &soft_ek_high, 8 + 2 + 84 + 2 + 136},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_public ek;
        uint8_t name[LT_TPM_NAME], got[128];
        struct lt_slice id, enc;
        LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_CREDENTIAL);

        vector_name(name);
        soft_parse(cases[i].k, cases[i].shape, &ek);
        OK(lt_credential_make(&ek, name, secret, 32, &b, &err));
        assert_int_equal(b.n, cases[i].file);
        OK(lt_credential_parse(b.p, b.n, &id, &enc, &err));
        assert_int_equal(activate(cases[i].k, &ek, name, id, enc, got), 32);
        assert_memory_equal(got, secret, 32);
        /* It is bound to the Name, and to every byte of the wrapped identity. */
        name[33] ^= 1;
        assert_int_equal(activate(cases[i].k, &ek, name, id, enc, got), -1);
        name[33] ^= 1;
        b.p[10 + id.n - 1] ^= 1;
        assert_int_equal(activate(cases[i].k, &ek, name, id, enc, got), -1);
        EVP_PKEY_free(cases[i].k);
    }
}

static void test_fresh_each_time(void **state)
{
    (void)state;
    struct lt_public ek;
    uint8_t name[LT_TPM_NAME];
    EVP_PKEY *keys[] = {soft_rsa(2048), soft_ecc("P-256")};

    vector_name(name);
    for (int i = 0; i < 2; i++) {
        LT_AUTOBUF struct lt_buf a = LT_BUF(LT_MAX_CREDENTIAL), b = LT_BUF(LT_MAX_CREDENTIAL);
        soft_parse(keys[i], &soft_ek, &ek);
        OK(lt_credential_make(&ek, name, secret, 32, &a, &err));
        OK(lt_credential_make(&ek, name, secret, 32, &b, &err));
        assert_int_equal(a.n, b.n);
        assert_memory_not_equal(a.p + 12, b.p + 12, 66);
        EVP_PKEY_free(keys[i]);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct lt_public ek;
    uint8_t name[LT_TPM_NAME];
    struct soft_shape shape = soft_ek;
    EVP_PKEY *small = soft_rsa(1024), *rsa = soft_rsa(2048);
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_CREDENTIAL), tight = LT_BUF(335);

    vector_name(name);
    soft_parse(small, &soft_ek, &ek);
    FAILS(LT_E_UNSUPPORTED, lt_credential_make(&ek, name, secret, 32, &b, &err));
    shape.name_alg = LT_HASH_SHA512;
    soft_parse(rsa, &shape, &ek);
    FAILS(LT_E_UNSUPPORTED, lt_credential_make(&ek, name, secret, 32, &b, &err));
    soft_parse(rsa, &soft_ak_rsa, &ek);
    FAILS(LT_E_UNSUPPORTED, lt_credential_make(&ek, name, secret, 32, &b, &err));
    soft_parse(rsa, &soft_ek, &ek);
    FAILS(LT_E_TOO_LARGE, lt_credential_make(&ek, name, secret, 33, &b, &err));
    assert_int_equal(b.n, 0);
    FAILS(LT_E_TOO_LARGE, lt_credential_make(&ek, name, secret, 32, &tight, &err));
    OK(lt_credential_make(&ek, name, secret, 0, &b, &err));
    EVP_PKEY_free(small);
    EVP_PKEY_free(rsa);
}

static int parse(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    struct lt_slice id, enc;
    int rc = lt_credential_parse(p, n, &id, &enc, LT_NO_ERR);
    if (rc)
        assert_true(!id.p && !enc.p);
    else
        assert_int_equal(id.n + enc.n + 12, n);
    return rc;
}

static void test_parse(void **state)
{
    (void)state;
    /* keylime-api A.2 between the header and a short secret. */
    uint8_t p[128];
    size_t n = unit_hex("badcc0de 00000001"
                        "0044 0020 e4692e2d5b3a1997fbb69d0f3b25e4d64564a143de53bef62c2b4aec550be7b0"
                        "b46ff35128e81fe55bf8af7c274f194d5f066eb94d5240290d4482e66ab9066aed20"
                        "0004 01020304",
                        p, sizeof p);
    struct lt_slice id, enc;

    OK(lt_credential_parse(p, n, &id, &enc, &err));
    assert_ptr_equal(id.p, p + 10);
    assert_int_equal(id.n, 68);
    assert_ptr_equal(enc.p, p + 80);
    assert_int_equal(enc.n, 4);
    unit_every_prefix(parse, p, n, NULL);
    for (size_t bit = 0; bit < 10 * 8; bit++) { /* magic, version, first size */
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        FAILS(LT_E_MALFORMED, lt_credential_parse(p, n, &id, &enc, &err));
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kdfa),
        cmocka_unit_test(test_kdf_blocks),
        cmocka_unit_test(test_activation),
        cmocka_unit_test(test_a_long_name),
        cmocka_unit_test(test_fresh_each_time),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
