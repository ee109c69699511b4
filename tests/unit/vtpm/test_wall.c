/* Whether a file was written after a process started, with a clock that somebody sets. */
#include "vtpm/wall.h"

#include "tests/support/unit.h"

#define S 1000000000LL
#define EPOCH (1700000000LL * S) /* CLOCK_REALTIME at boot */

/* The machine runs for so long; the wall clock is `offset` beside EPOCH + boot. */
static int64_t noted(struct lt_wall *w, int64_t boot_s, int64_t offset_s)
{
    lt_wall_note(w, boot_s * S, EPOCH + (boot_s + offset_s) * S);
    return boot_s;
}

/* A file written at that time of CLOCK_BOOTTIME, while the wall clock was so far beside. */
static bool after(const struct lt_wall *w, int64_t written_s, int64_t offset_s, int64_t started_s)
{
    return lt_wall_after(w, EPOCH + (written_s + offset_s) * S, started_s * S);
}

static void test_nobody_sets_it(void **state)
{
    struct lt_wall w = {0};
    (void)state;
    noted(&w, 100, 0);
    noted(&w, 500, 0);
    assert_int_equal(w.count, 1);
    assert_false(after(&w, 50, 0, 200));
    assert_false(after(&w, 199, 0, 200));
    assert_false(after(&w, 200, 0, 200));
    assert_true(after(&w, 201, 0, 200));
    assert_true(after(&w, 400, 0, 200));
    assert_false(after(&w, -86400, 0, 200)); /* before the boot */
    assert_true(after(&w, 9999, 0, 200));    /* a time to come: not one of before */
    for (int64_t t = 500; t < 100000; t++)   /* read a little apart each time, and adjusted slowly: no step */
        lt_wall_note(&w, t * S, EPOCH + t * S + (t % 7) * 1000000);
    assert_int_equal(w.count, 1);
}

/* Set ahead after the file was written: it must not look old. */
static void test_set_ahead(void **state)
{
    struct lt_wall w = {0};
    (void)state;
    noted(&w, 100, 0);
    noted(&w, 300, 0);
    noted(&w, 310, 3600);
    noted(&w, 1000, 3600);
    assert_true(after(&w, 250, 0, 200));    /* written 50 s after the start, 60 s before the setting */
    assert_true(after(&w, 305, 0, 200));    /* between two looks, before it was set */
    assert_true(after(&w, 305, 3600, 200)); /* and after */
    assert_true(after(&w, 400, 3600, 200));
    assert_false(after(&w, 150, 0, 200));
    assert_false(after(&w, 350, 3600, 400));
}

/* Set back: a file of before must not look new. */
static void test_set_back(void **state)
{
    struct lt_wall w = {0};
    (void)state;
    noted(&w, 100, 3600); /* the battery's clock was an hour ahead */
    noted(&w, 200, 3600);
    noted(&w, 205, 0);
    noted(&w, 400, 0);
    assert_false(after(&w, 50, 3600, 300));
    assert_false(after(&w, 190, 3600, 300));
    assert_true(after(&w, 350, 0, 300));
    assert_false(after(&w, 250, 0, 300));
    assert_false(after(&w, -7200, 3600, 300));
}

static void test_set_again_and_again(void **state)
{
    struct lt_wall w = {0};
    (void)state;
    for (int64_t t = 0; t < 200; t++)
        noted(&w, 100 * t, t % 2 ? 50 : 0);
    assert_int_equal(w.count, LT_WALL_STEPS);
    assert_true(after(&w, 19850, 0, 19820));
    assert_true(after(&w, 19850, 50, 19820));
    assert_true(after(&w, 30000, 0, 19900));
    assert_false(after(&w, 10, 0, 19900));
}

static void test_now(void **state)
{
    struct lt_wall w = {0};
    (void)state;
    lt_wall_look(&w);
    lt_wall_look(&w);
    assert_int_equal(w.count, 1);
    assert_true(w.seen[0].offset > EPOCH - 400LL * 86400 * S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_sets_it),
        cmocka_unit_test(test_set_ahead),
        cmocka_unit_test(test_set_back),
        cmocka_unit_test(test_set_again_and_again),
        cmocka_unit_test(test_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
