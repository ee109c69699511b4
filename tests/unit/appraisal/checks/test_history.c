/* What a tenant remembers, and the cache of host quotes. */
#include "appraisal/checks/history.h"
#include "appraisal/checks/host_quote.h"
#include "tests/support/unit.h"

static struct lt_history_round_facts facts(uint64_t clock, enum lt_history_absence absence, bool accepted)
{
    struct lt_history_round_facts f = {
        .guest_genuine = true, .absence = absence, .resident = accepted, .accepted = accepted};
    f.guest_clock.clock_ms = clock;
    f.incarnation[0] = (uint8_t)clock;
    return f;
}

static void guest(void **state)
{
    struct lt_history_guest h = {0};
    struct lt_history_round_facts f = facts(100, LT_HISTORY_PRESENT, true);

    (void)state;
    lt_history_guest_learn(&h, &f);
    assert_true(h.has_clock && h.has_accepted);
    assert_int_equal(h.clock.clock_ms, 100);
    f = facts(50, LT_HISTORY_PRESENT, true); /* an older round ends later */
    lt_history_guest_learn(&h, &f);
    assert_int_equal(h.clock.clock_ms, 100);
    assert_int_equal(h.accepted_incarnation[0], 100);
    f = facts(200, LT_HISTORY_PRESENT, false);
    lt_history_guest_learn(&h, &f);
    assert_int_equal(h.clock.clock_ms, 200);
    assert_int_equal(h.accepted_clock.clock_ms, 100);
    f = facts(300, LT_HISTORY_PRESENT, true);
    f.guest_genuine = false;
    lt_history_guest_learn(&h, &f);
    assert_int_equal(h.clock.clock_ms, 200);
}

static void row_of_absences(void **state)
{
    static const struct {
        enum lt_history_absence absence;
        bool accepted, genuine, before;
    } steps[] = {
        {LT_HISTORY_ABSENT_LEAVING, false, true, false},
        {LT_HISTORY_ABSENT_NULL, false, true, true},
        {LT_HISTORY_ABSENT_LEAVING, false, true, true},
        {LT_HISTORY_PRESENT, false, true, true}, /* not asked: says nothing */
        {LT_HISTORY_PRESENT, true, false, true},
        {LT_HISTORY_PRESENT, true, true, false},
        {LT_HISTORY_ABSENT_PAUSED, false, true, true},
    };
    struct lt_history_guest h = {0};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct lt_history_round_facts f = facts(i, steps[i].absence, steps[i].accepted);
        f.guest_genuine = steps[i].genuine;
        lt_history_guest_learn(&h, &f);
        if (h.absent_before != steps[i].before)
            fail_msg("step %zu", i);
    }
}

static void learn_host(struct lt_history_host *h, uint64_t clock, uint64_t t5)
{
    struct lt_history_round_facts f = {.host_genuine = true, .host_clock = {.clock_ms = clock}};
    lt_history_host_learn(h, &f, t5);
}

static void host(void **state)
{
    struct lt_history_host h = {0};
    struct lt_attest_clock_info c = {0};
    struct lt_history_round_facts bad = {.host_clock = {.clock_ms = 999}};

    (void)state;
    assert_false(lt_history_host_at(&h, 100, &c));
    learn_host(&h, 10, 100);
    learn_host(&h, 30, 300);
    lt_history_host_learn(&h, &bad, 50);
    assert_false(lt_history_host_at(&h, 100, &c)); /* received at t1 is not before t1 */
    assert_true(lt_history_host_at(&h, 101, &c));
    assert_int_equal(c.clock_ms, 10);
    learn_host(&h, 20, 200); /* told late */
    learn_host(&h, 25, 310); /* lower than known: says nothing */
    assert_true(lt_history_host_at(&h, 250, &c));
    assert_int_equal(c.clock_ms, 20);
    assert_true(lt_history_host_at(&h, 1000, &c));
    assert_int_equal(c.clock_ms, 30);
    learn_host(&h, 40, 150); /* supersedes what came later and was lower */
    assert_int_equal(h.count, 2);
    assert_true(lt_history_host_at(&h, 160, &c));
    assert_int_equal(c.clock_ms, 40);
}

/* Against the plain definition: the highest clock received before t1. A full table may answer higher, never
 * lower. */
static void host_against_definition(void **state)
{
    static struct {
        uint64_t clock, t5;
    } all[4 * LT_HISTORY_HOST_QUOTES_KEPT];
    struct lt_history_host h = {0};
    const unsigned count = sizeof all / sizeof *all;

    (void)state;
    for (unsigned i = 0; i < count; i++) {
        uint8_t r[2];
        lt_random(r, sizeof r);
        all[i].clock = 10 * i + r[0] % 40;
        all[i].t5 = 100 * (uint64_t)i + r[1];
        learn_host(&h, all[i].clock, all[i].t5);
        assert_true(h.count <= LT_HISTORY_HOST_QUOTES_KEPT);
        for (uint64_t t1 = 0; t1 < 100 * (uint64_t)i + 300; t1 += 997) {
            struct lt_attest_clock_info c = {0};
            uint64_t want = 0;
            for (unsigned k = 0; k <= i; k++)
                if (all[k].t5 < t1 && all[k].clock > want)
                    want = all[k].clock;
            bool any = lt_history_host_at(&h, t1, &c);
            if (c.clock_ms < want || (i < LT_HISTORY_HOST_QUOTES_KEPT && c.clock_ms != want))
                fail_msg("%u quotes, t1 %llu: %llu (%d), not %llu", i, (unsigned long long)t1,
                         (unsigned long long)c.clock_ms, any, (unsigned long long)want);
        }
    }
    assert_int_equal(h.count, LT_HISTORY_HOST_QUOTES_KEPT);
}

static void cache(void **state)
{
    struct lt_result_cache *c = lt_host_quote_cache_new();
    uint8_t key[32] = {0}, first[32] = {0};

    (void)state;
    assert_non_null(c);
    assert_false(lt_result_cache_get(c, key, NULL));
    for (uint8_t i = 1; i <= 8; i++) { /* one set, full */
        key[31] = i;
        lt_result_cache_put(c, key, NULL);
    }
    first[31] = 1;
    assert_true(lt_result_cache_get(c, first, NULL)); /* used: no longer the oldest */
    key[31] = 9;
    lt_result_cache_put(c, key, NULL);
    assert_true(lt_result_cache_get(c, first, NULL) && lt_result_cache_get(c, key, NULL));
    key[31] = 2;
    assert_false(lt_result_cache_get(c, key, NULL));
    lt_result_cache_free(c);
}

/* Every input of check 5 is in the key, and no byte can move from one to the next. */
static void cache_key(void **state)
{
    uint8_t attest[40] = {1}, signature[40] = {2}, name[LT_TPM_NAME] = {3}, a[32], b[32];
    struct lt_residency_host_quote q = {
        .attest = attest, .attest_n = 20, .signature = signature, .signature_n = 20};

    (void)state;
    q.pcrs.alg = LT_HASH_SHA256;
    q.pcrs.mask = LT_RESIDENCY_HOST_PCR_MASK;
    lt_host_quote_key(&q, name, a);
    lt_host_quote_key(&q, name, b);
    assert_memory_equal(a, b, 32);
    uint8_t *bytes[] = {q.header, attest + 19, signature, q.pcrs.value[15], name + 33};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        *bytes[i] ^= 1;
        lt_host_quote_key(&q, name, b);
        assert_memory_not_equal(a, b, 32);
        *bytes[i] ^= 1;
    }
    memset(attest, 0, sizeof attest);
    memset(signature, 0, sizeof signature);
    lt_host_quote_key(&q, name, a);
    q.attest_n = 21;
    q.signature_n = 19;
    lt_host_quote_key(&q, name, b);
    assert_memory_not_equal(a, b, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest), cmocka_unit_test(row_of_absences),
        cmocka_unit_test(host),  cmocka_unit_test(host_against_definition),
        cmocka_unit_test(cache), cmocka_unit_test(cache_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
