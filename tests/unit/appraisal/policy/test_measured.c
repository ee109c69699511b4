/* "layers", "boot" and "ima" of guest and host policies. */
#include "appraisal/policy/policy.h"
#include "common/limits.h"
#include "tests/support/unit.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L(more) "{\"layers\":[{\"name\":\"base\",\"policy\":\"" A "\"" more "}]}"
#define W(time) L(",\"not_before\":\"" time "\"")

static struct lt_policy_measured read_both(const char *text)
{
    struct lt_policy_guest *g;
    struct lt_policy_host *h;

    OK(lt_policy_guest_parse(text, strlen(text), &g, &err));
    OK(lt_policy_host_parse(text, strlen(text), &h, &err));
    struct lt_policy_measured p = g->measured;
    assert_memory_equal(&p, &h->measured, sizeof p);
    lt_policy_guest_free(g);
    lt_policy_host_free(h);
    return p;
}

static void whole(void **state)
{
    uint8_t a[32];

    (void)state;
    memset(a, 0xaa, 32);
    struct lt_policy_measured p = read_both("{}");
    assert_false(p.layer_count || p.has_boot || p.accept_violations || p.learn_keys || p.log_hash);
    p = read_both("{\"boot\":\"" A "\",\"layers\":[{\"name\":\"base\",\"policy\":\"" A
                  "\"},{\"name\":\"web-1.2_x\","
                  "\"policy\":\"" A
                  "\",\"not_before\":\"2026-01-01T00:00:00Z\",\"not_after\":\"2026-01-01T00:00:00Z\"}],"
                  "\"ima\":{\"violations\":\"accept\",\"sha1_padded\":\"accept\",\"learn_keys\":true,"
                  "\"log_hash\":\"sha256\"}}");
    assert_int_equal(p.layer_count, 2);
    assert_string_equal(p.layer[0].name, "base");
    assert_memory_equal(p.layer[0].policy, a, 32);
    assert_true(p.layer[0].not_before == 0 && p.layer[0].not_after == 0);
    assert_string_equal(p.layer[1].name, "web-1.2_x");
    assert_true(p.layer[1].not_before == 1767225600 && p.layer[1].not_after == 1767225600);
    assert_true(p.has_boot && p.accept_violations && p.accept_padded && p.learn_keys);
    assert_memory_equal(p.boot, a, 32);
    assert_int_equal(p.log_hash, LT_HASH_SHA256);
    p = read_both("{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"violations\":\"fail\"}}");
    assert_false(p.accept_violations || p.accept_padded || p.learn_keys);
}

static void times(void **state)
{
    static const struct {
        const char *doc;
        int64_t s;
    } good[] = {{W("1971-01-01T00:00:00Z"), 31536000},    {W("2000-02-29T23:59:59Z"), 951868799},
                {W("2024-02-29T00:00:00Z"), 1709164800},  {W("2024-03-01T00:00:00Z"), 1709251200},
                {W("2023-12-31T23:59:59Z"), 1704067199},  {W("2100-03-01T00:00:00Z"), 4107542400},
                {W("9999-12-31T23:59:59Z"), 253402300799}};
    static const char *const bad[] = {
        W("1970-01-01T00:00:00Z"),     W("2026-00-01T00:00:00Z"), W("2026-13-01T00:00:00Z"),
        W("2026-01-00T00:00:00Z"),     W("2026-01-32T00:00:00Z"), W("2026-04-31T00:00:00Z"),
        W("2025-02-29T00:00:00Z"),     W("2100-02-29T00:00:00Z"), W("2026-01-01T24:00:00Z"),
        W("2026-01-01T00:60:00Z"),     W("2026-01-01T00:00:60Z"), W("2026-01-01T00:00:00"),
        W("2026-01-01 00:00:00Z"),     W("2026-01-01T00:00:00z"), W("2026-01-01"),
        W("2026-1-01T00:00:00ZZ"),     W("+026-01-01T00:00:00Z"), W(""),
        W("2026-01-01T00:00:00+00:00")};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct lt_policy_measured p = read_both(good[i].doc);
        if (p.layer[0].not_before != good[i].s)
            fail_msg("%s: %lld", good[i].doc, (long long)p.layer[0].not_before);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lt_policy_host *h;
        FAILS(LT_E_MALFORMED, lt_policy_host_parse(bad[i], strlen(bad[i]), &h, &err));
        assert_non_null(strstr(err.msg, "policy \"layers\" 0: \"not_before\": "));
    }
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "{\"layers\":[]}",
        "{\"layers\":null}",
        "{\"layers\":{}}",
        "{\"layers\":[1]}",
        "{\"layers\":[{}]}",
        "{\"layers\":[{\"name\":\"a\"}]}",
        "{\"layers\":[{\"policy\":\"" A "\"}]}",
        "{\"layers\":[{\"name\":\"\",\"policy\":\"" A "\"}]}",
        "{\"layers\":[{\"name\":\"a b\",\"policy\":\"" A "\"}]}",
        "{\"layers\":[{\"name\":\"a@b\",\"policy\":\"" A "\"}]}",
        "{\"layers\":[{\"name\":\"" A "\",\"policy\":\"" A "\"}]}",
        "{\"layers\":[{\"name\":\"a\",\"policy\":\"aa\"}]}",
        "{\"layers\":[{\"name\":\"a\",\"policy\":1}]}",
        "{\"layers\":[{\"name\":\"a\",\"policy\":\"" A "\"},{\"name\":\"a\",\"policy\":\"" A "\"}]}",
        L(",\"after\":1"),
        L(",\"not_after\":1"),
        L(",\"not_before\":\"2026-01-02T00:00:00Z\",\"not_after\":\"2026-01-01T00:00:00Z\""),
        "{\"boot\":\"aa\"}",
        "{\"boot\":null}",
        "{\"boot\":{}}",
        "{\"ima\":{}}",
        "{\"ima\":{\"learn_keys\":true}}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":null}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"violations\":true}}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"violations\":\"ignore\"}}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"learn_keys\":1}}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"sha1_padded\":true}}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"sha1_padded\":\"yes\"}}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"log_hash\":\"md5\"}}",
        "{\"layers\":[{\"name\":\"b\",\"policy\":\"" A "\"}],\"ima\":{\"x\":1}}",
    };
    struct lt_policy_guest *g;
    struct lt_policy_host *h;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(LT_E_MALFORMED, lt_policy_host_parse(bad[i], strlen(bad[i]), &h, &err));
        FAILS(LT_E_MALFORMED, lt_policy_guest_parse(bad[i], strlen(bad[i]), &g, &err));
        assert_true(!h && !g);
    }
    struct lt_buf b = LT_BUF(1 << 16); /* one more than the ceiling */
    lt_buf_str(&b, "{\"layers\":[");
    for (int i = 0; i <= LT_MAX_LAYERS; i++)
        lt_buf_printf(&b, "%s{\"name\":\"l%d\",\"policy\":\"" A "\"}", i ? "," : "", i);
    lt_buf_str(&b, "]}");
    FAILS(LT_E_TOO_LARGE, lt_policy_host_parse(b.p, b.n, &h, &err));
    lt_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole), cmocka_unit_test(times),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
