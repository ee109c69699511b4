/* One thread and its queue, for work that must not run on an HTTP thread: TPM commands, snapshots, logs. */
#ifndef LT_AGENT_JOBS_H
#define LT_AGENT_JOBS_H

#include "common/err.h"

#include <stdbool.h>

struct lt_jobs;

/* Runs once for every accepted job. stopped: the queue is ending, answer without working. */
typedef void (*lt_job_fn)(void *arg, bool stopped);

int lt_jobs_start(const char *thread_name, struct lt_jobs **out, struct lt_err *e) LT_MUST_CHECK;
/* Urgent jobs run before the others, each kind in order of arrival. LT_E_BUSY when the queue of its kind is
 * full: then fn is never called. Any thread. */
int lt_jobs_post(struct lt_jobs *j, bool urgent, lt_job_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;
/* Lets the running job end, calls the waiting ones with stopped, joins. Later posts are refused. */
void lt_jobs_stop(struct lt_jobs *j);
void lt_jobs_free(struct lt_jobs *j); /* after stop, when nobody can post any more */

#endif
