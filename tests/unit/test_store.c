/* The verifier's store: what survives, what decays. */
#include "common/file.h"
#include "tests/unit/unit.h"
#include "verifier/store.h"

#include <sys/stat.h>
#include <unistd.h>

static const char boot_a[] = "00000000-0000-4000-8000-00000000000a",
                  boot_b[] = "00000000-0000-4000-8000-00000000000b";
static const struct lt_deadlines deadlines = {.news_ms = 93000, .max_stale_ms = 180000};
static const uint8_t uuid[16] = {1, 2, 3};

struct at {
    char dir[64], path[96];
    struct lt_store *s;
};

static void reopen(struct at *a, const char *boot)
{
    lt_store_close(a->s);
    OK(lt_store_open(a->path, boot, &a->s, &err));
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const struct lt_guest g = {.uuid = {1, 2, 3}, .address = "127.0.0.1:9002"};

    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-store-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    reopen(a, boot_a);
    OK(lt_store_guest_put(a->s, &g, &err));
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

static bool put(struct at *a, enum lt_result result, uint64_t t1, uint64_t end)
{
    struct lt_verdict v;
    struct lt_store_round r = {.verdict = &v, .t1_ms = t1, .end_ms = end, .started = 1, .received = 2};
    bool kept;

    memcpy(r.uuid, uuid, 16);
    lt_verdict_init(&v);
    v.result = result;
    OK(lt_store_round(a->s, &r, &kept, &err));
    return kept;
}

static void expect(struct at *a, uint64_t now, enum lt_result result, bool unproven)
{
    struct lt_status st;
    LT_AUTOJSON json_t *j = NULL;

    OK(lt_store_status(a->s, uuid, &deadlines, now, &st, &j, &err));
    assert_true(st.known);
    assert_int_equal(st.result, result);
    assert_int_equal(st.unproven, unproven);
    assert_true(!unproven || !st.proven_ms);
    assert_string_equal(json_string_value(json_object_get(j, "result")), lt_result_slug(result));
    if (unproven)
        assert_string_equal(json_string_value(json_object_get(j, "reason")), "unproven");
    assert_true(json_is_integer(json_object_get(json_object_get(j, "times"), "age_ms")));
}

static void test_trusted_decays(void **state)
{
    struct at *a = *state;
    struct lt_status st;
    LT_AUTOJSON json_t *none = NULL;

    OK(lt_store_status(a->s, uuid, &deadlines, 5, &st, &none, &err));
    assert_false(st.known);
    assert_true(json_is_null(none));
    assert_true(put(a, LT_TRUSTED, 10000, 10500));
    expect(a, 10500, LT_TRUSTED, false);
    expect(a, 10500 + deadlines.news_ms, LT_TRUSTED, false);
    expect(a, 10501 + deadlines.news_ms, LT_STALE, false); /* no news for a period */
    expect(a, 10000 + deadlines.max_stale_ms, LT_STALE, false);
    expect(a, 10001 + deadlines.max_stale_ms, LT_STALE, true);
    expect(a, 9000, LT_STALE, true); /* a time that lies ahead of the clock proves nothing */
}

static void test_withholding_is_unproven(void **state)
{
    struct at *a = *state;

    assert_true(put(a, LT_UNREACHABLE, 1, 2));
    expect(a, 10000000, LT_UNREACHABLE, false); /* never trusted: nothing to take back */
    assert_true(put(a, LT_TRUSTED, 10000, 10500));
    assert_true(put(a, LT_UNREACHABLE, 100000, 100001));
    expect(a, 100001, LT_UNREACHABLE, false);
    expect(a, 190001, LT_UNREACHABLE, true);
    assert_true(put(a, LT_TRUSTED, 200000, 200500)); /* ends it */
    expect(a, 200500, LT_TRUSTED, false);
}

/* What a restart goes on with: the time left, whatever the last verdict was. */
static void test_time_left_until_unproven(void **state)
{
    static const enum lt_result later[] = {LT_TRUSTED, LT_UNREACHABLE, LT_UNCHECKED, LT_STALE};
    struct at *a = *state;
    struct lt_status st;

    assert_true(put(a, LT_UNREACHABLE, 1, 2));
    OK(lt_store_status(a->s, uuid, &deadlines, 3, &st, NULL, &err));
    assert_int_equal(st.proven_ms, 0);
    assert_true(put(a, LT_TRUSTED, 10000, 10500));
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (i)
            assert_true(put(a, later[i], 150000, 150001));
        reopen(a, boot_a);
        OK(lt_store_status(a->s, uuid, &deadlines, 150001, &st, NULL, &err));
        assert_int_equal(st.proven_ms, 10000 + deadlines.max_stale_ms + 1 - 150001);
        expect(a, 150001 + st.proven_ms, i ? later[i] : LT_STALE, true);
    }
    assert_true(put(a, LT_FAILED, 150002, 150003));
    OK(lt_store_status(a->s, uuid, &deadlines, 150003, &st, NULL, &err));
    assert_int_equal(st.proven_ms, 0);
}

static void test_another_boot_leaves_nothing_green(void **state)
{
    struct at *a = *state;

    assert_true(put(a, LT_TRUSTED, 10000, 10500));
    reopen(a, boot_a);
    expect(a, 10600, LT_TRUSTED, false);
    reopen(a, boot_b);
    expect(a, 10600, LT_STALE, true);
}

static void test_failed_stands(void **state)
{
    struct at *a = *state;

    FAILS(LT_E_CONFLICT, lt_store_clear(a->s, uuid, &err));
    assert_true(put(a, LT_TRUSTED, 10, 20));
    FAILS(LT_E_CONFLICT, lt_store_clear(a->s, uuid, &err));
    assert_true(put(a, LT_FAILED, 30, 40));
    assert_false(put(a, LT_TRUSTED, 50, 60));
    assert_false(put(a, LT_FAILED, 50, 60));
    expect(a, 60, LT_FAILED, false);
    reopen(a, boot_b);
    expect(a, 10000000, LT_FAILED, false);
    OK(lt_store_clear(a->s, uuid, &err));
    assert_true(put(a, LT_TRUSTED, 70, 80));
    expect(a, 80, LT_TRUSTED, false);
}

static void test_removed_guest(void **state)
{
    struct at *a = *state;
    struct lt_guest g;

    assert_true(put(a, LT_FAILED, 10, 20));
    OK(lt_store_guest_delete(a->s, uuid, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_get(a->s, uuid, &g, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_delete(a->s, uuid, &err));
    assert_false(put(a, LT_TRUSTED, 10, 20)); /* its last round came in late */
}

static void test_history_survives(void **state)
{
    struct at *a = *state;
    const struct lt_guest_history h = {
        .has_clock = true,
        .clock = {.clock_ms = 1ull << 40, .reset_count = UINT32_MAX, .restart_count = 2},
        .has_accepted = true,
        .accepted_clock = {.clock_ms = 7, .reset_count = 8, .restart_count = 9},
        .accepted_ak_name = {0, 0x0b, 1},
        .accepted_incarnation = {5},
        .absent_before = true};
    const uint8_t ek[32] = {9}, name[LT_NAME] = {0, 0x0b, 4};
    struct lt_verdict v;
    struct lt_guest_history got;
    struct lt_clock_info clock;
    bool kept, has;

    OK(lt_store_guest_history(a->s, ek, &got, &err));
    assert_false(got.has_clock || got.has_accepted || got.absent_before);
    lt_verdict_init(&v);
    struct lt_store_round r = {.verdict = &v,
                               .ek_digest = ek,
                               .history = &h,
                               .host_ak_name = name,
                               .host_clock = {.clock_ms = 100, .reset_count = 3}};
    memcpy(r.uuid, uuid, 16);
    OK(lt_store_round(a->s, &r, &kept, &err));
    OK(lt_store_guest_delete(a->s, uuid, &err));
    r.host_clock.clock_ms = 50; /* behind: a later commit of an earlier quote */
    OK(lt_store_round(a->s, &r, &kept, &err));
    assert_false(kept);
    reopen(a, boot_b);
    OK(lt_store_guest_history(a->s, ek, &got, &err));
    assert_true(got.has_clock && got.has_accepted && got.absent_before);
    assert_int_equal(lt_clock_compare(&got.clock, &h.clock), 0);
    assert_int_equal(lt_clock_compare(&got.accepted_clock, &h.accepted_clock), 0);
    assert_memory_equal(got.accepted_ak_name, h.accepted_ak_name, LT_NAME);
    assert_memory_equal(got.accepted_incarnation, h.accepted_incarnation, LT_INCARNATION);
    OK(lt_store_host_clock(a->s, name, &has, &clock, &err));
    assert_true(has);
    assert_int_equal(clock.clock_ms, 100);
}

static void test_nonces_are_used_once(void **state)
{
    struct at *a = *state;
    static const char n[2][LT_NONCE + 1] = {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                            "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"};
    bool used[2];

    OK(lt_store_nonces(a->s, n, 1, 1000, 60000, used, &err));
    assert_false(used[0]);
    OK(lt_store_nonces(a->s, n, 2, 2000, 60000, used, &err));
    assert_true(used[0]);
    assert_false(used[1]);
    OK(lt_store_nonces(a->s, n, 2, 61500, 60000, used, &err)); /* the first is forgotten, the second is not */
    assert_false(used[0]);
    assert_true(used[1]);
}

static void test_policies_by_digest(void **state)
{
    struct at *a = *state;
    uint8_t digest[32], other[32] = {1}, *p;
    size_t n;

    OK(lt_store_policy_put(a->s, "{}", 2, digest, &err));
    OK(lt_store_policy_put(a->s, "{}", 2, digest, &err));
    OK(lt_store_policy_get(a->s, digest, &p, &n, &err));
    assert_int_equal(n, 2);
    assert_memory_equal(p, "{}", 2);
    free(p);
    FAILS(LT_E_NOT_FOUND, lt_store_policy_get(a->s, other, &p, &n, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_trusted_decays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_withholding_is_unproven, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_left_until_unproven, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_boot_leaves_nothing_green, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonces_are_used_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policies_by_digest, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
