#include "agent/tpm.h"

#include "agent/tpm_lock.h"
#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "common/run/wait.h"
#include "common/run/work.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000

struct lt_tpm {
    struct lt_work *work; /* one thread, which owns dev */
    char *tcti;
    lt_tpm_fn on_open;
    void *arg;
    struct lt_device dev; /* of the thread */
    int lock;             /* -1: not yet; held from the first open on */
    bool is_open, sweep;
    uint64_t not_before_ms;
    unsigned backoff_ms;
    struct lt_err why; /* of the last failed open */
};

struct tpm_job {
    struct lt_work_task task;
    struct lt_tpm *tpm;
    lt_tpm_fn fn;
    lt_tpm_done done;
    void *arg;
};

static void close_dev(struct lt_tpm *t)
{
    t->sweep = t->dev.crowded;
    lt_device_close(&t->dev);
    t->is_open = false;
}

static int open_once(struct lt_tpm *t, struct lt_err *e)
{
    LT_TRY(lt_device_open(t->tcti, t->sweep, &t->dev, e));
    int rc = 0;
    if (t->lock < 0)
        rc = lt_tpm_lock(&t->dev, &t->lock, e);
    if (!rc)
        rc = t->on_open(&t->dev, t->arg, e);
    if (rc)
        close_dev(t);
    return rc;
}

static int open_dev(struct lt_tpm *t, struct lt_err *e)
{
    uint64_t now = lt_clock_ms();

    if (t->is_open)
        return 0;
    if (now < t->not_before_ms) {
        *e = t->why;
        return e->code;
    }
    int rc = open_once(t, e);
    if (rc && t->sweep)
        rc = open_once(t, e);
    if (rc) {
        t->backoff_ms = !t->backoff_ms                       ? BACKOFF_MIN_MS
                        : t->backoff_ms < BACKOFF_MAX_MS / 2 ? t->backoff_ms * 2
                                                             : BACKOFF_MAX_MS;
        t->not_before_ms = now + t->backoff_ms;
        if (strcmp(t->why.msg, e->msg)) /* once, not at each try */
            lt_log(LT_LOG_ERROR, "tpm", "%s", e->msg);
        t->why = *e;
        return rc;
    }
    t->is_open = true;
    t->sweep = false;
    t->backoff_ms = 0;
    if (t->why.code)
        lt_log(LT_LOG_INFO, "tpm", "the TPM is open again");
    t->why = (struct lt_err){0};
    return 0;
}

static int run_job(struct lt_tpm *t, const struct tpm_job *j, struct lt_err *e)
{
    int rc = 0;

    for (int attempt = 0; attempt < 2; attempt++) {
        *e = (struct lt_err){0};
        rc = open_dev(t, e);
        if (rc)
            return e->code = LT_E_TPM;
        rc = j->fn(&t->dev, j->arg, e);
        if (!t->dev.lost)
            return rc;
        lt_log(LT_LOG_WARNING, "tpm", "the TPM was lost, opening it again: %s", e->msg);
        close_dev(t);
    }
    return rc;
}

static void tpm_job(struct lt_work_task *task)
{
    struct tpm_job *j = LT_WORK_OWNER(task, struct tpm_job);
    struct lt_err e = {0};
    int rc = task->stopped ? lt_fail(&e, LT_E_BUSY, "the agent is stopping") : run_job(j->tpm, j, &e);

    j->done(j->arg, rc, &e);
    free(j);
}

void lt_tpm_post(struct lt_tpm *t, bool quote, lt_tpm_fn fn, lt_tpm_done done, void *arg)
{
    struct tpm_job *j = lt_new(struct tpm_job);
    struct lt_err e = {0};

    *j = (struct tpm_job){.tpm = t, .fn = fn, .done = done, .arg = arg};
    int rc = lt_work_offer(t->work, quote ? LT_WORK_URGENT : LT_WORK_USUAL, &j->task, tpm_job, &e);
    if (rc) {
        free(j);
        done(arg, rc, &e);
    }
}

struct call {
    struct lt_wait wait;
    lt_tpm_fn fn;
    void *arg;
};

static int call_run(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct call *c = arg;
    return c->fn(d, c->arg, e);
}

static void call_done(void *arg, int rc, const struct lt_err *e)
{
    struct call *c = arg;
    lt_wait_end(&c->wait, rc, e);
}

int lt_tpm_call(struct lt_tpm *t, lt_tpm_fn fn, void *arg, struct lt_err *e)
{
    struct call c = {.wait = LT_WAIT, .fn = fn, .arg = arg};

    lt_tpm_post(t, false, call_run, call_done, &c);
    return lt_wait_for(&c.wait, e);
}

int lt_tpm_start(const char *tcti, lt_tpm_fn on_open, void *arg, struct lt_tpm **out, struct lt_err *e)
{
    struct lt_tpm *t = lt_new(struct lt_tpm);

    *out = NULL;
    t->tcti = lt_alloc_text(tcti);
    t->lock = -1;
    t->on_open = on_open;
    t->arg = arg;
    int rc = open_dev(t, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"tpm", 1, LT_MAX_AGENT_TASKS}, &t->work, e);
    if (rc) {
        lt_tpm_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void lt_tpm_stop(struct lt_tpm *t)
{
    if (t)
        lt_work_stop(t->work);
}

void lt_tpm_free(struct lt_tpm *t)
{
    if (!t)
        return;
    lt_work_free(t->work);
    close_dev(t);
    if (t->lock >= 0)
        close(t->lock);
    free(t->tcti);
    free(t);
}
