#include "agent/local.h"

#include "agent/local_api.h"
#include "agent/sealed_domains.h"
#include "common/alloc.h"
#include "common/http/client.h"
#include "residency/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INVENTORY_MS 10000

struct lt_agent_local {
    struct lt_agent_local_api api;
    struct lt_work *work;
    struct lt_http_server *server;
};

static int serve(struct lt_agent_local *l, const char *socket, struct lt_err *e)
{
    LT_AUTOFREE char *listen = NULL;

    if (asprintf(&listen, "unix:%s", socket) < 0) {
        listen = NULL;
        return lt_fail(e, LT_E_NO_MEMORY, "local_socket: no memory");
    }
    const struct lt_http_server_conf server = {
        .listen = listen,
        .error_body = lt_residency_error,
        .routes = lt_agent_local_routes,
        .route_count = lt_agent_local_route_count,
        .app = &l->api,
        .work = l->work,
        .threads = 1,
        .max_connections = 64,
        .request_timeout_s = 20,
    };
    return lt_http_server_start(&server, &l->server, e);
}

int lt_agent_local_start(const struct lt_agent_conf *conf, struct lt_agent_seal *seal,
                         struct lt_vtpm_inventory *inventory, struct lt_agent_local **out, struct lt_err *e)
{
    const struct lt_agent_domains_conf domains = {
        .uri = conf->libvirt_uri,
        .state_dir = conf->state_dir,
        .swtpm_user = conf->swtpm_user,
        .swtpm = conf->swtpm,
        .swtpm_setup = conf->swtpm_setup,
        .swtpm_setup_config = conf->swtpm_setup_config,
        .allowed_only = !strcmp(conf->seal_checks, "all"),
        .seal = seal,
        .inventory = inventory,
    };

    *out = NULL;
    if (!*conf->local_socket)
        return 0;
    struct lt_agent_local *l = lt_new(struct lt_agent_local);
    l->api.seal = seal;
    l->api.inventory = inventory;
    int rc = lt_work_start(&(struct lt_work_conf){"local", LT_AGENT_LOCAL_THREADS, LT_MAX_AGENT_TASKS},
                           &l->work, e);
    if (!rc)
        rc = lt_agent_domains_start(&domains, &l->api.domains, e);
    if (!rc)
        rc = serve(l, conf->local_socket, e);
    if (rc)
        lt_agent_local_stop(l);
    else
        *out = l;
    return rc;
}

void lt_agent_local_stop(struct lt_agent_local *l)
{
    if (!l)
        return;
    lt_work_stop(l->work);
    lt_http_server_stop(l->server);
    lt_work_free(l->work);
    lt_agent_domains_stop(l->api.domains);
    free(l);
}

int lt_agent_local_inventory(const char *socket, json_t **out, struct lt_err *e)
{
    const struct lt_http_client_conf conf = {.allow_plain = true, .socket = socket};
    const struct lt_http_request ask = {
        .method = "GET", .url = "http://agent/local/v1/inventory", .timeout_ms = INVENTORY_MS};
    struct lt_http_reply reply = {0};
    struct lt_http_client *c;

    *out = NULL;
    LT_TRY(lt_http_client_new(&conf, &c, e));
    int rc = lt_http_call(c, &ask, &reply, e);
    if (!rc) {
        *out = lt_http_json(&reply, 200, lt_residency_error_read, e);
        rc = *out ? 0 : e->code;
    }
    free((char *)reply.body);
    lt_http_client_free(c);
    return rc;
}
