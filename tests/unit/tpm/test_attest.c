#include "tpm/attest.h"

#include "common/limits.h"
#include "tests/support/unit.h"

/* A quote of two banks with every field its own value. */
static size_t build(uint8_t *p)
{
    return unit_hex("ff544347 8018 0022 000b 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
                    "0004 4e4f4e43"
                    "0000000001020304 00000005 00000006 01"
                    "2019102300163636"
                    "00000002 000b 03 ff0401 0004 04 01000080"
                    "0004 d1d2d3d4",
                    p, 256);
}

static int parse_only(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    struct lt_attest a;
    return lt_attest_parse(p, n, &a, LT_NO_ERR);
}

/* Refused, or some field says another thing than the original's. */
static int parse_same(const uint8_t *p, size_t n, void *state)
{
    const struct lt_attest *was = state;
    struct lt_attest a;

    int rc = lt_attest_parse(p, n, &a, LT_NO_ERR);
    if (rc)
        return rc;
    bool same = lt_slice_eq(a.qualified_signer, was->qualified_signer) &&
                lt_slice_eq(a.extra_data, was->extra_data) &&
                lt_tpm_clock_compare(&a.clock, &was->clock) == 0 && a.clock.safe == was->clock.safe &&
                a.firmware_version == was->firmware_version &&
                lt_slice_eq(a.selection_raw, was->selection_raw) &&
                !memcmp(a.banks, was->banks, sizeof a.banks) && lt_slice_eq(a.pcr_digest, was->pcr_digest);
    return same ? 0 : -1;
}

static void test_fields(void **state)
{
    (void)state;
    uint8_t p[256];
    struct lt_attest a;

    OK(lt_attest_parse(p, build(p), &a, &err));
    assert_int_equal(a.qualified_signer.n, 34);
    assert_memory_equal(a.qualified_signer.p, "\x00\x0b\x01\x02", 4);
    assert_int_equal(a.extra_data.n, 4);
    assert_memory_equal(a.extra_data.p, "NONC", 4);
    assert_int_equal(a.clock.clock_ms, 0x01020304);
    assert_int_equal(a.clock.reset_count, 5);
    assert_int_equal(a.clock.restart_count, 6);
    assert_true(a.clock.safe);
    assert_int_equal(a.firmware_version, 0x2019102300163636);
    assert_int_equal(a.bank_count, 2);
    assert_int_equal(a.banks[0].alg, 0x000b);
    assert_int_equal(a.banks[0].select_size, 3);
    assert_int_equal(a.banks[0].mask, 0x0104ff);
    assert_int_equal(a.banks[1].alg, 0x0004);
    assert_int_equal(a.banks[1].select_size, 4);
    assert_int_equal(a.banks[1].mask, 0x80000001);
    assert_int_equal(a.selection_raw.n, 4 + 6 + 7);
    assert_memory_equal(a.selection_raw.p, "\0\0\0\2\0\x0b\3", 7);
    assert_int_equal(a.pcr_digest.n, 4);
}

static void test_every_prefix_and_bit(void **state)
{
    (void)state;
    uint8_t p[256];
    size_t n = build(p);
    struct lt_attest a;

    OK(lt_attest_parse(p, n, &a, &err));
    unit_every_prefix(parse_only, p, n, NULL);
    unit_every_bit(parse_same, p, n, &a);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {
        {0, 0x00},              /* magic */
        {5, 0x17},              /* Certify */
        {5, 0x14},              /* session audit */
        {7, 0xff},              /* a signer longer than a name */
        {43, 0x43},             /* extraData longer than a TPMT_HA */
        {64, 0x02},             /* safe */
        {76, 0x11},             /* 17 banks */
        {79, 0x00},             /* no selection bytes */
        {79, 0x05}, {91, 0x41}, /* a digest longer than SHA-512's */
    };
    uint8_t p[256];
    struct lt_attest a;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = build(p);
        p[cases[i].at] = cases[i].value;
        if (lt_attest_parse(p, n, &a, &err) != LT_E_MALFORMED)
            fail_msg("case %zu: %d", i, err.code);
        assert_int_equal(a.bank_count, 0);
        assert_null(a.extra_data.p);
    }
    static uint8_t large[LT_MAX_ATTEST + 1];
    build(large);
    FAILS(LT_E_MALFORMED, lt_attest_parse(large, sizeof large, &a, &err));
    FAILS(LT_E_MALFORMED, lt_attest_parse(large, 0, &a, &err));
}

/* Ascending; all pairs. The restart count may fall when the reset count rises (protocol.md check 2). */
static void test_clock_compare(void **state)
{
    (void)state;
    static const struct lt_attest_clock_info order[] = {
        {.reset_count = 1, .restart_count = 0, .clock_ms = 500},
        {.reset_count = 1, .restart_count = 0, .clock_ms = 501},
        {.reset_count = 1, .restart_count = 7, .clock_ms = 1},
        {.reset_count = 2, .restart_count = 0, .clock_ms = 0},
        {.reset_count = 2, .restart_count = 0, .clock_ms = UINT64_MAX},
        {.reset_count = UINT32_MAX, .restart_count = 0, .clock_ms = 0},
    };
    const int n = sizeof order / sizeof *order;

    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            int c = lt_tpm_clock_compare(&order[i], &order[k]);
            assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_every_prefix_and_bit),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_clock_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
