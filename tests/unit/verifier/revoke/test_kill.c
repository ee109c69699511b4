/* Killed with -9 at random moments, over and over: no decision is lost, each receiver gets them in order, and
 * twice only what it confirmed as the process died. The process is a child: a store, a sender, and somebody
 * who decides. */
#include "common/hash.h"
#include "common/run/clock.h"
#include "tests/support/unit.h"
#include "verifier/revoke/revoke.h"
#include "verifier/store/store.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIVES 30
#define RECEIVERS 20

static unsigned below(unsigned n)
{
    uint32_t r;

    lt_random(&r, sizeof r);
    return r % n;
}

/* ---- the child ---- */

static int told; /* the pipe to the parent: a line each */

static void say(const char *who, long long number)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%s %lld\n", who, number);

    if (write(told, line, (size_t)n) != n)
        _exit(3);
}

/* A receiver hears of it, and says so; now and then it does not. */
static void deliver(void *app, struct lt_revoke_delivery *d)
{
    struct lt_err e = {0};

    (void)app;
    if (below(10))
        say(d->receiver, (long long)d->message->number);
    else
        (void)lt_fail(&e, LT_E_UNREACHABLE, "away");
    lt_revoke_ended(d, &e);
}

static int compose(void *app, const struct lt_outbox_item *item, char **out, struct lt_err *e)
{
    (void)app, (void)item, (void)e;
    *out = strdup("{}");
    return 0;
}

static int put(sqlite3 *sql, void *arg, struct lt_err *e)
{
    static const uint8_t id[16] = {7};

    LT_TRY(lt_outbox_put(sql, id, LT_OUTBOX_FAILED, 5, "{}", e));
    *(int64_t *)arg = sqlite3_last_insert_rowid(sql);
    return 0;
}

static int none(void *arg, const struct lt_outbox_receiver *r)
{
    (void)r;
    ++*(size_t *)arg;
    return 0;
}

static void start(const char *path, struct lt_store **s, struct lt_revoke **r)
{
    static const struct lt_revoke_channel channel = {
        .prefix = "to:", .kinds = LT_REVOKE_ALL, .at_once = 8, .send = deliver};
    struct lt_err e = {0};
    char name[16];

    if (lt_store_open(path, NULL, NULL, s, &e))
        _exit(4);
    const struct lt_revoke_conf c = {
        .db = lt_store_outbox(*s), .channels = &channel, .count = 1, .compose = compose, .first_retry_ms = 1};
    for (int i = 0; i < RECEIVERS; i++) {
        snprintf(name, sizeof name, "to:%d", i);
        if (lt_outbox_join(c.db, name, &e))
            _exit(5);
    }
    if (lt_revoke_start(&c, r, &e))
        _exit(6);
}

/* Until it is killed. */
static void decide_on(const char *path)
{
    struct lt_store *s;
    struct lt_revoke *r;

    start(path, &s, &r);
    for (;;) {
        struct lt_err e = {0};
        int64_t number;
        if (lt_db_write(lt_store_outbox(s), put, &number, &e))
            _exit(7);
        say("decided", (long long)number);
        lt_revoke_wake(r);
        usleep(below(5000));
    }
}

/* Until everybody has everything. */
static void finish(const char *path)
{
    struct lt_store *s;
    struct lt_revoke *r;

    start(path, &s, &r);
    for (size_t lacking = 1; lacking; usleep(10000)) {
        struct lt_err e = {0};
        lacking = 0;
        if (lt_outbox_behind(lt_store_outbox(s), none, &lacking, &e))
            _exit(8);
    }
    lt_revoke_free(r);
    lt_store_close(s);
    _exit(0);
}

/* ---- the parent ---- */

struct heard {
    long long last; /* the highest it confirmed */
    long long life; /* the last it confirmed in this life; 0: none yet */
};

struct tally {
    struct heard by[RECEIVERS];
    long long decided, twice;
    char line[64];
    size_t n;
};

static void take_line(struct tally *t)
{
    long long number;
    int who;

    if (sscanf(t->line, "decided %lld", &number) == 1) {
        t->decided = number > t->decided ? number : t->decided;
        return;
    }
    assert_int_equal(sscanf(t->line, "%d %lld", &who, &number), 2);
    struct heard *h = &t->by[who];
    if (h->life)
        assert_int_equal(number, h->life + 1); /* in order, each once, as long as it lives */
    else
        assert_true(number <= h->last + 1); /* and none left out by the next life */
    t->twice += number <= h->last;
    h->life = number;
    h->last = number > h->last ? number : h->last;
}

static void take(struct tally *t, const char *p, ssize_t n)
{
    for (ssize_t i = 0; i < n; i++) {
        if (p[i] != '\n') {
            assert_true(t->n + 1 < sizeof t->line);
            t->line[t->n++] = p[i];
            continue;
        }
        t->line[t->n] = 0;
        t->n = 0;
        take_line(t);
    }
}

/* One life; kill_ms: after which it ends, 0: by itself. */
static void live(struct tally *t, const char *path, unsigned kill_ms)
{
    char buf[4096];
    int ends[2], status;
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        close(ends[0]);
        told = ends[1];
        if (kill_ms)
            decide_on(path);
        finish(path);
    }
    close(ends[1]);
    for (int i = 0; i < RECEIVERS; i++)
        t->by[i].life = 0;
    uint64_t until = lt_clock_ms() + (kill_ms ? kill_ms : 60000);
    for (bool alive = true; alive;) {
        uint64_t now = lt_clock_ms();
        struct pollfd p = {ends[0], POLLIN, 0};
        if (now >= until && kill_ms)
            kill(child, SIGKILL);
        assert_true(kill_ms || now < until);
        if (poll(&p, 1, now < until ? (int)(until - now) : 1000) > 0) {
            n = read(ends[0], buf, sizeof buf);
            alive = n > 0;
            take(t, buf, n);
        }
    }
    close(ends[0]);
    t->n = 0; /* a line that was cut */
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!kill_ms)
        assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
    else
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_killed_over_and_over(void **state)
{
    static const char *const files[] = {"", "-wal", "-shm"};
    char dir[64], path[96], name[128];
    struct tally t = {0};
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-kill-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/t.db", dir);
    for (int i = 0; i < LIVES; i++)
        live(&t, path, 50 + below(250));
    live(&t, path, 0);
    assert_true(t.decided > LIVES / 2);
    for (int i = 0; i < RECEIVERS; i++)
        assert_true(t.by[i].last >= t.decided); /* one more may be stored whose teller was killed */
    print_message("%d lives, %lld decisions to %d receivers: 0 lost, %lld of %lld came twice\n", LIVES,
                  t.decided, RECEIVERS, t.twice, t.decided * RECEIVERS);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, files[i]);
        unlink(name);
    }
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed_over_and_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
