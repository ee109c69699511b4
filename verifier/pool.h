/* A few worker threads and one queue: for whatever is slower than a millisecond (appraisal, commits, calls to
 * the provider), so that neither the HTTP server's nor the client's thread ever waits. */
#ifndef LT_VERIFIER_POOL_H
#define LT_VERIFIER_POOL_H

#include "common/http/server.h"

struct lt_pool;

/* threads 0: one a core, at least two. */
int lt_pool_start(unsigned threads, struct lt_pool **out, struct lt_err *e) LT_MUST_CHECK;
/* Runs what is queued, then ends the threads and frees. Nothing may be posted afterwards. */
void lt_pool_stop(struct lt_pool *p);

/* fn runs once, on some worker. Posts from workers are welcome. Aborts without memory: a job that vanished
 * would leave a guest for ever in flight. */
void lt_pool_post(struct lt_pool *p, void (*fn)(void *arg), void *arg);

/* Suspends the request and runs fn with it on a worker: the body of a route that writes. */
void lt_pool_serve(struct lt_pool *p, struct lt_http_req *req, lt_handler fn, void *app);

#endif
