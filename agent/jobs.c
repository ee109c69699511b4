#include "agent/jobs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Waiting jobs of each kind, so that a flood of the others keeps no urgent one out. Who fills it gets 503. */
#define QUEUE_MAX 256

struct job {
    struct job *next;
    lt_job_fn fn;
    void *arg;
};

struct list {
    struct job *head, **tail;
    unsigned waiting;
};

struct lt_jobs {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list urgent, other;
    bool stopping;
};

static struct job *take(struct list *l)
{
    struct job *job = l->head;

    if (job) {
        l->head = job->next;
        if (!l->head)
            l->tail = &l->head;
        l->waiting--;
    }
    return job;
}

static void *work(void *arg)
{
    struct lt_jobs *j = arg;
    struct job *job;

    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (!j->urgent.head && !j->other.head && !j->stopping)
            pthread_cond_wait(&j->wake, &j->lock);
        if (!(job = take(&j->urgent)) && !(job = take(&j->other)))
            break;
        bool stopped = j->stopping;
        pthread_mutex_unlock(&j->lock);
        job->fn(job->arg, stopped);
        free(job);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

int lt_jobs_start(const char *thread_name, struct lt_jobs **out, struct lt_err *e)
{
    struct lt_jobs *j = calloc(1, sizeof *j);

    *out = NULL;
    if (!j)
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", thread_name);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->wake, NULL);
    j->urgent.tail = &j->urgent.head;
    j->other.tail = &j->other.head;
    int os = pthread_create(&j->thread, NULL, work, j);
    if (os) {
        free(j);
        return lt_fail(e, LT_E_IO, "thread %s: %s", thread_name, strerror(os));
    }
    pthread_setname_np(j->thread, thread_name);
    *out = j;
    return 0;
}

int lt_jobs_post(struct lt_jobs *j, bool urgent, lt_job_fn fn, void *arg, struct lt_err *e)
{
    struct list *l = urgent ? &j->urgent : &j->other;
    struct job *job = malloc(sizeof *job);
    int rc = 0;

    if (!job)
        return lt_fail(e, LT_E_NO_MEMORY, "job: no memory");
    *job = (struct job){.fn = fn, .arg = arg};
    pthread_mutex_lock(&j->lock);
    if (j->stopping || l->waiting == QUEUE_MAX) {
        rc = lt_fail(e, LT_E_BUSY, "%s, %u jobs wait",
                     j->stopping ? "the agent is stopping" : "the queue is full", l->waiting);
        free(job);
    } else {
        *l->tail = job;
        l->tail = &job->next;
        l->waiting++;
        pthread_cond_signal(&j->wake);
    }
    pthread_mutex_unlock(&j->lock);
    return rc;
}

void lt_jobs_stop(struct lt_jobs *j)
{
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
}

void lt_jobs_free(struct lt_jobs *j)
{
    if (!j)
        return;
    pthread_cond_destroy(&j->wake);
    pthread_mutex_destroy(&j->lock);
    free(j);
}
