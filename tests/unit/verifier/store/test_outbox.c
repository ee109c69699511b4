/* The outbox: what is decided with which verdict, and who has heard of it. */
#include "common/file.h"
#include "tests/support/unit.h"
#include "verifier/store/outbox.h"
#include "verifier/store/store.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static const char boot[] = "00000000-0000-4000-8000-00000000000a";
static const uint8_t uuid[16] = {1, 2, 3}, other[16] = {2};
static const struct lt_store_basis no_basis;
static const char mine[] = "agent:01020300000000000000000000000000",
                  others[] = "agent:02000000000000000000000000000000";

struct at {
    char dir[64], path[96];
    struct lt_store *s;
    struct lt_db *db;
};

static void reopen(struct at *a)
{
    lt_store_close(a->s);
    OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
    a->db = lt_store_outbox(a->s);
}

static void add(struct at *a, const uint8_t id[16])
{
    struct lt_store_guest g = {.address = "127.0.0.1:9002"};

    memcpy(g.uuid, id, sizeof g.uuid);
    OK(lt_store_guest_put(a->s, &g, (struct lt_slice){0}, &err));
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-outbox-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    reopen(a);
    add(a, uuid);
    *state = a;
    return 0;
}

static void room(bool is)
{
    struct rlimit l;

    signal(SIGXFSZ, SIG_IGN);
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
    free(a);
    return 0;
}

static enum lt_store_kept put_at(struct at *a, enum lt_verdict_result result, uint64_t t1)
{
    struct lt_verdict v;
    struct lt_store_round r = {
        .verdict = &v, .basis = &no_basis, .t1_ms = t1, .end_ms = t1 + 10, .started = 1, .received = 2};
    enum lt_store_kept kept;

    memcpy(r.uuid, uuid, 16);
    lt_verdict_init(&v);
    v.result = result;
    snprintf(v.reason, sizeof v.reason, "%s", result == LT_VERDICT_FAILED ? "guest-policy" : "");
    OK(lt_store_round(a->s, &r, &kept, &err));
    return kept;
}

static enum lt_store_kept put(struct at *a, enum lt_verdict_result result)
{
    return put_at(a, result, 1000);
}

/* What is decided behind `after`, in the order of its numbers: 'f', 'u' or 'l' each. */
static void decided(struct at *a, int64_t after, const char *want)
{
    char is[64] = "";
    struct lt_outbox_item item;

    for (size_t n = 0; n + 1 < sizeof is && !lt_outbox_next(a->db, after, &item, LT_NO_ERR); n++) {
        is[n] = *lt_outbox_kind_slug(item.kind);
        assert_true(item.number > after);
        assert_memory_equal(item.id, uuid, sizeof uuid);
        after = item.number;
        lt_outbox_item_free(&item);
    }
    assert_string_equal(is, want);
}

static int64_t head(struct at *a)
{
    int64_t n;

    OK(lt_outbox_head(a->db, &n, &err));
    return n;
}

static void test_a_failure_is_decided_once(void **state)
{
    struct at *a = *state;
    struct lt_outbox_item item;

    assert_int_equal(head(a), 0);
    FAILS(LT_E_NOT_FOUND, lt_outbox_next(a->db, 0, &item, &err));
    put(a, LT_VERDICT_TRUSTED);
    put(a, LT_VERDICT_UNREACHABLE);
    put(a, LT_VERDICT_UNCHECKED);
    decided(a, 0, "");
    assert_int_equal(put(a, LT_VERDICT_FAILED), LT_STORE_KEPT);
    assert_int_equal(put(a, LT_VERDICT_FAILED), LT_STORE_STANDS);
    assert_int_equal(put(a, LT_VERDICT_TRUSTED), LT_STORE_STANDS);
    decided(a, 0, "f");
    OK(lt_outbox_next(a->db, 0, &item, &err));
    assert_int_equal(item.decided, 2);
    assert_non_null(strstr(item.doc, "guest-policy"));
    assert_null(item.message);
    lt_outbox_item_free(&item);
}

static void test_failed_again_is_a_new_one(void **state)
{
    struct at *a = *state;

    put(a, LT_VERDICT_FAILED);
    OK(lt_store_clear(a->s, uuid, &err));
    decided(a, 0, "f"); /* clearing takes nothing back */
    put(a, LT_VERDICT_FAILED);
    decided(a, 0, "ff");
    OK(lt_store_clear(a->s, uuid, &err));
    put(a, LT_VERDICT_TRUSTED); /* and there is nothing to lift */
    reopen(a);
    decided(a, 0, "ff");
    OK(lt_store_guest_delete(a->s, uuid, &err));
    decided(a, 0, "ff"); /* others still hear of it */
}

/* What the writer has queued is done. */
static void drain(struct at *a)
{
    OK(lt_outbox_join(a->db, "drain", &err));
}

static void unproven(struct at *a, const struct lt_store_deadlines *d)
{
    lt_store_unproven(a->s, uuid, d);
    drain(a);
}

static void test_unproven_until_trusted(void **state)
{
    struct at *a = *state;
    const struct lt_store_deadlines at_once = {.news_ms = 1, .max_stale_ms = 0};

    unproven(a, &at_once); /* it never was trusted */
    decided(a, 0, "");
    put(a, LT_VERDICT_TRUSTED);
    unproven(a, &(struct lt_store_deadlines){.news_ms = UINT64_MAX, .max_stale_ms = UINT64_MAX / 2});
    decided(a, 0, ""); /* a trusted verdict came meanwhile */
    unproven(a, &at_once);
    unproven(a, &at_once);
    reopen(a);
    unproven(a, &at_once); /* another life, the same state */
    decided(a, 0, "u");
    put(a, LT_VERDICT_UNREACHABLE);
    decided(a, 0, "u");
    put(a, LT_VERDICT_TRUSTED);
    put(a, LT_VERDICT_TRUSTED);
    decided(a, 0, "ul");
    unproven(a, &at_once);
    put(a, LT_VERDICT_FAILED);
    unproven(a, &at_once); /* failed is more */
    decided(a, 0, "uluf");
    OK(lt_store_clear(a->s, uuid, &err));
    put(a, LT_VERDICT_TRUSTED); /* what failed is revoked for good */
    decided(a, 0, "uluf");
}

static void test_unproven_says_so(void **state)
{
    struct at *a = *state;
    struct lt_outbox_item item;

    put(a, LT_VERDICT_TRUSTED);
    unproven(a, &(struct lt_store_deadlines){.news_ms = 1});
    OK(lt_outbox_next(a->db, 0, &item, &err));
    assert_non_null(strstr(item.doc, "\"reason\":\"unproven\""));
    lt_outbox_item_free(&item);
}

static void wait_written(struct at *a)
{
    struct lt_db_health h;
    struct lt_db_skipped skipped;
    size_t n = 1;

    for (int i = 0; i < 1000; i++) {
        lt_store_report(a->s, &h, &skipped, &n);
        if (!n && !h.fault)
            return;
        usleep(10000);
    }
    fail_msg("%zu verdicts were never written", n);
}

/* A verdict that waits in memory brings its revocation along when it is written, cleared meanwhile or not. */
static void test_a_full_disk(void **state)
{
    struct at *a = *state;

    put(a, LT_VERDICT_TRUSTED);
    room(false);
    assert_int_equal(put(a, LT_VERDICT_FAILED), LT_STORE_HELD);
    assert_int_equal(put(a, LT_VERDICT_TRUSTED), LT_STORE_STANDS);
    decided(a, 0, "");
    room(true);
    wait_written(a);
    decided(a, 0, "f");
    OK(lt_store_clear(a->s, uuid, &err));
    for (int i = 0; i < 3; i++) {
        int64_t before = head(a);
        room(false);
        assert_int_equal(put(a, LT_VERDICT_FAILED), LT_STORE_HELD);
        room(true);
        OK(lt_store_clear(a->s, uuid, &err));
        put(a, LT_VERDICT_TRUSTED);
        wait_written(a);
        decided(a, before, "f");
    }
}

/* Nor does it matter that the guest was removed before the disk took it. */
static void test_removed_on_a_full_disk(void **state)
{
    struct at *a = *state;

    for (int i = 0; i < 3; i++) {
        int64_t before = head(a);
        room(false);
        assert_int_equal(put(a, LT_VERDICT_FAILED), LT_STORE_HELD);
        room(true);
        OK(lt_store_guest_delete(a->s, uuid, &err));
        wait_written(a);
        decided(a, before, "f");
        add(a, uuid);
    }
}

/* ---- receivers ---- */

struct behind {
    char names[512];
    struct lt_outbox_receiver last;
};

static int note(void *arg, const struct lt_outbox_receiver *r)
{
    struct behind *b = arg;
    size_t n = strlen(b->names);

    snprintf(b->names + n, sizeof b->names - n, "%s%s@%lld", n ? " " : "", r->name, (long long)r->passed);
    b->last = *r;
    return 0;
}

static void lack(struct at *a, const char *want)
{
    struct behind b = {0};

    OK(lt_outbox_behind(a->db, note, &b, &err));
    assert_string_equal(b.names, want);
}

static void test_guests_are_receivers(void **state)
{
    struct at *a = *state;
    char both[200];

    lack(a, "");
    put(a, LT_VERDICT_FAILED);
    snprintf(both, sizeof both, "%s@0", mine);
    lack(a, both);
    add(a, other); /* what was decided before is not news to it */
    lack(a, both);
    add(a, uuid); /* a change of a guest changes nothing of this */
    lack(a, both);
    OK(lt_store_clear(a->s, uuid, &err));
    put(a, LT_VERDICT_FAILED);
    snprintf(both, sizeof both, "%s@0 %s@1", mine, others);
    lack(a, both);
    OK(lt_store_guest_delete(a->s, uuid, &err));
    snprintf(both, sizeof both, "%s@1", others);
    lack(a, both);
}

static void test_each_has_its_own_place(void **state)
{
    struct at *a = *state;
    char want[200];

    OK(lt_outbox_join(a->db, "webhook:https://h/", &err));
    for (int i = 0; i < 3; i++) {
        put(a, LT_VERDICT_FAILED);
        OK(lt_store_clear(a->s, uuid, &err));
    }
    lt_outbox_passed(a->db, mine, 3);
    lt_outbox_passed(a->db, "webhook:https://h/", 1);
    lt_outbox_passed(a->db, "webhook:https://h/", 0); /* late: nothing goes back */
    lt_outbox_passed(a->db, "nobody", 3);
    drain(a);
    lack(a, "webhook:https://h/@1");
    reopen(a);
    OK(lt_outbox_join(a->db, "webhook:https://h/", &err)); /* as at each start */
    lack(a, "webhook:https://h/@1");
    lt_outbox_missed(a->db, "webhook:https://h/", "HTTP 500");
    lt_outbox_missed(a->db, "webhook:https://h/", "HTTP 502");
    drain(a);
    struct behind b = {0};
    OK(lt_outbox_behind(a->db, note, &b, &err));
    assert_int_equal(b.last.tries, 2);
    assert_true(b.last.since > 0);
    lt_outbox_passed(a->db, "webhook:https://h/", 2);
    drain(a);
    OK(lt_outbox_behind(a->db, note, &b, &err));
    assert_int_equal(b.last.tries, 0);
    assert_int_equal(b.last.since, 0);
    snprintf(want, sizeof want, "webhook:https://h/@2");
    lack(a, want);
}

static void test_only_those_that_are_configured(void **state)
{
    struct at *a = *state;
    static const char *const one[] = {"webhook:a", NULL}, *const none[] = {NULL},
                             *const new[] = {"webhook:b", NULL};

    OK(lt_outbox_only(a->db, "webhook:", one, &err));
    put(a, LT_VERDICT_FAILED);
    OK(lt_outbox_only(a->db, "webhook:", one, &err));
    lt_outbox_passed(a->db, mine, 1);
    drain(a);
    lack(a, "webhook:a@0");
    OK(lt_outbox_only(a->db, "webhook:", new, &err)); /* begins with what is decided next */
    lack(a, "");
    OK(lt_outbox_only(a->db, "webhook:", none, &err));
    lack(a, "");
}

static void test_a_message_is_made_once(void **state)
{
    struct at *a = *state;
    struct lt_outbox_item item;

    put(a, LT_VERDICT_FAILED);
    OK(lt_outbox_keep(a->db, 1, "{\"msg\":1}", &err));
    OK(lt_outbox_keep(a->db, 1, "{\"msg\":2}", &err));
    reopen(a);
    OK(lt_outbox_next(a->db, 0, &item, &err));
    assert_string_equal(item.message, "{\"msg\":1}");
    lt_outbox_item_free(&item);
}

static int many(sqlite3 *sql, void *arg, struct lt_err *e)
{
    for (int i = 0; i < *(int *)arg; i++)
        LT_TRY(lt_outbox_put(sql, uuid, LT_OUTBOX_FAILED, 7, "{}", e));
    return 0;
}

static int by_hand(sqlite3 *sql, void *arg, struct lt_err *e)
{
    return sqlite3_exec(sql, arg, NULL, NULL, NULL) ? lt_db_fail(sql, e, arg) : 0;
}

/* One row of another's making holds up nobody, and stops no list. */
static void test_rows_that_cannot_be_read(void **state)
{
    static const char *const how[] = {"id = x'00'",      "id = 'text'", "kind = 77",
                                      "kind = 'failed'", "kind = -1",   "doc = x'00'"};
    struct at *a = *state;
    char sql[128];

    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        int two = 2;
        int64_t before = head(a);
        OK(lt_db_write(a->db, many, &two, &err));
        snprintf(sql, sizeof sql, "UPDATE revocations SET %s WHERE number = %lld", how[i],
                 (long long)before + 1);
        OK(lt_db_write(a->db, by_hand, sql, &err));
        decided(a, before, "f");
        LT_JSON_AUTO json_t *j = NULL;
        OK(lt_outbox_list(a->db, 0, &j, &err));
    }
    reopen(a);
}

static int many_others(sqlite3 *sql, void *arg, struct lt_err *e)
{
    for (int i = 0; i < *(int *)arg; i++)
        LT_TRY(lt_outbox_put(sql, other, LT_OUTBOX_FAILED, 7, "{}", e));
    return 0;
}

/* As many as are kept are decided about others, and heard by all: it is unproven all the same. */
static void test_unproven_outlives_its_row(void **state)
{
    struct at *a = *state;
    const struct lt_store_deadlines at_once = {.news_ms = 1, .max_stale_ms = 0};
    int n = LT_OUTBOX_KEPT + 1;

    put(a, LT_VERDICT_TRUSTED);
    unproven(a, &at_once);
    int64_t it = head(a);
    lt_outbox_passed(a->db, mine, it + n);
    drain(a);
    lt_outbox_passed(a->db, "drain", it + n);
    OK(lt_db_write(a->db, many_others, &n, &err));
    assert_int_equal(head(a), it + n);
    struct lt_outbox_item item;
    OK(lt_outbox_next(a->db, 0, &item, &err));
    assert_true(item.number > it);
    lt_outbox_item_free(&item);
    unproven(a, &at_once);
    reopen(a);
    assert_int_equal(head(a), it + n); /* no news */
    put(a, LT_VERDICT_TRUSTED);
    decided(a, it + n, "l");
    put(a, LT_VERDICT_TRUSTED);
    decided(a, it + n, "l");
}

static int as_before(sqlite3 *sql, void *arg, struct lt_err *e)
{
    (void)arg;
    static const char *const later[] = {"moments",   "sealed_lists", "sealed_hosts", "sealed_closed",
                                        "exposures", "retirements",  "sealed_logs"};
    char drop[64];

    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        snprintf(drop, sizeof drop, "DROP TABLE %s", later[i]);
        LT_TRY(lt_db_exec(sql, NULL, e, drop, ""));
    }
    LT_TRY(lt_db_exec(sql, NULL, e, "DROP TABLE unproven", ""));
    LT_TRY(lt_db_exec(sql, NULL, e, "CREATE INDEX revocations_id ON revocations(id, number)", ""));
    return lt_db_exec(sql, NULL, e, "PRAGMA user_version=10", "");
}

/* A store of before knows them by their last decision. */
static void test_unproven_in_a_store_of_before(void **state)
{
    struct at *a = *state;
    int one = 1;

    put(a, LT_VERDICT_TRUSTED);
    unproven(a, &(struct lt_store_deadlines){.news_ms = 1});
    OK(lt_db_write(a->db, many_others, &one, &err));
    OK(lt_db_write(a->db, as_before, NULL, &err));
    reopen(a);
    int64_t before = head(a);
    unproven(a, &(struct lt_store_deadlines){.news_ms = 1});
    assert_int_equal(head(a), before);
    put(a, LT_VERDICT_TRUSTED);
    decided(a, before, "l");
}

static int64_t first(struct at *a)
{
    struct lt_outbox_item item;

    OK(lt_outbox_next(a->db, 0, &item, &err));
    int64_t number = item.number;
    lt_outbox_item_free(&item);
    return number;
}

static void test_what_everybody_has_goes(void **state)
{
    struct at *a = *state;
    int n = 2 * LT_OUTBOX_KEPT, one = 1;

    OK(lt_db_write(a->db, many, &n, &err));
    assert_int_equal(first(a), 1); /* the guest's agent has none yet */
    lt_outbox_passed(a->db, mine, 500);
    OK(lt_db_write(a->db, many, &one, &err));
    assert_int_equal(first(a), 501);
    lt_outbox_passed(a->db, mine, n);
    OK(lt_db_write(a->db, many, &one, &err));
    assert_int_equal(first(a), n + 2 - LT_OUTBOX_KEPT + 1);
    OK(lt_store_guest_delete(a->s, uuid, &err));
    assert_int_equal(head(a), n + 2);
    n = LT_OUTBOX_MAX;
    add(a, uuid);
    OK(lt_db_write(a->db, many, &n, &err));
    n = 5;
    OK(lt_db_write(a->db, many, &n, &err)); /* somebody who never answers does not fill the disk */
    assert_int_equal(head(a) - first(a) + 1, LT_OUTBOX_MAX);
}

static void test_the_list(void **state)
{
    struct at *a = *state;
    LT_JSON_AUTO json_t *j = NULL;

    OK(lt_outbox_join(a->db, "webhook:https://h/", &err));
    put(a, LT_VERDICT_FAILED);
    lt_outbox_missed(a->db, "webhook:https://h/", "HTTP 500");
    lt_outbox_passed(a->db, mine, 1);
    drain(a);
    OK(lt_outbox_list(a->db, 3600, &j, &err));
    json_t *d = json_array_get(json_object_get(j, "revocations"), 0);
    assert_string_equal(json_string_value(json_object_get(d, "guest")),
                        "01020300-0000-0000-0000-000000000000");
    assert_string_equal(json_string_value(json_object_get(d, "kind")), "failed");
    assert_string_equal(json_string_value(json_object_get(d, "reason")), "guest-policy");
    assert_int_equal(json_integer_value(json_object_get(d, "waiting")), 1);
    json_t *r = json_object_get(j, "receivers");
    assert_int_equal(json_array_size(r), 1);
    r = json_array_get(r, 0);
    assert_string_equal(json_string_value(json_object_get(r, "error")), "HTTP 500");
    assert_int_equal(json_integer_value(json_object_get(r, "behind")), 1);
    assert_true(json_is_false(json_object_get(r, "dead")));
    json_decref(j);
    OK(lt_outbox_list(a->db, 0, &j, &err));
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(j, "receivers"), 0), "dead")));
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static void test_news_are_told(void **state)
{
    struct at *a = *state;
    int told = 0;

    lt_store_on_revocation(a->s, count, &told);
    put(a, LT_VERDICT_TRUSTED);
    assert_int_equal(told, 0);
    put(a, LT_VERDICT_FAILED);
    assert_int_equal(told, 1);
    lt_store_on_revocation(a->s, NULL, NULL);
    OK(lt_store_clear(a->s, uuid, &err));
    put(a, LT_VERDICT_FAILED);
    assert_int_equal(told, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_failure_is_decided_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_again_is_a_new_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unproven_until_trusted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unproven_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unproven_outlives_its_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unproven_in_a_store_of_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_on_a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guests_are_receivers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_has_its_own_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_those_that_are_configured, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_message_is_made_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_everybody_has_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rows_that_cannot_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_news_are_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
