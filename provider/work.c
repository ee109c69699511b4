#include "provider/work.h"

#include "common/bytes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct lt_work {
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct lt_work_task *first, **last;
    bool stopping;
    unsigned threads;
    pthread_t thread[];
};

static void *serve(void *arg)
{
    struct lt_work *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct lt_work_task *t = w->first;
        if (t) {
            w->first = t->next;
            if (!w->first)
                w->last = &w->first;
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

int lt_work_new(unsigned threads, struct lt_work **out, struct lt_err *e)
{
    struct lt_work *w = calloc(1, sizeof *w + threads * sizeof *w->thread);

    *out = NULL;
    if (!w)
        return lt_fail(e, LT_E_NO_MEMORY, "work queue: no memory");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->news, NULL);
    w->last = &w->first;
    for (; w->threads < threads; w->threads++) {
        int err = pthread_create(&w->thread[w->threads], NULL, serve, w);
        if (err) {
            lt_work_free(w);
            return lt_fail(e, LT_E_IO, "work queue of %u threads: %s", threads, strerror(err));
        }
    }
    *out = w;
    return 0;
}

void lt_work_post(struct lt_work *w, struct lt_work_task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&w->lock);
    *w->last = t;
    w->last = &t->next;
    pthread_cond_signal(&w->news);
    pthread_mutex_unlock(&w->lock);
}

void lt_work_free(struct lt_work *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->news);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->threads; i++)
        pthread_join(w->thread[i], NULL);
    pthread_cond_destroy(&w->news);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
