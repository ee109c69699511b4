#include "tenant/api.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "residency/error.h"
#include "tenant/keylime.h"
#include "tenant/token.h"
#include "verifier/store/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ASKED 65536 /* guests in one POST rounds, count */

void lt_tenant_api_fail(struct lt_http_req *req, const struct lt_err *e)
{
    lt_http_reply_error(req, e, lt_err_class(e->code) == LT_CLASS_RETRY ? 2 : 0);
}

int lt_tenant_api_uuid(const struct lt_http_req *req, uint8_t uuid[LT_UUID], struct lt_err *e)
{
    if (lt_uuid_parse(lt_http_req_arg(req, 0), uuid, e))
        return lt_fail(e, LT_E_NOT_FOUND, "guest %s: not a UUID", lt_http_req_arg(req, 0));
    return 0;
}

static int read_asked(const json_t *list, uint8_t (*out)[LT_UUID], struct lt_err *e)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        rc = s ? lt_uuid_parse(s, out[i], e) : lt_fail(e, LT_E_MALFORMED, "guests[%zu]: not a string", i);
    }
    return rc;
}

static void post_rounds(struct lt_http_req *req, void *app)
{
    static const char *const keys[] = {"guests", NULL};
    struct lt_tenant *t = app;
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, &e);
    LT_AUTOFREE uint8_t(*uuids)[LT_UUID] = NULL;
    json_t *list = NULL;

    int rc = body ? lt_json_only(body, keys, &e) : e.code;
    if (!rc && lt_json_has(body, "guests")) {
        rc = lt_json_array(body, "guests", MAX_ASKED, &list, &e);
        if (!rc && !(uuids = calloc(json_array_size(list) + 1, sizeof *uuids)))
            rc = lt_fail(&e, LT_E_NO_MEMORY, "guests: no memory");
        if (!rc)
            rc = read_asked(list, uuids, &e);
    }
    if (!rc && !lt_rounds_ask(t->rounds, (const uint8_t(*)[LT_UUID])uuids, json_array_size(list)))
        rc = lt_fail(&e, LT_E_NOT_FOUND, "a guest that was asked for is not added (limetree guest add UUID)");
    if (rc)
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 202, json_object());
}

static void post_policies(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    struct lt_slice body = lt_http_req_body(req);
    uint8_t digest[LT_SHA256];
    struct lt_err e = {0};

    if (lt_documents_put(t->documents, body.p, body.n, digest, &e))
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 201, json_pack("{s:o}", "digest", lt_json_new_hex(digest, sizeof digest)));
}

static void get_policy(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    uint8_t digest[LT_SHA256], *p;
    struct lt_err e = {0};
    size_t n;

    if (lt_unhex(lt_http_req_arg(req, 0), digest, sizeof digest, &e) ||
        lt_store_policy_get(t->store, digest, &p, &n, &e))
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_bytes(req, 200, "application/json", p, n);
}

static void delete_policy(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    uint8_t digest[LT_SHA256];
    struct lt_err e = {0};

    if (lt_unhex(lt_http_req_arg(req, 0), digest, sizeof digest, &e) ||
        lt_documents_drop(t->documents, digest, &e))
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, json_object());
}

static void get_bundle(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    const char *trusted = lt_http_req_query(req, "trusted");
    uint8_t uuid[LT_UUID], *text = NULL;
    struct lt_store_guest g;
    struct lt_err e = {0};
    size_t n = 0;
    int rc = lt_tenant_api_uuid(req, uuid, &e);

    if (!rc)
        rc = lt_store_guest_get(t->store, uuid, &g, &e);
    if (!rc)
        rc = lt_bundles_get(t->bundles, uuid, trusted && !strcmp(trusted, "1"), &text, &n, &e);
    if (rc)
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_bytes(req, 200, "application/json", text, n);
}

static void get_hosts(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    lt_http_reply_json(req, 200, lt_hosts_list(t->hosts));
}

struct tally {
    struct lt_tenant *t;
    json_int_t guests, unknown, unproven, by_result[LT_VERDICT_INCONSISTENT + 1];
};

static int count(void *arg, const struct lt_store_guest *g)
{
    struct tally *y = arg;
    struct lt_store_deadlines d = lt_rounds_deadlines(y->t->rounds);
    struct lt_store_status st;
    struct lt_err e;

    /* A verdict that cannot be read counts as none; what is wrong with the store is told beside. */
    if (lt_store_status(y->t->store, g->uuid, &d, lt_clock_ms(), &st, NULL, &e))
        st = (struct lt_store_status){0};
    y->guests++;
    y->unknown += !st.known;
    y->unproven += st.unproven;
    if (st.known)
        y->by_result[st.result]++;
    return 0;
}

static json_t *store_status(struct lt_tenant *t)
{
    struct lt_db_skipped skipped;
    struct lt_db_health health;
    size_t unwritten;

    lt_store_report(t->store, &health, &skipped, &unwritten);
    json_t *j = lt_db_status_json(&health, &skipped);
    json_object_set_new(j, "unwritten", json_integer((json_int_t)unwritten));
    return j;
}

static json_t *number(bool known, json_int_t n)
{
    return known ? json_integer(n) : json_null();
}

/* Of a store that cannot be read status says just that. */
static void get_status(struct lt_http_req *req, void *app)
{
    struct tally y = {.t = app};
    struct lt_rounds_count c;
    struct lt_err e = {0};
    bool known = !lt_store_guests(y.t->store, count, &y, &e);

    lt_rounds_count(y.t->rounds, &c);
    json_t *j = json_pack("{s:o}", "guests", number(known, y.guests));
    for (int r = LT_VERDICT_TRUSTED; r <= LT_VERDICT_UNREACHABLE; r++)
        json_object_set_new(j, lt_verdict_result_slug(r), number(known, y.by_result[r]));
    json_object_set_new(j, "unknown", number(known, y.unknown));
    json_object_set_new(j, "unproven", number(known, y.unproven));
    json_object_set_new(j, "quotes", json_integer((json_int_t)c.quotes));
    json_object_set_new(j, "last_batch", json_integer(c.last_batch));
    json_t *store = store_status(y.t);
    if (!known && strcmp(json_string_value(json_object_get(store, "state")), "fault")) {
        json_object_set_new(store, "state", json_string("fault"));
        json_object_set_new(store, "message", lt_json_new_text(e.msg));
    }
    json_object_set_new(j, "store", store);
    lt_http_reply_json(req, 200, j);
}

static void get_revocations(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    json_t *list = NULL;
    struct lt_err e = {0};

    if (lt_outbox_list(lt_store_outbox(t->store), t->conf->revocation_dead_s, &list, &e))
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, list);
}

/* The last round, if its verdict is the one that stands now. A new reference. */
static int trusted_round(struct lt_tenant *t, const uint8_t uuid[LT_UUID], uint64_t now_ms,
                         struct lt_ref **out, struct lt_err *e)
{
    struct lt_store_deadlines d = lt_rounds_deadlines(t->rounds);
    struct lt_ref *last = lt_rounds_last(t->rounds, uuid);
    const struct lt_tenant_round *round = lt_ref_value(last);
    struct lt_store_status st;
    struct lt_store_guest g;
    int rc = lt_store_guest_get(t->store, uuid, &g, e);

    if (!rc)
        rc = lt_store_status(t->store, uuid, &d, now_ms, &st, NULL, e);
    if (!rc && (!st.known || st.result != LT_VERDICT_TRUSTED))
        rc = lt_fail(e, LT_E_CONFLICT, "guest %s: it is not trusted now", g.agent);
    /* proven_ms is counted from t1 of the trusted verdict in the store */
    if (!rc && (!round || round->verdict.result != LT_VERDICT_TRUSTED ||
                round->t1_ms + d.max_stale_ms + 1 != now_ms + st.proven_ms))
        rc = lt_fail(e, LT_E_BUSY, "guest %s: the next round brings a token", g.agent);
    if (rc)
        lt_ref_put(last);
    else
        *out = last;
    return rc;
}

static int make_token(struct lt_tenant *t, const uint8_t uuid[LT_UUID], const struct lt_http_req *req,
                      char **out, struct lt_err *e)
{
    const struct lt_tenant_token want = {.aud = lt_http_req_query(req, "aud"),
                                         .nonce = lt_http_req_query(req, "nonce"),
                                         .now = lt_clock_wall_s(),
                                         .now_ms = lt_clock_ms(),
                                         .period_ms = (uint64_t)t->conf->period_s * 1000};
    LT_JSON_AUTO json_t *claims = NULL;
    struct lt_ref *last = NULL;

    LT_TRY(lt_token_check_audience(want.aud, e));
    LT_TRY(lt_token_check_nonce(want.nonce, e));
    LT_TRY(trusted_round(t, uuid, want.now_ms, &last, e));
    int rc = lt_tenant_token_claims(lt_ref_value(last), &want, &claims, e);
    lt_ref_put(last);
    return rc ? rc : lt_token_keys_sign(t->token_keys, claims, want.now, out, e);
}

static void get_token(struct lt_http_req *req, void *app)
{
    LT_AUTOFREE char *token = NULL;
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};

    if (lt_tenant_api_uuid(req, uuid, &e) || make_token(app, uuid, req, &token, &e))
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, json_pack("{s:s}", "token", token));
}

static void get_token_keys(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    lt_http_reply_json(req, 200, lt_token_keys_public(t->token_keys, lt_clock_wall_s()));
}

static void post_token_keys(struct lt_http_req *req, void *app)
{
    struct lt_tenant *t = app;
    struct lt_err e = {0};

    if (lt_token_keys_rotate(t->token_keys, lt_clock_wall_s(), &e))
        lt_tenant_api_fail(req, &e);
    else
        get_token_keys(req, app);
}

/* Every route reads or writes the store: none runs on the server's own thread. */
#define ROUTE(method, path, body, fn)                                                                        \
    LT_HTTP_ROUTE(method, "/federation/v1/" path, LT_PEER_ROLE_OPERATOR, body, fn, .blocking = true)

/* Keylime's API: the first {} is its version. */
#define ADMIN (LT_PEER_ROLE_OPERATOR | LT_PEER_ROLE_KEYLIME_ADMIN)
#define KEYLIME(method, path, body, fn)                                                                      \
    LT_HTTP_ROUTE(method, "/{}/" path, ADMIN, body, lt_tenant_keylime_##fn, .blocking = true)
#define VERSION(path)                                                                                        \
    LT_HTTP_ROUTE("GET", path, LT_HTTP_MAY_TRUSTED | LT_PEER_ROLE_KEYLIME_ADMIN, 0,                          \
                  lt_tenant_keylime_get_version)

const struct lt_http_route lt_tenant_routes[] = {
    ROUTE("GET", "guests", 0, lt_tenant_api_get_guests),
    ROUTE("GET", "guests/{}", 0, lt_tenant_api_get_guest),
    ROUTE("PUT", "guests/{}", LT_MAX_POLICY, lt_tenant_api_put_guest),
    ROUTE("DELETE", "guests/{}", LT_MAX_BODY_SMALL, lt_tenant_api_delete_guest),
    ROUTE("POST", "guests/{}/learn", LT_MAX_BODY_SMALL, lt_tenant_api_post_learn),
    ROUTE("POST", "guests/{}/clear", LT_MAX_BODY_SMALL, lt_tenant_api_post_clear),
    ROUTE("GET", "guests/{}/openers", 0, lt_tenant_api_get_openers),
    ROUTE("GET", "guests/{}/escrow", 0, lt_tenant_api_get_escrow),
    ROUTE("GET", "guests/{}/bundle", 0, get_bundle),
    ROUTE("POST", "rounds", 4u << 20, post_rounds),
    ROUTE("POST", "policies", LT_MAX_POLICY, post_policies),
    ROUTE("GET", "policies/{}", 0, get_policy),
    ROUTE("DELETE", "policies/{}", 0, delete_policy),
    ROUTE("GET", "hosts", 0, get_hosts),
    ROUTE("GET", "revocations", 0, get_revocations),
    ROUTE("GET", "guests/{}/token", 0, get_token),
    ROUTE("GET", "token-keys", 0, get_token_keys),
    ROUTE("POST", "token-keys", LT_MAX_BODY_SMALL, post_token_keys),
    ROUTE("GET", "status", 0, get_status),
    VERSION("/version"),
    VERSION("/versions"),
    KEYLIME("GET", "agents", 0, get_agents),
    KEYLIME("GET", "agents/{}", 0, get_agent),
    KEYLIME("POST", "agents/{}", LT_MAX_KEYLIME_ADD, post_agent),
    KEYLIME("DELETE", "agents/{}", LT_MAX_BODY_SMALL, delete_agent),
    KEYLIME("PUT", "agents/{}/stop", LT_MAX_BODY_SMALL, put_stop),
    KEYLIME("PUT", "agents/{}/reactivate", LT_MAX_BODY_SMALL, put_reactivate),
    KEYLIME("GET", "allowlists", 0, get_allowlists),
    KEYLIME("GET", "allowlists/{}", 0, get_allowlist),
    KEYLIME("POST", "allowlists/{}", LT_MAX_KEYLIME_ADD, post_allowlist),
    KEYLIME("PUT", "allowlists/{}", LT_MAX_KEYLIME_ADD, put_allowlist),
    KEYLIME("DELETE", "allowlists/{}", LT_MAX_BODY_SMALL, delete_allowlist),
    KEYLIME("GET", "mbpolicies", 0, get_mbpolicies),
    KEYLIME("GET", "mbpolicies/{}", 0, get_mbpolicy),
    KEYLIME("POST", "mbpolicies/{}", 2 * LT_MAX_BOOT_POLICY, post_mbpolicy),
    KEYLIME("PUT", "mbpolicies/{}", 2 * LT_MAX_BOOT_POLICY, put_mbpolicy),
    KEYLIME("DELETE", "mbpolicies/{}", LT_MAX_BODY_SMALL, delete_mbpolicy),
    KEYLIME("GET", "verify/identity", 0, get_identity),
    KEYLIME("POST", "verify/evidence", LT_MAX_EVIDENCE, post_evidence),
};
const struct lt_http_error_form lt_tenant_error_forms[] = {{"/federation/", lt_residency_error},
                                                           {NULL, NULL}};
const size_t lt_tenant_route_count = sizeof lt_tenant_routes / sizeof *lt_tenant_routes;
