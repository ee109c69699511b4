/* limetree domain define, provision, start, pin: asked of this host's agent. */
#include "cli/client.h"
#include "cli/domain_verbs.h"
#include "common/alloc.h"
#include "common/run/conf.h"
#include "residency/error.h"
#include "vtpm/domain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGENT_CONF "/etc/limetree/agent.conf"
#define USUAL_SOCKET "/run/limetree/agent.sock"
#define CALL_MS 30000
#define PROVISION_MS 180000 /* two RSA keys, and three commits at the TPM */
#define START_MS 180000

/* *out: free. */
static int find_socket(const struct lt_cli_domain *c, char **out, struct lt_err *e)
{
    *out = NULL;
    if (!c->socket && !access(AGENT_CONF, R_OK))
        LT_TRY(lt_conf_peek(AGENT_CONF, "local_socket", out, e));
    if (c->socket || !*out || !**out) {
        free(*out);
        *out = strdup(c->socket ? c->socket : USUAL_SOCKET);
    }
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "no memory");
}

static json_t *call(struct lt_http_client *client, const struct lt_http_request *r, const char *socket,
                    int want, struct lt_err *e)
{
    struct lt_http_reply reply = {0};
    int rc = lt_http_call(client, r, &reply, e);

    if (rc == LT_E_TIMEOUT)
        (void)lt_fail(e, rc, "the agent at %s did not answer in %ld s; its log says what it does", socket,
                      r->timeout_ms / 1000);
    else if (rc)
        (void)lt_fail(e, rc,
                      "no agent answers at %s: does limetree-agent run as role = host, with local_socket set "
                      "to that, and are you root or its user?",
                      socket);
    json_t *j = rc ? NULL : lt_http_json(&reply, want, lt_residency_error_read, e);
    free((char *)reply.body);
    return j;
}

json_t *lt_cli_domain_call(const struct lt_cli_domain *c, const char *path, json_t *body, int want,
                           long timeout_ms, struct lt_err *e)
{
    LT_AUTOFREE char *socket = NULL, *url = NULL, *text = body ? lt_json_dump(body) : NULL;
    struct lt_http_client *client = NULL;
    json_t *j = NULL;

    json_decref(body);
    if (!text || asprintf(&url, "http://agent/local/v1/%s", path) < 0) {
        url = NULL;
        (void)lt_fail(e, LT_E_NO_MEMORY, "no memory");
        return NULL;
    }
    if (find_socket(c, &socket, e))
        return NULL;
    const struct lt_http_client_conf conf = {.allow_plain = true, .socket = socket};
    const struct lt_http_request r = {
        .method = "POST", .url = url, .body = text, .body_n = strlen(text), .timeout_ms = timeout_ms};
    if (!lt_http_client_new(&conf, &client, e))
        j = call(client, &r, socket, want, e);
    lt_http_client_free(client);
    return j;
}

/* ---- the verbs ---- */

static int uuid_of(const struct lt_cli_domain *c, char out[LT_UUID_TEXT], struct lt_err *e)
{
    uint8_t uuid[LT_UUID];

    if (lt_uuid_parse(c->argument[0], uuid, e))
        return lt_fail(e, LT_E_USAGE, "'%.80s' is not a UUID (virsh domuuid NAME tells it)", c->argument[0]);
    lt_uuid_format(uuid, out);
    return 0;
}

/* True: it was printed as JSON, and nothing is left to tell. */
static bool told(const struct lt_cli_domain *c, const json_t *j)
{
    if (c->json)
        lt_cli_json(j);
    return c->json;
}

int lt_cli_domain_define(const struct lt_cli_domain *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *xml = NULL;
    size_t n;

    LT_TRY(lt_file_read(c->argument[0], LT_MAX_DOMAIN_XML, &xml, &n, e));
    json_t *text = json_stringn((char *)xml, n);
    if (!text)
        return lt_fail(e, LT_E_MALFORMED, "%s: not UTF-8", c->argument[0]);
    LT_JSON_AUTO json_t *j = lt_cli_domain_call(
        c, "domains", json_pack("{s:o, s:b}", "xml", text, "autostart", c->autostart), 201, CALL_MS, e);
    if (!j)
        return e->code;
    if (!told(c, j))
        printf("%s defined, secret %s; if it has no vTPM yet: limetree domain provision %s\n",
               lt_cli_text(j, "uuid"), lt_cli_text(j, "secret"), lt_cli_text(j, "uuid"));
    return 0;
}

static int read_escrow(const struct lt_cli_domain *c, json_t *body, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    size_t n;

    if (!c->escrow)
        return 0;
    LT_TRY(lt_file_read(c->escrow, LT_MAX_PUBKEY, &pem, &n, e));
    if (strstr((char *)pem, "PRIVATE KEY"))
        return lt_fail(e, LT_E_USAGE,
                       "%s holds a private key, which no host may see; give the public half: openssl pkey "
                       "-pubout",
                       c->escrow);
    return json_object_set_new(body, "escrow", json_stringn((char *)pem, n))
               ? lt_fail(e, LT_E_MALFORMED, "%s: not PEM", c->escrow)
               : 0;
}

int lt_cli_domain_provision(const struct lt_cli_domain *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT], path[80];

    LT_TRY(uuid_of(c, uuid, e));
    LT_JSON_AUTO json_t *body = json_pack("{s:b}", "convert", c->convert);
    LT_TRY(read_escrow(c, body, e));
    snprintf(path, sizeof path, "domains/%s/provision", uuid);
    LT_JSON_AUTO json_t *j = lt_cli_domain_call(c, path, json_incref(body), 200, PROVISION_MS, e);
    if (!j)
        return e->code;
    if (!told(c, j))
        printf("%s %s: ek_digest %s, openers %s\n", uuid,
               json_is_true(json_object_get(j, "made")) ? "has a new vTPM"
                                                        : "had its vTPM already, and nothing was changed",
               lt_cli_text(j, "ek_digest"), lt_cli_text(j, "openers"));
    return 0;
}

int lt_cli_domain_start(const struct lt_cli_domain *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT], path[80];

    LT_TRY(uuid_of(c, uuid, e));
    snprintf(path, sizeof path, "domains/%s/start", uuid);
    LT_JSON_AUTO json_t *j =
        lt_cli_domain_call(c, path, json_pack("{s:b}", "paused", c->paused), 200, START_MS, e);
    if (!j)
        return e->code;
    if (!told(c, j))
        printf("%s runs%s\n", uuid, c->paused ? ", paused" : "");
    return 0;
}

int lt_cli_domain_pin(const struct lt_cli_domain *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT], path[80];

    LT_TRY(uuid_of(c, uuid, e));
    snprintf(path, sizeof path, "domains/%s/pin", uuid);
    LT_JSON_AUTO json_t *j =
        lt_cli_domain_call(c, path, json_pack("{s:b}", "clear", c->clear), 200, CALL_MS, e);
    if (!j)
        return e->code;
    if (!told(c, j))
        printf(c->clear ? "%s is not pinned\n" : "%s pinned: firmware %s, domain %s\n", uuid,
               lt_cli_text(j, "firmware"), lt_cli_text(j, "domain"));
    return 0;
}
