#include "provider/api.h"

#include "provider/relay.h"

void lt_provider_api_fail(struct lt_http_req *req, const struct lt_err *e)
{
    lt_http_reply_error(req, e, lt_err_class(e->code) == LT_CLASS_RETRY ? 2 : 0);
}

struct lt_provider_host *lt_provider_api_host(struct lt_provider *p, struct lt_http_req *req)
{
    uint8_t id[LT_RESIDENCY_HOST_ID];
    struct lt_err e = {0};
    struct lt_provider_host *h =
        lt_unhex(lt_http_req_arg(req, 0), id, sizeof id, &e) ? NULL : lt_registry_host(p->registry, id);

    if (!h) {
        (void)lt_fail(&e, LT_E_NOT_FOUND, "no such host");
        lt_provider_api_fail(req, &e);
    }
    return h;
}

/* ---- tenants ---- */

static void proofs_ask(struct lt_http_req *req, void *app)
{
    lt_proofs_ask(((struct lt_provider *)app)->proofs, req);
}

static void proofs_collect(struct lt_http_req *req, void *app)
{
    lt_proofs_collect(((struct lt_provider *)app)->proofs, req, lt_http_req_arg(req, 0));
}

static void relay_log(struct lt_http_req *req, void *app, enum lt_relay_kind kind)
{
    struct lt_provider_host *h = lt_provider_api_host(app, req);

    if (h)
        lt_relay_log(h->relay, kind, req);
    lt_provider_host_unref(h);
}

static void boot_log(struct lt_http_req *req, void *app)
{
    relay_log(req, app, LT_RELAY_BOOT_LOG);
}

static void ima(struct lt_http_req *req, void *app)
{
    relay_log(req, app, LT_RELAY_IMA);
}

static void activate(struct lt_http_req *req, void *app)
{
    struct lt_provider_host *h = lt_provider_api_host(app, req);

    if (h)
        lt_relay_activate(h->relay, req);
    lt_provider_host_unref(h);
}

/* ---- the table ---- */

/* Tenants are told of keys and policy, at once; the state of now is for operators, and takes a quote. */
static void host_get(struct lt_http_req *req, void *app)
{
    if (lt_http_req_peer(req)->roles & LT_PEER_ROLE_OPERATOR)
        lt_provider_api_host_show(req, app);
    else
        lt_provider_api_host_get(req, app);
}

#define BASE "/federation/v1/"
#define TENANT LT_PEER_ROLE_TENANT
#define OPERATOR LT_PEER_ROLE_OPERATOR
#define BOTH (LT_PEER_ROLE_TENANT | LT_PEER_ROLE_OPERATOR)

static const struct lt_http_route routes[] = {
    LT_HTTP_ROUTE("POST", BASE "proofs", TENANT, LT_MAX_BODY_PROOFS, proofs_ask),
    LT_HTTP_ROUTE("GET", BASE "proofs/{}", TENANT, 0, proofs_collect),
    LT_HTTP_ROUTE("GET", BASE "guests/{}", BOTH, 0, lt_provider_api_guest_get),
    LT_HTTP_ROUTE("GET", BASE "hosts/{}", BOTH, 0, host_get, .blocking_for = OPERATOR),
    LT_HTTP_ROUTE("GET", BASE "hosts/{}/boot-log", BOTH, 0, boot_log),
    LT_HTTP_ROUTE("GET", BASE "hosts/{}/ima", BOTH, 0, ima),
    LT_HTTP_ROUTE("GET", BASE "openers/{}", BOTH, 0, lt_provider_api_openers),
    LT_HTTP_ROUTE("GET", BASE "guests/{}/escrow", TENANT, 0, lt_provider_api_escrow),
    LT_HTTP_ROUTE("GET", BASE "policies/{}", BOTH, 0, lt_provider_api_policy_get),
    LT_HTTP_ROUTE("POST", BASE "hosts/{}/activations", TENANT, LT_MAX_BODY_SMALL, activate),
    LT_HTTP_ROUTE("POST", BASE "hosts", OPERATOR, LT_MAX_BODY_SMALL, lt_provider_api_host_enrol,
                  .blocking = true),
    LT_HTTP_ROUTE("GET", BASE "hosts", OPERATOR, 0, lt_provider_api_host_list, .blocking = true),
    LT_HTTP_ROUTE("DELETE", BASE "hosts/{}", OPERATOR, 0, lt_provider_api_host_drop, .blocking = true),
    LT_HTTP_ROUTE("GET", BASE "registry", OPERATOR, 0, lt_provider_api_registry),
    LT_HTTP_ROUTE("POST", BASE "policies", OPERATOR, LT_MAX_POLICY, lt_provider_api_policy_add,
                  .blocking = true),
    LT_HTTP_ROUTE("DELETE", BASE "policies/{}", OPERATOR, 0, lt_provider_api_policy_drop, .blocking = true),
    LT_HTTP_ROUTE("GET", BASE "status", OPERATOR, 0, lt_provider_api_status, .blocking = true),
    LT_HTTP_ROUTE("PUT", BASE "hosts/{}/policy", OPERATOR, LT_MAX_BODY_SMALL, lt_provider_api_host_set_policy,
                  .blocking = true),
    LT_HTTP_ROUTE("POST", BASE "hosts/{}/learn", OPERATOR, LT_MAX_BODY_SMALL, lt_provider_api_host_learn,
                  .blocking = true),
    LT_HTTP_ROUTE("POST", BASE "hosts/{}/clear", OPERATOR, LT_MAX_BODY_SMALL, lt_provider_api_host_clear,
                  .blocking = true),
    LT_HTTP_ROUTE("GET", BASE "hosts/{}/vault", OPERATOR, 0, lt_provider_api_host_vault, .blocking = true),
    LT_HTTP_ROUTE("POST", BASE "hosts/{}/seal", OPERATOR, LT_MAX_BODY_SMALL, lt_provider_api_host_seal,
                  .blocking = true),
    LT_HTTP_ROUTE("POST", BASE "hosts/{}/reseal", OPERATOR, LT_MAX_BODY_SMALL, lt_provider_api_host_reseal,
                  .blocking = true),
    LT_HTTP_ROUTE("GET", BASE "hosts/{}/pcrs", OPERATOR, 0, lt_provider_api_host_pcrs, .blocking = true),
    LT_HTTP_ROUTE("GET", BASE "revocations", OPERATOR, 0, lt_provider_api_revocations, .blocking = true),
    LT_HTTP_ROUTE("POST", BASE "rounds", OPERATOR, LT_MAX_BODY_PROOFS, lt_provider_api_rounds_ask,
                  .blocking = true),
    LT_HTTP_ROUTE("GET", BASE "guests", OPERATOR, 0, lt_provider_api_guest_list),
    LT_HTTP_ROUTE("PUT", BASE "guests/{}/tenant", OPERATOR, LT_MAX_BODY_SMALL, lt_provider_api_guest_assign,
                  .blocking = true),
    LT_HTTP_ROUTE("DELETE", BASE "guests/{}/tenant", OPERATOR, 0, lt_provider_api_guest_unassign,
                  .blocking = true),
};

const struct lt_http_route *lt_provider_routes(size_t *count)
{
    *count = sizeof routes / sizeof *routes;
    return routes;
}
