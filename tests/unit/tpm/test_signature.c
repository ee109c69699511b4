#include "tpm/signature.h"

#include "common/limits.h"
#include "tests/support/scarce.h"
#include "tests/support/softkey.h"

#include <pthread.h>

static const char message[] = "what the TPM signed";
static const struct lt_slice message_s = {(const uint8_t *)message, sizeof message};

/* A key, its verify key and a signature over message. */
struct pair {
    EVP_PKEY *soft;
    struct lt_signature_key *key;
    struct lt_buf sig;
};

static void make_by(EVP_PKEY *soft, uint16_t hash, struct pair *out)
{
    struct soft_shape shape = EVP_PKEY_is_a(soft, "RSA") ? soft_ak_rsa : soft_ak_ecc;
    struct lt_public p;

    *out = (struct pair){.soft = soft, .sig = LT_BUF(LT_MAX_SIGNATURE)};
    shape.scheme_hash = hash;
    soft_parse(soft, &shape, &p);
    OK(lt_signature_key_new(&p, &out->key, &err));
    soft_sign_by(soft, hash, message, sizeof message, &out->sig);
    OK(lt_buf_ok(&out->sig, &err));
}

static void make(EVP_PKEY *soft, struct pair *out)
{
    make_by(soft, LT_HASH_SHA256, out);
}

static void drop(struct pair *p)
{
    lt_signature_key_free(p->key);
    EVP_PKEY_free(p->soft);
    lt_buf_free(&p->sig);
}

static struct lt_slice sig_of(const struct pair *p)
{
    return (struct lt_slice){p->sig.p, p->sig.n};
}

static int check(const uint8_t *p, size_t n, void *state)
{
    const struct pair *k = state;
    return lt_signature_check(k->key, (struct lt_slice){p, n}, message_s, LT_NO_ERR);
}

/* A key signs with the hash of its scheme, and with no other. */
static void test_sha384(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {soft_rsa(2048), soft_ecc("P-256"), soft_ecc("P-384")};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct pair wide, narrow;
        EVP_PKEY_up_ref(keys[i]);
        make_by(keys[i], LT_HASH_SHA384, &wide);
        make(keys[i], &narrow);
        OK(lt_signature_check(wide.key, sig_of(&wide), message_s, &err));
        OK(lt_signature_check(narrow.key, sig_of(&narrow), message_s, &err));
        FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(wide.key, sig_of(&narrow), message_s, &err));
        FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(narrow.key, sig_of(&wide), message_s, &err));
        wide.sig.p[3] = LT_HASH_SHA256; /* relabelled */
        FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(wide.key, sig_of(&wide), message_s, &err));
        FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(narrow.key, sig_of(&wide), message_s, &err));
        drop(&wide);
        drop(&narrow);
    }
}

static void test_all_kinds(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {soft_rsa(1024),    soft_rsa(2048),    soft_rsa(4096),
                        soft_ecc("P-256"), soft_ecc("P-384"), soft_ecc("P-521")};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct pair p;
        make(keys[i], &p);
        OK(lt_signature_check(p.key, sig_of(&p), message_s, &err));
        struct lt_slice less = {message_s.p, message_s.n - 1}, none = {0};
        FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(p.key, sig_of(&p), less, &err));
        FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(p.key, sig_of(&p), none, &err));
        FAILS(LT_E_MALFORMED, lt_signature_check(p.key, none, message_s, &err));
        drop(&p);
    }
}

static void test_every_prefix_and_bit(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {soft_rsa(1024), soft_ecc("P-256"), soft_ecc("P-521")};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct pair p;
        make(keys[i], &p);
        unit_every_prefix(check, p.sig.p, p.sig.n, &p);
        unit_every_bit(check, p.sig.p, p.sig.n, &p);
        drop(&p);
    }
}

static void test_another_key(void **state)
{
    (void)state;
    struct pair a, b, c;

    make(soft_ecc("P-256"), &a);
    make(soft_ecc("P-256"), &b);
    make(soft_rsa(2048), &c);
    FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(a.key, sig_of(&b), message_s, &err));
    FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(a.key, sig_of(&c), message_s, &err));
    FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(c.key, sig_of(&a), message_s, &err));
    drop(&a);
    drop(&b);
    drop(&c);
}

static void test_ecdsa_forms(void **state)
{
    (void)state;
    struct pair p;
    uint8_t sig[LT_MAX_SIGNATURE];

    make(soft_ecc("P-256"), &p);
    /* u16 alg, u16 hash, u16 32, r, u16 32, s */
    memcpy(sig, p.sig.p, p.sig.n);
    memset(sig + 6, 0, 32);
    FAILS(LT_E_MALFORMED, lt_signature_check(p.key, (struct lt_slice){sig, p.sig.n}, message_s, &err));
    memcpy(sig, p.sig.p, p.sig.n);
    memset(sig + 40, 0, 32);
    FAILS(LT_E_MALFORMED, lt_signature_check(p.key, (struct lt_slice){sig, p.sig.n}, message_s, &err));
    static const uint8_t empty[] = {0x00, 0x18, 0x00, 0x0b, 0, 0, 0, 0};
    FAILS(LT_E_MALFORMED, lt_signature_check(p.key, (struct lt_slice){empty, sizeof empty}, message_s, &err));
    /* r with a zero before it is longer than the curve's numbers. */
    memcpy(sig, p.sig.p, 6);
    sig[5] = 33;
    sig[6] = 0;
    memcpy(sig + 7, p.sig.p + 6, p.sig.n - 6);
    FAILS(LT_E_MALFORMED, lt_signature_check(p.key, (struct lt_slice){sig, p.sig.n + 1}, message_s, &err));
    /* The hash of the signature must be the key's, though SHA-384 is a fine hash. */
    memcpy(sig, p.sig.p, p.sig.n);
    sig[3] = LT_HASH_SHA384;
    FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(p.key, (struct lt_slice){sig, p.sig.n}, message_s, &err));
    drop(&p);
}

/* A number that begins with zeros may come short, as a TPM may send it. */
static void test_short_number(void **state)
{
    (void)state;
    struct pair p;

    make(soft_ecc("P-256"), &p);
    while (p.sig.p[6]) {
        lt_buf_free(&p.sig);
        soft_sign(p.soft, message, sizeof message, &p.sig);
    }
    p.sig.p[5]--;
    memmove(p.sig.p + 6, p.sig.p + 7, p.sig.n - 7);
    p.sig.n--;
    OK(lt_signature_check(p.key, sig_of(&p), message_s, &err));
    drop(&p);
}

static void test_rsa_length(void **state)
{
    (void)state;
    struct pair p;
    uint8_t sig[LT_MAX_SIGNATURE + 1] = {0};

    make(soft_rsa(2048), &p);
    memcpy(sig, p.sig.p, 6);
    lt_put_u16(sig + 4, 255);
    FAILS(LT_E_MALFORMED, lt_signature_check(p.key, (struct lt_slice){sig, 6 + 255}, message_s, &err));
    lt_put_u16(sig + 4, 257);
    FAILS(LT_E_MALFORMED, lt_signature_check(p.key, (struct lt_slice){sig, 6 + 257}, message_s, &err));
    FAILS(LT_E_MALFORMED, lt_signature_check(p.key, (struct lt_slice){sig, sizeof sig}, message_s, &err));
    drop(&p);
}

static void test_keys_refused(void **state)
{
    (void)state;
    struct soft_shape pss = soft_ak_rsa, sha512 = soft_ak_ecc;
    struct lt_public p;
    struct lt_signature_key *k;
    EVP_PKEY *rsa = soft_rsa(1024), *ecc = soft_ecc("P-256");

    pss.scheme = LT_TPM_ALG_RSAPSS;
    soft_parse(rsa, &pss, &p);
    FAILS(LT_E_UNSUPPORTED, lt_signature_key_new(&p, &k, &err));
    assert_null(k);
    sha512.scheme_hash = LT_HASH_SHA512;
    soft_parse(ecc, &sha512, &p);
    FAILS(LT_E_UNSUPPORTED, lt_signature_key_new(&p, &k, &err));
    soft_parse(ecc, &soft_ak_ecc, &p);
    memset(p.raw + (p.x.p - p.raw), 0xff, 32);
    FAILS(LT_E_MALFORMED, lt_signature_key_new(&p, &k, &err));
    lt_signature_key_free(NULL);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ecc);
}

static void *check_often(void *state)
{
    const struct pair *p = state;
    long bad = 0;
    for (int i = 0; i < 100; i++) {
        bad += lt_signature_check(p->key, sig_of(p), message_s, LT_NO_ERR) != 0;
        bad += lt_signature_check(p->key, sig_of(p), (struct lt_slice){0}, LT_NO_ERR) != LT_E_BAD_SIGNATURE;
    }
    return (void *)bad;
}

static void test_threads_share_a_key(void **state)
{
    (void)state;
    struct pair p[2];
    pthread_t t[8];

    make(soft_rsa(2048), &p[0]);
    make(soft_ecc("P-256"), &p[1]);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, check_often, &p[i % 2]), 0);
    for (int i = 0; i < 8; i++) {
        void *bad;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    drop(&p[0]);
    drop(&p[1]);
}

static int check_good(void *state)
{
    const struct pair *p = state;
    return lt_signature_check(p->key, sig_of(p), message_s, LT_NO_ERR);
}

static int make_key(void *state)
{
    struct lt_signature_key *k;
    int rc = lt_signature_key_new(state, &k, LT_NO_ERR);

    lt_signature_key_free(k);
    return rc;
}

/* A good key and a good signature are never called bad. */
static void test_no_memory(void **state)
{
    EVP_PKEY *soft[] = {soft_rsa(2048), soft_ecc("P-256")};

    (void)state;
    for (size_t i = 0; i < sizeof soft / sizeof *soft; i++) {
        struct lt_public pub;
        struct pair p;

        make(soft[i], &p);
        soft_parse(soft[i], i ? &soft_ak_ecc : &soft_ak_rsa, &pub);
        scarce_every(check_good, &p);
        scarce_every(make_key, &pub);
        drop(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_sha384),
        cmocka_unit_test(test_every_prefix_and_bit),
        cmocka_unit_test(test_another_key),
        cmocka_unit_test(test_ecdsa_forms),
        cmocka_unit_test(test_short_number),
        cmocka_unit_test(test_rsa_length),
        cmocka_unit_test(test_keys_refused),
        cmocka_unit_test(test_threads_share_a_key),
        cmocka_unit_test(test_no_memory),
    };
    scarce_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
