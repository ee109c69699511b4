/* common/ref: the last reference frees, once, whoever gives it back and on whatever thread. */
#include "common/ref.h"
#include "tests/support/unit.h"

#include <pthread.h>

#define THREADS 4
#define TURNS 2000

static atomic_uint freed;

static void count_free(void *p)
{
    atomic_fetch_add(&freed, 1);
    free(p);
}

static void the_last_one_frees(void **state)
{
    struct lt_ref_count c;

    (void)state;
    lt_ref_start(&c, 1);
    assert_true(lt_ref_leave(&c));
    lt_ref_start(&c, 3);
    lt_ref_join(&c, 2);
    for (int i = 0; i < 4; i++)
        assert_false(lt_ref_leave(&c));
    assert_true(lt_ref_leave(&c));
}

static void a_box(void **state)
{
    int *p = malloc(sizeof *p);

    (void)state;
    atomic_store(&freed, 0);
    struct lt_ref *r = lt_ref_new(p, count_free);
    assert_ptr_equal(lt_ref_value(r), p);
    assert_false(lt_ref_shared(r));
    assert_ptr_equal(lt_ref_get(r), r);
    assert_true(lt_ref_shared(r));
    lt_ref_put(r);
    assert_false(lt_ref_shared(r));
    assert_int_equal(atomic_load(&freed), 0);
    lt_ref_put(r);
    assert_int_equal(atomic_load(&freed), 1);
}

static void nothing_in_it(void **state)
{
    (void)state;
    lt_ref_put(NULL);
    assert_null(lt_ref_get(NULL));
    assert_null(lt_ref_value(NULL));
    assert_false(lt_ref_shared(NULL));
}

static void *hold(void *arg)
{
    struct lt_ref *r = arg;

    for (int i = 0; i < TURNS; i++) {
        lt_ref_get(r);
        lt_ref_put(r);
    }
    lt_ref_put(r);
    return NULL;
}

static void many_threads_one_free(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        pthread_t threads[THREADS];
        struct lt_ref *r = lt_ref_new(malloc(1), count_free);
        atomic_store(&freed, 0);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, hold, lt_ref_get(r)), 0);
        lt_ref_put(r);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&freed), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_one_frees),
        cmocka_unit_test(a_box),
        cmocka_unit_test(nothing_in_it),
        cmocka_unit_test(many_threads_one_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
