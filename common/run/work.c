#include "common/run/work.h"

#include "common/alloc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 64

struct queue {
    struct lt_work_task *first, **last;
    unsigned waiting;
};

struct lt_work {
    struct lt_work_conf conf;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t news;
    struct queue queue[LT_WORK_USUAL + 1]; /* by urgency */
    bool stopping;
    unsigned started;
    pthread_t thread[]; /* of who starts and stops it */
};

static struct lt_work_task *take(struct lt_work *w)
{
    struct queue *q = w->queue[LT_WORK_URGENT].first ? &w->queue[LT_WORK_URGENT] : &w->queue[LT_WORK_USUAL];
    struct lt_work_task *t = q->first;

    if (!t)
        return NULL;
    q->first = t->next;
    if (!q->first)
        q->last = &q->first;
    q->waiting--;
    return t;
}

static void *serve(void *arg)
{
    struct lt_work *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct lt_work_task *t = take(w);
        if (t) {
            t->stopped = w->stopping && w->conf.max_waiting;
            pthread_mutex_unlock(&w->lock);
            t->run(t);
            pthread_mutex_lock(&w->lock);
        } else if (w->stopping) {
            break;
        } else {
            pthread_cond_wait(&w->news, &w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static unsigned thread_count(const struct lt_work_conf *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = c->threads ? c->threads : cores < 2 ? 2 : (unsigned)cores;

    return n > MAX_THREADS ? MAX_THREADS : n;
}

int lt_work_start(const struct lt_work_conf *c, struct lt_work **out, struct lt_err *e)
{
    unsigned threads = thread_count(c);
    struct lt_work *w = lt_alloc(1, sizeof *w + threads * sizeof *w->thread);

    *out = NULL;
    w->conf = *c;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->news, NULL);
    for (int u = LT_WORK_URGENT; u <= LT_WORK_USUAL; u++)
        w->queue[u].last = &w->queue[u].first;
    for (; w->started < threads; w->started++) {
        int os = pthread_create(&w->thread[w->started], NULL, serve, w);
        if (os) {
            lt_work_free(w);
            return lt_fail(e, LT_E_IO, "thread %s: %s", c->name, strerror(os));
        }
        pthread_setname_np(w->thread[w->started], c->name);
    }
    *out = w;
    return 0;
}

int lt_work_offer(struct lt_work *w, enum lt_work_urgency u, struct lt_work_task *t, lt_work_fn run,
                  struct lt_err *e)
{
    struct queue *q = &w->queue[u];
    int rc = 0;

    *t = (struct lt_work_task){.run = run};
    pthread_mutex_lock(&w->lock);
    if (w->conf.max_waiting && (w->stopping || q->waiting == w->conf.max_waiting)) {
        rc = lt_fail(e, LT_E_BUSY, "%s, %u tasks wait", w->stopping ? "stopping" : "the queue is full",
                     q->waiting);
    } else {
        *q->last = t;
        q->last = &t->next;
        q->waiting++;
        pthread_cond_signal(&w->news);
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void lt_work_post(struct lt_work *w, struct lt_work_task *t, lt_work_fn run)
{
    if (lt_work_offer(w, LT_WORK_USUAL, t, run, LT_NO_ERR))
        abort(); /* a pool with a bound: whoever waits for the task would wait for ever */
}

void lt_work_stop(struct lt_work *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->news);
    pthread_mutex_unlock(&w->lock);
    for (; w->started; w->started--)
        pthread_join(w->thread[w->started - 1], NULL);
}

void lt_work_free(struct lt_work *w)
{
    if (!w)
        return;
    lt_work_stop(w);
    pthread_cond_destroy(&w->news);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
