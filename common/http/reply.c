#include "common/alloc.h"
#include "common/http/pairs.h"
#include "common/http/server_impl.h"
#include "common/run/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct lt_http_req *lt_http_req_ref(struct lt_http_req *r)
{
    lt_ref_join(&r->refs, 1);
    return r;
}

void lt_http_req_unref(struct lt_http_req *r)
{
    if (!lt_ref_leave(&r->refs))
        return;
    if (r->response)
        MHD_destroy_response(r->response);
    for (unsigned i = 0; i < r->extras; i++) {
        free(r->extra[i].name);
        free(r->extra[i].value);
    }
    lt_buf_free(&r->body);
    free(r->headers);
    free(r->uri);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- reading ---- */

int lt_http_req_unescape(char *s, bool path, struct lt_err *e)
{
    char *to = s;

    for (; *s; s++) {
        char c = *s;
        if (c == '+' && !path) {
            c = ' ';
        } else if (c == '%') {
            char hex[3] = {s[1], s[1] ? s[2] : 0, 0};
            uint8_t v;
            if (!hex[1] || lt_unhex(hex, &v, 1, LT_NO_ERR))
                return lt_fail(e, LT_E_MALFORMED, "URL: '%%' without two hex digits");
            if (!v || (path && v == '/'))
                return lt_fail(e, LT_E_MALFORMED, "URL: an escaped %s", v ? "'/'" : "NUL");
            c = (char)v;
            s += 2;
        }
        *to++ = c;
    }
    *to = 0;
    return 0;
}

/* "a=1&b" becomes "a\0" "1\0" "b\0" "\0" "\0" in a buffer that has room for it: each pair gains one byte at
 * most, where its '=' is missing. */
static int split_query(struct lt_http_req *r, char *from, struct lt_err *e)
{
    char *to = r->query;

    for (char *next; from && *from; from = next) {
        if ((next = strchr(from, '&')))
            *next++ = 0;
        char *value = strchr(from, '=');
        if (value)
            *value++ = 0;
        if (!*from)
            continue;
        int rc = lt_http_req_unescape(from, false, e);
        if (!rc && value)
            rc = lt_http_req_unescape(value, false, e);
        if (rc)
            return rc;
        to = stpcpy(to, from) + 1;
        to = stpcpy(to, value ? value : "") + 1;
    }
    *to = 0;
    return 0;
}

int lt_http_req_split(struct lt_http_req *r, struct lt_err *e)
{
    char *q = strchr(r->uri, '?');
    if (q)
        *q++ = 0;
    return q ? split_query(r, q, e) : 0;
}

const char *lt_http_req_arg(const struct lt_http_req *r, unsigned i)
{
    return i < LT_HTTP_REQ_ARGS ? r->args[i] : NULL;
}

const char *lt_http_req_query(const struct lt_http_req *r, const char *key)
{
    return lt_http_pairs_get(r->query, key, strcmp);
}

const char *lt_http_req_header(const struct lt_http_req *r, const char *name)
{
    return lt_http_pairs_get(r->headers, name, strcasecmp);
}

struct lt_slice lt_http_req_body(const struct lt_http_req *r)
{
    return (struct lt_slice){r->body.p, r->body.n};
}

const struct lt_peer *lt_http_req_peer(const struct lt_http_req *r)
{
    return r->has_peer ? &r->peer : NULL;
}

const char *lt_http_req_source(const struct lt_http_req *r)
{
    return r->source;
}

const char *lt_http_req_id(const struct lt_http_req *r)
{
    return r->id;
}

json_t *lt_http_req_json(const struct lt_http_req *r, struct lt_err *e)
{
    json_t *j = lt_json_parse(r->body.n ? (const char *)r->body.p : "", r->body.n, r->route->max_body, e);
    if (j && !json_is_object(j)) {
        json_decref(j);
        (void)lt_fail(e, LT_E_MALFORMED, "body: not a JSON object");
        return NULL;
    }
    return j;
}

void lt_http_req_hold(struct lt_http_req *r)
{
    r->held = true;
}

/* ---- replying ---- */

void lt_http_req_add_header(struct lt_http_req *r, const char *name, const char *value)
{
    if (r->extras == LT_HTTP_REQ_EXTRA)
        abort(); /* a handler's mistake, not a peer's */
    char *n = strdup(name), *v = strdup(value);
    if (n && v) {
        r->extra[r->extras].name = n;
        r->extra[r->extras++].value = v;
    } else {
        free(n);
        free(v);
    }
}

struct lt_http_shared {
    struct lt_ref_count refs;
    void *p;
    size_t n;
};

struct lt_http_shared *lt_http_shared_new(void *p, size_t n)
{
    struct lt_http_shared *s = lt_new(struct lt_http_shared);
    lt_ref_start(&s->refs, 1);
    s->p = p;
    s->n = n;
    return s;
}

struct lt_http_shared *lt_http_shared_ref(struct lt_http_shared *s)
{
    lt_ref_join(&s->refs, 1);
    return s;
}

void lt_http_shared_unref(struct lt_http_shared *s)
{
    if (!s || !lt_ref_leave(&s->refs))
        return;
    free(s->p);
    free(s);
}

static void shared_sent(void *s)
{
    lt_http_shared_unref(s);
}

static struct MHD_Response *with_headers(const struct lt_http_req *r, const char *type,
                                         struct MHD_Response *m)
{
    if (!m)
        return NULL;
    if (type)
        MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(m, "X-Request-ID", r->id);
    MHD_add_response_header(m, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    return m;
}

static struct MHD_Response *make(const struct lt_http_req *r, const char *type, void *p, size_t n)
{
    struct MHD_Response *m = MHD_create_response_from_buffer(n, p, MHD_RESPMEM_MUST_FREE);
    if (!m)
        free(p);
    return with_headers(r, type, m);
}

static struct MHD_Response *make_json(const struct lt_http_req *r, json_t *body, size_t *n)
{
    char *s = body ? lt_json_dump(body) : NULL;
    json_decref(body);
    *n = s ? strlen(s) : 0;
    return s ? make(r, "application/json", s, *n) : NULL;
}

static struct MHD_Response *make_error(const struct lt_http_req *r, const struct lt_err *e,
                                       unsigned retry_after_s)
{
    enum lt_err_class class = lt_err_class(e->code);
    struct lt_err told = *e;
    size_t n;

    if (class == LT_CLASS_BUG || class == LT_CLASS_LOCAL) {
        lt_log(LT_LOG_ERROR, "request", "%s: %s: %s", r->id, lt_err_slug(e->code), e->msg);
        /* our paths and settings are nobody's business */
        snprintf(told.msg, sizeof told.msg, "%s", lt_err_slug(e->code));
    }
    struct MHD_Response *m =
        r->error_body ? make_json(r, r->error_body(&told, retry_after_s), &n) : make(r, NULL, NULL, 0);
    if (m && retry_after_s) {
        char text[16];
        snprintf(text, sizeof text, "%u", retry_after_s);
        MHD_add_response_header(m, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    return m;
}

/* The first reply counts: after lt_http_server_stop has answered for its owner, the owner's is dropped, and
 * *r->server may be gone. m NULL (no memory): the connection is closed. n: bytes that are this reply's alone,
 * or (shared) that it sends. */
static void finish(struct lt_http_req *r, int status, struct MHD_Response *m, size_t n, bool shared)
{
    pthread_mutex_lock(&r->lock);
    bool late = r->done;
    if (!late) {
        r->response = m;
        r->status = (unsigned)status;
        r->reply_n = n;
        r->reply_shared = shared;
        r->done = true;
        if (r->suspended)
            MHD_resume_connection(r->conn);
        r->suspended = false;
    }
    pthread_mutex_unlock(&r->lock);
    if (late && m)
        MHD_destroy_response(m);
}

static void reply(struct lt_http_req *r, int status, struct MHD_Response *m, size_t n, bool shared)
{
    for (unsigned i = 0; m && i < r->extras; i++)
        MHD_add_response_header(m, r->extra[i].name, r->extra[i].value);
    finish(r, status, m, n, shared);
    lt_http_req_unref(r);
}

void lt_http_req_abort(struct lt_http_req *r)
{
    static const struct lt_err stopping = {LT_E_BUSY, "the server is stopping"};
    finish(r, lt_err_http(LT_E_BUSY), make_error(r, &stopping, 1), 0, false);
}

void lt_http_req_no_room(struct lt_http_req *r)
{
    static const struct lt_err busy = {LT_E_BUSY, "too many bodies and replies are on their way"};
    MHD_destroy_response(r->response);
    r->response = make_error(r, &busy, 1);
    r->status = (unsigned)lt_err_http(LT_E_BUSY);
    r->reply_n = 0;
}

void lt_http_reply_bytes(struct lt_http_req *r, int status, const char *type, void *p, size_t n)
{
    reply(r, status, make(r, type, p, n), n, false);
}

struct lt_slice lt_http_shared_bytes(const struct lt_http_shared *s)
{
    return (struct lt_slice){s->p, s->n};
}

void lt_http_reply_shared(struct lt_http_req *r, int status, const char *type, struct lt_http_shared *s,
                          size_t from)
{
    size_t n = s->n - from;
    struct MHD_Response *m = MHD_create_response_from_buffer_with_free_callback_cls(
        n, (char *)s->p + from, shared_sent, lt_http_shared_ref(s));
    if (!m)
        lt_http_shared_unref(s);
    reply(r, status, with_headers(r, type, m), n, true);
}

void lt_http_reply_empty(struct lt_http_req *r, int status)
{
    reply(r, status, make(r, NULL, NULL, 0), 0, false);
}

void lt_http_reply_json(struct lt_http_req *r, int status, json_t *body)
{
    size_t n;
    struct MHD_Response *m = make_json(r, body, &n);
    reply(r, status, m, n, false);
}

void lt_http_reply_error(struct lt_http_req *r, const struct lt_err *why, unsigned retry_after_s)
{
    static const struct lt_err none = {LT_E_INTERNAL, "no error was told"};
    const struct lt_err *e = why && why->code ? why : &none;
    reply(r, lt_err_http(e->code), make_error(r, e, retry_after_s), 0, false);
}
