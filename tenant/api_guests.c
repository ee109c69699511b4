#include "tenant/api.h"

#include "common/http/address.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tenant/learn.h"
#include "tenant/release.h"
#include "verifier/store/keylime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- GUEST ---- */

static json_t *address_of(const struct lt_store_guest *g, const struct lt_agent *a)
{
    if (g->address[0])
        return json_string(g->address);
    if (!a->ip || !a->port)
        return json_null();
    return strchr(a->ip, ':') ? json_sprintf("[%s]:%d", a->ip, a->port)
                              : json_sprintf("%s:%d", a->ip, a->port);
}

static const char *door_of(const struct lt_store_guest *g)
{
    return g->door == LT_STORE_DOOR_KEYLIME ? "keylime" : "federation";
}

/* added false: an agent that has registered, and is no guest's yet. */
static int describe(struct lt_tenant *t, const struct lt_store_guest *g, bool added, json_t **out,
                    struct lt_err *e)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {0};
    struct lt_store_deadlines d = lt_rounds_deadlines(t->rounds);
    struct lt_release_state release;
    struct lt_store_status st;
    json_t *verdict = NULL, *exposed;
    char text[LT_UUID_TEXT];

    lt_uuid_format(g->uuid, text);
    int rc = lt_store_agent_get(t->store, g->agent, &a, e);
    bool registered = !rc;
    if (rc && rc != LT_E_NOT_FOUND)
        return rc;
    LT_TRY(lt_release_state(lt_rounds_release(t->rounds), g->uuid, &release, e));
    LT_TRY(lt_tenant_api_exposed(t, g, &exposed, e));
    rc = lt_store_status(t->store, g->uuid, &d, lt_clock_ms(), &st, &verdict, e);
    if (rc) {
        json_decref(exposed);
        return rc;
    }
    *out = json_pack("{s:s, s:s, s:o, s:o, s:b, s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "uuid", text, "agent",
                     g->agent, "door", added ? json_string(door_of(g)) : json_null(), "address",
                     address_of(g, &a), "added", added, "registered", registered, "stopped",
                     lt_store_keylime_stopped(t->store, g->uuid), "policy",
                     g->has_policy ? lt_json_new_hex(g->policy, sizeof g->policy) : json_null(), "ek",
                     g->has_ek ? lt_json_new_hex(g->ek, sizeof g->ek) : json_null(), "release",
                     lt_release_json(&release), "exposed", exposed, "verdict", verdict);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "guest: no memory");
}

static void reply_guest(struct lt_http_req *req, struct lt_tenant *t, const uint8_t uuid[LT_UUID])
{
    struct lt_store_guest g;
    struct lt_err e = {0};
    json_t *j = NULL;
    int rc = lt_store_guest_get(t->store, uuid, &g, &e);

    if (!rc)
        rc = describe(t, &g, true, &j, &e);
    if (rc)
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, j);
}

struct listing {
    struct lt_tenant *t;
    json_t *guests, *seen;
    struct lt_err e;
};

static int list_added(void *arg, const struct lt_store_guest *g)
{
    struct listing *l = arg;
    json_t *j = NULL;

    LT_TRY(describe(l->t, g, true, &j, &l->e));
    json_object_set_new(l->seen, g->agent, json_true());
    json_array_append_new(l->guests, j);
    return 0;
}

/* Agents that have registered and are no guest's that was added. */
static int list_registered(struct listing *l, struct lt_err *e)
{
    LT_JSON_AUTO json_t *ids = NULL;
    int rc = lt_store_agent_ids(l->t->store, &ids, e);

    for (size_t i = 0; !rc && i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        struct lt_store_guest g = {0};
        json_t *j = NULL;
        if (json_object_get(l->seen, id))
            continue;
        snprintf(g.agent, sizeof g.agent, "%s", id);
        lt_uuid_of_id(id, g.uuid);
        rc = describe(l->t, &g, false, &j, e);
        if (!rc)
            json_array_append_new(l->guests, j);
    }
    return rc;
}

void lt_tenant_api_get_guests(struct lt_http_req *req, void *app)
{
    struct listing l = {.t = app, .guests = json_array(), .seen = json_object()};
    struct lt_err e = {0};
    int rc = lt_store_guests(l.t->store, list_added, &l, &e);

    if (rc && l.e.code)
        e = l.e;
    if (!rc)
        rc = list_registered(&l, &e);
    json_decref(l.seen);
    if (rc) {
        json_decref(l.guests);
        lt_tenant_api_fail(req, &e);
    } else {
        lt_http_reply_json(req, 200, json_pack("{s:o}", "guests", l.guests));
    }
}

void lt_tenant_api_get_guest(struct lt_http_req *req, void *app)
{
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};

    if (lt_tenant_api_uuid(req, uuid, &e))
        lt_tenant_api_fail(req, &e);
    else
        reply_guest(req, app, uuid);
}

/* ---- changing guests ---- */

static int read_policy(struct lt_tenant *t, const json_t *policy, struct lt_ref **out, struct lt_err *e)
{
    char *text = lt_json_dump(policy);
    LT_TRY_IN(text ? lt_tenant_policy_new((uint8_t *)text, strlen(text), t->documents, true, out, e)
                   : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory"),
              e, "policy");
    return 0;
}

static int read_address(const json_t *body, struct lt_store_guest *g, struct lt_err *e)
{
    const char *address;

    if (!lt_json_has(body, "address"))
        return 0;
    LT_TRY(lt_json_string(body, "address", &address, e));
    LT_TRY(lt_http_address_check_peer(address, e));
    snprintf(g->address, sizeof g->address, "%s", address);
    return 0;
}

/* What its agent registers as, and the vTPM that is pinned. */
static int read_identity(const json_t *body, struct lt_store_guest *g, struct lt_err *e)
{
    const char *agent;

    if (lt_json_has(body, "agent")) {
        LT_TRY(lt_json_string(body, "agent", &agent, e));
        if (!lt_id_ok(agent))
            return lt_fail(e, LT_E_MALFORMED, "agent: not 1 to %d characters of [A-Za-z0-9_.-]", LT_ID_MAX);
        memcpy(g->agent, agent, strlen(agent) + 1);
    }
    g->has_ek = lt_json_has(body, "ek");
    return g->has_ek ? lt_json_hex(body, "ek", g->ek, sizeof g->ek, e) : 0;
}

static struct lt_slice bytes_of(const struct lt_ref *policy)
{
    const struct lt_tenant_policy *p = lt_ref_value(policy);
    return p ? (struct lt_slice){p->bytes, p->n} : (struct lt_slice){0};
}

/* What the guest is, and what it is to be given once it is trusted. */
static int put_guest(struct lt_tenant *t, struct lt_store_guest *g, const struct lt_ref *policy,
                     const struct lt_store_release *release, struct lt_err *e)
{
    const struct lt_slice v = {release->v.p, release->v.n},
                          revocation_key = {release->revocation_key.p, release->revocation_key.n};
    const struct lt_policy_guest *parsed = lt_tenant_policy_parsed(policy);

    g->has_policy = parsed;
    if (parsed)
        memcpy(g->policy, parsed->digest, sizeof g->policy);
    pthread_mutex_lock(&t->doors);
    int rc = lt_store_guest_put(t->store, g, bytes_of(policy), e);
    pthread_mutex_unlock(&t->doors);
    LT_TRY(rc);
    return v.n || revocation_key.n ? lt_store_release_put(t->store, g->uuid, v, revocation_key, e) : 0;
}

static int change_guest(struct lt_tenant *t, const uint8_t uuid[LT_UUID], json_t *body, struct lt_err *e)
{
    static const char *const keys[] = {"address", "policy", "agent", "ek", "v", "revocation_key", NULL};
    LT_STORE_AUTORELEASE struct lt_store_release release = {0};
    struct lt_store_guest g = {0};
    struct lt_ref *policy = NULL;
    json_t *is;
    int rc = lt_store_guest_get(t->store, uuid, &g, e);

    if (rc && rc != LT_E_NOT_FOUND) /* a row that cannot be read */
        return rc;
    g = (struct lt_store_guest){0};
    memcpy(g.uuid, uuid, sizeof g.uuid);
    LT_TRY(lt_json_only(body, keys, e));
    LT_TRY(read_address(body, &g, e));
    LT_TRY(read_identity(body, &g, e));
    LT_TRY(lt_release_read(t->vault, uuid, body, &release, e));
    if (lt_json_has(body, "policy")) {
        LT_TRY(lt_json_object(body, "policy", &is, e));
        LT_TRY(read_policy(t, is, &policy, e));
    }
    rc = put_guest(t, &g, policy, &release, e);
    lt_ref_put(policy);
    if (!rc)
        lt_rounds_add(t->rounds, uuid);
    return rc;
}

void lt_tenant_api_put_guest(struct lt_http_req *req, void *app)
{
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *body = NULL;
    int rc = lt_tenant_api_uuid(req, uuid, &e);

    if (!rc && !(body = lt_http_req_json(req, &e)))
        rc = e.code;
    if (!rc)
        rc = change_guest(app, uuid, body, &e);
    if (rc)
        lt_tenant_api_fail(req, &e);
    else
        reply_guest(req, app, uuid);
}

void lt_tenant_api_delete_guest(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};
    int rc = lt_tenant_api_uuid(req, uuid, &e);

    if (!rc)
        rc = lt_store_guest_delete(t->store, uuid, &e);
    if (rc) {
        lt_tenant_api_fail(req, &e);
        return;
    }
    lt_rounds_remove(t->rounds, uuid);
    lt_bundles_remove(t->bundles, uuid);
    lt_http_reply_json(req, 200, json_object());
}

static int read_accept(const json_t *body, struct lt_tenant_accept *out, struct lt_err *e)
{
    static const char *const keys[] = {"accept", "ima", NULL};
    json_t *list;
    int rc = lt_json_only(body, keys, e);

    memset(out, 0, sizeof *out);
    const json_t *ima = json_object_get(body, "ima");
    if (!rc && ima && !json_is_boolean(ima))
        rc = lt_fail(e, LT_E_MALFORMED, "ima: true or false is needed");
    out->ima = json_is_true(ima);
    if (rc || !lt_json_has(body, "accept"))
        return rc;
    rc = lt_json_array(body, "accept", 6, &list, e);
    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && !strcmp(s, "bound"))
            out->bound = true;
        else if (s && !strcmp(s, "copyable"))
            out->copyable = true;
        else if (s && !strcmp(s, "boot-only"))
            out->boot_only = true;
        else if (s && !strcmp(s, "tainted"))
            out->tainted = true;
        else if (s && !strcmp(s, "open-boot"))
            out->open_boot = true;
        else if (s && !strcmp(s, "unlinked"))
            out->unlinked = true;
        else if (s && !strcmp(s, "ek-unproven"))
            out->ek_unproven = true;
        else
            rc = lt_fail(
                e, LT_E_MALFORMED,
                "accept: only bound, copyable, boot-only, tainted, open-boot, unlinked and ek-unproven can be"
                " accepted");
    }
    return rc;
}

/* What is learnt is to be the present state: no older than a trusted verdict may be. */
static bool too_old(const struct lt_tenant *t, const struct lt_tenant_round *round)
{
    return lt_clock_ms() - round->t5_ms > lt_rounds_deadlines(t->rounds).news_ms;
}

/* Who learns accepts what the host's provider publishes now: until then nobody did, and nothing of it was
 * fetched. */
static int learn_round(struct lt_tenant *t, const struct lt_tenant_round *round,
                       const struct lt_tenant_accept *accept, struct lt_ref **policy,
                       char open[LT_TENANT_LEARN_OPEN], struct lt_err *e)
{
    const struct lt_residency_host_quote *q = lt_ref_value(round->host_quote);
    struct lt_tenant_round with = *round; /* the same evidence; only its view of the host is ours */
    struct lt_hosts_host_view view = {0};
    char host[2 * LT_RESIDENCY_HOST_ID + 1];
    struct lt_residency_header h;

    if (q && !round->host.policy && !lt_residency_header_parse(q->header, sizeof q->header, &h, LT_NO_ERR)) {
        lt_hex(h.host_id, LT_RESIDENCY_HOST_ID, host);
        LT_TRY(lt_hosts_view(t->hosts, host, q, true, true, &view, e));
        with.host = view;
    }
    int rc = lt_tenant_learn(&with, accept, (uint64_t)t->conf->window_ms, t->documents, policy, open, e);
    lt_hosts_host_view_free(&view);
    return rc;
}

static int learn(struct lt_tenant *t, const uint8_t uuid[LT_UUID], const struct lt_tenant_accept *accept,
                 json_t **reply, struct lt_err *e)
{
    struct lt_ref *last = lt_rounds_last(t->rounds, uuid), *policy = NULL;
    struct lt_store_guest g;
    char open[LT_TENANT_LEARN_OPEN];
    int rc = lt_store_guest_get(t->store, uuid, &g, e);

    if (!rc && !last)
        rc = lt_fail(e, LT_E_CONFLICT,
                     "no round of this guest has passed what is judged before learning; see why with limetree"
                     " guest show, try one with limetree guest round. One that fails its present policy is"
                     " removed, added and learnt anew");
    if (!rc && too_old(t, lt_ref_value(last)))
        rc = lt_fail(e, LT_E_CONFLICT,
                     "the last round with a host quote is not of the present any more; ask for one with"
                     " limetree guest round");
    if (!rc)
        rc = learn_round(t, lt_ref_value(last), accept, &policy, open, e);
    lt_ref_put(last);
    if (rc)
        return rc;
    const struct lt_tenant_policy *p = lt_ref_value(policy);
    /* Judging takes a while: only the policy is ours to change. */
    rc = lt_store_guest_policy(t->store, uuid, bytes_of(policy), g.policy, e);
    json_t *doc = rc ? NULL : lt_json_parse(p->bytes, p->n, LT_MAX_POLICY, e);
    lt_ref_put(policy);
    if (rc)
        return rc;
    *reply = json_pack("{s:o, s:o, s:o}", "digest", lt_json_new_hex(g.policy, sizeof g.policy), "policy", doc,
                       "message",
                       json_sprintf("the guest's and its host's present state is trusted from now on%s%s",
                                    open[0] ? "; left open: " : "", open));
    lt_rounds_add(t->rounds, uuid);
    return *reply ? 0 : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
}

void lt_tenant_api_post_learn(struct lt_http_req *req, void *app)
{
    uint8_t uuid[LT_UUID];
    struct lt_tenant_accept accept;
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *body = NULL;
    json_t *reply = NULL;
    int rc = lt_tenant_api_uuid(req, uuid, &e);

    if (!rc && !(body = lt_http_req_json(req, &e)))
        rc = e.code;
    if (!rc)
        rc = read_accept(body, &accept, &e);
    if (!rc)
        rc = learn(app, uuid, &accept, &reply, &e);
    if (rc)
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 201, reply);
}

/* A failed verdict, or that the guest is exposed: each by its own word alone. */
static int read_clear(const struct lt_http_req *req, bool *exposed, struct lt_err *e)
{
    static const char *const keys[] = {"exposed", NULL};

    *exposed = false;
    if (!lt_http_req_body(req).n)
        return 0;
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, e);
    if (!body)
        return e->code;
    LT_TRY(lt_json_only(body, keys, e));
    const json_t *word = json_object_get(body, "exposed");
    if (word && !json_is_boolean(word))
        return lt_fail(e, LT_E_MALFORMED, "exposed: neither true nor false");
    *exposed = json_is_true(word);
    return 0;
}

void lt_tenant_api_post_clear(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    uint8_t uuid[LT_UUID];
    struct lt_store_guest g;
    struct lt_err e = {0};
    bool exposed;
    int rc = lt_tenant_api_uuid(req, uuid, &e);

    if (!rc)
        rc = read_clear(req, &exposed, &e);
    if (!rc)
        rc = lt_store_guest_get(t->store, uuid, &g, &e);
    if (!rc)
        rc = exposed ? lt_tenant_api_clear_exposed(t, &g, &e) : lt_store_clear(t->store, uuid, &e);
    if (rc) {
        lt_tenant_api_fail(req, &e);
        return;
    }
    lt_log(LT_LOG_WARNING, "cleared", "guest %s: %s was cleared", lt_http_req_arg(req, 0),
           exposed ? "that it was exposed" : "its failed verdict");
    lt_rounds_add(t->rounds, uuid);
    lt_http_reply_json(req, 200, json_object());
}
