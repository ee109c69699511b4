#include "agent/local_api.h"

#include "common/alloc.h"
#include "common/limits.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_S 1

/* Who calls here is this host's operator: he is told what of his own is wrong, too. */
static void reply_error(struct lt_http_req *req, const struct lt_err *why)
{
    struct lt_err e = *why;

    if (lt_err_class(e.code) == LT_CLASS_LOCAL)
        e.code = LT_E_REFUSED;
    lt_http_reply_error(req, &e, lt_err_class(e.code) == LT_CLASS_RETRY ? RETRY_S : 0);
}

/* body is taken; NULL where there was no memory for it. */
static void reply(struct lt_http_req *req, int rc, int status, json_t *body, const struct lt_err *e)
{
    static const struct lt_err none = {LT_E_NO_MEMORY, "reply: no memory"};

    if (!rc && body)
        lt_http_reply_json(req, status, body);
    else
        reply_error(req, rc ? e : &none);
}

static int uuid_of(const struct lt_http_req *req, uint8_t uuid[LT_UUID], struct lt_err *e)
{
    LT_TRY_IN(lt_uuid_parse(lt_http_req_arg(req, 0), uuid, e), e, "domain");
    return 0;
}

/* An absent member leaves *out as it is. */
static int optional_bool(const json_t *j, const char *key, bool *out, struct lt_err *e)
{
    return lt_json_has(j, key) ? lt_json_bool(j, key, out, e) : 0;
}

/* ---- GET vault, GET inventory ---- */

static void vault(struct lt_http_req *req, void *app)
{
    struct lt_agent_local_api *api = app;

    reply(req, 0, 200, lt_agent_seal_json(api->seal), NULL);
}

static void inventory(struct lt_http_req *req, void *app)
{
    struct lt_agent_local_api *api = app;

    reply(req, 0, 200, lt_inventory_report(api->inventory), NULL);
}

/* ---- POST domains ---- */

static void define(struct lt_http_req *req, void *app)
{
    static const char *const keys[] = {"xml", "autostart", NULL};
    struct lt_agent_local_api *api = app;
    const char *xml = NULL;
    bool autostart = false;
    struct lt_err e = {0};
    json_t *out = NULL;

    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    int rc = j ? lt_json_only(j, keys, &e) : e.code;
    if (!rc)
        rc = lt_json_string(j, "xml", &xml, &e);
    if (!rc)
        rc = optional_bool(j, "autostart", &autostart, &e);
    if (!rc)
        rc = lt_agent_domains_define(api->domains, xml, autostart, &out, &e);
    reply(req, rc, 201, out, &e);
}

static void provision(struct lt_http_req *req, void *app)
{
    static const char *const keys[] = {"escrow", "convert", NULL};
    struct lt_agent_local_api *api = app;
    const char *escrow = NULL;
    bool convert = false;
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};
    json_t *out = NULL;

    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    int rc = j ? lt_json_only(j, keys, &e) : e.code;
    if (!rc)
        rc = uuid_of(req, uuid, &e);
    if (!rc && lt_json_has(j, "escrow"))
        rc = lt_json_string(j, "escrow", &escrow, &e);
    if (!rc)
        rc = optional_bool(j, "convert", &convert, &e);
    if (!rc)
        rc = lt_agent_domains_provision(api->domains, uuid, escrow, convert, &out, &e);
    reply(req, rc, 200, out, &e);
}

/* One of those with one switch. */
static void act(struct lt_http_req *req, const char *key, struct lt_agent_domains *d,
                int (*fn)(struct lt_agent_domains *, const uint8_t *, bool, json_t **, struct lt_err *))
{
    const char *const keys[] = {key, NULL};
    uint8_t uuid[LT_UUID];
    bool on = false;
    struct lt_err e = {0};
    json_t *out = NULL;

    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    int rc = j ? lt_json_only(j, keys, &e) : e.code;
    if (!rc)
        rc = uuid_of(req, uuid, &e);
    if (!rc)
        rc = optional_bool(j, key, &on, &e);
    if (!rc)
        rc = fn(d, uuid, on, &out, &e);
    reply(req, rc, 200, out, &e);
}

static void start(struct lt_http_req *req, void *app)
{
    act(req, "paused", ((struct lt_agent_local_api *)app)->domains, lt_agent_domains_launch);
}

static void pin(struct lt_http_req *req, void *app)
{
    act(req, "clear", ((struct lt_agent_local_api *)app)->domains, lt_agent_domains_pin);
}

/* ---- POST hook ---- */

static int hook_operation(const json_t *j, enum lt_agent_domains_hook *out, struct lt_err *e)
{
    static const char *const names[] = {
        [LT_AGENT_DOMAINS_PREPARE] = "prepare",
        [LT_AGENT_DOMAINS_STARTED] = "started",
        [LT_AGENT_DOMAINS_RELEASE] = "release",
    };
    const char *word;

    LT_TRY(lt_json_string(j, "operation", &word, e));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(word, names[i])) {
            *out = (enum lt_agent_domains_hook)i;
            return 0;
        }
    return lt_fail(e, LT_E_MALFORMED, "operation %.16s: not prepare, started or release", word);
}

static void hook(struct lt_http_req *req, void *app)
{
    static const char *const keys[] = {"uuid", "operation", "xml", NULL};
    struct lt_agent_local_api *api = app;
    enum lt_agent_domains_hook what = LT_AGENT_DOMAINS_PREPARE;
    const char *xml = NULL;
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};

    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    int rc = j ? lt_json_only(j, keys, &e) : e.code;
    if (!rc)
        rc = lt_json_uuid(j, "uuid", uuid, &e);
    if (!rc)
        rc = hook_operation(j, &what, &e);
    if (!rc)
        rc = lt_json_string(j, "xml", &xml, &e);
    if (!rc)
        rc = lt_agent_domains_hook(api->domains, uuid, what, xml, &e);
    reply(req, rc, 200, rc ? NULL : json_object(), &e);
}

#define V1 "/local/v1/"
#define LOCAL LT_HTTP_MAY_LOCAL
const struct lt_http_route lt_agent_local_routes[] = {
    LT_HTTP_ROUTE("GET", V1 "vault", LOCAL, 0, vault, .blocking = true),
    LT_HTTP_ROUTE("GET", V1 "inventory", LOCAL, 0, inventory, .blocking = true),
    LT_HTTP_ROUTE("POST", V1 "domains", LOCAL, LT_MAX_BODY_DOMAIN, define, .blocking = true),
    LT_HTTP_ROUTE("POST", V1 "domains/{}/provision", LOCAL, LT_MAX_BODY_SMALL, provision, .blocking = true),
    LT_HTTP_ROUTE("POST", V1 "domains/{}/start", LOCAL, LT_MAX_BODY_SMALL, start, .blocking = true),
    LT_HTTP_ROUTE("POST", V1 "domains/{}/pin", LOCAL, LT_MAX_BODY_SMALL, pin, .blocking = true),
    LT_HTTP_ROUTE("POST", V1 "hook", LOCAL, LT_MAX_BODY_DOMAIN, hook, .blocking = true, .urgent = true),
};
const size_t lt_agent_local_route_count = sizeof lt_agent_local_routes / sizeof *lt_agent_local_routes;
