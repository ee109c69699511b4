/* The client for callers that wait, and replies as JSON. */
#include "common/http/client.h"
#include "common/run/wait.h"

#include <stdlib.h>
#include <string.h>

/* Keylime's envelope tells a status and no slug. */
static const struct {
    int status, code;
} codes[] = {
    {400, LT_E_MALFORMED}, {401, LT_E_UNAUTHENTICATED}, {403, LT_E_FORBIDDEN},
    {404, LT_E_NOT_FOUND}, {405, LT_E_METHOD},          {409, LT_E_CONFLICT},
    {413, LT_E_TOO_LARGE}, {422, LT_E_REFUSED},         {429, LT_E_TOO_MANY},
    {503, LT_E_BUSY},      {504, LT_E_TIMEOUT},
};

static int code_of_status(int status)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].status == status)
            return codes[i].code;
    return status >= 400 && status < 500 ? LT_E_REFUSED : LT_E_UNREACHABLE;
}

static void told_error(const json_t *body, int status, struct lt_err *e)
{
    const json_t *error = json_object_get(body, "error");
    const char *slug = json_string_value(json_object_get(error, "slug"));
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *text = json_string_value(json_object_get(body, "status"));

    if (slug && message) {
        int code = lt_err_from_slug(slug);
        if (code == LT_E_INTERNAL && strcmp(slug, lt_err_slug(code)))
            code = code_of_status(status); /* a slug of a newer version */
        (void)lt_fail(e, code, "%s", message);
    } else if (text && json_object_get(body, "results")) {
        (void)lt_fail(e, code_of_status(status), "%s", text);
    } else {
        (void)lt_fail(e, LT_E_UNREACHABLE, "unexpected HTTP status %d", status);
    }
}

json_t *lt_http_json(const struct lt_http_reply *r, int want, struct lt_err *e)
{
    struct lt_err bad = {0};
    json_t *j = lt_json_parse(r->body ? r->body : "", r->n, r->n, &bad);

    if (r->status != want) {
        told_error(j, r->status, e);
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
