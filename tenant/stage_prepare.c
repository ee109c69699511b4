/* What a round needs before t1: registration, keys, policy, address; and its nonce. */
#include "common/alloc.h"
#include "common/hash.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tenant/reach.h"
#include "tenant/stages.h"
#include "verifier/store/keylime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void identity_free(void *p)
{
    lt_checks_identity_guest_free(p);
}

static bool same_key(const struct lt_public *p, const uint8_t *raw, size_t n)
{
    return p->raw_n == n && !memcmp(p->raw, raw, n);
}

/* Keys are prepared once and used as long as the registration has them; with them goes the history of their
 * EK. */
static int need_identity(struct lt_tenant_flight *f, struct lt_err *e)
{
    struct lt_tenant_guest *g = f->guest;
    const struct lt_agent *a = &f->round->agent;
    struct lt_checks_identity_guest *id = lt_ref_value(g->identity);
    int rc;

    if (id && same_key(&id->ek, a->ek, a->ek_n) && same_key(&id->ak, a->ak, a->ak_n))
        return 0;
    lt_ref_put(lt_take(&g->identity));
    lt_ref_put(lt_take(&g->sealed));
    lt_list_clear(&g->list);
    id = lt_checks_identity_guest_new((struct lt_slice){a->ek, a->ek_n}, (struct lt_slice){a->ak, a->ak_n});
    id->activated = LT_CHECKS_FACT_YES;   /* the registrar keeps nothing else */
    rc = id->fault.code == LT_E_NO_MEMORY /* no word about its keys: made again in the next round */
             ? lt_fail(e, LT_E_NO_MEMORY, "%s", id->fault.msg)
             : lt_store_guest_history(f->owner->conf.store, id->ek_digest, &g->history, e);
    if (rc)
        lt_checks_identity_guest_free(id);
    else
        g->identity = lt_ref_new(id, identity_free);
    return rc;
}

static int need_policy(struct lt_tenant_flight *f, const struct lt_store_guest *guest, struct lt_err *e)
{
    struct lt_tenant_guest *g = f->guest;
    const struct lt_policy_guest *have = lt_tenant_policy_parsed(g->policy);
    struct lt_tenant_rounds *r = f->owner;
    uint8_t *bytes;
    size_t n;

    if (have && guest->has_policy && lt_tenant_policy_complete(g->policy) &&
        !memcmp(have->digest, guest->policy, sizeof guest->policy))
        return 0;
    lt_ref_put(lt_take(&g->policy));
    lt_ref_put(lt_take(&g->sealed)); /* what it retires */
    if (!guest->has_policy)
        return 0;
    int rc = lt_store_policy_get(r->conf.store, guest->policy, &bytes, &n, e);
    return rc ? rc : lt_tenant_policy_new(bytes, n, r->conf.documents, false, &g->policy, e);
}

/* Exposures are found by other guests' rounds, and cleared by people: then it is read again. */
int lt_tenant_need_seen(struct lt_tenant_flight *f, struct lt_err *e)
{
    struct lt_tenant_guest *g = f->guest;
    const struct lt_checks_identity_guest *id = lt_ref_value(g->identity);
    const struct lt_rounds_conf *c = &f->owner->conf;
    uint64_t now = lt_store_exposures(c->store);

    if (g->sealed && g->exposures == now && lt_tenant_seen_whole(g->sealed))
        return 0;
    lt_ref_put(lt_take(&g->sealed));
    g->exposures = now;
    return lt_tenant_seen_load(c->store, c->openers, g->entry.id, id->ek_digest, &g->sealed, e);
}

static int agent_of(struct lt_tenant_rounds *r, const struct lt_store_guest *guest,
                    struct lt_tenant_round *round, struct lt_err *e)
{
    int rc = lt_store_agent_get(r->conf.store, guest->agent, &round->agent, e);

    if (rc == LT_E_NOT_FOUND)
        return lt_fail(e, LT_E_NOT_REGISTERED, "its agent has not registered here");
    return rc ? rc
              : lt_store_keylime_check_ak(r->conf.store, guest->uuid,
                                          (struct lt_slice){round->agent.ak, round->agent.ak_n}, e);
}

/* Whom no provider can know. */
static const char *why_unlinked(const struct lt_tenant_rounds *r, const struct lt_store_guest *guest,
                                const struct lt_checks_identity_guest *id)
{
    uint8_t of_id[LT_UUID], text[LT_UUID];

    if (!r->conf.provider)
        return "no provider is configured";
    lt_uuid_of_id(guest->agent, of_id);
    if (lt_uuid_parse(guest->agent, text, LT_NO_ERR) && !memcmp(of_id, guest->uuid, sizeof of_id))
        return "it has no domain's UUID that a provider could know it by (guest add ID --domain UUID)";
    if (!id->fault.code && !id->linkable)
        return "version 1 of the commitment has no room for its AK's Name, which is not SHA-256";
    return NULL;
}

/* What is known of the link to its host, and of its EK, before it is asked. */
static void standing(struct lt_tenant_flight *f, const struct lt_store_guest *guest)
{
    const struct lt_checks_identity_guest *id = lt_ref_value(f->guest->identity);
    struct lt_tenant_round *round = f->round;

    round->linked = guest->linked;
    round->unlinked = why_unlinked(f->owner, guest, id);
    if (guest->has_ek)
        round->ek.pinned =
            memcmp(id->ek_digest, guest->ek, sizeof guest->ek) ? LT_CHECKS_FACT_NO : LT_CHECKS_FACT_YES;
}

static int prepare(struct lt_tenant_flight *f, struct lt_err *e)
{
    struct lt_tenant_rounds *r = f->owner;
    struct lt_tenant_round *round = f->round;
    struct lt_store_guest guest = {0};
    int rc = lt_store_guest_get(r->conf.store, f->guest->entry.id, &guest, e);

    /* Also of a round that goes no further: what it ends with is about this. */
    round->has_basis = !rc;
    round->basis.has_policy = guest.has_policy;
    memcpy(round->basis.policy, guest.policy, sizeof round->basis.policy);
    round->basis.has_pin = guest.has_ek;
    memcpy(round->basis.pin, guest.ek, sizeof round->basis.pin);
    if (!rc)
        rc = agent_of(r, &guest, round, e);
    if (!rc)
        lt_store_basis_ek(&round->basis, round->agent.ek, round->agent.ek_n);
    if (!rc)
        rc = need_identity(f, e);
    if (!rc)
        rc = need_policy(f, &guest, e);
    if (!rc)
        rc = lt_tenant_need_seen(f, e);
    if (!rc)
        rc = lt_tenant_reach_of(&guest, &round->agent, f->address, e);
    if (rc)
        return rc;
    const struct lt_tenant_policy *policy = lt_ref_value(f->guest->policy);
    round->identity = lt_ref_get(f->guest->identity);
    round->policy = lt_ref_get(f->guest->policy);
    round->history = f->guest->history;
    round->sealed = lt_ref_get(f->guest->sealed);
    standing(f, &guest);
    /* PCR 16 comes with every quote; nobody can ask an agent for it. */
    round->mask = LT_TENANT_ASKED_PCRS;
    if (policy)
        round->mask |=
            lt_measured_pcrs(&policy->parsed->pcrs, &policy->parsed->measured, &policy->documents.view);
    round->mask &= ~(1u << LT_CHECKS_TRANSPORT_PCR);
    /* Without layers nobody replays the list, so nothing is kept of it. */
    round->list = &f->guest->list;
    round->ima_asked = round->list->text ? round->list->units : 0;
    return 0;
}

static void begin_round(struct lt_tenant_flight *f)
{
    struct lt_tenant_round *round = lt_new(struct lt_tenant_round);
    f->round = round;
    memcpy(round->tenant_id, f->owner->conf.tenant_id, sizeof round->tenant_id);
    memcpy(round->uuid, f->guest->entry.id, LT_UUID);
    lt_uuid_format(round->uuid, round->uuid_text);
    lt_random_alnum(round->nonce, LT_RESIDENCY_NONCE);
    round->t1_ms = lt_clock_ms();
    round->started = lt_clock_wall_s();
    lt_verdict_init(&round->verdict);
}

enum lt_flight_next lt_tenant_prepare(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);

    begin_round(f);
    return prepare(f, e) ? LT_FLIGHT_END : LT_FLIGHT_NEXT;
}

/* "N used once": no nonce leaves before it is written down as used. */
static int claim(struct lt_tenant_rounds *r, struct lt_flight *list, size_t n, struct lt_err *e)
{
    LT_AUTOFREE char(*nonces)[LT_RESIDENCY_NONCE + 1] = calloc(n, sizeof *nonces);
    LT_AUTOFREE bool *used = calloc(n, sizeof *used);
    size_t i = 0;

    if (!nonces || !used)
        return lt_fail(e, LT_E_NO_MEMORY, "nonces: no memory");
    for (struct lt_flight *f = list; f; f = f->next)
        memcpy(nonces[i++], lt_tenant_flight_of(f)->round->nonce, sizeof *nonces);
    LT_TRY(lt_store_nonces(r->conf.store, (const char(*)[LT_RESIDENCY_NONCE + 1]) nonces, n, lt_clock_ms(),
                           2 * r->conf.window_ms, used, e));
    for (struct lt_flight *f = (i = 0, list); f; f = f->next)
        lt_tenant_flight_of(f)->round->nonce_used = used[i++];
    return 0;
}

enum lt_flight_next lt_tenant_nonce(struct lt_flight **these, struct lt_err *e)
{
    size_t n = 0;

    for (const struct lt_flight *f = *these; f; f = f->next)
        n++;
    if (claim(lt_tenant_flight_of(*these)->owner, *these, n, e)) {
        lt_log(LT_LOG_ERROR, "store", "%s", e->msg);
        return LT_FLIGHT_END;
    }
    uint64_t t1 = lt_clock_ms();
    for (struct lt_flight *f = *these; f; f = f->next)
        lt_tenant_flight_of(f)->round->t1_ms = t1;
    return LT_FLIGHT_NEXT;
}
