/* Agents of Keylime's verifier API: what is told of them, and what ends or interrupts them. */
#include "common/http/address.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "keylime/algs.h"
#include "keylime/events.h"
#include "keylime/states.h"
#include "tenant/keylime.h"
#include "tenant/release.h"

#include <stdio.h>
#include <string.h>

#define VERIFIER_ID "default" /* there is one */

/* ---- what is told ---- */

static unsigned share_facts(const struct lt_release_state *s)
{
    return !s->has || s->delivered ? 0 : s->tries ? LT_STATES_SHARE | LT_STATES_SHARE_TRIED : LT_STATES_SHARE;
}

static unsigned facts_of(const struct lt_store_status *st, const struct lt_release_state *share,
                         const struct lt_store_keylime *k)
{
    unsigned facts =
        (k->stopped ? LT_STATES_STOPPED : 0) | (st->unproven ? LT_STATES_UNPROVEN : 0) | share_facts(share);

    if (!st->known)
        return facts;
    facts |= LT_STATES_JUDGED;
    if (st->result == LT_VERDICT_FAILED)
        facts |= LT_STATES_REJECTED;
    else if (st->result == LT_VERDICT_TRUSTED)
        facts |= LT_STATES_TRUSTED;
    else if (st->result == LT_VERDICT_UNREACHABLE)
        facts |= LT_STATES_UNREACHABLE;
    return facts;
}

static void put_text(json_t *o, const char *key, const char *s)
{
    json_object_set_new(o, key, json_string(s));
}

/* What it was given, or what there is of a guest of the federation's. */
static void put_given(json_t *o, const struct lt_store_keylime *k)
{
    static const char *const keys[] = {"ip",         "port",     "verifier_ip", "verifier_port",
                                       "tpm_policy", "meta_data"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *v = json_object_get(k->given, keys[i]);
        json_object_set(o, keys[i], v ? v : json_null());
    }
    for (int kind = 0; kind < LT_ALGS_KINDS; kind++) {
        const char *key = lt_algs_key((enum lt_algs_kind)kind);
        json_t *list = json_object_get(k->given, key);
        if (list)
            json_object_set(o, key, list);
        else
            json_object_set_new(o, key, json_array());
    }
    json_object_set_new(o, "has_runtime_policy", json_integer(k->name[LT_STORE_KEYLIME_RUNTIME][0] != 0));
    json_object_set_new(o, "has_mb_refstate", json_integer(k->name[LT_STORE_KEYLIME_BOOT][0] != 0));
}

/* Clients go on at this address, to delete and reactivate: of a guest that brought none it is the one that
 * this client called, never one of ours that it may not reach. */
static void put_verifier(json_t *o, const struct lt_http_req *req)
{
    const char *host = lt_http_req_header(req, "Host");
    struct lt_http_address a;

    if (json_is_string(json_object_get(o, "verifier_ip")) || !host ||
        lt_http_address_parse(host, &a, LT_NO_ERR))
        return;
    json_object_set_new(o, "verifier_ip", json_string(a.host));
    json_object_set_new(o, "verifier_port", json_integer(a.port));
}

/* By the key that quotes are checked with, once there was one. */
static void put_algs(json_t *o, struct lt_tenant *t, const struct lt_store_guest *g, bool quoted)
{
    static const char *const keys[] = {"hash_alg", "enc_alg", "sign_alg"};
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {0};
    struct lt_public ak;
    bool has = quoted && !lt_store_agent_get(t->store, g->agent, &a, LT_NO_ERR) &&
               !lt_public_parse(a.ak, a.ak_n, &ak, LT_NO_ERR);

    for (int kind = 0; kind < LT_ALGS_KINDS; kind++)
        put_text(o, keys[kind], has ? lt_algs_name(&ak, (enum lt_algs_kind)kind) : "");
}

static void put_counts(json_t *o, const struct lt_tenant *t, const struct lt_store_keylime *k)
{
    struct lt_store_deadlines d = lt_rounds_deadlines(t->rounds);

    json_object_set_new(o, "attestation_count", json_integer(k->attestations));
    json_object_set_new(o, "last_received_quote", json_integer(k->last_quote));
    json_object_set_new(o, "last_successful_attestation", json_integer(k->last_attestation));
    json_object_set_new(o, "attestation_period", json_sprintf("%ds", (int)t->conf->period_s));
    json_object_set_new(o, "maximum_attestation_interval",
                        json_sprintf("%llus", (unsigned long long)(d.max_stale_ms / 1000)));
}

/* The verdict in short; in full it is at /federation/v1/guests/{uuid}. */
static void put_verdict(json_t *o, const json_t *verdict)
{
    static const char *const keys[] = {"result", "reason", "link", "host_level", "failed", "not_made"};
    json_t *is = json_object();

    for (size_t i = 0; i < sizeof keys / sizeof *keys && json_is_object(verdict); i++)
        json_object_set(is, keys[i], json_object_get(verdict, keys[i]));
    json_object_set_new(o, "verdict", json_object_size(is) ? is : (json_decref(is), json_null()));
}

/* What a failed verdict is to Keylime. */
static void put_event(json_t *o, const json_t *verdict)
{
    const json_t *failed = json_array_get(json_object_get(verdict, "failed"), 0);
    const char *check = json_string_value(json_object_get(failed, "check"));
    char id[LT_EVENTS_ID];

    if (check)
        lt_events_id(check, json_string_value(json_object_get(failed, "cause")), id);
    json_object_set_new(o, "last_event_id", check ? json_string(id) : json_null());
    json_object_set_new(o, "severity_level", check ? json_integer(lt_events_severity(id)) : json_null());
}

/* The row, or an empty one for a guest of the federation's, and for one whose row cannot be read: that must
 * not keep the others from being told. */
static int row_of(struct lt_tenant *t, const struct lt_store_guest *g, struct lt_store_keylime *k,
                  struct lt_err *e)
{
    struct lt_err why = {0};
    int rc = LT_E_NOT_FOUND;

    memset(k, 0, sizeof *k);
    if (g->door == LT_STORE_DOOR_KEYLIME)
        rc = lt_store_keylime_get(t->store, g->uuid, k, &why);
    if (!rc || rc == LT_E_NOT_FOUND)
        return 0;
    if (rc != LT_E_INTERNAL) {
        *e = why;
        return rc;
    }
    lt_log(LT_LOG_ERROR, "store", "guest %s: %s", g->agent, why.msg);
    return 0;
}

/* A verdict is told before it is written, and may wait for a disk: a good round that it rests on counts. */
static void count_told(struct lt_store_keylime *k, const struct lt_store_status *st, const json_t *verdict)
{
    const json_t *times = json_object_get(verdict, "times");
    json_int_t received = json_integer_value(json_object_get(times, "received"));

    if (!st->known || st->result != LT_VERDICT_TRUSTED)
        return;
    k->attestations = k->attestations ? k->attestations : 1;
    k->last_attestation = k->last_attestation > received ? k->last_attestation : received;
    k->last_quote = k->last_quote > received ? k->last_quote : received;
}

static int describe(struct lt_tenant *t, const struct lt_http_req *req, const struct lt_store_guest *g,
                    json_t **out, struct lt_err *e)
{
    LT_STORE_AUTOKEYLIME struct lt_store_keylime k;
    struct lt_store_deadlines d = lt_rounds_deadlines(t->rounds);
    struct lt_release_state share;
    struct lt_store_status st;
    LT_JSON_AUTO json_t *verdict = NULL;

    LT_TRY(row_of(t, g, &k, e));
    LT_TRY(lt_release_state(lt_rounds_release(t->rounds), g->uuid, &share, e));
    LT_TRY(lt_store_status(t->store, g->uuid, &d, lt_clock_ms(), &st, &verdict, e));
    count_told(&k, &st, verdict);
    const struct lt_states_rule *rule = lt_states_of(facts_of(&st, &share, &k));
    json_t *o = json_pack("{s:i, s:s, s:n, s:s}", "operational_state", (int)rule->state, "attestation_status",
                          rule->status, "v", "verifier_id", VERIFIER_ID);
    if (!o)
        return lt_fail(e, LT_E_NO_MEMORY, "agent: no memory");
    put_given(o, &k);
    put_verifier(o, req);
    put_algs(o, t, g, k.last_quote);
    put_counts(o, t, &k);
    put_verdict(o, verdict);
    put_event(o, verdict);
    *out = o;
    return 0;
}

/* ---- one ---- */

static int get_agent(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    struct lt_store_guest g;

    LT_TRY(lt_tenant_keylime_find(t, lt_http_req_arg(req, 1), &g, e));
    return describe(t, req, &g, results, e);
}

void lt_tenant_keylime_get_agent(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, get_agent, 200);
}

/* ---- all ---- */

struct listing {
    struct lt_tenant *t;
    const struct lt_http_req *req;
    json_t *out;
    bool bulk;
    struct lt_err *e;
};

static int list_one(void *arg, const struct lt_store_guest *g)
{
    struct listing *l = arg;
    json_t *o = NULL;

    if (!l->bulk) /* lists in a list: that is what clients take apart */
        return json_array_append_new(l->out, json_pack("[s]", g->agent)) ? LT_E_NO_MEMORY : 0;
    LT_TRY(describe(l->t, l->req, g, &o, l->e));
    return json_object_set_new(l->out, g->agent, o) ? LT_E_NO_MEMORY : 0;
}

static bool is_set(const struct lt_http_req *req, const char *key)
{
    const char *s = lt_http_req_query(req, key);
    return s && *s;
}

static int get_agents(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    struct listing l = {.t = t, .req = req, .bulk = is_set(req, "bulk"), .e = e};
    const char *of = lt_http_req_query(req, "verifier");
    bool ours = !is_set(req, "verifier") || !strcmp(of, VERIFIER_ID);

    l.out = l.bulk ? json_object() : json_array();
    int rc = ours ? lt_store_guests(t->store, list_one, &l, e) : 0;
    if (rc) {
        json_decref(l.out);
        return e->code ? rc : lt_fail(e, rc, "agents: no memory");
    }
    *results = l.bulk ? l.out : json_pack("{s:o}", "uuids", l.out);
    return 0;
}

void lt_tenant_keylime_get_agents(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, get_agents, 200);
}

/* ---- the end, and interruptions ---- */

/* Documents that were this guest's alone: its guest policy, and what came with it under no name. */
struct left {
    struct lt_store_keylime_policy policy, own[LT_STORE_KEYLIME_KINDS];
};

static void note_left(struct lt_tenant *t, const struct lt_store_guest *g, struct left *l)
{
    LT_STORE_AUTOKEYLIME struct lt_store_keylime k;

    memset(l, 0, sizeof *l);
    l->policy.has_document = g->has_policy;
    memcpy(l->policy.digest, g->policy, sizeof l->policy.digest);
    if (lt_store_keylime_get(t->store, g->uuid, &k, LT_NO_ERR))
        return;
    for (int kind = 0; kind < LT_STORE_KEYLIME_KINDS; kind++) {
        struct lt_store_keylime_policy p;
        if (lt_store_keylime_policy_get(t->store, (enum lt_store_keylime_kind)kind, k.name[kind], &p,
                                        LT_NO_ERR))
            continue;
        l->own[kind].has_document = p.own && p.has_document;
        memcpy(l->own[kind].digest, p.digest, sizeof p.digest);
        lt_store_keylime_policy_free(&p);
    }
}

/* An act on a guest of this door: it stays that until it is done. */
typedef int (*act_fn)(struct lt_tenant *t, const struct lt_store_guest *g, struct lt_err *e);

static int act_on(struct lt_tenant *t, const char *id, act_fn act, struct lt_err *e)
{
    struct lt_store_guest g;

    pthread_mutex_lock(&t->doors);
    int rc = lt_tenant_keylime_own(t, id, &g, e);
    if (!rc)
        rc = act(t, &g, e);
    pthread_mutex_unlock(&t->doors);
    return rc;
}

static int remove_guest(struct lt_tenant *t, const struct lt_store_guest *g, struct lt_err *e)
{
    struct left l;

    note_left(t, g, &l);
    LT_TRY(lt_store_guest_delete(t->store, g->uuid, e));
    lt_tenant_keylime_forget(t, &l.policy); /* first: it names the others */
    for (int kind = 0; kind < LT_STORE_KEYLIME_KINDS; kind++)
        lt_tenant_keylime_forget(t, &l.own[kind]);
    lt_rounds_remove(t->rounds, g->uuid);
    lt_bundles_remove(t->bundles, g->uuid);
    return 0;
}

static int delete_agent(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return act_on(t, lt_http_req_arg(req, 1), remove_guest, e);
}

void lt_tenant_keylime_delete_agent(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, delete_agent, 200);
}

/* Keylime's 400, where everything else says 404. */
static int act_or_400(struct lt_tenant *t, const char *id, act_fn act, struct lt_err *e)
{
    int rc = act_on(t, id, act, e);

    if (rc == LT_E_NOT_FOUND)
        rc = e->code = LT_E_MALFORMED;
    return rc;
}

static int stop(struct lt_tenant *t, const struct lt_store_guest *g, struct lt_err *e)
{
    LT_TRY(lt_store_keylime_stop(t->store, g->uuid, true, e));
    lt_rounds_remove(t->rounds, g->uuid);
    lt_log(LT_LOG_WARNING, "stopped", "guest %s: no rounds until it is reactivated", g->agent);
    return 0;
}

static int put_stop(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return act_or_400(t, lt_http_req_arg(req, 1), stop, e);
}

void lt_tenant_keylime_put_stop(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, put_stop, 200);
}

/* It begins anew: a failed verdict is cleared, a stopped one is asked again. */
static int reactivate(struct lt_tenant *t, const struct lt_store_guest *g, struct lt_err *e)
{
    int rc = lt_store_clear(t->store, g->uuid, e);
    if (rc && rc != LT_E_CONFLICT)
        return rc;
    if (!rc)
        lt_log(LT_LOG_WARNING, "cleared", "guest %s: its failed verdict was cleared", g->agent);
    *e = (struct lt_err){0};
    LT_TRY(lt_store_keylime_stop(t->store, g->uuid, false, e));
    lt_rounds_add(t->rounds, g->uuid);
    return 0;
}

static int put_reactivate(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return act_or_400(t, lt_http_req_arg(req, 1), reactivate, e);
}

void lt_tenant_keylime_put_reactivate(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, put_reactivate, 200);
}
