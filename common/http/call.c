/* The client for callers that wait, and replies as JSON. */
#include "common/http/client.h"
#include "common/run/wait.h"

#include <stdlib.h>
#include <string.h>

json_t *lt_http_json(const struct lt_http_reply *r, int want, lt_http_error_read told, struct lt_err *e)
{
    struct lt_err bad = {0};
    json_t *j = lt_json_parse(r->body ? r->body : "", r->n, r->n, &bad);

    if (r->status != want) {
        if (!told(j, r->status, e))
            (void)lt_fail(e, LT_E_UNREACHABLE, "unexpected HTTP status %d", r->status);
        json_decref(j);
        return NULL;
    }
    if (!json_is_object(j)) {
        (void)lt_fail(e, LT_E_MALFORMED, "reply: %s", j ? "not a JSON object" : bad.msg);
        json_decref(j);
        return NULL;
    }
    return j;
}

struct call {
    struct lt_wait wait;
    struct lt_http_reply *reply;
};

static void on_call_done(void *arg, const struct lt_http_reply *r, const struct lt_err *trouble)
{
    struct call *call = arg;
    struct lt_err e = *trouble;

    *call->reply = *r;
    call->reply->body = NULL;
    if (!e.code) {
        char *copy = malloc(r->n + 1);
        if (copy)
            memcpy(copy, r->body, r->n + 1);
        else
            (void)lt_fail(&e, LT_E_NO_MEMORY, "no memory for the reply");
        call->reply->body = copy;
    }
    lt_wait_end(&call->wait, e.code, &e);
}

int lt_http_call(struct lt_http_client *c, const struct lt_http_request *r, struct lt_http_reply *reply,
                 struct lt_err *e)
{
    struct call call = {.wait = LT_WAIT, .reply = reply};

    lt_http_send(c, r, on_call_done, &call);
    return lt_wait_for(&call.wait, e);
}
