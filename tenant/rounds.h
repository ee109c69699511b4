/* The rounds of all guests. One thread schedules: guests that are due together make a sweep, whose
 * commitments go to the provider in one request, so that one host quote carries them all. Everything that
 * computes or waits runs on a pool; never are there two rounds of one guest at once.
 *
 *   due -> GET quotes/integrity (t1) -> checks 1-3 -> POST proofs (t5) -> host's identity -> checks 4-11 ->
 * store
 */
#ifndef LT_TENANT_ROUNDS_H
#define LT_TENANT_ROUNDS_H

#include "tenant/bundles.h"
#include "tenant/round.h"
#include "verifier/pool.h"
#include "verifier/rounds/schedule.h"

struct lt_tenant_rounds;

struct lt_tenant_rounds_conf {
    uint8_t tenant_id[16];
    const char *provider; /* https://HOST:PORT */
    uint64_t period_ms, max_stale_ms, window_ms, gather_ms;
    struct lt_store *store; /* borrowed, as all below */
    struct lt_bundles *bundles;
    struct lt_budget *memory;
    struct lt_hosts *hosts;
    struct lt_documents *documents;
    struct lt_pool *pool;
    struct lt_pool *large; /* for what takes long because it is long: few of those keep the others waiting */
    struct lt_pool *fetch; /* for what waits for the provider: a host that hangs keeps no appraisal waiting */
    struct lt_http_client *to_provider;
    struct lt_http_client *to_guests; /* taken over */
};

/* Loads the guests from the store; all are due at once. */
int lt_tenant_rounds_start(const struct lt_tenant_rounds_conf *c, struct lt_tenant_rounds **out,
                           struct lt_err *e) LT_MUST_CHECK;
/* No new rounds; guests that have not answered are given up, and those whose proof is asked for are waited
 * for. */
void lt_tenant_rounds_stop(struct lt_tenant_rounds *r);

/* A round was asked for: these guests (NULL: all) are due at once and fly together, when the rounds they are
 * in have ended. False, and nothing is done: one of them is not among the guests. */
bool lt_tenant_rounds_ask(struct lt_tenant_rounds *r, const uint8_t (*uuids)[LT_UUID], size_t count);
/* The guest was added or changed in the store, or cleared. */
void lt_tenant_rounds_add(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID]);
void lt_tenant_rounds_remove(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID]);

/* The last round that reached a host quote; NULL: none since the start. A reference to a struct
 * lt_tenant_round that nobody changes any more. */
struct lt_ref *lt_tenant_rounds_last(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID]);

struct lt_store_deadlines lt_tenant_rounds_deadlines(const struct lt_tenant_rounds *r);

struct lt_tenant_rounds_count {
    uint64_t quotes;     /* host quotes that came in */
    uint32_t last_batch; /* n of the last */
};
void lt_tenant_rounds_count(struct lt_tenant_rounds *r, struct lt_tenant_rounds_count *out);

#endif
