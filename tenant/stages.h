/* A guest's round as a table of stages (stages.c), which verifier/rounds/ drives: in stage_prepare.c,
 * stage_answer.c, stage_proof.c, stage_host.c, stage_finish.c, and contest.c for a guest that several hosts
 * claim. For these and rounds.c (which guests, and when) only. */
#ifndef LT_TENANT_STAGES_H
#define LT_TENANT_STAGES_H

#include "common/http/client.h"
#include "tenant/exposure.h"
#include "tenant/guest_ek.h"
#include "tenant/reach.h"
#include "tenant/release.h"
#include "tenant/round.h"
#include "tenant/rounds_conf.h"
#include "verifier/rounds/schedule.h"
#include "verifier/rounds/watch.h"
#include "verifier/told.h"

/* One guest that is attested. What is marked (f) belongs to its flight while it flies; the rest is under the
 * lock. */
struct lt_tenant_guest {
    struct lt_watch_entry entry;
    struct lt_schedule schedule;     /* (f) */
    unsigned version;                /* (f) of the agent's API: minor versions below LT_VERSIONS_TO */
    struct lt_ref *identity;         /* (f) of the keys it registered with, as long as they stay */
    struct lt_ref *policy;           /* (f) */
    struct lt_list list;             /* (f) of identity's machine */
    struct lt_history_guest history; /* (f) of identity's EK */
    struct lt_guest_ek_found ek;     /* (f) */
    struct lt_ref *sealed;           /* (f) of policy and identity; NULL: to be read from the store */
    uint64_t exposures;              /* (f) lt_store_exposures when it was read */
    unsigned untrusted;              /* rounds that ended so since the last trusted one, or the start */
    bool overdue;                    /* for max_stale, which began with the start at the earliest */
    unsigned slow;                   /* (f) answers in a row that found no room, or kept it too long */
    struct lt_told told;             /* (f) what the log said last of it */
    size_t kept;                     /* (f) of conf.memory: logs of `last` and the list */
    struct lt_ref *last;             /* the round that lt_rounds_last tells */
};

/* One round under way: whoever has struct lt_flight has it (verifier/rounds/flight.h). */
struct lt_tenant_flight {
    struct lt_flight flight;
    struct lt_work_task task; /* in one pool at a time */
    struct lt_tenant_rounds *owner;
    struct lt_tenant_guest *guest;
    struct lt_tenant_round *round; /* from the first stage to the last */
    char address[LT_TENANT_REACH_MAX];
    int status; /* of the guest's answer, if flight.e says that there is one */
    char *body;
    size_t body_n;
    size_t charge;        /* its part of conf.memory, until it has ended */
    struct lt_ref *ask;   /* of stage_proof.c: the request it is in, until that is read */
    struct lt_ref *group; /* of stage_host.c: those of its host quote, until that is viewed */
    /* found by the last stage: */
    uint64_t due_ms;
    uint64_t proven_until_ms; /* 0: as it was */
    bool revoked;             /* the guest failed: not proven any more */
    bool untrusted;           /* it was tried, and what came out counts */
};

struct lt_tenant_rounds {
    struct lt_watch watch; /* with the lock over all of this */
    struct lt_rounds_conf conf;
    struct lt_tenant_caches caches;
    struct lt_release *release;
    struct lt_exposure *exposure;
    struct lt_contest *contests; /* guests that several hosts claim; none is left when all have ended */
    uint64_t quotes;             /* lt_rounds_count */
    uint32_t last_batch;
};

extern const struct lt_flight_table lt_tenant_stages;

static inline struct lt_tenant_flight *lt_tenant_flight_of(struct lt_flight *f)
{
    return (struct lt_tenant_flight *)f;
}

enum lt_flight_next lt_tenant_prepare(struct lt_flight *flight, struct lt_err *e);
enum lt_flight_next lt_tenant_nonce(struct lt_flight **these, struct lt_err *e);
enum lt_flight_next lt_tenant_ask(struct lt_flight *flight, struct lt_err *e);
enum lt_flight_next lt_tenant_answer(struct lt_flight *flight, struct lt_err *e);
enum lt_flight_next lt_tenant_gather(struct lt_flight **these, struct lt_err *e);
enum lt_flight_next lt_tenant_proof(struct lt_flight **these, struct lt_err *e);
enum lt_flight_next lt_tenant_host(struct lt_flight **these, struct lt_err *e);
enum lt_flight_next lt_tenant_judge(struct lt_flight *flight, struct lt_err *e);
enum lt_flight_next lt_tenant_finish(struct lt_flight *flight, struct lt_err *e);

/* A reply's body, which is borrowed, as a text of ours; NULL without memory. */
char *lt_tenant_body(const struct lt_http_reply *reply, struct lt_err *e);
/* What the answer holds of the memory is no longer the flight's; or no longer there. */
size_t lt_tenant_take_charge(struct lt_tenant_flight *f);
void lt_tenant_uncharge(struct lt_tenant_flight *f);
/* Transport trouble is no verdict about a guest. */
void lt_tenant_unreachable(struct lt_flight *flight, const struct lt_err *e);
/* stage_answer.c: the guest's evidence is judged without a host, for that reason. */
void lt_tenant_unlinked(struct lt_tenant_flight *f, const char *why);
/* It may be, if no provider answers for it: its policy accepts that by name, and it never had a host. */
bool lt_tenant_may_unlink(const struct lt_tenant_round *round);
/* stage_prepare.c: flight's guest->sealed, read again if it was exposed, or cleared, since. */
int lt_tenant_need_seen(struct lt_tenant_flight *f, struct lt_err *e) LT_MUST_CHECK;
/* stage_host.c: the round's too: exposed is what holds when it is judged, not what held at t1. Whether it was
 * read again. */
bool lt_tenant_refresh_seen(struct lt_tenant_flight *f);
/* rounds.c: a round of the guest has ended. Under the lock. */
void lt_tenant_landed(struct lt_tenant_flight *f);

/* stage_host.c: those of one host quote, a reference for each flight of it. The claims of contests come
 * along, and keep the rounds where they are as long as they are open. */
struct lt_tenant_claim;
struct lt_ref *lt_tenant_group_new(struct lt_tenant_rounds *r, struct lt_ref *quote,
                                   const char *host); /* takes quote */
void lt_tenant_group_add(struct lt_ref *group, struct lt_tenant_flight *f);
void lt_tenant_group_claim(struct lt_ref *group, struct lt_tenant_claim *c);
/* All have been added. NULL is fine; group is put. */
void lt_tenant_group_close(struct lt_ref *group);

/* contest.c: a guest whose proof several hosts gave (docs/protocol.md section 6). Each claim is judged by all
 * of 4-11, and the flight goes on when all are, or a second after one of them holds: nobody's delay or
 * silence counts against the others. item: of the provider's `proofs`; groups: of its quotes, NULL where
 * malformed. */
void lt_tenant_contest(struct lt_tenant_flight *f, const json_t *item, struct lt_ref *const *quotes,
                       struct lt_ref *const *groups, size_t n);
struct lt_tenant_claim **lt_tenant_claim_next(struct lt_tenant_claim *c);
/* Not of the guest's own host, which is among the claimants: others do not wait for what is fetched of it. */
bool lt_tenant_claim_is_rival(const struct lt_tenant_claim *c);
const struct lt_policy_guest *lt_tenant_claim_policy(const struct lt_tenant_claim *c); /* NULL: none */
/* The list of openers that its record names; false: none. had: borrowed. */
bool lt_tenant_claim_names(const struct lt_tenant_claim *c, uint8_t digest[LT_SHA256], struct lt_ref **had);
/* What stands behind its quote, and openers (struct lt_sealing_view, taken; NULL: none), or (e not NULL) why
 * that cannot be had. c is gone. */
void lt_tenant_claim_viewed(struct lt_tenant_claim *c, const struct lt_hosts_host_view *v,
                            struct lt_ref *openers, const struct lt_err *e);
/* Decides what is due. Under the lock. */
void lt_tenant_contests_due(struct lt_tenant_rounds *r, uint64_t now_ms, uint64_t *next_ms);

#endif
