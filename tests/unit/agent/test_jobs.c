/* agent/jobs: order, refusal, stop. */
#include "agent/jobs.h"
#include "tests/support/unit.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char trace[1024];
static unsigned stopped_jobs;
static bool gate_open, gate_reached;

struct job {
    char letter;
};

static void note(void *arg, bool stopped)
{
    const struct job *j = arg;
    pthread_mutex_lock(&lock);
    strncat(trace, &j->letter, 1);
    stopped_jobs += stopped;
    pthread_mutex_unlock(&lock);
}

/* Keeps the thread until the gate is opened. */
static void gate(void *arg, bool stopped)
{
    (void)arg, (void)stopped;
    pthread_mutex_lock(&lock);
    gate_reached = true;
    pthread_cond_broadcast(&changed);
    while (!gate_open)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static struct lt_jobs *start_at_gate(void)
{
    struct lt_jobs *j;
    trace[0] = 0;
    stopped_jobs = 0;
    gate_open = gate_reached = false;
    OK(lt_jobs_start("test", &j, &err));
    OK(lt_jobs_post(j, false, gate, NULL, &err));
    pthread_mutex_lock(&lock);
    while (!gate_reached)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return j;
}

static void open_gate(void)
{
    pthread_mutex_lock(&lock);
    gate_open = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void urgent_first_then_in_order(void **state)
{
    (void)state;
    static struct job jobs[] = {{'a'}, {'b'}, {'X'}, {'c'}, {'Y'}};
    static struct job last = {'.'};
    struct lt_jobs *j = start_at_gate();

    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        OK(lt_jobs_post(j, jobs[i].letter < 'a', note, &jobs[i], &err));
    OK(lt_jobs_post(j, false, note, &last, &err));
    open_gate();
    pthread_mutex_lock(&lock);
    while (!strchr(trace, '.')) {
        pthread_mutex_unlock(&lock);
        sched_yield();
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    lt_jobs_stop(j);
    assert_string_equal(trace, "XYabc.");
    assert_int_equal(stopped_jobs, 0);
    lt_jobs_free(j);
}

static void *stopper(void *arg)
{
    lt_jobs_stop(arg);
    return NULL;
}

static void stop_answers_everyone_once(void **state)
{
    (void)state;
    static struct job job = {'j'};
    struct lt_jobs *j = start_at_gate();
    pthread_t t;
    int rc;

    for (int i = 0; i < 5; i++)
        OK(lt_jobs_post(j, i & 1, note, &job, &err));
    assert_int_equal(pthread_create(&t, NULL, stopper, j), 0);
    /* Once stopping is seen, posts are refused while the running job still runs. */
    unsigned accepted = 5;
    while ((rc = lt_jobs_post(j, false, note, &job, &err)) == 0 || !strstr(err.msg, "stopping")) {
        accepted += rc == 0;
        sched_yield();
    }
    assert_int_equal(rc, LT_E_BUSY);
    open_gate();
    pthread_join(t, NULL);
    assert_int_equal(strlen(trace), accepted);
    assert_int_equal(stopped_jobs, accepted);
    FAILS(LT_E_BUSY, lt_jobs_post(j, true, note, &job, &err));
    lt_jobs_free(j);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    static struct job job = {'j'};
    struct lt_jobs *j = start_at_gate();
    unsigned accepted = 0;

    /* The others fill their own queue; an urgent one still comes in. */
    for (int urgent = 0; urgent < 2; urgent++) {
        unsigned before = accepted;
        while (!lt_jobs_post(j, urgent, note, &job, &err)) {
            accepted++;
            assert_true(accepted < 1000);
        }
        assert_true(accepted > before);
        FAILS(LT_E_BUSY, lt_jobs_post(j, urgent, note, &job, &err));
    }
    open_gate();
    lt_jobs_stop(j);
    assert_int_equal(strlen(trace), accepted);
    lt_jobs_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urgent_first_then_in_order),
        cmocka_unit_test(stop_answers_everyone_once),
        cmocka_unit_test(a_full_queue_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
