/* What is kept of a guest's V: a new one is a new delivery, and a delivery is of that V and that key alone.
 */
#include "tests/support/unit.h"
#include "verifier/store/releases.h"

#include <sqlite3.h>
#include <unistd.h>

static const char boot[] = "00000000-0000-4000-8000-00000000000a";
static const uint8_t uuid[16] = {1, 2, 3}, stranger[16] = {9}, key[32] = {7}, other_key[32] = {8};
static const struct lt_slice none, v1 = {(const uint8_t *)"sealed one", 10},
                                   v2 = {(const uint8_t *)"sealed two", 10},
                                   rk = {(const uint8_t *)"sealed key", 10};

struct at {
    char dir[64], path[96];
    struct lt_store *s;
};

static void reopen(struct at *a)
{
    lt_store_close(a->s);
    OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
}

static void add_guest(struct at *a)
{
    struct lt_store_guest g = {.address = "127.0.0.1:9002"};
    memcpy(g.uuid, uuid, sizeof uuid);
    OK(lt_store_guest_put(a->s, &g, none, &err));
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-releases-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    reopen(a);
    add_guest(a);
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[128];

    lt_store_close(a->s);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", a->path, ends[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(a->dir), 0);
    free(a);
    return 0;
}

static void is(struct lt_buf *b, struct lt_slice want)
{
    assert_int_equal(b->n, want.n);
    if (want.n)
        assert_memory_equal(b->p, want.p, want.n);
}

static void holds(struct at *a, struct lt_slice v, struct lt_slice revocation_key, const uint8_t *delivered)
{
    LT_STORE_AUTORELEASE struct lt_store_release r;
    OK(lt_store_release_get(a->s, uuid, &r, &err));
    is(&r.v, v);
    is(&r.revocation_key, revocation_key);
    assert_int_equal(r.delivered, delivered != NULL);
    if (delivered)
        assert_memory_equal(r.key, delivered, 32);
}

static bool deliver(struct at *a, struct lt_slice v, const uint8_t to[32])
{
    bool counts;
    OK(lt_store_release_delivered(a->s, uuid, v, to, 42, &counts, &err));
    return counts;
}

static void test_nothing_is_no_error(void **state)
{
    struct at *a = *state;
    holds(a, none, none, NULL);
    FAILS(LT_E_NOT_FOUND, lt_store_release_put(a->s, stranger, v1, none, &err));
}

static void test_it_survives(void **state)
{
    struct at *a = *state;
    OK(lt_store_release_put(a->s, uuid, v1, rk, &err));
    holds(a, v1, rk, NULL);
    assert_true(deliver(a, v1, key));
    reopen(a);
    holds(a, v1, rk, key);
}

static void test_a_new_v_is_a_new_delivery(void **state)
{
    struct at *a = *state;
    OK(lt_store_release_put(a->s, uuid, v1, rk, &err));
    assert_true(deliver(a, v1, key));
    assert_true(deliver(a, v1, other_key));
    holds(a, v1, rk, other_key);
    OK(lt_store_release_put(a->s, uuid, v2, none, &err));
    holds(a, v2, rk, NULL);
    /* what was under way when it came is about the one before */
    assert_false(deliver(a, v1, key));
    holds(a, v2, rk, NULL);
    /* another revocation key alone changes nothing of it */
    assert_true(deliver(a, v2, key));
    OK(lt_store_release_put(a->s, uuid, none, v1, &err));
    holds(a, v2, v1, key);
}

static void test_it_dies_with_its_guest(void **state)
{
    struct at *a = *state;
    OK(lt_store_release_put(a->s, uuid, v1, rk, &err));
    OK(lt_store_guest_delete(a->s, uuid, &err));
    holds(a, none, none, NULL);
    assert_false(deliver(a, v1, key));
    add_guest(a);
    holds(a, none, none, NULL);
}

static void spoil(struct at *a, const char *text)
{
    sqlite3 *sql;
    lt_store_close(lt_take(&a->s));
    assert_int_equal(sqlite3_open(a->path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
    reopen(a);
}

static void test_a_row_that_cannot_be_read_gives_nothing(void **state)
{
    static const char *const spoilt[] = {"UPDATE releases SET v = zeroblob(1000000)",
                                         "UPDATE releases SET v = x'00', revocation_key = zeroblob(1000000)",
                                         "UPDATE releases SET revocation_key = NULL, key = x'0102'"};
    struct at *a = *state;
    OK(lt_store_release_put(a->s, uuid, v1, rk, &err));
    assert_true(deliver(a, v1, key));
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        struct lt_store_release r;
        spoil(a, spoilt[i]);
        err = (struct lt_err){0};
        assert_int_not_equal(lt_store_release_get(a->s, uuid, &r, &err), 0);
        assert_null(r.v.p);
        assert_null(r.revocation_key.p);
    }
    OK(lt_store_release_put(a->s, uuid, v2, none, &err));
    holds(a, v2, none, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_no_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_v_is_a_new_delivery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_dies_with_its_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_row_that_cannot_be_read_gives_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
