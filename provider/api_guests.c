#include "provider/api.h"

#include <stdlib.h>
#include <string.h>

static json_t *guest_json(const struct lt_registry_store_guest *g)
{
    return json_pack("{s:o, s:o, s:o}", "uuid", lt_json_new_uuid(g->uuid), "tenant",
                     g->has_tenant ? lt_json_new_uuid(g->tenant) : json_null(), "host",
                     g->has_host ? lt_json_new_hex(g->host, sizeof g->host) : json_null());
}

/* A guest of another tenant answers exactly as one that does not exist. */
void lt_provider_api_guest_get(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    const struct lt_peer *peer = lt_http_req_peer(req);
    struct lt_registry_store_guest g;
    struct lt_err e = {0};
    uint8_t uuid[16];
    bool known =
        !lt_uuid_parse(lt_http_req_arg(req, 0), uuid, &e) && lt_registry_guest(p->registry, uuid, &g);

    if (known && !(peer->roles & LT_PEER_ROLE_OPERATOR))
        known = g.has_tenant && !memcmp(g.tenant, peer->tenant_id, sizeof g.tenant);
    if (known) {
        lt_http_reply_json(req, 200, guest_json(&g));
    } else {
        (void)lt_fail(&e, LT_E_NOT_FOUND, "no such guest");
        lt_provider_api_fail(req, &e);
    }
}

void lt_provider_api_guest_list(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    size_t count = 0;
    LT_AUTOFREE struct lt_registry_store_guest *guests = lt_registry_guests(p->registry, &count);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, guest_json(&guests[i]));
    lt_http_reply_json(req, 200, json_pack("{s:o}", "guests", list));
}

static void assign(struct lt_http_req *req, struct lt_provider *p, const uint8_t *tenant)
{
    struct lt_err e = {0};
    uint8_t uuid[16];

    if (lt_uuid_parse(lt_http_req_arg(req, 0), uuid, &e) || lt_registry_assign(p->registry, uuid, tenant, &e))
        lt_provider_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, json_object());
}

void lt_provider_api_guest_assign(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    static const char *const keys[] = {"tenant", NULL};
    struct lt_err e = {0};
    uint8_t tenant[16];
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);

    if (!j || lt_json_only(j, keys, &e) || lt_json_uuid(j, "tenant", tenant, &e))
        lt_provider_api_fail(req, &e);
    else
        assign(req, p, tenant);
}

void lt_provider_api_guest_unassign(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    assign(req, p, NULL);
}

void lt_provider_api_policy_add(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_err e = {0};
    uint8_t digest[32];

    if (lt_registry_put_policy(p->registry, lt_http_req_body(req), digest, &e))
        lt_provider_api_fail(req, &e);
    else
        lt_http_reply_json(req, 201, json_pack("{s:o}", "digest", lt_json_new_hex(digest, sizeof digest)));
}

void lt_provider_api_policy_get(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_err e = {0};
    uint8_t digest[32];
    char *bytes;
    size_t n;

    if (lt_unhex(lt_http_req_arg(req, 0), digest, sizeof digest, &e) ||
        lt_registry_policy(p->registry, digest, &bytes, &n, &e))
        lt_provider_api_fail(req, &e);
    else
        lt_http_reply_bytes(req, 200, "application/json", bytes, n);
}

void lt_provider_api_policy_drop(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_err e = {0};
    uint8_t digest[32];

    if (lt_unhex(lt_http_req_arg(req, 0), digest, sizeof digest, &e) ||
        lt_registry_drop_policy(p->registry, digest, &e))
        lt_provider_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, json_object());
}

void lt_provider_api_status(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(p->registry);
    struct lt_db_skipped skipped;
    struct lt_db_health health;
    size_t guests = 0, unwritten;

    free(lt_registry_guests(p->registry, &guests));
    lt_registry_status(p->registry, &health, &skipped);
    json_t *store = lt_db_status_json(&health, &skipped);
    lt_provider_rounds_report(p->rounds, &health, &skipped, &unwritten);
    json_t *verdicts = lt_db_status_json(&health, &skipped);
    json_object_set_new(verdicts, "unwritten", json_integer((json_int_t)unwritten));
    lt_http_reply_json(req, 200,
                       json_pack("{s:I, s:I, s:o, s:o}", "hosts", (json_int_t)(hosts ? hosts->count : 0),
                                 "guests", (json_int_t)guests, "store", store, "verdicts", verdicts));
}
