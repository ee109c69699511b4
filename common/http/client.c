#include "common/http/client.h"

#include "common/alloc.h"
#include "common/http/pairs.h"
#include "common/http/room.h"
#include "common/http/trust.h"
#include "common/limits.h"
#include "common/run/clock.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TIMEOUT_MS 30000
#define CONNECT_MS 10000
#define PER_HOST 8
#define KEPT 4096         /* connections, idle ones too */
#define KEPT_S 25         /* idle ones; less than the 30 s after which our servers hang up */
#define MAX_HEADERS 65536 /* of one reply, bytes */

struct transfer {
    struct lt_http_client *c;
    struct transfer *next, *prev; /* in c->pending, then in c->running */
    CURL *easy;
    char *method, *url, *body, *pin_pem;
    size_t body_n;
    struct curl_slist *headers;
    uint8_t pin[32];
    bool pinned, tls, checked, idempotent, headers_end;
    unsigned attempts;
    long timeout_ms;
    size_t max_reply, header_n, kept_n, weight; /* kept_n: of reply.headers, without the last NUL */
    unsigned rank;
    struct lt_room_turn claim;
    bool claimed;
    struct lt_buf reply_body;
    struct lt_http_reply reply;
    struct lt_err e; /* the first fault found in a callback */
    char told[CURL_ERROR_SIZE];
    lt_http_done done;
    void *arg;
};

struct lt_http_client {
    struct lt_http_trust trust;
    bool allow_plain, named;
    char *socket; /* NULL: TCP */
    CURLM *multi;
    pthread_t thread;
    int epoll, wake;
    uint64_t timer_ms; /* when curl wants to be called; UINT64_MAX: not */
    struct transfer *running;
    struct lt_room room;
    pthread_mutex_t lock; /* guards pending, stopping */
    struct transfer *pending, **pending_end;
    bool stopping;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_once(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    lt_http_trust_init();
}

static const uint8_t *pin_of(const struct transfer *t)
{
    return t->pinned ? t->pin : NULL;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ctx, void *arg)
{
    struct transfer *t = arg;
    (void)easy;
    return lt_http_trust_install(&t->c->trust, pin_of(t), ctx, &t->e) ? CURLE_SSL_CERTPROBLEM : CURLE_OK;
}

/* For every reply, on new connections and on kept ones, before its first byte is believed. */
static bool check_connection(struct transfer *t)
{
    struct curl_tlssessioninfo *i = NULL;

    if (t->checked || !t->tls)
        return true;
    if (curl_easy_getinfo(t->easy, CURLINFO_TLS_SSL_PTR, &i))
        i = NULL;
    if (lt_http_trust_check(i ? i->internals : NULL, pin_of(t), &t->reply.server, &t->e))
        return false;
    return t->checked = true;
}

/* ---- one transfer ---- */

const char *lt_http_reply_header(const struct lt_http_reply *r, const char *name)
{
    return lt_http_pairs_get(r->headers, name, strcasecmp);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void keep_header(struct transfer *t, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n), *end = line + n, *value = colon ? colon + 1 : end;

    if (!colon || colon == line || memchr(line, 0, n))
        return;
    while (value < end && is_blank(*value))
        value++;
    while (end > value && is_blank(end[-1]))
        end--;
    size_t name_n = (size_t)(colon - line), value_n = (size_t)(end - value);
    if (name_n + value_n + 3 > sizeof t->reply.headers - t->kept_n)
        return;
    char *to = t->reply.headers + t->kept_n;
    memcpy(to, line, name_n);
    memcpy(to + name_n + 1, value, value_n);
    to[name_n] = to[name_n + 1 + value_n] = to[name_n + 2 + value_n] = 0;
    t->kept_n += name_n + value_n + 2;
}

static size_t on_header(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = size * count;

    t->reply.last_byte_ms = lt_clock_ms();
    t->header_n += n;
    if (t->header_n > MAX_HEADERS) {
        (void)lt_fail(&t->e, LT_E_TOO_LARGE, "reply: more than %d bytes of headers", MAX_HEADERS);
        return 0;
    }
    if (n >= 5 && !memcmp(p, "HTTP/", 5)) {
        t->headers_end = false; /* of this reply; one with 100 may have gone before */
        t->reply.headers[t->kept_n = 0] = 0;
    } else if (n && (*p == '\r' || *p == '\n')) {
        t->headers_end = true;
    } else {
        keep_header(t, p, n);
    }
    return n;
}

static unsigned retry_after(const struct lt_http_reply *r)
{
    const char *text = lt_http_reply_header(r, "Retry-After");
    unsigned long s = text ? strtoul(text, NULL, 10) : 0;

    return s > 3600 ? 3600 : (unsigned)s;
}

/* Once, so that growing needs no second copy beside the first. */
static bool reserve(struct lt_buf *b, size_t n)
{
    uint8_t *p = realloc(b->p, n + 2);

    if (!p)
        return false;
    b->p = p;
    b->cap = n + 2;
    return true;
}

/* Of a reply that has brought, or announces, more than a small one: whether it may be read on. False without
 * an error: later. curl then brings the same bytes again. */
static bool claim(struct transfer *t, size_t so_far)
{
    curl_off_t told = -1;

    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &told);
    if (so_far <= LT_SMALL_REPLY && told <= LT_SMALL_REPLY)
        return true;
    size_t all = told < 0 || (size_t)told > t->max_reply ? t->max_reply : (size_t)told,
           size = all * t->weight;
    if (told >= 0 && (size_t)told > t->max_reply) {
        (void)lt_fail(&t->e, LT_E_TOO_LARGE, "reply: more than %zu bytes", t->max_reply);
        return false;
    }
    if (lt_room_never(&t->c->room, size)) {
        (void)lt_fail(&t->e, LT_E_BUSY, "reply: %zu bytes would need %zu of memory, more than may be used",
                      all, size);
        return false;
    }
    if (!t->claim.waiting && !t->claim.at &&
        !lt_room_claim(&t->c->room, &t->claim, t->rank, size, lt_clock_ms()))
        return false;
    if (t->claim.waiting)
        return false;
    t->claimed = true;
    if (!reserve(&t->reply_body, all))
        (void)lt_fail(&t->e, LT_E_NO_MEMORY, "no memory for the reply");
    return !t->e.code;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = size * count;

    t->reply.last_byte_ms = lt_clock_ms();
    if (n > t->max_reply - t->reply_body.n) {
        (void)lt_fail(&t->e, LT_E_TOO_LARGE, "reply: more than %zu bytes", t->max_reply);
        return 0;
    }
    if (t->c->room.budget && !t->claimed && !claim(t, t->reply_body.n + n))
        return t->e.code ? 0 : CURL_WRITEFUNC_PAUSE;
    lt_buf_put(&t->reply_body, p, n);
    return t->reply_body.failed ? 0 : n;
}

/* Called before each attempt, on a new connection or a kept one, when nothing of the request is sent yet: a
 * connection of another pin must not get to see it. And curl repeats a request when a kept connection proves
 * dead; what changes something at the server must not be sent twice. */
static int on_attempt(void *arg, char *a, char *b, int c, int d)
{
    struct transfer *t = arg;
    (void)a, (void)b, (void)c, (void)d;
    if (++t->attempts > (t->idempotent ? 2u : 1u)) {
        (void)lt_fail(&t->e, LT_E_UNREACHABLE, "the kept connection was lost before a reply came");
        return CURL_PREREQFUNC_ABORT;
    }
    t->checked = false;
    return !t->tls || check_connection(t) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static void transfer_free(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    lt_buf_free(&t->reply_body);
    if (t->c->room.budget)
        lt_budget_give(t->c->room.budget, lt_room_done(&t->c->room, &t->claim));
    free(t->method);
    free(t->url);
    free(t->body);
    free(t->pin_pem);
    free(t);
}

/* A server that refuses our certificate hangs up, and in TLS 1.3 only after the request went out: what curl
 * says of that is a riddle. */
static void fail_transport(struct transfer *t, int code, const char *why)
{
    const char *told = *t->told ? t->told : why,
               *ours = t->c->trust.ours ? t->c->trust.ours : "(we have none)";
    long fresh = 0;

    if (t->easy)
        curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &fresh);
    const char *alert = t->tls && code == LT_E_UNREACHABLE ? strstr(told, " alert ") : NULL;
    if (alert) /* "… alert certificate expired, errno 0" */
        (void)lt_fail(&t->e, code, "the server refused our certificate %s: %.*s; its log says why", ours,
                      (int)strcspn(alert + 7, ","), alert + 7);
    else if (t->checked && code == LT_E_UNREACHABLE && fresh && !t->header_n)
        (void)lt_fail(&t->e, code, "%s; if the server refused our certificate %s, its log says why", told,
                      ours);
    else
        (void)lt_fail(&t->e, code, "%s", told);
}

static void finish(struct transfer *t, int code, const char *why)
{
    if (code == LT_E_TIMEOUT && t->claim.waiting)
        (void)lt_fail(&t->e, LT_E_BUSY,
                      "reply: it needs %zu bytes of memory, and others left no room in time", t->claim.size);
    if (code && !t->e.code)
        fail_transport(t, code, why);
    lt_buf_u8(&t->reply_body, 0);
    if (!t->e.code && t->reply_body.failed)
        (void)lt_fail(&t->e, LT_E_NO_MEMORY, "no memory for the reply");
    if (t->e.code) {
        (void)lt_fail_in(&t->e, t->e.code, "%s", t->url);
        memset(&t->reply, 0, sizeof t->reply);
        t->reply.body = "";
    } else {
        t->reply.body = (const char *)t->reply_body.p;
        t->reply.n = t->reply_body.n - 1;
        t->reply.retry_after_s = retry_after(&t->reply);
        t->reply.charge = lt_room_done(&t->c->room, &t->claim);
    }
    t->done(t->arg, &t->reply, &t->e);
    transfer_free(t);
}

static int set_method(struct transfer *t)
{
    CURL *h = t->easy;
    bool get = !strcmp(t->method, "GET") || !strcmp(t->method, "HEAD");

    t->idempotent = get;
    if (!strcmp(t->method, "HEAD"))
        return curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    if (get && !t->body)
        return curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    return curl_easy_setopt(h, CURLOPT_POST, 1L) ||
           curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, (long)t->body_n) ||
           curl_easy_setopt(h, CURLOPT_POSTFIELDS, t->body ? t->body : "") ||
           curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, t->method);
}

static const struct {
    CURLoption option;
    long value;
} fixed[] = {
    {CURLOPT_SSL_VERIFYPEER, 1}, /* the verification itself is ours: common/http/trust.h */
    {CURLOPT_SSL_VERIFYHOST, 0},
    {CURLOPT_SSL_SESSIONID_CACHE, 0},
    {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2}, /* or later */
    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
    {CURLOPT_NOSIGNAL, 1},
    {CURLOPT_NETRC, CURL_NETRC_IGNORED},
    {CURLOPT_FOLLOWLOCATION, 0},
    {CURLOPT_TCP_KEEPALIVE, 1},
    {CURLOPT_MAXAGE_CONN, KEPT_S},
};

static int set_fixed(CURL *h)
{
    int rc = curl_easy_setopt(h, CURLOPT_PROXY, "") || curl_easy_setopt(h, CURLOPT_CAPATH, NULL);

    for (size_t i = 0; !rc && i < sizeof fixed / sizeof *fixed; i++)
        rc = curl_easy_setopt(h, fixed[i].option, fixed[i].value);
    return rc;
}

/* What takes part in curl's choice of a kept connection, so that two pins never share one. */
static int set_trust(struct transfer *t)
{
    struct curl_blob blob = {.flags = CURL_BLOB_COPY};

    blob.data = t->pin_pem ? t->pin_pem : t->c->trust.ca_pem;
    blob.len = blob.data ? strlen(blob.data) : 0;
    return (blob.data && curl_easy_setopt(t->easy, CURLOPT_CAINFO_BLOB, &blob)) ||
           curl_easy_setopt(t->easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx) ||
           curl_easy_setopt(t->easy, CURLOPT_SSL_CTX_DATA, t);
}

static int set_callbacks(struct transfer *t)
{
    CURL *h = t->easy;

    return curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header) ||
           curl_easy_setopt(h, CURLOPT_HEADERDATA, t) ||
           curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body) || curl_easy_setopt(h, CURLOPT_WRITEDATA, t) ||
           curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_attempt) ||
           curl_easy_setopt(h, CURLOPT_PREREQDATA, t) || curl_easy_setopt(h, CURLOPT_ERRORBUFFER, t->told) ||
           curl_easy_setopt(h, CURLOPT_PRIVATE, t);
}

static int set_request(struct transfer *t)
{
    CURL *h = t->easy;

    return curl_easy_setopt(h, CURLOPT_URL, t->url) ||
           curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, t->c->allow_plain ? "https,http" : "https") ||
           (t->c->socket && curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, t->c->socket)) ||
           (t->c->named && curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L)) ||
           curl_easy_setopt(h, CURLOPT_HTTPHEADER, t->headers) ||
           curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, t->timeout_ms) ||
           curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
                            t->timeout_ms < CONNECT_MS ? t->timeout_ms : (long)CONNECT_MS);
}

static int prepare(struct transfer *t)
{
    t->tls = !strncasecmp(t->url, "https://", 8);
    if (!t->tls && !(t->c->allow_plain && !strncasecmp(t->url, "http://", 7)))
        return lt_fail(&t->e, LT_E_UNREACHABLE, "not an https URL");
    t->pinned = t->pin_pem;
    if (t->pinned && lt_http_trust_pin(t->pin_pem, t->pin, &t->e))
        return t->e.code;
    if (t->tls && !t->pinned && !t->c->trust.store)
        return lt_fail(&t->e, LT_E_UNAUTHENTICATED, "no CA is configured and no certificate is pinned");
    t->easy = curl_easy_init();
    if (!t->easy || set_fixed(t->easy) || set_request(t) || set_method(t) || set_trust(t) || set_callbacks(t))
        return lt_fail(&t->e, LT_E_NO_MEMORY, "the request cannot be set up");
    return 0;
}

/* ---- the thread ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct lt_http_client *c = arg;
    struct epoll_event ev = {.data.fd = fd};

    (void)easy, (void)socket_arg;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, &ev); /* may be closed already */
        return 0;
    }
    ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(c->epoll, EPOLL_CTL_MOD, fd, &ev) && errno == ENOENT)
        return epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &ev);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct lt_http_client *c = arg;
    (void)multi;
    c->timer_ms = ms < 0 ? UINT64_MAX : lt_clock_ms() + (uint64_t)ms;
    return 0;
}

static void detach(struct transfer *t)
{
    if (t->next)
        t->next->prev = t->prev;
    *(t->prev ? &t->prev->next : &t->c->running) = t->next;
    curl_multi_remove_handle(t->c->multi, t->easy);
}

static void start(struct transfer *t)
{
    struct lt_http_client *c = t->c;

    if (prepare(t) || curl_multi_add_handle(c->multi, t->easy)) {
        finish(t, LT_E_UNREACHABLE, "cannot be sent");
        return;
    }
    t->prev = NULL;
    t->next = c->running;
    if (t->next)
        t->next->prev = t;
    c->running = t;
}

/* False: stopping. */
static bool take_pending(struct lt_http_client *c)
{
    pthread_mutex_lock(&c->lock);
    struct transfer *t = c->pending, *next;
    bool stopping = c->stopping;
    c->pending = NULL;
    c->pending_end = &c->pending;
    pthread_mutex_unlock(&c->lock);
    for (; t; t = next) {
        next = t->next;
        if (stopping)
            finish(t, LT_E_UNREACHABLE, "the client is stopping");
        else
            start(t);
    }
    return !stopping;
}

static int code_of(CURLcode rc)
{
    switch (rc) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return LT_E_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
        return LT_E_UNAUTHENTICATED;
    case CURLE_OUT_OF_MEMORY:
        return LT_E_NO_MEMORY;
    default:
        return LT_E_UNREACHABLE;
    }
}

static struct transfer *of_claim(struct lt_room_turn *c)
{
    return (struct transfer *)((char *)c - offsetof(struct transfer, claim));
}

static void take_results(struct lt_http_client *c)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(c->multi, &left))) {
        struct transfer *t = NULL;
        CURLcode rc = m->data.result;
        long status = 0;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        t->reply.status = (int)status;
        /* Without a checked connection there is no reply, whatever curl thinks. */
        if (!rc && t->tls && !t->checked)
            rc = CURLE_PEER_FAILED_VERIFICATION;
        if (!rc && !t->headers_end) /* which curl lets pass */
            rc = CURLE_PARTIAL_FILE;
        detach(t);
        finish(t, code_of(rc), curl_easy_strerror(rc));
    }
}

/* Who waited for room is read on; who holds it too long while others wait is given up. Returns when to look
 * again. */
static uint64_t make_room(struct lt_http_client *c)
{
    struct lt_room_turn *claim;
    uint64_t next = UINT64_MAX;

    if (!c->room.budget)
        return next;
    while ((claim = lt_room_next(&c->room, lt_clock_ms()))) {
        struct transfer *t = of_claim(claim);
        CURLcode rc = curl_easy_pause(t->easy, CURLPAUSE_CONT); /* on_body runs in it */
        if (rc) {
            detach(t);
            finish(t, code_of(rc), curl_easy_strerror(rc));
        }
    }
    while ((claim = lt_room_slow(&c->room, lt_clock_ms(), &next))) {
        struct transfer *t = of_claim(claim);
        (void)lt_fail(&t->e, LT_E_BUSY, "reply: too slow, %zu bytes in %d ms, while others wait for room",
                      t->reply_body.n, LT_ROOM_MS);
        detach(t);
        finish(t, LT_E_BUSY, "too slow");
    }
    return next;
}

static int wait_ms(const struct lt_http_client *c, uint64_t room_ms)
{
    uint64_t at = c->timer_ms < room_ms ? c->timer_ms : room_ms, now = lt_clock_ms();

    if (at == UINT64_MAX)
        return -1;
    return at <= now ? 0 : at - now > 60000 ? 60000 : (int)(at - now);
}

static void *run(void *arg)
{
    struct lt_http_client *c = arg;
    struct epoll_event ev[64];
    int running;
    sigset_t pipe;

    /* CURLOPT_NOSIGNAL leaves it to us that a server which hangs up does not kill the program. */
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    while (take_pending(c)) {
        int n = epoll_wait(c->epoll, ev, 64, wait_ms(c, make_room(c)));
        for (int i = 0; i < n; i++) {
            if (ev[i].data.fd == c->wake) {
                uint64_t v;
                if (read(c->wake, &v, sizeof v) < 0)
                    continue; /* nothing to take: somebody was faster */
                continue;
            }
            int what = (ev[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                       (ev[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                       (ev[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
            curl_multi_socket_action(c->multi, ev[i].data.fd, what, &running);
        }
        if (c->timer_ms <= lt_clock_ms()) {
            c->timer_ms = UINT64_MAX;
            curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        take_results(c);
    }
    while (c->running) {
        struct transfer *t = c->running;
        detach(t);
        finish(t, LT_E_UNREACHABLE, "the client is stopping");
    }
    take_pending(c); /* what a callback has sent meanwhile */
    return NULL;
}

static void wake(struct lt_http_client *c)
{
    uint64_t one = 1;
    if (write(c->wake, &one, sizeof one) < 0) {
        /* EAGAIN: it is awake already. */
    }
}

static void wake_up(void *arg)
{
    wake(arg);
}

/* ---- public ---- */

static char *dup_or_null(const char *s)
{
    return s ? strdup(s) : NULL;
}

static bool add_header(struct transfer *t, const char *line)
{
    struct curl_slist *l = curl_slist_append(t->headers, line);
    if (l)
        t->headers = l;
    return l;
}

void lt_http_send(struct lt_http_client *c, const struct lt_http_request *r, lt_http_done done, void *arg)
{
    struct transfer *t = lt_new(struct transfer);
    t->c = c;
    t->done = done;
    t->arg = arg;
    t->timeout_ms = r->timeout_ms > 0 ? r->timeout_ms : TIMEOUT_MS;
    t->max_reply = r->max_reply ? r->max_reply : LT_MAX_REPLY;
    t->reply_body = LT_BUF(t->max_reply + 1);
    t->weight = r->weight ? r->weight : 1;
    t->rank = r->rank;
    t->method = strdup(r->method);
    t->url = strdup(r->url);
    t->pin_pem = dup_or_null(r->pin);
    t->body_n = r->body ? r->body_n : 0;
    t->body = r->body ? malloc(t->body_n + 1) : NULL;
    bool ok = t->method && t->url && (!r->pin || t->pin_pem) && (!r->body || t->body);
    if (t->body)
        memcpy(t->body, r->body, t->body_n);
    ok = ok && add_header(t, "Expect:");
    bool typed = !r->body;
    for (const char *const *h = r->headers; ok && h && *h; h++) {
        typed = typed || !strncasecmp(*h, "Content-Type:", 13);
        ok = add_header(t, *h);
    }
    if (!typed)
        ok = ok && add_header(t, "Content-Type: application/json"); /* curl would say it is a form */
    if (!ok)
        abort();
    pthread_mutex_lock(&c->lock);
    *c->pending_end = t;
    c->pending_end = &t->next;
    pthread_mutex_unlock(&c->lock);
    wake(c);
}

static void client_free(struct lt_http_client *c)
{
    if (c->multi)
        curl_multi_cleanup(c->multi);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->wake >= 0)
        close(c->wake);
    lt_http_trust_free(&c->trust);
    pthread_mutex_destroy(&c->lock);
    free(c->socket);
    free(c);
}

static int client_start(struct lt_http_client *c, unsigned per_host, struct lt_err *e)
{
    c->multi = curl_multi_init();
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = c->wake};
    if (!c->multi || c->epoll < 0 || c->wake < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->wake, &ev) ||
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket) ||
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer) ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) ||
        curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) ||
        curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)KEPT) ||
        curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)(per_host ? per_host : PER_HOST)))
        return lt_fail(e, LT_E_NO_MEMORY, "client: cannot be set up");
    int rc = pthread_create(&c->thread, NULL, run, c);
    return rc ? lt_fail(e, LT_E_IO, "client: no thread: %s", strerror(rc)) : 0;
}

int lt_http_client_new(const struct lt_http_client_conf *f, struct lt_http_client **out, struct lt_err *e)
{
    *out = NULL;
    pthread_once(&once, init_once);
    struct lt_http_client *c = lt_new(struct lt_http_client);
    pthread_mutex_init(&c->lock, NULL);
    c->epoll = c->wake = -1;
    c->timer_ms = UINT64_MAX;
    c->pending_end = &c->pending;
    c->allow_plain = f->allow_plain;
    c->named = f->named;
    c->room = (struct lt_room){.budget = f->budget, .leave = f->leave};
    c->trust.role = f->server_role;
    c->trust.crl = f->crl;
    c->socket = dup_or_null(f->socket);
    int rc = f->socket && !c->socket ? lt_fail(e, LT_E_NO_MEMORY, "client: no memory") : 0;
    if (!rc)
        rc = lt_http_trust_load(&c->trust, f->cert, f->key, f->ca, e);
    if (!rc)
        rc = client_start(c, f->max_per_host, e);
    if (rc) {
        client_free(c);
        return rc;
    }
    if (f->budget)
        lt_budget_watch(f->budget, wake_up, c);
    *out = c;
    return 0;
}

void lt_http_client_free(struct lt_http_client *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_mutex_unlock(&c->lock);
    wake(c);
    pthread_join(c->thread, NULL);
    if (c->room.budget)
        lt_budget_unwatch(c->room.budget, c);
    client_free(c);
}
