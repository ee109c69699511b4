/* A pool of threads with one queue: what may not run where it arises (an HTTP server's or client's thread, a
 * database's writer) runs here.
 *
 * A task is embedded in the struct it works on, so that posting needs no memory. Its owner is
 *   who posts it    until the post returned 0
 *   the queue       until a thread takes it: nobody may touch it
 *   run             from then on, and run may free it
 *
 * Two kinds of pool. Without a bound (max_waiting 0) every task runs, also those that others post while the
 * pool stops. With a bound a post is refused when as many of its urgency wait, and once the pool stops; those
 * that wait then run with `stopped`, and answer without working.
 *
 * Lock order: the pool's lock is innermost, and no task runs under it. */
#ifndef LT_COMMON_RUN_WORK_H
#define LT_COMMON_RUN_WORK_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>

struct lt_work_task;
typedef void (*lt_work_fn)(struct lt_work_task *t);
struct lt_work_task { /* set by the pool */
    struct lt_work_task *next;
    lt_work_fn run;
    bool stopped; /* for run: answer without working */
};
/* The struct of that type whose member `task` this is. */
#define LT_WORK_OWNER(t, type) ((type *)(void *)((char *)(t)-offsetof(type, task)))

/* Urgent tasks run before the others, each kind in order of arrival. */
enum lt_work_urgency { LT_WORK_URGENT, LT_WORK_USUAL };

struct lt_work_conf {
    const char *name;     /* of the threads, at most 15 bytes; in messages too */
    unsigned threads;     /* 0: one a core, at least 2; at most 64 */
    unsigned max_waiting; /* of each urgency; 0: no bound */
};

struct lt_work;

int lt_work_start(const struct lt_work_conf *c, struct lt_work **out, struct lt_err *e) LT_MUST_CHECK;
/* LT_E_BUSY: refused, run is never called for it; only of a pool with a bound. Any thread. */
int lt_work_offer(struct lt_work *w, enum lt_work_urgency u, struct lt_work_task *t, lt_work_fn run,
                  struct lt_err *e) LT_MUST_CHECK;
/* The same, for pools without a bound: cannot fail. */
void lt_work_post(struct lt_work *w, struct lt_work_task *t, lt_work_fn run);
/* Runs what waits, then ends the threads. Later offers are refused if there is a bound, and nobody may post
 * if there is none. NULL, and a second time, are fine. */
void lt_work_stop(struct lt_work *w);
void lt_work_free(struct lt_work *w); /* stops it; when nobody can offer any more */

#endif
