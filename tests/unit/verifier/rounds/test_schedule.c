/* When the next round is due: docs/protocol.md section 5, last column of "What a failure means". */
#include "tests/support/unit.h"
#include "verifier/rounds/schedule.h"

#define PERIOD 60000u

static uint64_t next(struct lt_schedule *s, enum lt_verdict_result result, const char *reason, uint64_t t1,
                     uint64_t now)
{
    struct lt_verdict v;

    lt_verdict_init(&v);
    v.result = result;
    snprintf(v.reason, sizeof v.reason, "%s", reason);
    return lt_schedule_next(s, &v, t1, now, PERIOD, 0);
}

static void test_trusted_and_stale_at_the_period(void **state)
{
    struct lt_schedule s = {0};
    (void)state;
    assert_int_equal(next(&s, LT_VERDICT_TRUSTED, "", 1000, 1500), 61000);
    assert_int_equal(next(&s, LT_VERDICT_STALE, "window", 1000, 1500), 61000);
    /* A round that took longer than a period: at once, never in the past. */
    assert_int_equal(next(&s, LT_VERDICT_TRUSTED, "", 1000, 90000), 90000);
}

static void test_unchecked_two_at_once_in_a_row(void **state)
{
    struct lt_schedule s = {0};
    (void)state;
    for (int row = 0; row < 3; row++) {
        assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "sandwich", 1000, 1100), 1100);
        assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "host-clock", 1100, 1200), 1200);
        assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "residency", 1200, 1300), 61200);
    }
    assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "sandwich", 1000, 1100), 1100);
    assert_int_equal(next(&s, LT_VERDICT_TRUSTED, "", 1000, 1100), 61000); /* ends the row */
    assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "sandwich", 1000, 1100), 1100);
    assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "sandwich", 1000, 1100), 1100);
    assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "sandwich", 1000, 1100), 61000);
}

static void test_a_level_is_not_tried_again(void **state)
{
    struct lt_schedule s = {0};
    (void)state;
    assert_int_equal(next(&s, LT_VERDICT_UNCHECKED, "level", 1000, 1100), 61000);
}

static void test_failed_waits_for_the_tenant(void **state)
{
    struct lt_schedule s = {0};
    (void)state;
    assert_true(next(&s, LT_VERDICT_FAILED, "residency", 1000, 1100) == LT_SCHEDULE_NEVER);
}

static void test_unreachable_backs_off(void **state)
{
    struct lt_schedule s = {0};
    struct lt_verdict v;
    uint64_t want = LT_SCHEDULE_BACKOFF_MS;
    (void)state;
    for (int i = 0; i < 40; i++, want = want * 2 < PERIOD ? want * 2 : PERIOD)
        assert_int_equal(next(&s, LT_VERDICT_UNREACHABLE, "timeout", 0, 5000), 5000 + want);
    next(&s, LT_VERDICT_TRUSTED, "", 0, 0);
    lt_verdict_init(&v);
    v.result = LT_VERDICT_UNREACHABLE;
    assert_int_equal(lt_schedule_next(&s, &v, 0, 5000, PERIOD, 7), 12000);    /* as the other side asked */
    assert_int_equal(lt_schedule_next(&s, &v, 0, 5000, PERIOD, 9999), 65000); /* but not for ever */
    assert_int_equal(lt_schedule_next(&s, &v, 0, 5000, PERIOD, 0), 9000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trusted_and_stale_at_the_period),
        cmocka_unit_test(test_unchecked_two_at_once_in_a_row),
        cmocka_unit_test(test_a_level_is_not_tried_again),
        cmocka_unit_test(test_failed_waits_for_the_tenant),
        cmocka_unit_test(test_unreachable_backs_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
