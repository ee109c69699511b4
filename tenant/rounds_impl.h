/* Inside tenant/rounds.c (who is due), sweep.c (asks guests), proofs.c (asks the provider) and finish.c (what
 * came out) only. */
#ifndef LT_TENANT_ROUNDS_IMPL_H
#define LT_TENANT_ROUNDS_IMPL_H

#include "tenant/rounds.h"
#include "verifier/store/store.h"

#include <pthread.h>

#define LT_TENANT_BULKY_AT_ONCE 16 /* guests known for large answers that are asked at a time, count */

/* One guest that is attested. Guarded by lt_tenant_rounds.lock, but what is marked (f) belongs to its flight
 * while it flies. */
struct lt_tenant_watched {
    struct lt_tenant_watched *next;
    uint8_t uuid[LT_UUID];
    uint64_t due_ms;
    bool flying;
    uint64_t ask;                    /* number of the request for a round that it waits to fly for; 0: none */
    bool removed;                    /* goes when its flight has ended */
    struct lt_schedule schedule;     /* (f) */
    unsigned version;                /* (f) of the agent's API: 0: LT_VERSIONS_TO, and older */
    struct lt_ref *identity;         /* (f) of the keys it registered with, as long as they stay */
    struct lt_ref *policy;           /* (f) */
    struct lt_list list;             /* (f) of identity's machine */
    struct lt_history_guest history; /* (f) of identity's EK */
    unsigned slow;                   /* (f) answers in a row that found no room, or kept it too long */
    bool bulky;                      /* its last answer was large, or found no room */
    bool told;                       /* (f) the log has said this of it: */
    enum lt_verdict_result told_result; /* (f) */
    int told_kept;                      /* (f) enum kept of finish.c */
    char told_reason[32];               /* (f) */
    size_t kept;                        /* (f) of conf.memory: logs of `last` and the list */
    struct lt_ref *last;
    uint64_t proven_until_ms; /* no trusted verdict after that: unproven. 0: never trusted, or told already */
};

/* One round under way: owned by whoever works on it. */
struct lt_tenant_flight {
    struct lt_tenant_flight *next; /* in a sweep's ready list, in a group */
    struct lt_tenant_rounds *owner;
    struct lt_tenant_watched *guest;
    struct lt_tenant_sweep *sweep;
    struct lt_tenant_round *round;
    struct lt_err e; /* of the request to the guest */
    int status;
    char *body;
    size_t body_n;
    bool bulky;    /* counted in lt_tenant_rounds.bulky */
    size_t charge; /* its part of conf.memory, until it has ended */
};

/* Guests that were due together. Guarded by lt_tenant_rounds.lock. */
struct lt_tenant_sweep {
    struct lt_tenant_sweep *next;
    size_t pending;                 /* guests that have neither answered nor failed */
    struct lt_tenant_flight *ready; /* passed checks 1-3, not yet sent to the provider */
    uint64_t gather_until_ms;
    bool late; /* that has passed: who is ready now goes at once */
};

struct lt_tenant_rounds {
    struct lt_tenant_rounds_conf conf;
    struct lt_tenant_caches caches;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    struct lt_tenant_watched *guests;
    struct lt_tenant_sweep *sweeps;
    size_t flying;
    unsigned bulky;              /* of those: at most LT_TENANT_BULKY_AT_ONCE */
    struct lt_contest *contests; /* guests that several hosts claim; none is left when all have ended */
    uint64_t asks;               /* requests so far */
    struct lt_tenant_rounds_count count;
};

/* sweep.c: sends the guests of the list (marked flying, linked by flight->next) on their way. */
void lt_tenant_sweep_start(struct lt_tenant_rounds *r, struct lt_tenant_flight *flights);
/* Under the lock; takes what must be sent now out of the sweep, for lt_tenant_flights_ask without the lock.
 */
struct lt_tenant_flight *lt_tenant_sweep_take(struct lt_tenant_sweep *s);

/* proofs.c: asks the provider for the proofs of these. */
void lt_tenant_flights_ask(struct lt_tenant_rounds *r, struct lt_tenant_flight *flights);

/* What the answer holds of the memory is no longer the flight's. */
static inline size_t lt_take_charge(struct lt_tenant_flight *f)
{
    size_t n = f->charge;
    f->charge = 0;
    return n;
}
/* Where the flight's work is done. */
static inline struct lt_pool *lt_flight_pool(const struct lt_tenant_flight *f)
{
    return f->charge > LT_LARGE_ANSWER * LT_REPLY_WEIGHT ? f->owner->conf.large : f->owner->conf.pool;
}
/* finish.c: the answer is no longer in memory. */
void lt_tenant_flight_uncharge(struct lt_tenant_flight *f);
/* contest.c: a guest whose proof several hosts gave (docs/protocol.md section 6). Each claim is judged by all
 * of 4-11, and the flight ends when all are, or a second after one of them holds: nobody's delay or silence
 * counts against the others. item: of the provider's `proofs`; groups[i] gets the claims with quotes[i] in
 * front. */
struct lt_claim;
void lt_tenant_contest_start(struct lt_tenant_flight *f, const json_t *item, struct lt_ref *const *quotes,
                             size_t n, struct lt_claim **groups);
struct lt_claim *lt_tenant_claim_next(const struct lt_claim *c);
/* Not of the guest's own host, which is among the claimants: others do not wait for what is fetched of it. */
bool lt_tenant_claim_is_rival(const struct lt_claim *c);
const struct lt_policy_guest *lt_tenant_claim_policy(const struct lt_claim *c); /* of its guest; NULL: none */
/* What stands behind its quote, or (e not NULL) why that cannot be had. c is gone. */
void lt_tenant_claim_viewed(struct lt_claim *c, const struct lt_hosts_host_view *v, const struct lt_err *e);
/* Decides what is due. Under the lock. */
void lt_tenant_contests_due(struct lt_tenant_rounds *r, uint64_t now_ms, uint64_t *next);

/* finish.c: the verdict is concluded; learns, stores, schedules; the flight is gone. */
void lt_tenant_flight_finish(struct lt_tenant_flight *f);
/* The same for a round that got no answer. */
void lt_tenant_flight_unreachable(struct lt_tenant_flight *f, const struct lt_err *e);

#endif
