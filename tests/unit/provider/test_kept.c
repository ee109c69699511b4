/* Lists by digest: what is kept, in how many bytes, and which goes first. */
#include "provider/kept.h"
#include "tests/support/unit.h"

static struct lt_http_shared *shared(size_t n)
{
    return lt_http_shared_new(calloc(1, n + 1), n);
}

static void put(struct lt_kept *c, uint8_t key, size_t n)
{
    uint8_t digest[32] = {key};
    struct lt_http_shared *s = shared(n);

    lt_kept_put(c, digest, s);
    lt_http_shared_unref(s);
}

static size_t size_of(struct lt_kept *c, uint8_t key)
{
    uint8_t digest[32] = {key};
    struct lt_http_shared *s = lt_kept_get(c, digest);
    size_t n = s ? lt_http_shared_bytes(s).n : SIZE_MAX;

    lt_http_shared_unref(s);
    return n;
}

#define NONE SIZE_MAX
#define PLACE LT_KEPT_MORE

static void keeps_what_it_was_given(void **state)
{
    struct lt_kept *c = lt_kept_new(100000);

    (void)state;
    assert_int_equal(size_of(c, 1), NONE);
    put(c, 1, 10);
    put(c, 2, 0);
    assert_int_equal(size_of(c, 1), 10);
    assert_int_equal(size_of(c, 2), 0);
    put(c, 1, 50); /* what is there already stays, and is counted once */
    assert_int_equal(size_of(c, 1), 10);
    assert_int_equal(lt_kept_bytes(c), 10 + 2 * PLACE);
    lt_kept_free(c);
    lt_kept_free(NULL);
}

static void the_one_used_longest_ago_goes(void **state)
{
    struct lt_kept *c = lt_kept_new(3 * (100 + PLACE));

    (void)state;
    for (uint8_t i = 1; i <= 3; i++)
        put(c, i, 100);
    assert_int_equal(size_of(c, 1), 100); /* used: 2 is the oldest now */
    put(c, 4, 100);
    assert_int_equal(size_of(c, 2), NONE);
    assert_int_equal(size_of(c, 1), 100);
    assert_int_equal(size_of(c, 3), 100);
    assert_int_equal(size_of(c, 4), 100);
    put(c, 5, 2 * 100 + PLACE); /* takes the room of two */
    assert_int_equal(size_of(c, 1), NONE);
    assert_int_equal(size_of(c, 3), NONE);
    assert_int_equal(size_of(c, 4), 100);
    assert_int_equal(size_of(c, 5), 2 * 100 + PLACE);
    lt_kept_free(c);
}

static void never_holds_more_than_its_bound(void **state)
{
    const size_t max = 10000;
    struct lt_kept *c = lt_kept_new(max);

    (void)state;
    put(c, 0, max - PLACE + 1); /* too large for all of it: not kept, and nothing goes for it */
    assert_int_equal(size_of(c, 0), NONE);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t digest[32] = {(uint8_t)i, (uint8_t)(i >> 8)};
        struct lt_http_shared *s = shared(i % 1000);
        lt_kept_put(c, digest, s);
        lt_http_shared_unref(s);
        assert_true(lt_kept_bytes(c) <= max);
    }
    lt_kept_free(c);
}

/* Who has a list keeps it, whatever goes meanwhile. */
static void a_reference_outlives_its_place(void **state)
{
    struct lt_kept *c = lt_kept_new(100 + PLACE);
    uint8_t digest[32] = {1};

    (void)state;
    put(c, 1, 100);
    struct lt_http_shared *s = lt_kept_get(c, digest);
    put(c, 2, 100);
    assert_int_equal(size_of(c, 1), NONE);
    assert_int_equal(lt_http_shared_bytes(s).n, 100);
    lt_kept_free(c);
    assert_int_equal(lt_http_shared_bytes(s).p[99], 0);
    lt_http_shared_unref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_it_was_given),
        cmocka_unit_test(the_one_used_longest_ago_goes),
        cmocka_unit_test(never_holds_more_than_its_bound),
        cmocka_unit_test(a_reference_outlives_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
