#include "verifier/registrar.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/http/server.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "common/run/log_rate.h"
#include "keylime/envelope.h"
#include "keylime/versions.h"
#include "tpm/credential.h"
#include "verifier/challenges.h"

#include <stdlib.h>
#include <string.h>

struct lt_registrar {
    struct lt_registrar_conf conf;
    struct lt_challenges *challenges;
    struct lt_http_server *plain, *tls;
    struct lt_log_rate refusals;
};

#define PAGE 256 /* ids of a list that are read at once */

/* What is wrong with a registration is 400 on Keylime's wire, whatever it is; an identity that changes is
 * 403. */
static int on_keylimes_wire(int rc, struct lt_err *e)
{
    if (rc && lt_err_class(rc) == LT_CLASS_PEER && rc != LT_E_FORBIDDEN && rc != LT_E_NOT_FOUND)
        e->code = rc = LT_E_MALFORMED;
    return rc;
}

static void fail(struct lt_http_req *req, const struct lt_err *e)
{
    lt_http_reply_error(req, e, lt_err_class(e->code) == LT_CLASS_RETRY ? 1 : 0);
}

/* Anybody may call: the log has a few lines of each crowd of addresses. */
static void refuse(struct lt_registrar *r, struct lt_http_req *req, const char *event, const char *id,
                   const struct lt_err *e)
{
    const char *source = lt_http_req_source(req);
    char more[LT_LOG_RATE_SHARE_MORE];

    if (lt_log_rate_may(&r->refusals, source, lt_clock_ms(), more))
        lt_log(LT_LOG_WARNING, event, "%s from %s: %s%s", id, source, e->msg, more);
    fail(req, e);
}

/* Argument 0 of every route below: "v2", "v2.0" … "v2.6". Replies itself when it is none of them. */
static bool version_ok(struct lt_http_req *req)
{
    const char *v = lt_http_req_arg(req, 0);
    struct lt_err e;
    bool ok = !strcmp(v, "v2") || (v[0] == 'v' && lt_versions_minor(v + 1, LT_VERSIONS_FROM_REGISTRAR) >= 0);

    if (!ok) {
        lt_fail(&e, LT_E_NOT_FOUND, LT_VERSIONS_REFUSAL "; this registrar speaks 2.%d to 2.%d",
                LT_VERSIONS_FROM_REGISTRAR, LT_VERSIONS_TO);
        lt_http_reply_error(req, &e, 0);
    }
    return ok;
}

static void get_version(struct lt_http_req *req, void *app)
{
    json_t *o = json_object();

    (void)app;
    json_object_set_new(o, "current_version", json_sprintf("2.%d", LT_VERSIONS_TO));
    json_object_set_new(o, "supported_versions", lt_versions_list(LT_VERSIONS_FROM_REGISTRAR));
    json_object_set_new(o, "registrar", json_string("limetree")); /* to which agents may come again */
    lt_http_reply_json(req, 200, lt_envelope_success(200, o));
}

/* A fresh secret that only the TPM with this EK and this AK can read (keylime-api 2.3). */
static int make_challenge(const struct lt_agent *a, char secret[LT_CHALLENGE], struct lt_buf *blob,
                          struct lt_err *e)
{
    struct lt_public ek, ak;
    struct lt_tpm_name name;
    char text[LT_CHALLENGE + 1];

    LT_TRY(lt_public_parse(a->ek, a->ek_n, &ek, e));
    LT_TRY(lt_public_parse(a->ak, a->ak_n, &ak, e));
    lt_public_any_name(&ak, &name);
    lt_random_alnum(text, LT_CHALLENGE);
    memcpy(secret, text, LT_CHALLENGE);
    lt_wipe(text, sizeof text);
    int rc = lt_credential_make_for(&ek, (struct lt_slice){name.p, name.n}, secret, LT_CHALLENGE, blob, e);
    return rc ? rc : lt_buf_ok(blob, e);
}

static int enrol(struct lt_registrar *r, struct lt_http_req *req, const json_t *body, const char *id,
                 json_t **blob, struct lt_err *e)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent offered = {0};
    LT_KEYLIME_AUTOAGENT struct lt_agent stored = {0};
    LT_AUTOBUF struct lt_buf credential = LT_BUF(LT_MAX_CREDENTIAL);
    char secret[LT_CHALLENGE];

    LT_TRY(lt_agent_from_json(body, id, &offered, e));
    int rc = lt_store_agent_get(r->conf.store, id, &stored, e);
    if (!rc)
        rc = lt_keylime_agent_check_identity(&stored, &offered, e);
    else if (rc == LT_E_NOT_FOUND)
        rc = 0;
    if (!rc)
        rc = make_challenge(&offered, secret, &credential, e);
    if (!rc)
        rc = lt_challenges_put(r->challenges, lt_http_req_source(req), &offered, secret, lt_clock_ms(), e);
    lt_wipe(secret, sizeof secret);
    if (!rc)
        *blob = lt_json_new_base64(credential.p, credential.n);
    return rc;
}

static void register_agent(struct lt_http_req *req, struct lt_registrar *r, bool id_in_path)
{
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *body = NULL;
    const char *id = NULL;
    json_t *blob = NULL;

    if (!version_ok(req))
        return;
    int rc = lt_challenges_admit(r->challenges, lt_http_req_source(req), lt_clock_ms(), &e);
    if (!rc && !(body = lt_http_req_json(req, &e)))
        rc = e.code;
    if (!rc && id_in_path)
        id = lt_http_req_arg(req, 1);
    else if (!rc)
        rc = lt_json_string(body, "agent_id", &id, &e);
    if (!rc)
        rc = enrol(r, req, body, id, &blob, &e);
    if (on_keylimes_wire(rc, &e)) {
        refuse(r, req, "registration-refused", id ? id : "an agent", &e);
        return;
    }
    lt_log(LT_LOG_DEBUG, "registration", "%s from %s: challenge issued", id, lt_http_req_source(req));
    lt_http_reply_json(req, 200, lt_envelope_success(200, json_pack("{s:o}", "blob", blob)));
}

static void post_agent(struct lt_http_req *req, void *app)
{
    register_agent(req, app, true);
}

static void post_agents(struct lt_http_req *req, void *app)
{
    register_agent(req, app, false);
}

/* What will not come of it whatever the policy says, at the moment when somebody looks. */
static void tell_unlinkable(const struct lt_agent *a)
{
    if (!lt_keylime_agent_linkable(a))
        lt_log(LT_LOG_WARNING, "registration-unlinkable",
               "%s: its AK's Name is not SHA-256, which version 1 of the commitment has no room for: no host"
               " proves anything of it, and only a policy that accepts \"unlinked\" trusts it",
               a->id);
}

/* It blocks: the answer is right only once its record is committed. */
static void activate(struct lt_http_req *req, void *app)
{
    if (!version_ok(req))
        return;
    struct lt_registrar *r = app;
    const char *id = lt_http_req_arg(req, 1);
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, &e);
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {0};
    uint8_t tag[LT_AUTH_TAG];
    bool changed = true;

    int rc = body ? lt_json_hex(body, "auth_tag", tag, sizeof tag, &e) : e.code;
    if (!rc)
        rc = lt_challenges_answer(r->challenges, lt_http_req_source(req), id, tag, lt_clock_ms(), &a, &e);
    rc = on_keylimes_wire(rc, &e);
    if (!rc)
        rc = lt_store_agent_activate(r->conf.store, &a, &changed, &e);
    if (rc) {
        refuse(r, req, "activation-refused", id, &e);
        return;
    }
    /* Agents come again, once a day and when nobody asks them. */
    lt_log(changed ? LT_LOG_INFO : LT_LOG_DEBUG, "activation", "%s from %s: active%s", id,
           lt_http_req_source(req), changed ? "" : " as before");
    if (changed)
        tell_unlinkable(&a);
    if (changed && r->conf.activated)
        r->conf.activated(r->conf.app, a.id);
    lt_http_reply_json(req, 200, lt_envelope_success(200, NULL));
}

/* In pages: no reader holds up the store for as long as ten thousand ids take. Ids need no escape. */
static int put_ids(struct lt_registrar *r, struct lt_buf *b, struct lt_err *e)
{
    char ids[PAGE][LT_ID_MAX + 1], last[LT_ID_MAX + 1] = "";
    size_t n;

    for (;;) {
        LT_TRY(lt_store_agent_page(r->conf.store, last, ids, PAGE, &n, e));
        for (size_t i = 0; i < n; i++)
            lt_buf_printf(b, "%s\"%s\"", *last || i ? ", " : "", ids[i]);
        if (!n)
            return lt_buf_ok(b, e);
        memcpy(last, ids[n - 1], sizeof last);
    }
}

static void list_agents(struct lt_http_req *req, void *app)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF((size_t)LT_STORE_AGENTS * (LT_ID_MAX + 4) + 256);
    struct lt_err e = {0};

    if (!version_ok(req))
        return;
    lt_buf_str(&b, "{\"code\": 200, \"status\": \"Success\", \"results\": {\"uuids\": [");
    int rc = put_ids(app, &b, &e);
    lt_buf_str(&b, "]}}");
    if (!rc)
        rc = lt_buf_ok(&b, &e);
    size_t n = b.n;
    if (rc)
        fail(req, &e);
    else
        lt_http_reply_bytes(req, 200, "application/json", lt_take(&b.p), n);
}

static void get_agent(struct lt_http_req *req, void *app)
{
    struct lt_registrar *r = app;
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {0};
    struct lt_err e = {0};

    if (!version_ok(req))
        return;
    if (lt_store_agent_get(r->conf.store, lt_http_req_arg(req, 1), &a, &e))
        fail(req, &e);
    else
        lt_http_reply_json(req, 200, lt_envelope_success(200, lt_agent_to_json(&a)));
}

static void remove_agent(struct lt_http_req *req, void *app)
{
    struct lt_registrar *r = app;
    struct lt_err e = {0};

    if (!version_ok(req))
        return;
    bool keylime = lt_http_req_peer(req)->roles & LT_PEER_ROLE_KEYLIME_ADMIN;
    if (lt_store_agent_delete(r->conf.store, lt_http_req_arg(req, 1), keylime, &e)) {
        fail(req, &e);
        return;
    }
    lt_log(LT_LOG_INFO, "registration-deleted", "%s", lt_http_req_arg(req, 1));
    lt_http_reply_json(req, 200, lt_envelope_success(200, NULL));
}

#define ANYONE LT_HTTP_MAY_ANYONE
#define READERS (LT_HTTP_MAY_TRUSTED | LT_PEER_ROLE_KEYLIME_ADMIN)
#define ADMINS (LT_PEER_ROLE_OPERATOR | LT_PEER_ROLE_KEYLIME_ADMIN)

/* The first ones alone are on the plain listener. */
const struct lt_http_route lt_registrar_routes[] = {
    LT_HTTP_ROUTE("GET", "/version", ANYONE, 0, get_version),
    LT_HTTP_ROUTE("GET", "/versions", ANYONE, 0, get_version),
    LT_HTTP_ROUTE("POST", "/{}/agents", ANYONE, LT_MAX_REGISTRATION, post_agents),
    LT_HTTP_ROUTE("POST", "/{}/agents/{}", ANYONE, LT_MAX_REGISTRATION, post_agent),
    LT_HTTP_ROUTE("PUT", "/{}/agents/{}", ANYONE, LT_MAX_BODY_SMALL, activate, .blocking = true),
    LT_HTTP_ROUTE("PUT", "/{}/agents/{}/activate", ANYONE, LT_MAX_BODY_SMALL, activate, .blocking = true),
    LT_HTTP_ROUTE("POST", "/{}/agents/{}/activate", ANYONE, LT_MAX_BODY_SMALL, activate, .blocking = true),
#define PLAIN_ROUTES 7
    LT_HTTP_ROUTE("GET", "/{}/agents", READERS, 0, list_agents, .blocking = true),
    LT_HTTP_ROUTE("GET", "/{}/agents/{}", READERS, 0, get_agent, .blocking = true),
    LT_HTTP_ROUTE("DELETE", "/{}/agents/{}", ADMINS, LT_MAX_BODY_SMALL, remove_agent, .blocking = true),
};
const size_t lt_registrar_route_count = sizeof lt_registrar_routes / sizeof *lt_registrar_routes;

int lt_registrar_start(const struct lt_registrar_conf *c, struct lt_registrar **out, struct lt_err *e)
{
    struct lt_registrar *r = lt_new(struct lt_registrar);

    *out = r;
    r->challenges = lt_challenges_new();
    r->conf = *c;
    lt_log_rate_init(&r->refusals);
    struct lt_http_server_conf plain = {.listen = c->listen,
                                        .routes = lt_registrar_routes,
                                        .route_count = PLAIN_ROUTES,
                                        .error_body = lt_envelope_error,
                                        .app = r,
                                        .work = c->pool,
                                        .max_bytes = LT_MAX_REGISTRAR_BYTES,
                                        .threads = 1};
    struct lt_http_server_conf tls = {.listen = c->tls_listen,
                                      .cert = c->cert,
                                      .key = c->key,
                                      .client_ca = c->ca,
                                      .keylime_admin_ca = c->keylime_admin_ca,
                                      .routes = lt_registrar_routes,
                                      .route_count = lt_registrar_route_count,
                                      .error_body = lt_envelope_error,
                                      .app = r,
                                      .work = c->pool,
                                      .look = c->look,
                                      .max_bytes = LT_MAX_REGISTRAR_BYTES,
                                      .threads = 1};
    int rc = lt_http_server_start(&plain, &r->plain, e);
    if (rc)
        rc = lt_fail_in(e, rc, "registrar_listen");
    if (!rc && c->tls_listen && (rc = lt_http_server_start(&tls, &r->tls, e)))
        rc = lt_fail_in(e, rc, "registrar_tls_listen");
    return rc;
}

const char *lt_registrar_address(const struct lt_registrar *r)
{
    return lt_http_server_address(r->plain);
}

const char *lt_registrar_tls_address(const struct lt_registrar *r)
{
    return r->tls ? lt_http_server_address(r->tls) : NULL;
}

void lt_registrar_stop(struct lt_registrar *r)
{
    if (!r)
        return;
    if (r->plain)
        lt_http_server_stop(r->plain);
    if (r->tls)
        lt_http_server_stop(r->tls);
    r->plain = r->tls = NULL;
}

void lt_registrar_free(struct lt_registrar *r)
{
    if (!r)
        return;
    lt_challenges_free(r->challenges);
    lt_log_rate_destroy(&r->refusals);
    free(r);
}
