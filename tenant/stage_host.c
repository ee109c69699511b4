/* What stands behind a host quote, and checks 4-11 under it. */
#include "tenant/stages.h"

#include "common/alloc.h"
#include "common/run/log.h"

#include <stdio.h>
#include <stdlib.h>

/* The guests of one host quote. Only as long as one of them flies, or a claim is open, is `r` sure to be
 * there. */
struct group {
    struct lt_work_task task;
    struct lt_ref *self; /* of the task */
    struct lt_tenant_rounds *r;
    struct lt_ref *quote;
    char host[2 * LT_RESIDENCY_HOST_ID + 1];
    bool flights;
    struct lt_tenant_claim *claims; /* of guests that other hosts claim too */
};

/* What the openers are judged by that a record names. NULL: it names none. */
static struct lt_ref *openers_of_claim(const struct group *g, const struct lt_tenant_claim *c)
{
    uint8_t digest[LT_SHA256];
    struct lt_ref *had;

    return lt_tenant_claim_names(c, digest, &had)
               ? lt_sealing_view(g->r->conf.openers, digest, had, lt_tenant_claim_policy(c))
               : NULL;
}

static struct lt_ref *openers_of(const struct group *g, const struct lt_tenant_round *round)
{
    const struct lt_checks_identity_guest *id = lt_ref_value(round->identity);
    uint8_t digest[LT_SHA256];

    return lt_tenant_seen_names(&round->proof, round->uuid, id->ek_digest, digest)
               ? lt_sealing_view(g->r->conf.openers, digest, lt_tenant_seen_last(round->sealed),
                                 lt_tenant_policy_parsed(round->policy))
               : NULL;
}

static void tell_claims(struct group *g, const struct lt_hosts_host_view *v, const struct lt_err *e)
{
    struct lt_tenant_claim *c, *next;

    for (c = lt_take(&g->claims); c; c = next) {
        next = *lt_tenant_claim_next(c);
        lt_tenant_claim_viewed(c, v, e ? NULL : openers_of_claim(g, c), e);
    }
}

static void group_free(void *p)
{
    struct group *g = p;
    struct lt_err e;

    lt_fail(&e, LT_E_BUSY, "nobody was there to ask about its host");
    tell_claims(g, NULL, &e); /* none is left, but when there was no room for the work */
    lt_ref_put(g->quote);
    free(g);
}

struct lt_ref *lt_tenant_group_new(struct lt_tenant_rounds *r, struct lt_ref *quote, const char *host)
{
    struct group *g = lt_new(struct group);
    g->r = r;
    g->quote = quote;
    snprintf(g->host, sizeof g->host, "%s", host);
    return lt_ref_new(g, group_free);
}

void lt_tenant_group_add(struct lt_ref *group, struct lt_tenant_flight *f)
{
    struct group *g = lt_ref_value(group);

    g->flights = true;
    f->group = lt_ref_get(group);
    f->flight.key = group;
}

void lt_tenant_group_claim(struct lt_ref *group, struct lt_tenant_claim *c)
{
    struct group *g = lt_ref_value(group);

    *lt_tenant_claim_next(c) = g->claims;
    g->claims = c;
}

static bool accepts(const struct lt_policy_guest *p, const struct lt_residency_header *h)
{
    return p && lt_policy_digests_have(&p->host_policies, h->policy_digest);
}

static bool accepted(const struct group *g, struct lt_flight *flights)
{
    const struct lt_residency_host_quote *q = lt_ref_value(g->quote);
    struct lt_residency_header h;

    if (lt_residency_header_parse(q->header, sizeof q->header, &h, LT_NO_ERR))
        return false;
    for (struct lt_flight *f = flights; f; f = f->next)
        if (accepts(lt_tenant_policy_parsed(lt_tenant_flight_of(f)->round->policy), &h))
            return true;
    for (struct lt_tenant_claim *c = g->claims; c; c = *lt_tenant_claim_next(c))
        if (accepts(lt_tenant_claim_policy(c), &h))
            return true;
    return false;
}

/* Some guest's verdict waits for this host's; else they are all its rivals. */
static bool awaited(const struct group *g)
{
    bool rivals = !g->flights;

    for (struct lt_tenant_claim *c = g->claims; c && rivals; c = *lt_tenant_claim_next(c))
        rivals = lt_tenant_claim_is_rival(c);
    return !rivals;
}

/* Claims first: with the last of them, and no flights, the rounds may be gone. */
static int view_host(struct group *g, struct lt_flight *flights, struct lt_err *e)
{
    struct lt_hosts_host_view v = {0};
    int rc = lt_hosts_view(g->r->conf.hosts, g->host, lt_ref_value(g->quote), accepted(g, flights),
                           awaited(g), &v, e);

    if (!rc)
        lt_exposure_look(g->r->exposure, g->host, lt_ref_value(g->quote), &v);
    tell_claims(g, &v, rc ? e : NULL);
    for (struct lt_flight *f = flights; f && !rc; f = f->next) {
        struct lt_tenant_round *round = lt_tenant_flight_of(f)->round;
        round->host = (struct lt_hosts_host_view){lt_ref_get(v.keys), lt_ref_get(v.policy), lt_ref_get(v.log),
                                                  lt_ref_get(v.ima)};
        round->openers = openers_of(g, round);
    }
    lt_hosts_host_view_free(&v);
    return rc;
}

static void claims_alone(struct lt_work_task *t)
{
    struct group *g = LT_WORK_OWNER(t, struct group);
    struct lt_err e = {0};

    (void)view_host(g, NULL, &e); /* told to each claim */
    lt_ref_put(g->self);
}

void lt_tenant_group_close(struct lt_ref *group)
{
    struct group *g = lt_ref_value(group);

    if (!g || g->flights || !g->claims) {
        lt_ref_put(group);
        return;
    }
    g->self = group;
    lt_work_post(g->r->conf.fetch, &g->task, claims_alone);
}

enum lt_flight_next lt_tenant_host(struct lt_flight **these, struct lt_err *e)
{
    int rc = view_host(lt_ref_value(lt_tenant_flight_of(*these)->group), *these, e);

    for (struct lt_flight *f = *these; f; f = f->next)
        lt_ref_put(lt_take(&lt_tenant_flight_of(f)->group));
    return rc ? LT_FLIGHT_END : LT_FLIGHT_NEXT;
}

bool lt_tenant_refresh_seen(struct lt_tenant_flight *f)
{
    struct lt_err e = {0};

    if (lt_store_exposures(f->owner->conf.store) == f->guest->exposures)
        return false;
    if (lt_tenant_need_seen(f, &e)) {
        lt_log(LT_LOG_ERROR, "store", "guest %s: %s", f->round->uuid_text, e.msg);
        return false;
    }
    lt_ref_put(f->round->sealed);
    f->round->sealed = lt_ref_get(f->guest->sealed);
    return true;
}

enum lt_flight_next lt_tenant_judge(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);
    struct lt_tenant_round *round = f->round;
    struct lt_tenant_rounds *r = f->owner;
    const struct lt_verifier_host_keys *keys = lt_ref_value(round->host.keys);

    if (lt_hosts_history(r->conf.hosts, keys->id->ak_name, &round->host_history, e))
        return LT_FLIGHT_END;
    (void)lt_tenant_refresh_seen(f);
    lt_tenant_round_appraise_host(round, round->policy, r->conf.window_ms, &r->caches, &round->facts,
                                  &round->verdict);
    return LT_FLIGHT_NEXT;
}
