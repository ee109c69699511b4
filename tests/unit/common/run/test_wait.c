/* common/run/wait: what a callback ends with is what the caller gets, whichever of the two comes first. */
#include "common/run/wait.h"
#include "tests/support/unit.h"

#include <sched.h>

struct call {
    struct lt_wait wait;
    int rc;
    struct lt_err e;
    unsigned late;
    int result;
};

static void *call_back(void *arg)
{
    struct call *c = arg;

    for (unsigned i = 0; i < c->late; i++)
        sched_yield();
    c->result = 42;
    lt_wait_end(&c->wait, c->rc, &c->e);
    return NULL; /* c may be gone */
}

static void it_ended_before(void **state)
{
    struct lt_wait good = LT_WAIT, bad = LT_WAIT, silent = LT_WAIT;
    struct lt_err why = {LT_E_BUSY, "full"}, kept = {LT_E_USAGE, "as before"};

    (void)state;
    lt_wait_end(&good, 0, &why);
    assert_int_equal(lt_wait_for(&good, &kept), 0);
    assert_int_equal(kept.code, LT_E_USAGE); /* untouched */
    lt_wait_end(&bad, LT_E_BUSY, &why);
    FAILS(LT_E_BUSY, lt_wait_for(&bad, &err));
    assert_string_equal(err.msg, "full");
    assert_int_equal(lt_wait_for(&bad, LT_NO_ERR), LT_E_BUSY);
    lt_wait_end(&silent, LT_E_IO, NULL);
    assert_int_equal(lt_wait_for(&silent, LT_NO_ERR), LT_E_IO);
}

/* Early, late and at the same time; the wait is gone when the callback's thread still runs. */
static void on_another_thread(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct call *c = calloc(1, sizeof *c);
        pthread_t thread;
        assert_non_null(c);
        *c = (struct call){
            .wait = LT_WAIT, .rc = i & 1 ? LT_E_TIMEOUT : 0, .e = {LT_E_TIMEOUT, "late"}, .late = i % 3 * 20};
        assert_int_equal(pthread_create(&thread, NULL, call_back, c), 0);
        for (unsigned k = 0; k < i % 5 * 10; k++)
            sched_yield();
        int want = c->rc, rc = lt_wait_for(&c->wait, &err);
        assert_int_equal(rc, want);
        assert_int_equal(c->result, 42);
        if (rc)
            assert_string_equal(err.msg, "late");
        free(c);
        pthread_join(thread, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ended_before),
        cmocka_unit_test(on_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
