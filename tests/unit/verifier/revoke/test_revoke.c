/* Who is told of a decision, in which order, and how often. The channels are ours: each receiver answers as a
 * test wants it. */
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "tests/support/unit.h"
#include "verifier/revoke/revoke.h"
#include "verifier/store/store.h"

#include <stdatomic.h>
#include <unistd.h>

#define MAX_SENT 40000
#define PATIENCE_MS 20000

enum answer { CONFIRMS, REFUSES, HANGS, IS_GONE };

struct sent {
    char to[48];
    int64_t number;
    uint64_t at_ms;
    bool confirmed;
};

struct at {
    char dir[64], path[96];
    struct lt_store *s;
    struct lt_db *db;
    struct lt_revoke *r;
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct sent *sent;
    size_t count;
    atomic_size_t composed;
    struct lt_revoke_delivery *hung[64];
    struct lt_err hung_e;
    size_t hung_count;
    char bad[48]; /* the receiver that answers so; the others confirm */
    enum answer answer;
    atomic_bool no_compose;
};

static enum answer answer_of(struct at *a, const char *to)
{
    return !strcmp(a->bad, to) ? a->answer : CONFIRMS;
}

static void deliver(void *app, struct lt_revoke_delivery *d, const char *prefix)
{
    struct at *a = app;
    struct lt_err e = {0};
    char to[48];

    snprintf(to, sizeof to, "%s%s", prefix, d->receiver);
    pthread_mutex_lock(&a->lock);
    enum answer how = answer_of(a, to);
    if (a->count < MAX_SENT) {
        struct sent *s = &a->sent[a->count++];
        snprintf(s->to, sizeof s->to, "%.47s", to);
        s->number = d->message->number;
        s->at_ms = lt_clock_ms();
        s->confirmed = how == CONFIRMS;
    }
    if (how == HANGS)
        a->hung[a->hung_count++] = d;
    pthread_cond_broadcast(&a->news);
    pthread_mutex_unlock(&a->lock);
    if (how == REFUSES)
        (void)lt_fail(&e, LT_E_UNREACHABLE, "HTTP 500");
    if (how == IS_GONE)
        (void)lt_fail(&e, LT_E_NOT_FOUND, "gone");
    if (how != HANGS)
        lt_revoke_ended(d, &e);
}

static void to_agent(void *app, struct lt_revoke_delivery *d)
{
    deliver(app, d, "agent:");
}

static void to_hook(void *app, struct lt_revoke_delivery *d)
{
    deliver(app, d, "hook:");
}

static void to_ca(void *app, struct lt_revoke_delivery *d)
{
    deliver(app, d, "ca");
}

static int compose(void *app, const struct lt_outbox_item *item, char **out, struct lt_err *e)
{
    struct at *a = app;

    if (a->no_compose)
        return lt_fail(e, LT_E_NOT_FOUND, "no text");
    a->composed++;
    *out = malloc(32);
    snprintf(*out, 32, "text %lld", (long long)item->number);
    return 0;
}

static void start(struct at *a)
{
    const struct lt_revoke_channel channels[] = {
        {.prefix = "agent:",
         .kinds = LT_REVOKE_ALL & ~LT_REVOKE_KIND(LT_OUTBOX_LIFTED),
         .at_once = 8,
         .send = to_agent,
         .app = a},
        {.prefix = "hook:", .kinds = LT_REVOKE_ALL, .at_once = 1, .send = to_hook, .app = a},
        {.prefix = "ca", .kinds = LT_REVOKE_ALL, .at_once = 1, .first = true, .send = to_ca, .app = a},
    };
    const struct lt_revoke_conf c = {
        .db = a->db, .channels = channels, .count = 3, .compose = compose, .app = a, .first_retry_ms = 20};

    OK(lt_revoke_start(&c, &a->r, &err));
    lt_store_on_revocation(a->s, lt_revoke_wake, a->r);
}

static void let_go(struct at *a)
{
    pthread_mutex_lock(&a->lock);
    size_t n = a->hung_count;
    a->hung_count = 0;
    pthread_mutex_unlock(&a->lock);
    for (size_t i = 0; i < n; i++)
        lt_revoke_ended(a->hung[i], &a->hung_e);
}

static void stop(struct at *a)
{
    lt_store_on_revocation(a->s, NULL, NULL);
    lt_revoke_stop(a->r);
    let_go(a);
    lt_revoke_free(a->r);
    a->r = NULL;
}

static void open_store(struct at *a)
{
    OK(lt_store_open(a->path, "00000000-0000-4000-8000-00000000000a", NULL, &a->s, &err));
    a->db = lt_store_outbox(a->s);
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-revoke-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    a->sent = calloc(MAX_SENT, sizeof *a->sent);
    pthread_mutex_init(&a->lock, NULL);
    lt_cond_init(&a->news);
    open_store(a);
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[128];

    if (a->r)
        stop(a);
    lt_store_close(a->s);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", a->path, ends[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(a->dir), 0);
    free(a->sent);
    free(a);
    return 0;
}

struct decision {
    enum lt_outbox_kind kind;
    unsigned times;
};

static int put(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct decision *d = arg;
    const uint8_t id[16] = {7};

    for (unsigned i = 0; i < d->times; i++)
        LT_TRY(lt_outbox_put(sql, id, d->kind, 5, "{}", e));
    return 0;
}

static void decide(struct at *a, enum lt_outbox_kind kind, unsigned times)
{
    OK(lt_db_write(a->db, put, &(struct decision){kind, times}, &err));
    if (a->r)
        lt_revoke_wake(a->r);
}

static void join(struct at *a, const char *name)
{
    OK(lt_outbox_join(a->db, name, &err));
}

/* Sendings to it so far. Under the lock. */
static size_t count(const struct at *a, const char *to, bool confirmed)
{
    size_t n = 0;

    for (size_t i = 0; i < a->count; i++)
        n += !strcmp(a->sent[i].to, to) && (!confirmed || a->sent[i].confirmed);
    return n;
}

static void wait_count(struct at *a, const char *to, bool confirmed, size_t n)
{
    uint64_t until = lt_clock_ms() + PATIENCE_MS;

    pthread_mutex_lock(&a->lock);
    while (count(a, to, confirmed) < n)
        if (!lt_cond_until(&a->news, &a->lock, until))
            fail_msg("%s was sent %zu of %zu", to, count(a, to, confirmed), n);
    pthread_mutex_unlock(&a->lock);
}

/* All it confirmed, in order and once each. */
static void in_order(struct at *a, const char *to, int64_t from, int64_t last)
{
    int64_t next = from;

    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->count; i++)
        if (!strcmp(a->sent[i].to, to) && a->sent[i].confirmed)
            assert_int_equal(a->sent[i].number, next++);
    pthread_mutex_unlock(&a->lock);
    assert_int_equal(next, last + 1);
}

static int none(void *arg, const struct lt_outbox_receiver *r)
{
    (void)r;
    ++*(size_t *)arg;
    return 0;
}

/* Waits until nobody lacks anything in the store. */
static void wait_all(struct at *a)
{
    size_t n = 1;

    for (int i = 0; n && i < PATIENCE_MS / 10; i++, usleep(10000)) {
        n = 0;
        OK(lt_outbox_behind(a->db, none, &n, &err));
    }
    assert_int_equal(n, 0);
}

static void answers(struct at *a, const char *to, enum answer how)
{
    pthread_mutex_lock(&a->lock);
    snprintf(a->bad, sizeof a->bad, "%s", to);
    a->answer = how;
    pthread_mutex_unlock(&a->lock);
}

static void test_everybody_hears_in_order(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    join(a, "hook:x");
    join(a, "else:y"); /* a channel that this program has not */
    start(a);
    decide(a, LT_OUTBOX_FAILED, 3);
    join(a, "agent:2"); /* hears of what comes */
    decide(a, LT_OUTBOX_FAILED, 1);
    wait_count(a, "agent:1", true, 4);
    wait_count(a, "hook:x", true, 4);
    wait_count(a, "agent:2", true, 1);
    in_order(a, "agent:1", 1, 4);
    in_order(a, "hook:x", 1, 4);
    in_order(a, "agent:2", 4, 4);
    assert_int_equal(a->composed, 4); /* one text for all */
}

static void test_within_a_second(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    start(a);
    usleep(100000);
    uint64_t t = lt_clock_ms();
    decide(a, LT_OUTBOX_FAILED, 1);
    wait_count(a, "agent:1", true, 1);
    assert_true(a->sent[0].at_ms - t < 500);
    t = lt_clock_ms();
    OK(lt_db_write(a->db, put, &(struct decision){LT_OUTBOX_FAILED, 1}, &err)); /* nobody told */
    wait_count(a, "agent:1", true, 2);
    assert_true(a->sent[1].at_ms - t < 2500);
}

static void test_one_that_fails_is_tried_again(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    join(a, "hook:x");
    answers(a, "hook:x", REFUSES);
    start(a);
    decide(a, LT_OUTBOX_FAILED, 5);
    wait_count(a, "hook:x", false, 3);
    wait_count(a, "agent:1", true, 5); /* others are served meanwhile */
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->count; i++)
        assert_true(strcmp(a->sent[i].to, "hook:x") || a->sent[i].number == 1);
    pthread_mutex_unlock(&a->lock);
    answers(a, "", CONFIRMS);
    wait_all(a);
    in_order(a, "hook:x", 1, 5);
}

static void test_the_list_names_who_fails(void **state)
{
    struct at *a = *state;
    LT_JSON_AUTO json_t *j = NULL;

    join(a, "hook:x");
    answers(a, "hook:x", REFUSES);
    start(a);
    decide(a, LT_OUTBOX_FAILED, 1);
    wait_count(a, "hook:x", false, 3);
    stop(a);
    join(a, "drained");
    OK(lt_outbox_list(a->db, 0, &j, &err));
    json_t *r = json_array_get(json_object_get(j, "receivers"), 0);
    assert_string_equal(json_string_value(json_object_get(r, "receiver")), "hook:x");
    assert_string_equal(json_string_value(json_object_get(r, "error")), "HTTP 500");
    assert_true(json_integer_value(json_object_get(r, "tries")) >= 2);
}

/* It takes its place until it answers, and nobody else's. */
static void test_one_that_hangs(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    join(a, "agent:2");
    join(a, "hook:x");
    answers(a, "agent:1", HANGS);
    start(a);
    decide(a, LT_OUTBOX_FAILED, 20);
    wait_count(a, "agent:2", true, 20);
    wait_count(a, "hook:x", true, 20);
    wait_count(a, "agent:1", false, 1);
    assert_int_equal(count(a, "agent:1", false), 1);
    answers(a, "", CONFIRMS);
    let_go(a);
    wait_all(a);
    assert_int_equal(count(a, "agent:1", false), 20);
}

static void test_hanging_ones_leave_room(void **state)
{
    struct at *a = *state;
    char name[32];

    join(a, "agent:0");
    for (int i = 1; i < 100; i++) {
        snprintf(name, sizeof name, "agent:%d", i);
        join(a, name);
    }
    answers(a, "agent:7", REFUSES);
    start(a);
    decide(a, LT_OUTBOX_FAILED, 3);
    wait_count(a, "agent:99", true, 3);
    answers(a, "", CONFIRMS);
    wait_all(a);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "agent:%d", i);
        in_order(a, name, 1, 3);
    }
}

static void test_kinds(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    join(a, "hook:x");
    start(a);
    decide(a, LT_OUTBOX_UNPROVEN, 1);
    decide(a, LT_OUTBOX_LIFTED, 1);
    decide(a, LT_OUTBOX_FAILED, 1);
    wait_all(a);
    in_order(a, "hook:x", 1, 3);
    assert_int_equal(count(a, "agent:1", true), 2); /* lifting is no news to agents */
}

/* The first channel goes first; one that does not answer holds the others back for a second and no more. */
static void test_first(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    join(a, "ca");
    start(a);
    answers(a, "ca", HANGS);
    decide(a, LT_OUTBOX_FAILED, 1);
    wait_count(a, "ca", false, 1);
    usleep(200000);
    pthread_mutex_lock(&a->lock);
    assert_int_equal(count(a, "agent:1", false), 0);
    pthread_mutex_unlock(&a->lock);
    answers(a, "", CONFIRMS);
    let_go(a); /* at once */
    wait_count(a, "agent:1", true, 1);
    assert_true(a->sent[1].at_ms - a->sent[0].at_ms < 900);
    answers(a, "ca", HANGS);
    decide(a, LT_OUTBOX_FAILED, 1);
    wait_count(a, "agent:1", true, 2);
    uint64_t waited = a->sent[3].at_ms - a->sent[2].at_ms;
    assert_true(waited >= 900 && waited < 2000);
    assert_string_equal(a->sent[2].to, "ca");
}

static void test_without_the_first(void **state)
{
    struct at *a = *state;

    join(a, "agent:1"); /* no CA is configured */
    start(a);
    decide(a, LT_OUTBOX_FAILED, 1);
    uint64_t t = lt_clock_ms();
    wait_count(a, "agent:1", true, 1);
    assert_true(lt_clock_ms() - t < 900);
}

static void test_one_that_is_gone(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    join(a, "agent:2");
    answers(a, "agent:1", IS_GONE);
    start(a);
    decide(a, LT_OUTBOX_FAILED, 2);
    wait_count(a, "agent:2", true, 2);
    wait_count(a, "agent:1", false, 1);
    decide(a, LT_OUTBOX_FAILED, 1);
    wait_count(a, "agent:2", true, 3);
    assert_true(count(a, "agent:1", false) <= 2); /* not tried over and over */
}

/* Stopped in the middle: what was confirmed is not sent again, the rest is. */
static void test_another_life(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    join(a, "hook:x");
    answers(a, "hook:x", HANGS);
    start(a);
    decide(a, LT_OUTBOX_FAILED, 4);
    wait_count(a, "agent:1", true, 4);
    wait_count(a, "hook:x", false, 1);
    a->hung_e.code = LT_E_UNREACHABLE;
    stop(a);
    lt_store_close(a->s);
    open_store(a);
    answers(a, "", CONFIRMS);
    start(a);
    wait_all(a);
    in_order(a, "agent:1", 1, 4);
    in_order(a, "hook:x", 1, 4);
    assert_int_equal(a->composed, 4); /* the texts were kept */
}

static void test_a_text_that_cannot_be_made(void **state)
{
    struct at *a = *state;

    join(a, "agent:1");
    a->no_compose = true;
    start(a);
    decide(a, LT_OUTBOX_FAILED, 1);
    usleep(100000);
    assert_int_equal(a->count, 0);
    a->no_compose = false;
    wait_count(a, "agent:1", true, 1); /* nothing is passed over for it */
}

static void test_ten_thousand(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = {.address = "127.0.0.1:1"};

    for (unsigned i = 0; i < 3000; i++) {
        g.uuid[0] = (uint8_t)i;
        g.uuid[1] = (uint8_t)(i >> 8);
        snprintf(g.agent, sizeof g.agent, "g%u", i);
        OK(lt_store_guest_put(a->s, &g, (struct lt_slice){0}, &err));
    }
    start(a);
    uint64_t t = lt_clock_ms();
    decide(a, LT_OUTBOX_FAILED, 2);
    wait_all(a);
    assert_int_equal(a->count, 6000);
    print_message("3000 agents, 2 decisions: %llu ms\n", (unsigned long long)(lt_clock_ms() - t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everybody_hears_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_within_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_list_names_who_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hanging_ones_leave_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_text_that_cannot_be_made, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ten_thousand, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
