#include "verifier/ca_client.h"

#include "common/alloc.h"
#include "common/http/client.h"
#include "common/ids.h"
#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lt_ca_client {
    struct lt_http_client *http;
    char *url;
};

int lt_ca_client_new(const struct lt_ca_client_conf *c, struct lt_ca_client **out, struct lt_err *e)
{
    const struct lt_http_client_conf http = {
        .cert = c->cert, .key = c->key, .ca = c->ca, .server_role = LT_PEER_ROLE_TENANT, .max_per_host = 16};
    struct lt_ca_client *n = lt_new(struct lt_ca_client);
    int rc = lt_http_client_new(&http, &n->http, e);

    *out = NULL;
    if (rc) {
        free(n);
        return rc;
    }
    n->url = lt_alloc_text(c->url);
    *out = n;
    return 0;
}

void lt_ca_client_free(struct lt_ca_client *c)
{
    if (!c)
        return;
    lt_http_client_free(c->http);
    free(c->url);
    free(c);
}

static int read_answer(const struct lt_http_reply *r, const char *guest, struct lt_err *e)
{
    LT_JSON_AUTO json_t *body = lt_json_parse(r->body, r->n, LT_MAX_BODY_SMALL, LT_NO_ERR);
    const char *said = json_string_value(json_object_get(json_object_get(body, "error"), "message"));

    return r->status == 200
               ? 0
               : lt_fail(e, LT_E_UNREACHABLE, "guest %s: the CA of guests' certificates says %d%s%.200s",
                         guest, r->status, said ? ": " : "", said ? said : "");
}

int lt_ca_client_tell(struct lt_ca_client *c, const char *guest, enum lt_ca_state s, long timeout_ms,
                      struct lt_err *e)
{
    char url[LT_MAX_URL], body[64];
    struct lt_http_reply reply = {0};

    if (!lt_id_ok(guest))
        return lt_fail(e, LT_E_INTERNAL, "not an agent's id");
    if (snprintf(url, sizeof url, "%s/ca/v1/guests/%s", c->url, guest) >= (int)sizeof url)
        return lt_fail(e, LT_E_CONFIG, "the URL of the CA is too long");
    snprintf(body, sizeof body, "{\"state\": \"%s\"}", lt_ca_state_name(s));
    const struct lt_http_request q = {.method = "PUT",
                                      .url = url,
                                      .body = body,
                                      .body_n = strlen(body),
                                      .timeout_ms = timeout_ms,
                                      .max_reply = LT_MAX_BODY_SMALL};
    LT_TRY_IN(lt_http_call(c->http, &q, &reply, e), e, "the CA of guests' certificates");
    int rc = read_answer(&reply, guest, e);
    free((char *)reply.body);
    return rc;
}
