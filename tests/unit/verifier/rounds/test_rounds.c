/* The driver of flights, by a toy table of its own: every result, every place, a stop in each state, and one
 * end for each flight whatever happens. The pools are lists that the test works off itself. */
#include "common/run/clock.h"
#include "tests/support/unit.h"
#include "verifier/rounds/flight.h"

#include <stdatomic.h>

enum { BEGIN, MEET, ASK, ANSWER, GATHER, DEAL, VIEW, JUDGE, DONE, STAGES };

struct toy {
    struct lt_flight f;
    char id;
    enum lt_flight_next says[STAGES]; /* what its stages return; of those that go together, the first one's */
    bool taken[STAGES];               /* out of the list, by a stage with several */
    int again;                        /* times more that ANSWER says so */
    int failed, ended;
    struct lt_err e;  /* why */
    char answer[100]; /* what ANSWER saw of the request */
    const char *key;
};

/* "b:a m:ab" … what ran, and on whom */
static char trail[2000];
static struct lt_flight *posted[64];
static enum lt_flight_where posted_to[64];
static size_t waiting, room;

static struct toy *toy_of(struct lt_flight *f)
{
    return (struct toy *)f;
}

static void note(const char *slug, struct lt_flight *list)
{
    char *end = trail + strlen(trail);

    end += sprintf(end, "%s%s:", *trail ? " " : "", slug);
    for (struct lt_flight *f = list; f; f = f->next)
        *end++ = toy_of(f)->id;
    *end = 0;
}

static enum lt_flight_next say(struct lt_flight *f, struct lt_err *e)
{
    enum lt_flight_next next = toy_of(f)->says[f->stage];

    if (next == LT_FLIGHT_END)
        lt_fail(e, LT_E_TIMEOUT, "stage %zu said so", f->stage);
    return next;
}

static const struct lt_flight_table table;

static enum lt_flight_next one(struct lt_flight *f, struct lt_err *e)
{
    struct toy *t = toy_of(f);

    assert_null(f->next);
    note(table.stages[f->stage].slug, f);
    if (f->stage == ANSWER)
        snprintf(t->answer, sizeof t->answer, "%.90s", f->e.msg);
    if (f->stage == ANSWER && t->again && t->again--)
        return LT_FLIGHT_AGAIN;
    f->key = t->key;
    return say(f, e);
}

static enum lt_flight_next all(struct lt_flight **these, struct lt_err *e)
{
    size_t stage = (*these)->stage;
    enum lt_flight_next next = say(*these, e);

    note(table.stages[stage].slug, *these);
    for (struct lt_flight **at = these; *at;) {
        assert_int_equal((*at)->stage, stage);
        if (toy_of(*at)->taken[stage])
            lt_flight_pop(at);
        else
            at = &(*at)->next;
    }
    return next;
}

static bool post(struct lt_flight *f, enum lt_flight_where where)
{
    if (waiting >= room)
        return false;
    posted_to[waiting] = where;
    posted[waiting++] = f;
    return true;
}

static void failed(struct lt_flight *f, const struct lt_err *e)
{
    toy_of(f)->failed++;
    toy_of(f)->e = *e;
}

static void ended(struct lt_flight *f)
{
    assert_int_not_equal(pthread_mutex_trylock(&f->control->lock), 0);
    toy_of(f)->ended++;
}

#define MAY LT_FLIGHT_MAY
static const struct lt_flight_stage stages[] = {
    [BEGIN] = {"b", LT_FLIGHT_ON_SWEEP, MAY(NEXT) | MAY(STOP), one, NULL, ""},
    [MEET] = {"m", LT_FLIGHT_ON_SWEEP, MAY(NEXT) | MAY(STOP), NULL, all, ""},
    [ASK] = {"k", LT_FLIGHT_ON_CLIENT, MAY(WAIT) | MAY(NEXT), one, NULL, ""},
    [ANSWER] = {"a", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(AGAIN) | MAY(STOP), one, NULL, ""},
    [GATHER] = {"g", LT_FLIGHT_ON_SWEEP, MAY(NEXT) | MAY(WAIT), NULL, all, ""},
    [DEAL] = {"d", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(STOP) | MAY(WAIT), NULL, all, ""},
    [VIEW] = {"v", LT_FLIGHT_ON_FETCH, MAY(NEXT) | MAY(WAIT), NULL, all, ""},
    [JUDGE] = {"j", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(WAIT) | MAY(AGAIN), one, NULL, ""},
    [DONE] = {"z", LT_FLIGHT_ON_POOL, MAY(NEXT), one, NULL, ""},
};
static const struct lt_flight_table table = {stages, STAGES, post, failed, ended};

/* Without the step back that the rules forbid: it would meet those of another quote. */
static struct lt_flight_stage lawful[STAGES];
static struct lt_flight_table law;

static struct lt_flight_control control;
static struct toy toys[3];

static int set_up(void **state)
{
    (void)state;
    memcpy(lawful, stages, sizeof lawful);
    lawful[JUDGE].may &= ~MAY(AGAIN);
    law = table;
    law.stages = lawful;
    lt_flight_control_init(&control, &law, 1000);
    *trail = 0;
    waiting = 0;
    room = 64;
    memset(toys, 0, sizeof toys);
    for (int i = 0; i < 3; i++)
        toys[i] = (struct toy){.id = (char)('x' + i), .key = "one", .says = {[ASK] = LT_FLIGHT_WAIT}};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(control.flying, 0);
    assert_null(control.sweeps);
    lt_flight_control_close(&control);
    return 0;
}

static void start(size_t n)
{
    for (size_t i = 0; i < n; i++)
        toys[i].f.next = i + 1 < n ? &toys[i + 1].f : NULL;
    lt_flight_start(&control, n ? &toys[0].f : NULL);
    assert_int_equal(control.flying, n);
}

/* One piece of work, the oldest; and until nothing is left. */
static enum lt_flight_where work(void)
{
    struct lt_flight *f = posted[0];
    enum lt_flight_where where = posted_to[0];

    assert_true(waiting);
    waiting--;
    memmove(posted, posted + 1, waiting * sizeof *posted);
    memmove(posted_to, posted_to + 1, waiting * sizeof *posted_to);
    lt_flight_work(f);
    return where;
}

static void work_all(void)
{
    while (waiting)
        work();
}

/* The answer to a request. */
static void reply(struct toy *t)
{
    lt_flight_on(&t->f, LT_FLIGHT_NEXT, NULL);
}

static void went(const char *want)
{
    assert_string_equal(trail, want);
    *trail = 0;
}

static void landed(size_t n, int fails)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(toys[i].ended, 1);
        assert_int_equal(toys[i].failed, fails);
    }
}

/* ---- one way through ---- */

static void through_all_places(void **state)
{
    (void)state;
    toys[1].key = "two";
    start(3);
    went("b:x b:y b:z m:zyx k:z k:y k:x");
    for (int i = 0; i < 3; i++)
        reply(&toys[i]);
    assert_int_equal(waiting, 3);
    went("");
    for (int i = 0; i < 3; i++)
        assert_int_equal(work(), LT_FLIGHT_ON_POOL);
    went("a:x a:y a:z g:zyx d:zyx"); /* the last one's worker does it for all */
    assert_null(control.sweeps);
    assert_int_equal(work(), LT_FLIGHT_ON_FETCH); /* by their keys */
    assert_int_equal(work(), LT_FLIGHT_ON_FETCH);
    went("v:zx v:y");
    work_all();
    went("j:z z:z j:x z:x j:y z:y"); /* who is on a worker stays there */
    landed(3, 0);
}

static void nobody_starts(void **state)
{
    (void)state;
    start(0);
    went("");
}

/* ---- each result, at each stage ---- */

static void an_error_at_each_stage(void **state)
{
    for (size_t at = 0; at < DONE; at++) {
        tear_down(state);
        set_up(state);
        toys[0].says[at] = LT_FLIGHT_END;
        start(1);
        if (at > ASK)
            reply(&toys[0]);
        work_all();
        landed(1, 1);
        assert_int_equal(toys[0].e.code, LT_E_TIMEOUT);
        assert_string_equal(trail + strlen(trail) - 4, " z:x");
    }
}

static void a_stop_at_each_stage(void **state)
{
    static const char *const want[] = {
        [BEGIN] = "b:x z:x", [MEET] = "b:x m:x z:x", [ANSWER] = "b:x m:x k:x a:x z:x"};

    for (size_t at = 0; at <= ANSWER; at++) {
        if (at == ASK)
            continue;
        tear_down(state);
        set_up(state);
        toys[0].says[at] = LT_FLIGHT_STOP;
        start(1);
        if (at > ASK)
            reply(&toys[0]);
        work_all();
        went(want[at]);
        landed(1, 0);
    }
}

static void a_result_that_the_row_has_not(void **state)
{
    (void)state;
    toys[0].says[VIEW] = LT_FLIGHT_STOP;
    start(1);
    reply(&toys[0]);
    work_all();
    landed(1, 1);
    assert_int_equal(toys[0].e.code, LT_E_INTERNAL);
}

/* Whatever the last stage says. */
static void the_last_stage_ends_it(void **state)
{
    const enum lt_flight_next says[] = {LT_FLIGHT_AGAIN, LT_FLIGHT_STOP, LT_FLIGHT_END};

    for (size_t i = 0; i < 3; i++) {
        tear_down(state);
        set_up(state);
        toys[0].says[DONE] = says[i];
        start(1);
        reply(&toys[0]);
        work_all();
        landed(1, 0);
    }
}

static void once_more(void **state)
{
    (void)state;
    toys[0].again = 2;
    start(1);
    for (int i = 0; i < 3; i++) {
        reply(&toys[0]);
        work();
    }
    went("b:x m:x k:x a:x k:x a:x k:x a:x g:x d:x");
    work_all();
    landed(1, 0);
}

/* A client that answers before the stage has returned would bring it on within: here it does from outside,
 * with what went wrong, which the next stage sees. */
static void a_reply_that_failed(void **state)
{
    const struct lt_err e = {.code = LT_E_TIMEOUT, .msg = "no reply"};

    (void)state;
    start(1);
    lt_flight_on(&toys[0].f, LT_FLIGHT_NEXT, &e);
    work_all();
    assert_string_equal(toys[0].answer, "no reply");
    landed(1, 0);
}

static void several_are_brought_on_together(void **state)
{
    const struct lt_err e = {.code = LT_E_BUSY, .msg = "no"};

    (void)state;
    toys[2].says[GATHER] = LT_FLIGHT_WAIT;
    start(3);
    for (int i = 0; i < 3; i++)
        reply(&toys[i]);
    work_all();
    *trail = 0;
    lt_flight_on(&toys[2].f, LT_FLIGHT_END, &e); /* the list as `all` was given it */
    work_all();
    went("z:z z:y z:x");
    landed(3, 1);
}

static void taken_out_of_a_list(void **state)
{
    (void)state;
    toys[1].taken[DEAL] = true;
    start(3);
    for (int i = 0; i < 3; i++)
        reply(&toys[i]);
    work_all();
    assert_int_equal(toys[1].ended, 0);
    assert_int_equal(control.flying, 1);
    lt_flight_on(&toys[1].f, LT_FLIGHT_STOP, NULL);
    work_all();
    landed(3, 0);
}

static void all_are_taken_out(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        toys[i].taken[VIEW] = true;
    start(3);
    for (int i = 0; i < 3; i++)
        reply(&toys[i]);
    work_all();
    assert_int_equal(control.flying, 3);
    for (int i = 0; i < 3; i++)
        lt_flight_on(&toys[i].f, LT_FLIGHT_NEXT, NULL);
    work_all();
    landed(3, 0);
}

/* ---- sweeps ---- */

/* Those who are ready go as soon as nobody is left to wait for: here, because the slow one fails. */
static void the_last_to_fail_frees_the_others(void **state)
{
    (void)state;
    toys[2].says[ANSWER] = LT_FLIGHT_END;
    start(3);
    reply(&toys[0]);
    reply(&toys[1]);
    work_all();
    went("b:x b:y b:z m:zyx k:z k:y k:x a:x a:y");
    reply(&toys[2]);
    work();
    went("a:z g:yx z:z");
    work_all();
    assert_int_equal(toys[2].failed, 1);
    toys[2].failed = 0;
    landed(3, 0);
}

static void all_fail_before_they_meet(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        toys[i].says[BEGIN] = LT_FLIGHT_END;
    start(3);
    assert_null(control.sweeps);
    work_all();
    went("b:x b:y b:z z:x z:y z:z");
    landed(3, 1);
}

static bool late(uint64_t now_ms, uint64_t *next_ms)
{
    pthread_mutex_lock(&control.lock);
    bool any = lt_flight_late(&control, now_ms, next_ms);
    pthread_mutex_unlock(&control.lock);
    return any;
}

static void the_slow_hold_nobody(void **state)
{
    uint64_t now = lt_clock_ms(), next = UINT64_MAX;

    (void)state;
    start(3);
    reply(&toys[1]);
    work_all();
    *trail = 0;
    assert_false(late(now, &next));
    assert_true(next >= now + 1000 && next < now + 60000); /* when to look again */
    assert_true(late(next, &now));
    went("g:y");
    next = UINT64_MAX;
    assert_false(late(UINT64_MAX, &next));
    assert_true(next == UINT64_MAX);
    reply(&toys[0]); /* nobody waits any more */
    work_all();
    went("d:y a:x g:x d:x v:y v:x j:y z:y j:x z:x");
    reply(&toys[2]);
    work_all();
    landed(3, 0);
}

static void late_and_nobody_ready(void **state)
{
    uint64_t next = UINT64_MAX;

    (void)state;
    start(2);
    assert_false(late(UINT64_MAX, &next));
    reply(&toys[0]);
    work();
    reply(&toys[1]);
    work_all();
    landed(2, 0);
}

/* ---- stop, and no room, in each state ---- */

static void stop(void)
{
    pthread_mutex_lock(&control.lock);
    control.stopping = true;
    pthread_mutex_unlock(&control.lock);
}

static void no_request_begins(void **state)
{
    (void)state;
    stop();
    start(3);
    work_all();
    went("b:x b:y b:z m:zyx a:z a:y a:x g:xyz d:xyz v:xyz j:x z:x j:y z:y j:z z:z");
    assert_string_equal(toys[0].answer, "the rounds are stopping");
    landed(3, 0);
}

static void none_begins_once_more(void **state)
{
    (void)state;
    toys[0].again = 1;
    start(1);
    stop();
    reply(&toys[0]);
    work_all();
    went("b:x m:x k:x a:x a:x g:x d:x v:x j:x z:x");
    landed(1, 0);
}

/* Waiting for a reply, posted, gathered, handed over: whoever has it when the stop comes, it ends once. */
static void a_stop_in_each_state(void **state)
{
    const struct lt_err gone = {.code = LT_E_UNREACHABLE, .msg = "the client is stopping"};

    for (int at = 0; at < 6; at++) {
        uint64_t never = 0;
        tear_down(state);
        set_up(state);
        if (at >= 3)
            for (int i = 0; i < 2; i++)
                toys[i].says[at == 3 ? GATHER : at == 4 ? VIEW : JUDGE] = LT_FLIGHT_WAIT;
        start(2);
        for (int i = 0; at > 0 && i < (at > 2 ? 2 : 1); i++)
            reply(&toys[i]); /* 1: one is posted */
        if (at > 1)
            work_all(); /* 2: one is gathered; 3 and more: handed over, at one stage each */
        stop();
        while (late(UINT64_MAX, &never))
            ;
        for (int i = 0; i < 2; i++)
            if (toys[i].f.stage == ASK) /* its client ends what is under way */
                lt_flight_on(&toys[i].f, LT_FLIGHT_NEXT, &gone);
        work_all();
        if (at == 3 || at == 4)
            lt_flight_on(&toys[1].f, LT_FLIGHT_END, &gone); /* the list, the other behind it */
        for (int i = 0; at == 5 && i < 2; i++)
            lt_flight_on(&toys[i].f, LT_FLIGHT_NEXT, NULL);
        work_all();
        assert_int_equal(toys[0].ended, 1);
        assert_int_equal(toys[1].ended, 1);
    }
}

/* Each stage on a pool, with no room from there on: the error's exit, and the end on this thread. */
static void a_pool_that_is_full(void **state)
{
    for (size_t before = 0; before < 8; before++) {
        tear_down(state);
        set_up(state);
        start(2);
        room = before < 2 ? before : 64;
        reply(&toys[0]);
        reply(&toys[1]);
        for (size_t i = 2; i < before && waiting; i++)
            work();
        room = 0;
        while (waiting)
            work();
        for (int i = 0; i < 2; i++) {
            assert_int_equal(toys[i].ended, 1);
            assert_true(!toys[i].failed || toys[i].e.code == LT_E_BUSY);
        }
        assert_true(toys[0].failed || before > 4);
    }
}

/* ---- threads: each flight ends once, whoever is first ---- */

#define MANY 2000
static struct toy *crowd;
static atomic_uint ended_of_crowd;
static struct lt_flight *queue;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_wake = PTHREAD_COND_INITIALIZER;
static struct lt_flight *heads[2 * MANY];
static size_t head_count;
static bool over;

static bool crowd_post(struct lt_flight *f, enum lt_flight_where where)
{
    (void)where;
    pthread_mutex_lock(&queue_lock);
    bool fits = head_count < 2 * MANY && f->stage % 7 != 6;
    if (fits)
        heads[head_count++] = f;
    pthread_cond_signal(&queue_wake);
    pthread_mutex_unlock(&queue_lock);
    return fits;
}

static void *crowd_work(void *arg)
{
    pthread_mutex_lock(&queue_lock);
    while (!over || head_count) {
        if (!head_count) {
            pthread_cond_wait(&queue_wake, &queue_lock);
            continue;
        }
        struct lt_flight *f = heads[--head_count];
        pthread_mutex_unlock(&queue_lock);
        lt_flight_work(f);
        pthread_mutex_lock(&queue_lock);
    }
    pthread_mutex_unlock(&queue_lock);
    return arg;
}

static void crowd_failed(struct lt_flight *f, const struct lt_err *e)
{
    (void)e;
    toy_of(f)->failed++;
}

static void crowd_ended(struct lt_flight *f)
{
    toy_of(f)->ended++;
    ended_of_crowd++;
}

/* As a client's thread would: the reply comes while the stage still runs. */
static enum lt_flight_next crowd_ask(struct lt_flight *f, struct lt_err *e)
{
    (void)e;
    pthread_mutex_lock(&queue_lock);
    f->next = queue;
    queue = f;
    pthread_mutex_unlock(&queue_lock);
    return LT_FLIGHT_WAIT;
}

static enum lt_flight_next crowd_one(struct lt_flight *f, struct lt_err *e)
{
    int n = toy_of(f)->id;

    if (f->stage == ANSWER && n % 5 == 0)
        return LT_FLIGHT_STOP;
    if (f->stage == ANSWER && n % 7 == 0 && !toy_of(f)->again++)
        return LT_FLIGHT_AGAIN;
    if (f->stage == JUDGE && n % 3 == 0) {
        lt_fail(e, LT_E_TIMEOUT, "no");
        return LT_FLIGHT_END;
    }
    return LT_FLIGHT_NEXT;
}

static enum lt_flight_next crowd_all(struct lt_flight **these, struct lt_err *e)
{
    (void)these;
    (void)e;
    return LT_FLIGHT_NEXT;
}

static void *crowd_client(void *arg)
{
    while (ended_of_crowd < MANY) {
        pthread_mutex_lock(&queue_lock);
        struct lt_flight *f = lt_flight_pop(&queue);
        pthread_mutex_unlock(&queue_lock);
        if (f)
            lt_flight_on(f, LT_FLIGHT_NEXT, NULL);
        else
            sched_yield();
    }
    return arg;
}

static void a_crowd_on_threads(void **state)
{
    struct lt_flight_stage rows[STAGES];
    struct lt_flight_table t = {rows, STAGES, crowd_post, crowd_failed, crowd_ended};
    struct lt_flight_control c;
    pthread_t threads[4];
    uint64_t never = 0;

    (void)state;
    crowd = calloc(MANY, sizeof *crowd);
    assert_non_null(crowd);
    memcpy(rows, lawful, sizeof rows);
    for (size_t i = 0; i < STAGES; i++) {
        rows[i].run = rows[i].run ? crowd_one : NULL;
        rows[i].run_all = rows[i].run_all ? crowd_all : NULL;
    }
    rows[ASK].run = crowd_ask;
    lt_flight_control_init(&c, &t, 0); /* everybody is late */
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i ? crowd_work : crowd_client, NULL), 0);
    for (size_t i = 0; i < MANY; i += 20) {
        for (size_t k = 0; k < 20; k++) {
            crowd[i + k].id = (char)(k + 1);
            crowd[i + k].f.key = k % 2 ? "odd" : "even";
            crowd[i + k].f.next = k ? &crowd[i + k - 1].f : NULL;
        }
        lt_flight_start(&c, &crowd[i + 19].f);
        pthread_mutex_lock(&c.lock);
        while (lt_flight_late(&c, UINT64_MAX, &never))
            ;
        pthread_mutex_unlock(&c.lock);
    }
    pthread_mutex_lock(&c.lock);
    while (c.flying)
        pthread_cond_wait(&c.wake, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_mutex_lock(&queue_lock);
    over = true;
    pthread_cond_broadcast(&queue_wake);
    pthread_mutex_unlock(&queue_lock);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < MANY; i++)
        assert_true(crowd[i].ended == 1 && crowd[i].failed <= 1);
    assert_null(c.sweeps);
    lt_flight_control_close(&c);
    free(crowd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(through_all_places),
        CASE(nobody_starts),
        CASE(an_error_at_each_stage),
        CASE(a_stop_at_each_stage),
        CASE(a_result_that_the_row_has_not),
        CASE(the_last_stage_ends_it),
        CASE(once_more),
        CASE(a_reply_that_failed),
        CASE(several_are_brought_on_together),
        CASE(taken_out_of_a_list),
        CASE(all_are_taken_out),
        CASE(the_last_to_fail_frees_the_others),
        CASE(all_fail_before_they_meet),
        CASE(the_slow_hold_nobody),
        CASE(late_and_nobody_ready),
        CASE(no_request_begins),
        CASE(none_begins_once_more),
        CASE(a_stop_in_each_state),
        CASE(a_pool_that_is_full),
        CASE(a_crowd_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
