/* The verifier's store: what it keeps of sealed vTPMs. */
#include "tests/support/opener_lists.h"
#include "verifier/store/keylime.h"
#include "verifier/store/seals.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char boot[] = "00000000-0000-4000-8000-00000000000a";
static const uint8_t uuid[16] = {1, 2, 3}, ek[32] = {9}, host_a[32] = {0xa}, host_b[32] = {0xb};

struct at {
    char dir[64], path[96];
    struct lt_store *s;
    struct lt_openers list;
};

static void reopen(struct at *a)
{
    lt_store_close(a->s);
    OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const struct lt_store_guest g = {.uuid = {1, 2, 3}, .address = "127.0.0.1:9002"};
    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-sealed-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    reopen(a);
    OK(lt_store_guest_put(a->s, &g, (struct lt_slice){0}, &err));
    opener_lists_add(&a->list, host_a, 1);
    *state = a;
    return 0;
}

/* No file takes a byte more, as on a full disk. */
static void room(bool is)
{
    struct rlimit l;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = is ? l.rlim_max : 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static int teardown(void **state)
{
    struct at *a = *state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[128];

    room(true);
    lt_store_close(a->s);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", a->path, ends[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(a->dir), 0);
    lt_openers_free(&a->list);
    free(a);
    return 0;
}

static enum lt_store_kept put(struct at *a, enum lt_verdict_result result, const struct lt_openers *list)
{
    const struct lt_history_guest history = {0};
    struct lt_slice bytes = {0};
    struct lt_verdict v;
    uint8_t digest[32];
    struct lt_store_round r = {.verdict = &v, .t1_ms = 1, .end_ms = 2, .ek_digest = ek, .history = &history};
    enum lt_store_kept kept;

    memcpy(r.uuid, uuid, 16);
    lt_verdict_init(&v);
    v.result = result;
    if (list)
        bytes = opener_lists_bytes(list, digest);
    r.openers = bytes;
    OK(lt_store_round(a->s, &r, &kept, &err));
    free((void *)bytes.p);
    return kept;
}

/* What is remembered is this list; its moments and exposures into *out, to be freed. */
static void remembered(struct at *a, const struct lt_openers *list, struct lt_store_openers *out)
{
    uint8_t digest[32];

    OK(lt_store_openers(a->s, ek, out, &err));
    struct lt_slice want = opener_lists_bytes(list, digest);
    assert_int_equal(out->n, want.n);
    assert_memory_equal(out->bytes, want.p, want.n);
    free((void *)want.p);
}

static void is_remembered(struct at *a, const struct lt_openers *list)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o;

    remembered(a, list, &o);
}

static void test_nothing_at_first(void **state)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o;
    struct at *a = *state;

    OK(lt_store_openers(a->s, ek, &o, &err));
    assert_null(o.bytes);
    assert_int_equal(o.exposed_count, 0);
    FAILS(LT_E_CONFLICT, lt_store_exposure_clear(a->s, ek, &err));
}

static void test_a_list_grows_and_never_shrinks(void **state)
{
    LT_OPENERS_AUTO struct lt_openers shorter = {0}, other = {0};
    struct at *a = *state;

    assert_int_equal(put(a, LT_VERDICT_TRUSTED, &a->list), LT_STORE_KEPT);
    OK(lt_openers_copy(&a->list, &shorter, &err));
    opener_lists_add(&a->list, host_b, 2);
    put(a, LT_VERDICT_TRUSTED, &a->list);
    is_remembered(a, &a->list);
    put(a, LT_VERDICT_TRUSTED, &shorter); /* a round that ended late */
    is_remembered(a, &a->list);
    opener_lists_add(&other, host_b, 3);
    put(a, LT_VERDICT_TRUSTED, &other); /* another history: nothing of it is remembered */
    is_remembered(a, &a->list);
    put(a, LT_VERDICT_UNREACHABLE, NULL);
    reopen(a);
    is_remembered(a, &a->list);
}

static void test_closed_is_remembered_from_when_it_was_seen(void **state)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o = {0}, again = {0};
    struct at *a = *state;

    opener_lists_add(&a->list, host_b, 2);
    put(a, LT_VERDICT_TRUSTED, &a->list);
    remembered(a, &a->list, &o);
    assert_true(!o.closed[0] && !o.closed[1]);
    lt_store_openers_free(&o);
    a->list.one[0].closed = true;
    put(a, LT_VERDICT_TRUSTED, &a->list);
    remembered(a, &a->list, &o);
    assert_true(o.closed[0] > 0 && !o.closed[1]);
    a->list.one[1].closed = true;
    put(a, LT_VERDICT_TRUSTED, &a->list);
    reopen(a);
    remembered(a, &a->list, &again);
    assert_int_equal(again.closed[0], o.closed[0]);
    assert_true(again.closed[1] > again.closed[0]); /* later, whatever the wall clock's second */
}

/* The guest goes and comes again: nothing is forgotten. */
static void test_removal_forgets_nothing(void **state)
{
    const struct lt_store_guest g = {.uuid = {1, 2, 3}};
    LT_STORE_AUTOOPENERS struct lt_store_openers o;
    struct at *a = *state;
    bool news;

    put(a, LT_VERDICT_TRUSTED, &a->list);
    lt_store_expose(a->s, ek, host_a, &news);
    OK(lt_store_guest_delete(a->s, uuid, &err));
    OK(lt_store_guest_put(a->s, &g, (struct lt_slice){0}, &err));
    remembered(a, &a->list, &o);
    assert_int_equal(o.exposed_count, 1);
}

static size_t exposed(struct at *a)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o;

    OK(lt_store_openers(a->s, ek, &o, &err));
    return o.exposed_count;
}

static void test_exposures_are_sticky_until_cleared(void **state)
{
    struct at *a = *state;
    uint64_t before = lt_store_exposures(a->s), after;
    bool news;

    lt_store_expose(a->s, ek, host_a, &news);
    assert_true(news);
    after = lt_store_exposures(a->s);
    assert_int_not_equal(after, before);
    lt_store_expose(a->s, ek, host_a, &news);
    assert_false(news);
    assert_int_equal(lt_store_exposures(a->s), after);
    lt_store_expose(a->s, ek, host_b, &news);
    assert_true(news);
    put(a, LT_VERDICT_FAILED, &a->list);
    OK(lt_store_clear(a->s, uuid, &err)); /* of the failed verdict: not of this */
    put(a, LT_VERDICT_TRUSTED, &a->list);
    reopen(a);
    assert_int_equal(exposed(a), 2);
    OK(lt_store_exposure_clear(a->s, ek, &err));
    assert_int_equal(exposed(a), 0);
    FAILS(LT_E_CONFLICT, lt_store_exposure_clear(a->s, ek, &err));
    reopen(a);
    assert_int_equal(exposed(a), 0);
    lt_store_expose(a->s, ek, host_a, &news); /* it fails again: that is a new one */
    assert_true(news);
    reopen(a);
    assert_int_equal(exposed(a), 1);
}

static void until_written(struct at *a)
{
    struct lt_db_health health;
    struct lt_db_skipped skipped;
    size_t unwritten = 1;

    for (int i = 0; unwritten && i < 400; i++) {
        usleep(25000);
        lt_store_report(a->s, &health, &skipped, &unwritten);
    }
    assert_int_equal(unwritten, 0);
}

/* A full disk: what was found counts at once, and is written when there is room. */
static void test_a_full_disk_loses_nothing(void **state)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o = {0};
    struct at *a = *state;
    bool news;

    signal(SIGXFSZ, SIG_IGN);
    put(a, LT_VERDICT_TRUSTED, &a->list);
    opener_lists_add(&a->list, host_b, 2);
    room(false);
    assert_int_equal(put(a, LT_VERDICT_TRUSTED, &a->list), LT_STORE_HELD);
    lt_store_expose(a->s, ek, host_a, &news);
    assert_true(news);
    lt_store_expose(a->s, ek, host_a, &news);
    assert_false(news);
    remembered(a, &a->list, &o);
    assert_int_equal(o.exposed_count, 1);
    put(a, LT_VERDICT_UNREACHABLE, NULL); /* a round without a list, nor a quote: the list waits on */
    is_remembered(a, &a->list);
    FAILS(err.code, lt_store_exposure_clear(a->s, ek, &err)); /* not said to be cleared before it is */
    assert_int_equal(exposed(a), 1);
    room(true);
    until_written(a);
    reopen(a);
    is_remembered(a, &a->list);
    assert_int_equal(exposed(a), 1);
}

/* Killed between the verdict that is told and its write: what was remembered before is. */
static void test_a_kill_before_the_write(void **state)
{
    LT_OPENERS_AUTO struct lt_openers longer = {0};
    struct at *a = *state;
    int status;

    put(a, LT_VERDICT_TRUSTED, &a->list);
    OK(lt_openers_copy(&a->list, &longer, &err));
    opener_lists_add(&longer, host_b, 2);
    lt_store_close(a->s);
    a->s = NULL;
    pid_t child = fork();
    if (!child) {
        bool news;
        OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
        lt_store_expose(a->s, ek, host_a, &news);
        signal(SIGXFSZ, SIG_IGN);
        room(false);
        if (put(a, LT_VERDICT_TRUSTED, &longer) != LT_STORE_HELD) /* told, and not written */
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
    is_remembered(a, &a->list);
    assert_int_equal(exposed(a), 1);
    put(a, LT_VERDICT_TRUSTED, &longer);
    is_remembered(a, &longer);
}

/* Ever longer lists, of which ever more is closed, and exposures; each number is told when its work is done.
 */
static void work_until_killed(struct at *a, int tell)
{
    struct lt_openers list = {0};
    bool news;

    reopen(a);
    for (uint8_t i = 1; i < LT_MAX_OPENERS - 1; i++) {
        const uint8_t host[32] = {i};
        opener_lists_add(&list, host_a, i);
        if (i > 1)
            list.one[i - 2].closed = true;
        put(a, LT_VERDICT_TRUSTED, &list);
        lt_store_expose(a->s, ek, host, &news);
        if (write(tell, &i, 1) != 1)
            break;
    }
    pause();
}

static unsigned run_and_kill(struct at *a, unsigned after)
{
    uint8_t done = 0;
    int tell[2];

    lt_store_close(a->s);
    a->s = NULL;
    assert_int_equal(pipe(tell), 0);
    pid_t child = fork();
    if (!child) {
        close(tell[0]);
        work_until_killed(a, tell[1]);
        _exit(0);
    }
    close(tell[1]);
    while (done < after)
        assert_int_equal(read(tell[0], &done, 1), 1);
    kill(child, SIGKILL);
    while (read(tell[0], &done, 1) == 1)
        ;
    close(tell[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    reopen(a);
    return done;
}

/* Whatever was told to be remembered is, and what it remembers is one of the lists. */
static void test_killed_at_work(void **state)
{
    struct at *a = *state;

    for (unsigned turn = 1; turn < 12; turn++) {
        LT_STORE_AUTOOPENERS struct lt_store_openers o;
        LT_OPENERS_AUTO struct lt_openers list = {0};
        unsigned done = run_and_kill(a, 3 * turn);
        OK(lt_store_openers(a->s, ek, &o, &err));
        OK(lt_openers_parse(o.bytes, o.n, &list, &err));
        assert_true(list.count >= done && o.exposed_count >= done);
        for (unsigned i = 0; i < list.count; i++) {
            assert_int_equal(list.one[i].state.value[4][0], i + 1);
            assert_int_equal(list.one[i].closed, i + 1 < list.count);
            assert_int_equal(o.closed[i] > 0, i + 1 < list.count);
        }
    }
}

/* ---- whom a host concerns ---- */

static void policy_of(struct at *a, const char *text)
{
    uint8_t digest[32];

    OK(lt_store_guest_policy(a->s, uuid, (struct lt_slice){(const uint8_t *)text, strlen(text)}, digest,
                             &err));
}

static int count_policy(void *arg, const uint8_t policy[32])
{
    (void)policy;
    ++*(int *)arg;
    return 0;
}

static int count_guest(void *arg, const uint8_t ek_digest[32], struct lt_slice openers)
{
    assert_memory_equal(ek_digest, ek, 32);
    assert_true(openers.n > 16);
    ++*(int *)arg;
    return 0;
}

static void test_whom_a_host_concerns(void **state)
{
    static const char text[] = "{\"host_policies\":[]}";
    struct at *a = *state;
    uint8_t digest[32];
    int n = 0;

    put(a, LT_VERDICT_TRUSTED, &a->list);
    OK(lt_store_opened_by(a->s, host_a, count_policy, &n, &err));
    assert_int_equal(n, 0); /* nobody's policy judges it */
    policy_of(a, text);
    lt_sha256(text, strlen(text), digest);
    OK(lt_store_opened_by(a->s, host_a, count_policy, &n, &err));
    assert_int_equal(n, 1);
    OK(lt_store_opened_under(a->s, host_a, digest, count_guest, &n, &err));
    assert_int_equal(n, 2);
    OK(lt_store_opened_by(a->s, host_b, count_policy, &n, &err));
    OK(lt_store_opened_under(a->s, host_b, digest, count_guest, &n, &err));
    assert_int_equal(n, 2);
    opener_lists_add(&a->list, host_b, 2);
    put(a, LT_VERDICT_TRUSTED, &a->list);
    OK(lt_store_opened_by(a->s, host_b, count_policy, &n, &err));
    assert_int_equal(n, 3);
}

/* ---- retirements ---- */

#define P "1111111111111111111111111111111111111111111111111111111111111111"
#define H "2222222222222222222222222222222222222222222222222222222222222222"

/* When that was retired; 0: it is not. */
static int64_t retired(struct at *a, enum lt_store_retired_kind kind)
{
    struct lt_store_retired *list;
    int64_t at = 0;
    size_t n;

    OK(lt_store_retired(a->s, uuid, &list, &n, &err));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(list[i].digest[0], list[i].kind == LT_STORE_RETIRED_HOST ? 0x22 : 0x11);
        if (list[i].kind == kind)
            at = list[i].at;
    }
    free(list);
    return at;
}

static void test_retired_from_when_it_was_first_named(void **state)
{
    static const char *const names =
        "{\"host_policies\":[],\"retired_host_policies\":[\"" P "\"],\"retired_hosts\":[\"" H "\"]}";
    struct at *a = *state;

    policy_of(a, "{\"host_policies\":[\"" P "\"]}");
    assert_int_equal(retired(a, LT_STORE_RETIRED_POLICY), 0);
    a->list.one[0].closed = true;
    put(a, LT_VERDICT_TRUSTED, &a->list);
    policy_of(a, names);
    int64_t policy = retired(a, LT_STORE_RETIRED_POLICY), host = retired(a, LT_STORE_RETIRED_HOST);
    LT_STORE_AUTOOPENERS struct lt_store_openers o;
    remembered(a, &a->list, &o);
    assert_true(policy > o.closed[0] && host > o.closed[0]);
    reopen(a);
    policy_of(a, names);
    assert_int_equal(retired(a, LT_STORE_RETIRED_POLICY), policy); /* not anew */
    OK(lt_store_guest_delete(a->s, uuid, &err));
    OK(lt_store_guest_put(a->s, &(struct lt_store_guest){.uuid = {1, 2, 3}}, (struct lt_slice){0}, &err));
    policy_of(a, names);
    assert_int_equal(retired(a, LT_STORE_RETIRED_POLICY), policy);
}

/* Named in neither list, a policy accepts nothing: what was opened under it meanwhile must not count when it
 * is retired again. Accepted again, it was not retired. A host that is not retired is accepted. */
static void test_what_ends_a_retirement(void **state)
{
    static const char *const names =
        "{\"host_policies\":[],\"retired_host_policies\":[\"" P "\"],\"retired_hosts\":[\"" H "\"]}";
    struct at *a = *state;

    policy_of(a, names);
    int64_t first = retired(a, LT_STORE_RETIRED_POLICY);
    policy_of(a, "{\"host_policies\":[]}");
    assert_int_equal(retired(a, LT_STORE_RETIRED_POLICY), first);
    assert_int_equal(retired(a, LT_STORE_RETIRED_HOST), 0);
    policy_of(a, names);
    assert_int_equal(retired(a, LT_STORE_RETIRED_POLICY), first);
    assert_true(retired(a, LT_STORE_RETIRED_HOST) > first);
    policy_of(a, "{\"host_policies\":[\"" P "\"]}");
    assert_int_equal(retired(a, LT_STORE_RETIRED_POLICY), 0);
    policy_of(a, names);
    assert_true(retired(a, LT_STORE_RETIRED_POLICY) > first);
}

static void test_moments_rise_when_the_clock_falls(void **state)
{
    struct at *a = *state;
    sqlite3 *sql;

    lt_store_close(a->s);
    a->s = NULL;
    assert_int_equal(sqlite3_open(a->path, &sql), SQLITE_OK); /* as written under a clock that was ahead */
    assert_int_equal(sqlite3_exec(sql, "UPDATE moments SET ms = 9000000000000000", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(sql);
    reopen(a);
    policy_of(a, "{\"host_policies\":[],\"retired_host_policies\":[\"" P "\"]}");
    int64_t at = retired(a, LT_STORE_RETIRED_POLICY);
    assert_true(at > 9000000000000000);
    a->list.one[0].closed = true;
    put(a, LT_VERDICT_TRUSTED, &a->list);
    LT_STORE_AUTOOPENERS struct lt_store_openers o;
    remembered(a, &a->list, &o);
    assert_true(o.closed[0] > at); /* closed after it was retired */
}

/* A store of before: what it lacks is made, and the guest goes on. */
static void test_a_store_of_before(void **state)
{
    struct at *a = *state;
    sqlite3 *sql;

    lt_store_close(a->s);
    a->s = NULL;
    assert_int_equal(sqlite3_open(a->path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql,
                                  "DROP TABLE moments; DROP TABLE sealed_lists; DROP TABLE sealed_hosts;"
                                  "DROP TABLE sealed_closed; DROP TABLE exposures; DROP TABLE retirements;"
                                  "DROP TABLE sealed_logs;"
                                  "PRAGMA user_version=11",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(sql);
    reopen(a);
    assert_int_equal(exposed(a), 0);
    put(a, LT_VERDICT_TRUSTED, &a->list);
    is_remembered(a, &a->list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_at_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_list_grows_and_never_shrinks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed_is_remembered_from_when_it_was_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removal_forgets_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exposures_are_sticky_until_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_kill_before_the_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_at_work, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whom_a_host_concerns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retired_from_when_it_was_first_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_ends_a_retirement, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moments_rise_when_the_clock_falls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_store_of_before, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
