#include "common/hash.h"

#include "tests/support/unit.h"

#include <pthread.h>

/* FIPS 180-4's example "abc". */
static const struct {
    uint16_t alg;
    const char *name;
    size_t size;
    const char *abc;
} known[] = {
    {LT_HASH_SHA1, "sha1", 20, "a9993e364706816aba3e25717850c26c9cd0d89d"},
    {LT_HASH_SHA256, "sha256", 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {LT_HASH_SHA384, "sha384", 48,
     "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"},
    {LT_HASH_SHA512, "sha512", 64,
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
     "454d4423643ce80e2a9ac94fa54ca49f"},
};

static void test_known_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint8_t want[64], got[64];
        const struct lt_slice parts[] = {{(const uint8_t *)"a", 1}, {NULL, 0}, {(const uint8_t *)"bc", 2}};
        assert_int_equal(unit_hex(known[i].abc, want, 64), known[i].size);
        lt_hash(known[i].alg, parts, 3, got);
        assert_memory_equal(got, want, known[i].size);
        struct lt_hasher *h = lt_hasher_new(known[i].alg);
        lt_hasher_add(h, "ab", 2);
        lt_hasher_add(h, "", 0);
        lt_hasher_add(h, "c", 1);
        lt_hasher_end(h, got);
        assert_memory_equal(got, want, known[i].size);
        assert_int_equal(lt_hash_size(known[i].alg), known[i].size);
        assert_string_equal(lt_hash_name(known[i].alg), known[i].name);
        assert_int_equal(lt_hash_by_name(known[i].name), known[i].alg);
    }
    uint8_t a[32], b[32];
    lt_sha256("abc", 3, a);
    lt_sha256_2("", 0, "abc", 3, b);
    assert_memory_equal(a, b, 32);
    lt_sha256_2("ab", 2, "c", 1, b);
    assert_memory_equal(a, b, 32);
}

static void test_unknown(void **state)
{
    (void)state;
    assert_int_equal(lt_hash_size(0x0012), 0);
    assert_null(lt_hash_name(0));
    assert_int_equal(lt_hash_by_name("sha"), 0);
    assert_int_equal(lt_hash_by_name("SHA256"), 0);
    assert_int_equal(lt_hash_by_name(NULL), 0);
}

/* RFC 4231 test cases 1, 2 and 6. */
static void test_hmac(void **state)
{
    (void)state;
    uint8_t key[131], want[48], got[64];

    memset(key, 0x0b, 20);
    lt_hmac(LT_HASH_SHA256, key, 20, "Hi There", 8, got);
    unit_hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", want, 32);
    assert_memory_equal(got, want, 32);
    lt_hmac(LT_HASH_SHA384, "Jefe", 4, "what do ya want for nothing?", 28, got);
    unit_hex(
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        want, 48);
    assert_memory_equal(got, want, 48);
    memset(key, 0xaa, sizeof key);
    lt_hmac(LT_HASH_SHA256, key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First", 54,
            got);
    unit_hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", want, 32);
    assert_memory_equal(got, want, 32);
    /* An empty key is a key. */
    lt_hmac(LT_HASH_SHA256, NULL, 0, NULL, 0, got);
    unit_hex("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad", want, 32);
    assert_memory_equal(got, want, 32);
}

static void *hash_often(void *state)
{
    const uint8_t *want = state;
    uint8_t got[32];
    long bad = 0;

    for (int i = 0; i < 2000; i++) {
        lt_sha256("abc", 3, got);
        bad += memcmp(got, want, 32) != 0;
    }
    return (void *)bad;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t t[8];
    uint8_t want[32];

    unit_hex(known[1].abc, want, 32);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hash_often, want), 0);
    for (int i = 0; i < 8; i++) {
        void *bad;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

static void test_random(void **state)
{
    (void)state;
    uint8_t a[1000] = {0}, b[1000] = {0};
    unsigned seen[128] = {0};
    char s[62 * 200 + 1];

    lt_random(a, sizeof a);
    lt_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    lt_random_alnum(s, sizeof s - 1);
    assert_int_equal(strlen(s), sizeof s - 1);
    for (size_t i = 0; i < sizeof s - 1; i++)
        seen[s[i] & 0x7f]++;
    for (int c = 0; c < 128; c++) {
        bool wanted = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (wanted)
            assert_in_range(seen[c], 80, 400); /* 200 expected; 8 sigma are 112 */
        else
            assert_int_equal(seen[c], 0);
    }
    char none[1] = {'x'};
    lt_random_alnum(none, 0);
    assert_int_equal(none[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_unknown), cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
