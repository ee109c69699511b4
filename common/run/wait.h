/* Blocking on a callback: the caller starts something that will call back once, on whatever thread, and waits
 * here until it has. The wait lives on the caller's stack:
 *
 *   RUNNING  the one that will call back has it, and whatever result lies round it
 *   ENDED    lt_wait_end was called: it is the caller's alone again, and so is the result
 *
 * Lock order: w->lock is innermost, nothing is called under it. Never wait on the thread that calls back, nor
 * with a lock that it takes on its way. */
#ifndef LT_COMMON_RUN_WAIT_H
#define LT_COMMON_RUN_WAIT_H

#include "common/err.h"

#include <pthread.h>
#include <stdbool.h>

struct lt_wait {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool ended;
    int rc;
    struct lt_err e;
};
#define LT_WAIT                                                                                              \
    {                                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER                                  \
    }

/* By the callback, once, as the last thing it does: afterwards w may be gone. e: NULL, or read if rc. */
void lt_wait_end(struct lt_wait *w, int rc, const struct lt_err *e);
/* Returns what it ended with; *e is set if that is not 0. */
int lt_wait_for(struct lt_wait *w, struct lt_err *e) LT_MUST_CHECK;

#endif
