/* A pool of threads with one first-in-first-out queue: what may not run in an HTTP handler or on the HTTP
 * client's thread runs here. */
#ifndef LT_PROVIDER_WORK_H
#define LT_PROVIDER_WORK_H

#include "common/err.h"

/* Embedded in the caller's own struct, so that posting cannot fail. */
struct lt_work_task {
    struct lt_work_task *next;
    void (*run)(struct lt_work_task *t); /* may free t */
};

struct lt_work;

int lt_work_new(unsigned threads, struct lt_work **out, struct lt_err *e) LT_MUST_CHECK;
void lt_work_post(struct lt_work *w, struct lt_work_task *t); /* any thread */
/* Runs what is queued, also what that posts, then ends the threads. */
void lt_work_free(struct lt_work *w);

#endif
