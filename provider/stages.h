/* A host's round as a table of stages (stages.c), which verifier/rounds/ drives; its last stage is in
 * stage_finish.c. For these and rounds.c (which hosts, and when) only. */
#ifndef LT_PROVIDER_STAGES_H
#define LT_PROVIDER_STAGES_H

#include "appraisal/checks/round.h"
#include "common/run/work.h"
#include "provider/evidence.h"
#include "provider/hook.h"
#include "provider/host_rounds_conf.h"
#include "verifier/hosts.h"
#include "verifier/rounds/schedule.h"
#include "verifier/rounds/watch.h"
#include "verifier/told.h"

/* One host that is attested. What is marked (f) belongs to its flight while it flies; the rest is under the
 * watch's lock. */
struct lt_provider_watched {
    struct lt_watch_entry entry;
    struct lt_schedule schedule; /* (f) */
    struct lt_told told;         /* (f) what the log said last of it */
    uint64_t began_ms;           /* of the last flight */
};

/* One round under way: whoever has struct lt_flight has it (verifier/rounds/flight.h). */
struct lt_provider_flight {
    struct lt_flight flight;
    struct lt_work_task task; /* in the pool */
    struct lt_batcher_batch_item item;
    struct lt_provider_rounds *owner;
    struct lt_provider_watched *watched;
    struct lt_provider_host *host; /* a reference; NULL: not enrolled any more */
    char name[2 * LT_RESIDENCY_HOST_ID + 1];
    bool has_basis;
    struct lt_store_basis basis;    /* the policy that was published at t1 */
    uint64_t t1_ms, t5_ms;          /* t5 0: no quote came */
    int64_t started, received;      /* wall, for people */
    struct lt_ref *quote;           /* struct lt_residency_host_quote; NULL: none came */
    bool refused;                   /* check 5 is to say why */
    struct lt_hosts_host_view view; /* what stands behind it */
    struct lt_history_host history; /* of its AK, before this round */
    struct lt_history_round_facts facts;
    struct lt_verdict verdict;
    /* found by the last stage: */
    uint64_t due_ms;
    uint64_t proven_until_ms; /* 0: as it was */
    bool failed;
};

struct lt_provider_rounds {
    struct lt_watch watch; /* with the lock over all of this */
    struct lt_provider_rounds_conf conf;
    struct lt_budget *memory;
    struct lt_store *store;
    char *tables, *fetched; /* directories */
    struct lt_documents *documents;
    struct lt_evidence source;
    struct lt_hosts *hosts;
    struct lt_result_cache *quotes, *measured;
    struct lt_work *pool;
    struct lt_hook *hook;
    bool watching;
};

extern const struct lt_flight_table lt_provider_stages;

static inline struct lt_provider_flight *lt_provider_flight_of(struct lt_flight *f)
{
    return (struct lt_provider_flight *)f;
}

/* The store's row of the host is about the policy that is published now: *policy (zeros: none). */
int lt_provider_follow(struct lt_provider_rounds *r, struct lt_provider_host *h, uint8_t policy[LT_SHA256],
                       struct lt_err *e) LT_MUST_CHECK;
enum lt_flight_next lt_provider_finish(struct lt_flight *flight, struct lt_err *e);

#endif
