/* The rounds of all guests. Guests that are due together make a sweep, whose commitments go to the provider
 * in one request, so that one host quote carries them all. Never are there two rounds of one guest at once.
 * The way of a round: docs/architecture.md section 3. */
#ifndef LT_TENANT_ROUNDS_H
#define LT_TENANT_ROUNDS_H

#include "common/ref.h"
#include "tenant/rounds_conf.h"
#include "verifier/store/store.h"

struct lt_tenant_rounds;
struct lt_release;

/* Loads the guests from the store; all are due at once. */
int lt_rounds_start(const struct lt_rounds_conf *c, struct lt_tenant_rounds **out,
                    struct lt_err *e) LT_MUST_CHECK;
/* No new rounds; guests that have not answered are given up, and those whose proof is asked for are waited
 * for. */
void lt_rounds_stop(struct lt_tenant_rounds *r);

/* A round was asked for: these guests (NULL: all) are due at once and fly together, when the rounds they are
 * in have ended. False, and nothing is done: one of them is not among the guests. */
bool lt_rounds_ask(struct lt_tenant_rounds *r, const uint8_t (*uuids)[LT_UUID], size_t count);
/* The guest was added or changed in the store, or cleared. One that is stopped (verifier/store/keylime.h)
 * stays so, also over a restart. */
void lt_rounds_add(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID]);
void lt_rounds_remove(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID]);

/* To guests' agents; until lt_rounds_stop. */
struct lt_http_client *lt_rounds_client(struct lt_tenant_rounds *r);
/* V on its way to guests. */
struct lt_release *lt_rounds_release(struct lt_tenant_rounds *r);

/* The last round that reached a host quote, or was judged without a host; NULL: none since the start. A
 * reference to a struct lt_tenant_round that nobody changes any more. */
struct lt_ref *lt_rounds_last(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID]);

struct lt_store_deadlines lt_rounds_deadlines(const struct lt_tenant_rounds *r);

struct lt_rounds_count {
    uint64_t quotes;     /* host quotes that came in */
    uint32_t last_batch; /* n of the last */
};
void lt_rounds_count(struct lt_tenant_rounds *r, struct lt_rounds_count *out);

#endif
