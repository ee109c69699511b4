#include "common/run/wait.h"

void lt_wait_end(struct lt_wait *w, int rc, const struct lt_err *e)
{
    pthread_mutex_lock(&w->lock);
    w->rc = rc;
    if (rc && e)
        w->e = *e;
    w->ended = true;
    pthread_cond_signal(&w->cond); /* under the lock: without it the waiter may be gone already */
    pthread_mutex_unlock(&w->lock);
}

int lt_wait_for(struct lt_wait *w, struct lt_err *e)
{
    pthread_mutex_lock(&w->lock);
    while (!w->ended)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    if (w->rc)
        *e = w->e;
    return w->rc;
}
