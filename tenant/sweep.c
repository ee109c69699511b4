#include "appraisal/checks/reason.h"
#include "common/hash.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "keylime/versions.h"
#include "tenant/rounds_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SLOW 255 /* more makes no difference */

/* ---- what a round needs, before t1 ---- */

static void identity_free(void *p)
{
    lt_checks_guest_identity_free(p);
}

static bool same_key(const struct lt_public *p, const uint8_t *raw, size_t n)
{
    return p->raw_n == n && !memcmp(p->raw, raw, n);
}

/* Keys are prepared once and used as long as the registration has them; with them goes the history of their
 * EK. */
static int need_identity(struct lt_tenant_flight *f, struct lt_err *e)
{
    struct lt_tenant_watched *g = f->guest;
    const struct lt_agent *a = &f->round->agent;
    struct lt_checks_guest_identity *id = lt_ref_value(g->identity);
    int rc;

    if (id && same_key(&id->ek, a->ek, a->ek_n) && same_key(&id->ak, a->ak, a->ak_n))
        return 0;
    lt_ref_put(lt_take(&g->identity));
    lt_list_clear(&g->list);
    id = lt_checks_guest_identity_new((struct lt_slice){a->ek, a->ek_n}, (struct lt_slice){a->ak, a->ak_n});
    if (!id)
        return lt_fail(e, LT_E_NO_MEMORY, "guest: no memory");
    id->activated = LT_CHECKS_FACT_YES; /* the registrar keeps nothing else */
    rc = lt_store_guest_history(f->owner->conf.store, id->ek_digest, &g->history, e);
    if (rc)
        lt_checks_guest_identity_free(id);
    else
        g->identity = lt_ref_new(id, identity_free);
    return rc;
}

static int need_policy(struct lt_tenant_flight *f, const struct lt_store_guest *guest, struct lt_err *e)
{
    struct lt_tenant_watched *g = f->guest;
    const struct lt_policy_guest *have = lt_tenant_policy_parsed(g->policy);
    struct lt_tenant_rounds *r = f->owner;
    uint8_t *bytes;
    size_t n;

    if (have && guest->has_policy && lt_tenant_policy_complete(g->policy) &&
        !memcmp(have->digest, guest->policy, sizeof guest->policy))
        return 0;
    lt_ref_put(lt_take(&g->policy));
    if (!guest->has_policy)
        return 0;
    int rc = lt_store_policy_get(r->conf.store, guest->policy, &bytes, &n, e);
    return rc ? rc : lt_tenant_policy_new(bytes, n, r->conf.documents, false, &g->policy, e);
}

static int need_address(const struct lt_store_guest *guest, const struct lt_agent *a, char *out, size_t size,
                        struct lt_err *e)
{
    bool v6 = a->ip && strchr(a->ip, ':');

    if (!a->mtls_cert || !strcmp(a->mtls_cert, "disabled"))
        return lt_fail(e, LT_E_GUEST_UNREACHABLE, "its agent registered no TLS certificate");
    if (guest->address[0])
        snprintf(out, size, "%s", guest->address);
    else if (a->ip && a->port)
        snprintf(out, size, v6 ? "[%s]:%d" : "%s:%d", a->ip, a->port);
    else
        return lt_fail(e, LT_E_GUEST_UNREACHABLE,
                       "its agent registered no address; limetree guest add --address HOST:PORT");
    return 0;
}

static int agent_of(struct lt_tenant_rounds *r, struct lt_tenant_round *round, struct lt_err *e)
{
    int rc = lt_store_agent_get(r->conf.store, round->uuid_text, &round->agent, e);

    return rc == LT_E_NOT_FOUND ? lt_fail(e, LT_E_NOT_REGISTERED, "its agent has not registered here") : rc;
}

static int prepare(struct lt_tenant_flight *f, char *address, size_t size, struct lt_err *e)
{
    struct lt_tenant_rounds *r = f->owner;
    struct lt_tenant_round *round = f->round;
    struct lt_store_guest guest = {0};
    int rc = lt_store_guest_get(r->conf.store, f->guest->uuid, &guest, e);

    /* Also of a round that goes no further: what it ends with is about this. */
    round->has_basis = !rc;
    round->basis.has_policy = guest.has_policy;
    memcpy(round->basis.policy, guest.policy, sizeof round->basis.policy);
    if (!rc)
        rc = agent_of(r, round, e);
    if (!rc)
        lt_store_basis_ek(&round->basis, round->agent.ek, round->agent.ek_n);
    if (!rc)
        rc = need_identity(f, e);
    if (!rc)
        rc = need_policy(f, &guest, e);
    if (!rc)
        rc = need_address(&guest, &round->agent, address, size, e);
    if (rc)
        return rc;
    const struct lt_tenant_policy *policy = lt_ref_value(f->guest->policy);
    round->identity = lt_ref_get(f->guest->identity);
    round->policy = lt_ref_get(f->guest->policy);
    round->history = f->guest->history;
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

/* ---- asking ---- */

static void guest_stage(void *arg);

static void guest_done(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    struct lt_tenant_flight *f = arg;

    f->e = *e;
    f->charge = reply->charge;
    if (!f->e.code) {
        f->status = reply->status;
        f->round->retry_after_s = reply->retry_after_s;
        f->body_n = reply->n;
        f->body = malloc(reply->n + 1);
        if (!f->body)
            abort();
        memcpy(f->body, reply->body, reply->n);
        f->body[reply->n] = 0;
    }
    lt_pool_post(lt_flight_pool(f), guest_stage, f);
}

static void ask_guest(struct lt_tenant_flight *f, const char *address)
{
    struct lt_tenant_rounds *r = f->owner;
    char url[LT_MAX_URL];

    snprintf(url, sizeof url,
             "https://%s/v2.%u/quotes/integrity?nonce=%s&mask=0x%x&partial=0&ima_ml_entry=%llu&ima_ml_b64=1",
             address, LT_VERSIONS_TO - f->guest->version, f->round->nonce, f->round->mask,
             (unsigned long long)f->round->ima_asked);
    struct lt_http_request q = {.method = "GET",
                                .url = url,
                                .pin = f->round->agent.mtls_cert,
                                .timeout_ms = (long)r->conf.window_ms,
                                .max_reply = LT_MAX_GUEST_REPLY,
                                .rank = f->guest->slow,
                                .weight = LT_REPLY_WEIGHT};
    lt_http_send(r->conf.to_guests, &q, guest_done, f);
}

static void begin_round(struct lt_tenant_rounds *r, struct lt_tenant_flight *f)
{
    struct lt_tenant_round *round = calloc(1, sizeof *round);

    if (!round)
        abort();
    f->round = round;
    memcpy(round->tenant_id, r->conf.tenant_id, sizeof round->tenant_id);
    memcpy(round->uuid, f->guest->uuid, LT_UUID);
    lt_uuid_format(round->uuid, round->uuid_text);
    lt_random_alnum(round->nonce, LT_RESIDENCY_NONCE);
    round->t1_ms = lt_clock_ms();
    round->started = lt_clock_wall_s();
    lt_verdict_init(&round->verdict);
}

/* "N used once": no nonce leaves before it is written down as used. */
static int claim_nonces(struct lt_tenant_rounds *r, struct lt_tenant_flight *const *list, size_t n,
                        struct lt_err *e)
{
    LT_AUTOFREE char(*nonces)[LT_RESIDENCY_NONCE + 1] = calloc(n, sizeof *nonces);
    LT_AUTOFREE bool *used = calloc(n, sizeof *used);

    if (!nonces || !used)
        return lt_fail(e, LT_E_NO_MEMORY, "nonces: no memory");
    for (size_t i = 0; i < n; i++)
        memcpy(nonces[i], list[i]->round->nonce, sizeof nonces[i]);
    int rc = lt_store_nonces(r->conf.store, (const char(*)[LT_RESIDENCY_NONCE + 1]) nonces, n, lt_clock_ms(),
                             2 * r->conf.window_ms, used, e);
    for (size_t i = 0; !rc && i < n; i++)
        list[i]->round->nonce_used = used[i];
    return rc;
}

/* Ending waits for the store's commit: not the scheduler's business. */
static void unprepared(void *arg)
{
    struct lt_tenant_flight *f = arg;
    lt_tenant_flight_unreachable(f, &f->e);
}

void lt_tenant_sweep_start(struct lt_tenant_rounds *r, struct lt_tenant_flight *flights)
{
    struct lt_tenant_sweep *s = calloc(1, sizeof *s);
    size_t all = 0, n = 0;
    struct lt_err e = {0};

    for (const struct lt_tenant_flight *f = flights; f; f = f->next)
        all++;
    LT_AUTOFREE struct lt_tenant_flight **list = calloc(all, sizeof *list);
    LT_AUTOFREE char(*addresses)[300] = calloc(all, sizeof *addresses);
    if (!s || !list || !addresses)
        abort();
    for (struct lt_tenant_flight *f = flights, *next; f; f = next) {
        next = f->next;
        f->next = NULL;
        begin_round(r, f);
        if (prepare(f, addresses[n], sizeof *addresses, &f->e))
            lt_pool_post(r->conf.pool, unprepared, f);
        else
            list[n++] = f;
    }
    if (n && claim_nonces(r, list, n, &e)) {
        lt_log(LT_LOG_ERROR, "store", "%s", e.msg);
        while (n) {
            list[--n]->e = e;
            lt_pool_post(r->conf.pool, unprepared, list[n]);
        }
    }
    if (!n) {
        free(s);
        return;
    }
    uint64_t t1 = lt_clock_ms();
    for (size_t i = 0; i < n; i++) {
        list[i]->sweep = s;
        list[i]->round->t1_ms = t1;
    }
    pthread_mutex_lock(&r->lock);
    s->pending = n;
    s->gather_until_ms = t1 + r->conf.gather_ms;
    s->next = r->sweeps;
    r->sweeps = s;
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < n; i++)
        ask_guest(list[i], addresses[i]);
}

/* ---- the answer ---- */

struct lt_tenant_flight *lt_tenant_sweep_take(struct lt_tenant_sweep *s)
{
    return lt_take(&s->ready);
}

/* Leaves the sweep: ready for the provider, or ended. The last to leave takes it down. */
static void leave_sweep(struct lt_tenant_flight *f, bool ready)
{
    struct lt_tenant_rounds *r = f->owner;
    struct lt_tenant_sweep *s = f->sweep;
    struct lt_tenant_flight *go = NULL;

    pthread_mutex_lock(&r->lock);
    f->sweep = NULL;
    if (ready) {
        f->next = s->ready;
        s->ready = f;
    }
    s->pending--;
    if (!s->pending || s->late)
        go = lt_tenant_sweep_take(s);
    if (!s->pending) {
        struct lt_tenant_sweep **at = &r->sweeps;
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
        free(s);
    }
    pthread_mutex_unlock(&r->lock);
    if (go)
        lt_tenant_flights_ask(r, go);
}

/* Newest first; an agent that says it does not know one is asked in the next (keylime-api 1.2). */
static bool older_version(struct lt_tenant_flight *f)
{
    if (f->status != 400 || !strstr(f->body, LT_VERSIONS_REFUSAL))
        return false;
    if (f->guest->version < LT_VERSIONS_TO - LT_VERSIONS_FROM)
        return true;
    f->guest->version = 0; /* none of ours; the next round begins anew, as after an upgrade of the agent */
    return false;
}

/* Not while stopping: the client may be gone. It posts and never calls back from within, so the lock may be
 * held. */
static bool ask_again(struct lt_tenant_flight *f, const char *address)
{
    struct lt_tenant_rounds *r = f->owner;

    pthread_mutex_lock(&r->lock);
    bool go = !r->stopping;
    if (go) {
        f->guest->version++;
        free(lt_take(&f->body));
        lt_tenant_flight_uncharge(f);
        ask_guest(f, address);
    }
    pthread_mutex_unlock(&r->lock);
    return go;
}

static int read_answer(struct lt_tenant_flight *f, struct lt_err *e)
{
    if (f->e.code) {
        *e = f->e;
        return lt_reason_guest(e, 0);
    }
    if (f->status != 200) {
        struct lt_http_reply reply = {.status = f->status, .body = f->body, .n = f->body_n};
        LT_AUTOJSON json_t *none = lt_http_json(&reply, 200, e);
        lt_reason_guest(e, f->status);
        return lt_fail_in(e, "guest's agent, HTTP %d", f->status);
    }
    return lt_tenant_round_read_quote(f->round, f->body, f->body_n, e) ? lt_reason_guest(e, f->status) : 0;
}

/* Who found no room, or kept it busy while others waited, comes behind them until its answer finds room; who
 * is known for large answers is asked a few at a time (lt_tenant_rounds). */
static void note_pace(struct lt_tenant_flight *f)
{
    struct lt_tenant_watched *g = f->guest;
    bool crowded = f->e.code == LT_E_BUSY, large = f->charge > LT_LARGE_ANSWER * LT_REPLY_WEIGHT;

    if (crowded)
        g->slow += g->slow < MAX_SLOW;
    else if (!f->e.code)
        g->slow = 0;
    pthread_mutex_lock(&f->owner->lock);
    if (crowded || !f->e.code)
        g->bulky = crowded || large;
    pthread_mutex_unlock(&f->owner->lock);
}

/* What was judged and will be neither evidence on disk nor kept must not wait for the provider in memory. */
static void drop_early(struct lt_tenant_flight *f)
{
    struct lt_tenant_rounds *r = f->owner;
    size_t logs = lt_tenant_round_logs(f->round);
    struct lt_budget_use use;

    lt_budget_use(r->conf.memory, &use);
    if (logs <= LT_SMALL_REPLY || lt_bundles_room(r->conf.bundles, f->round->uuid, logs) ||
        lt_budget_allows(use.limit / 2, use.kept, f->guest->kept, logs))
        return;
    lt_tenant_round_drop_logs(f->round);
    lt_list_clear(&f->guest->list);
    lt_tenant_flight_uncharge(f);
}

static void guest_stage(void *arg)
{
    struct lt_tenant_flight *f = arg;
    struct lt_tenant_round *round = f->round;
    struct lt_err e = {0};
    char address[300];
    struct lt_store_guest guest;

    if (!f->e.code && older_version(f) &&
        !lt_store_guest_get(f->owner->conf.store, round->uuid, &guest, &e) &&
        !need_address(&guest, &round->agent, address, sizeof address, &e) && ask_again(f, address))
        return;
    int rc = read_answer(f, &e);
    free(lt_take(&f->body));
    note_pace(f);
    if (!rc) {
        lt_tenant_round_appraise_guest(round, round->policy, &round->facts, &round->verdict);
        lt_tenant_round_keep_list(round);
        drop_early(f);
    }
    bool stopped = !rc && lt_verdict_stopped(&round->verdict);
    if (stopped)
        lt_tenant_round_conclude(lt_tenant_policy_parsed(round->policy), &round->verdict);
    leave_sweep(f, !rc && !stopped);
    if (rc)
        lt_tenant_flight_unreachable(f, &e);
    else if (stopped)
        lt_tenant_flight_finish(f);
}
