/* appraisal/checks/result_cache: what is put is got, who goes when a set is full, and many threads at once.
 */
#include "appraisal/checks/result_cache.h"

#include "tests/support/unit.h"

#include <pthread.h>

#define SETS 4
#define WAYS 3

static const uint8_t *key_of(uint8_t set, uint8_t i)
{
    static _Thread_local uint8_t key[LT_SHA256];

    key[0] = set;
    key[31] = i;
    return key;
}

static void a_key_alone(void **state)
{
    struct lt_result_cache *c = lt_result_cache_new(SETS, WAYS, 0);

    (void)state;
    assert_non_null(c);
    assert_false(lt_result_cache_get(c, key_of(0, 1), NULL));
    lt_result_cache_put(c, key_of(0, 1), NULL);
    assert_true(lt_result_cache_get(c, key_of(0, 1), NULL));
    assert_false(lt_result_cache_get(c, key_of(0, 2), NULL));
    assert_false(lt_result_cache_get(c, key_of(SETS, 1), NULL)); /* same set, another key */
    lt_result_cache_free(c);
    lt_result_cache_free(NULL);
}

static void the_last_put_counts(void **state)
{
    struct lt_result_cache *c = lt_result_cache_new(SETS, WAYS, sizeof(uint64_t));
    uint64_t value = 7, out = 0;

    (void)state;
    lt_result_cache_put(c, key_of(1, 1), &value);
    value = 8;
    lt_result_cache_put(c, key_of(1, 1), &value);
    assert_true(lt_result_cache_get(c, key_of(1, 1), &out));
    assert_int_equal(out, 8);
    out = 0;
    assert_false(lt_result_cache_get(c, key_of(1, 2), &out));
    assert_int_equal(out, 0); /* untouched */
    lt_result_cache_free(c);
}

/* Against a list of what was used last, set by set. */
static void the_least_recently_used_goes(void **state)
{
    struct lt_result_cache *c = lt_result_cache_new(SETS, WAYS, 2);
    unsigned used[SETS][16] = {0}, now = 0;

    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        uint8_t r[3], value[2], out[2];
        lt_random(r, sizeof r);
        uint8_t set = r[0] % SETS, i = r[1] % 16;
        unsigned newer = 0;
        for (unsigned k = 0; k < 16; k++)
            newer += used[set][k] > used[set][i];
        bool kept = used[set][i] && newer < WAYS;
        assert_int_equal(lt_result_cache_get(c, key_of(set, i), out), kept);
        if (kept)
            assert_true(out[0] == set && out[1] == i);
        if (!kept && r[2] & 1)
            continue; /* looked for, and not put: nothing changes */
        value[0] = set;
        value[1] = i;
        lt_result_cache_put(c, key_of(set, i), value);
        used[set][i] = ++now;
    }
    lt_result_cache_free(c);
}

static void *use(void *arg)
{
    uint8_t value[300], out[300];

    for (unsigned i = 0; i < 3000; i++) {
        memset(value, (int)(i % 16), sizeof value);
        lt_result_cache_put(arg, key_of(0, i % 16), value);
        uint8_t want = (uint8_t)(i * 7 % 16);
        if (lt_result_cache_get(arg, key_of(0, want), out))
            for (unsigned k = 0; k < sizeof out; k++)
                if (out[k] != want)
                    return "a torn result";
    }
    return NULL;
}

static void many_at_once(void **state)
{
    struct lt_result_cache *c = lt_result_cache_new(1, 4, 300);
    pthread_t threads[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, c), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *fault;
        pthread_join(threads[i], &fault);
        assert_null(fault);
    }
    lt_result_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_alone),
        cmocka_unit_test(the_last_put_counts),
        cmocka_unit_test(the_least_recently_used_goes),
        cmocka_unit_test(many_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
