#include "tenant/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAY LT_FLIGHT_MAY

/* docs/architecture.md has this as a picture (tests/unit/tenant/test_stages.c). */
static const struct lt_flight_stage stages[] = {
    {"prepare", LT_FLIGHT_ON_SWEEP, MAY(NEXT) | MAY(END), lt_tenant_prepare, NULL,
     "registration, keys, policy and address of the guest"},
    {"nonce", LT_FLIGHT_ON_SWEEP, MAY(NEXT) | MAY(END), NULL, lt_tenant_nonce,
     "each one's nonce is written down as used (t1)"},
    {"ask", LT_FLIGHT_ON_CLIENT, MAY(WAIT) | MAY(NEXT), lt_tenant_ask, NULL, "GET quotes/integrity"},
    {"answer", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(AGAIN) | MAY(STOP) | MAY(END), lt_tenant_answer, NULL,
     "checks 1-3; again: in an older version of the API; stop: one failed, or it is judged without a host"},
    {"gather", LT_FLIGHT_ON_SWEEP, MAY(WAIT) | MAY(NEXT), NULL, lt_tenant_gather, "POST proofs"},
    {"proof", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(STOP) | MAY(END), NULL, lt_tenant_proof,
     "the reply (t5) is dealt out; stop: several hosts claimed the guest, and that is decided"},
    {"host", LT_FLIGHT_ON_FETCH, MAY(NEXT) | MAY(END), NULL, lt_tenant_host,
     "identity, policy and logs behind a host quote"},
    {"judge", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(END), lt_tenant_judge, NULL, "checks 4-11"},
    {"finish", LT_FLIGHT_ON_POOL, MAY(NEXT), lt_tenant_finish, NULL,
     "bundle, history and verdict are stored, the log is told, the next round is due"},
};

static void work(struct lt_work_task *t)
{
    lt_flight_work(&LT_WORK_OWNER(t, struct lt_tenant_flight)->flight);
}

/* Where the flight's work is done. */
static bool post(struct lt_flight *flight, enum lt_flight_where where)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);
    const struct lt_rounds_conf *c = &f->owner->conf;
    bool large = f->charge > LT_LARGE_ANSWER * LT_REPLY_WEIGHT;
    struct lt_work *pool = where == LT_FLIGHT_ON_FETCH ? c->fetch : large ? c->large : c->pool;

    lt_work_post(pool, &f->task, work);
    return true;
}

/* Nobody answers for its host: the provider is not there, refuses, or does not know the guest. A host that is
 * known and silent is another matter. */
static bool unanswered(int code)
{
    static const int codes[] = {LT_E_NOT_ASSIGNED, LT_E_NOT_FOUND, LT_E_PROVIDER_UNREACHABLE,
                                LT_E_PROVIDER_REFUSED};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (code == codes[i])
            return true;
    return false;
}

void lt_tenant_unreachable(struct lt_flight *flight, const struct lt_err *e)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);
    char why[sizeof e->msg + 40];

    if (!unanswered(e->code) || !lt_tenant_may_unlink(f->round)) {
        lt_verdict_no_answer(&f->round->verdict, LT_VERDICT_UNREACHABLE, e);
        return;
    }
    snprintf(why, sizeof why, "no provider answers for it: %s", e->msg);
    lt_tenant_unlinked(f, why);
}

static void ended(struct lt_flight *flight)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);
    struct lt_watch_entry *entry = &f->guest->entry;

    lt_tenant_landed(f);
    if (entry->removed)
        lt_bundles_remove(f->owner->conf.bundles, entry->id);
    lt_watch_landed(&f->owner->watch, flight, f->due_ms);
    free(f);
}

const struct lt_flight_table lt_tenant_stages = {stages, sizeof stages / sizeof *stages, post,
                                                 lt_tenant_unreachable, ended};

char *lt_tenant_body(const struct lt_http_reply *reply, struct lt_err *e)
{
    char *body = malloc(reply->n + 1);

    if (!body) {
        lt_fail(e, LT_E_NO_MEMORY, "reply: no memory for %zu bytes", reply->n);
        return NULL;
    }
    memcpy(body, reply->body, reply->n);
    body[reply->n] = 0;
    return body;
}

size_t lt_tenant_take_charge(struct lt_tenant_flight *f)
{
    size_t n = f->charge;

    f->charge = 0;
    return n;
}

void lt_tenant_uncharge(struct lt_tenant_flight *f)
{
    lt_budget_give(f->owner->conf.memory, lt_tenant_take_charge(f));
}
