/* common/run/work: order, refusal, stop, with a bound and without; what is taken runs once, whatever happens.
 */
#include "common/run/work.h"
#include "tests/support/unit.h"

#include <pthread.h>
#include <sched.h>

#define BOUND 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char trace[1024];
static unsigned stopped_jobs;
static bool gate_open, gate_reached;

struct job {
    char letter;
    bool once; /* posts itself once more */
    struct lt_work *work;
    struct lt_work_task task;
};

static void note(struct lt_work_task *t)
{
    struct job *j = LT_WORK_OWNER(t, struct job);

    pthread_mutex_lock(&lock);
    strncat(trace, &j->letter, 1);
    stopped_jobs += t->stopped;
    bool again = j->once;
    j->once = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (again)
        lt_work_post(j->work, &j->task, note);
}

/* Keeps a thread until the gate is opened. */
static void gate(struct lt_work_task *t)
{
    (void)t;
    pthread_mutex_lock(&lock);
    gate_reached = true;
    pthread_cond_broadcast(&changed);
    while (!gate_open)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static struct lt_work *start_at_gate(unsigned max_waiting)
{
    static struct lt_work_task t;
    struct lt_work *w;

    trace[0] = 0;
    stopped_jobs = 0;
    gate_open = gate_reached = false;
    OK(lt_work_start(&(struct lt_work_conf){"test", 1, max_waiting}, &w, &err));
    OK(lt_work_offer(w, LT_WORK_USUAL, &t, gate, &err));
    pthread_mutex_lock(&lock);
    while (!gate_reached)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return w;
}

static void open_gate(void)
{
    pthread_mutex_lock(&lock);
    gate_open = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(char letter)
{
    pthread_mutex_lock(&lock);
    while (!strchr(trace, letter))
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void urgent_first_then_in_order(void **state)
{
    (void)state;
    for (unsigned bound = 0; bound <= BOUND; bound += BOUND) {
        struct job jobs[] = {{.letter = 'a'}, {.letter = 'b'}, {.letter = 'X'},
                             {.letter = 'c'}, {.letter = 'Y'}, {.letter = '.'}};
        struct lt_work *w = start_at_gate(bound);
        for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
            OK(lt_work_offer(w, strchr("XY", jobs[i].letter) ? LT_WORK_URGENT : LT_WORK_USUAL, &jobs[i].task,
                             note, &err));
        open_gate();
        wait_for('.');
        lt_work_stop(w);
        assert_string_equal(trace, "XYabc.");
        assert_int_equal(stopped_jobs, 0);
        lt_work_free(w);
    }
}

static void *stopper(void *arg)
{
    lt_work_stop(arg);
    return NULL;
}

static void stop_answers_everyone_once(void **state)
{
    struct job jobs[2 * BOUND];
    struct lt_work *w = start_at_gate(BOUND);
    unsigned accepted = 0;
    pthread_t t;

    (void)state;
    for (unsigned i = 0; i < 2 * BOUND; i++)
        jobs[i] = (struct job){.letter = 'j'};
    for (; accepted < 6; accepted++)
        OK(lt_work_offer(w, accepted & 1, &jobs[accepted].task, note, &err));
    assert_int_equal(pthread_create(&t, NULL, stopper, w), 0);
    /* Once stopping is seen, posts are refused while the running task still runs. */
    for (int rc = 0; rc == 0 || !strstr(err.msg, "stopping"); sched_yield()) {
        rc = lt_work_offer(w, LT_WORK_USUAL, &jobs[accepted].task, note, &err);
        accepted += rc == 0;
        assert_true(rc == 0 || rc == LT_E_BUSY);
    }
    open_gate();
    pthread_join(t, NULL);
    assert_int_equal(strlen(trace), accepted);
    assert_int_equal(stopped_jobs, accepted);
    FAILS(LT_E_BUSY, lt_work_offer(w, LT_WORK_URGENT, &jobs[0].task, note, &err));
    lt_work_stop(w); /* again */
    lt_work_free(w);
}

static void a_full_queue_refuses(void **state)
{
    struct job jobs[2][BOUND + 1];
    struct lt_work *w = start_at_gate(BOUND);

    (void)state;
    /* The others fill their own queue; an urgent one still comes in. */
    for (int u = LT_WORK_USUAL; u >= LT_WORK_URGENT; u--) {
        for (unsigned i = 0; i <= BOUND; i++)
            jobs[u][i] = (struct job){.letter = 'j'};
        for (unsigned i = 0; i < BOUND; i++)
            OK(lt_work_offer(w, u, &jobs[u][i].task, note, &err));
        FAILS(LT_E_BUSY, lt_work_offer(w, u, &jobs[u][BOUND].task, note, &err));
    }
    open_gate();
    lt_work_free(w);
    assert_int_equal(strlen(trace), 2 * BOUND);
}

/* Without a bound what was posted is done, and what that posts, also while the pool stops. */
static void without_a_bound_all_is_done(void **state)
{
    struct job jobs[300];
    struct lt_work *w = start_at_gate(0);
    pthread_t t;

    (void)state;
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        jobs[i] = (struct job){.letter = 'j', .once = true, .work = w};
        lt_work_post(w, &jobs[i].task, note);
    }
    assert_int_equal(pthread_create(&t, NULL, stopper, w), 0);
    open_gate();
    pthread_join(t, NULL);
    assert_int_equal(strlen(trace), 2 * sizeof jobs / sizeof *jobs);
    assert_int_equal(stopped_jobs, 0);
    lt_work_free(w);
}

static void waiting_threads_stop(void **state)
{
    struct lt_work *w;

    (void)state;
    for (unsigned threads = 0; threads < 9; threads += 4) {
        OK(lt_work_start(&(struct lt_work_conf){"test", threads, 0}, &w, &err));
        lt_work_free(w);
    }
    lt_work_stop(NULL);
    lt_work_free(NULL);
}

struct counted {
    struct lt_work_task task;
    unsigned *done;
};

/* The pool does not touch a task that runs: it may be gone. */
static void count_and_free(struct lt_work_task *t)
{
    struct counted *c = LT_WORK_OWNER(t, struct counted);

    pthread_mutex_lock(&lock);
    ++*c->done;
    pthread_mutex_unlock(&lock);
    free(c);
}

struct poster {
    struct lt_work *work;
    unsigned *done;
};

static void *post_many(void *arg)
{
    const struct poster *p = arg;

    for (unsigned i = 0; i < 2000; i++) {
        struct counted *c = malloc(sizeof *c);
        assert_non_null(c);
        c->done = p->done;
        if (lt_work_offer(p->work, i & 1, &c->task, count_and_free, LT_NO_ERR))
            abort();
    }
    return NULL;
}

static void a_crowd(void **state)
{
    unsigned done = 0;
    struct poster p = {.done = &done};
    pthread_t threads[3];

    (void)state;
    OK(lt_work_start(&(struct lt_work_conf){"test", 3, 0}, &p.work, &err));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &p), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    lt_work_free(p.work);
    assert_int_equal(done, 6000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urgent_first_then_in_order), cmocka_unit_test(stop_answers_everyone_once),
        cmocka_unit_test(a_full_queue_refuses),       cmocka_unit_test(without_a_bound_all_is_done),
        cmocka_unit_test(waiting_threads_stop),       cmocka_unit_test(a_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
