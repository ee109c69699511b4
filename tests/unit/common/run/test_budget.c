#include "common/run/budget.h"

#include "tests/support/unit.h"

static size_t used(struct lt_budget *b)
{
    struct lt_budget_use u;
    lt_budget_use(b, &u);
    return u.used;
}

static void takes_up_to_the_limit(void **state)
{
    struct lt_budget *b = lt_budget_new(1000);
    (void)state;

    assert_true(lt_budget_take(b, 600, 0));
    assert_true(lt_budget_take(b, 400, 0));
    assert_false(lt_budget_take(b, 1, 0));
    assert_true(lt_budget_take(b, 0, 0));
    assert_false(lt_budget_take(b, 0, 1));
    lt_budget_give(b, 1);
    assert_false(lt_budget_take(b, 2, 0));
    assert_false(lt_budget_take(b, SIZE_MAX, 0));
    assert_true(lt_budget_take(b, 1, 0));
    lt_budget_give(b, 1000);
    assert_int_equal(used(b), 0);
    assert_false(lt_budget_take(b, 901, 100));
    assert_true(lt_budget_take(b, 900, 100));
    lt_budget_free(b);
    lt_budget_free(NULL);
}

/* However many keep all they can: half of the account stays for what passes, and the next still finds a part.
 */
static void keepers_leave_room(void **state)
{
    enum { MANY = 5000 };
    static size_t had[MANY];
    struct lt_budget *b = lt_budget_new(1u << 30);
    struct lt_budget_use u;
    size_t late = 0;
    (void)state;

    memset(had, 0, sizeof had);
    for (int again = 0; again < 20; again++)
        for (int i = 0; i < MANY; i++)
            for (size_t n = 64u << 20; n > had[i] && !lt_budget_keep(b, &had[i], n); n /= 2)
                ;
    lt_budget_use(b, &u);
    assert_true(u.kept <= u.limit / 2);
    assert_true(u.used == u.kept);
    assert_true(lt_budget_keep(b, &late, (u.limit / 2 - u.kept) / LT_BUDGET_SHARE));
    assert_true(lt_budget_take(b, u.limit / 2, 0));
    /* Less is always possible, and brings back all of it. */
    for (int i = 0; i < MANY; i++)
        assert_true(lt_budget_keep(b, &had[i], 0));
    assert_true(lt_budget_keep(b, &late, 0));
    assert_int_equal(used(b), u.limit / 2);
    lt_budget_free(b);
}

static void settling_never_needs_more(void **state)
{
    struct lt_budget *b = lt_budget_new(1600);
    size_t had = 0, other = 0;
    (void)state;

    assert_true(lt_budget_take(b, 1600, 0));
    assert_true(lt_budget_settle(b, 400, &had, 100)); /* an eighth of 800 */
    assert_int_equal(had, 100);
    assert_int_equal(used(b), 1300);
    assert_false(lt_budget_settle(b, 400, &other, 101)); /* refused, and given back all the same */
    assert_int_equal(other, 0);
    assert_int_equal(used(b), 900);
    assert_false(lt_budget_keep(b, &had, 101));
    assert_int_equal(had, 100);
    assert_true(lt_budget_settle(b, 800, &had, 0));
    assert_int_equal(used(b), 0);
    lt_budget_free(b);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static void tells_of_room(void **state)
{
    struct lt_budget *b = lt_budget_new(100);
    size_t had = 0;
    int told = 0;
    (void)state;

    lt_budget_watch(b, count, &told);
    assert_true(lt_budget_take(b, 90, 0));
    assert_false(lt_budget_take(b, 20, 0));
    assert_int_equal(told, 0);
    lt_budget_give(b, 90);
    assert_int_equal(told, 1);
    assert_true(lt_budget_keep(b, &had, 5));
    assert_int_equal(told, 1);
    assert_true(lt_budget_keep(b, &had, 1));
    assert_int_equal(told, 2);
    lt_budget_unwatch(b, &told);
    assert_true(lt_budget_keep(b, &had, 0));
    assert_int_equal(told, 2);
    lt_budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_up_to_the_limit),
        cmocka_unit_test(keepers_leave_room),
        cmocka_unit_test(settling_never_needs_more),
        cmocka_unit_test(tells_of_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
