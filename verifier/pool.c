#include "verifier/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 64

struct job {
    struct job *next;
    void (*fn)(void *arg);
    void *arg;
};

struct lt_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, **last;
    bool stopping;
    unsigned count;
    pthread_t threads[MAX_THREADS];
};

static void *work(void *arg)
{
    struct lt_pool *p = arg;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct job *j = p->first;
        if (!j) {
            if (p->stopping)
                break;
            pthread_cond_wait(&p->wake, &p->lock);
            continue;
        }
        p->first = j->next;
        if (!p->first)
            p->last = &p->first;
        pthread_mutex_unlock(&p->lock);
        j->fn(j->arg);
        free(j);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int lt_pool_start(unsigned threads, struct lt_pool **out, struct lt_err *e)
{
    struct lt_pool *p = calloc(1, sizeof *p);

    *out = NULL;
    if (!p)
        return lt_fail(e, LT_E_NO_MEMORY, "worker pool: no memory");
    if (!threads) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        threads = cores < 2 ? 2 : (unsigned)cores;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->last = &p->first;
    for (; p->count < threads && p->count < MAX_THREADS; p->count++) {
        int rc = pthread_create(&p->threads[p->count], NULL, work, p);
        if (rc) {
            lt_pool_stop(p);
            return lt_fail(e, LT_E_INTERNAL, "worker pool: thread %u: %s", p->count, strerror(rc));
        }
    }
    *out = p;
    return 0;
}

void lt_pool_stop(struct lt_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    free(p);
}

void lt_pool_post(struct lt_pool *p, void (*fn)(void *arg), void *arg)
{
    struct job *j = malloc(sizeof *j);

    if (!j)
        abort();
    *j = (struct job){.fn = fn, .arg = arg};
    pthread_mutex_lock(&p->lock);
    *p->last = j;
    p->last = &j->next;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

struct served {
    struct lt_http_req *req;
    lt_handler fn;
    void *app;
};

static void serve(void *arg)
{
    struct served *s = arg;
    s->fn(s->req, s->app);
    free(s);
}

void lt_pool_serve(struct lt_pool *p, struct lt_http_req *req, lt_handler fn, void *app)
{
    struct served *s = malloc(sizeof *s);

    if (!s) {
        struct lt_err e;
        lt_fail(&e, LT_E_NO_MEMORY, "%s: no memory", lt_http_req_id(req));
        lt_http_reply_error(req, &e, 1);
        return;
    }
    *s = (struct served){req, fn, app};
    lt_http_req_hold(req);
    lt_pool_post(p, serve, s);
}
