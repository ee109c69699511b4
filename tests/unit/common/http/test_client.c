/* The HTTP client: pins, hostile and dying servers, limits, retries, stopping. */
#include "keylime/envelope.h"
#include "residency/error.h"
#include "tests/support/http/http_check.h"

#include "common/file.h"
#include "common/http/room.h"
#include "common/limits.h"
#include "common/pki/issue.h"
#include "common/run/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct check_pki pki;

/* ---- real servers and pins ---- */

static void hello(struct lt_http_req *r, void *app)
{
    (void)app;
    if (lt_http_req_arg(r, 0))
        lt_http_req_add_header(r, "Location", "/other");
    lt_http_reply_json(r, lt_http_req_arg(r, 0) ? 302 : 200, json_pack("{ss}", "who", "me"));
}

static void never(struct lt_http_req *r, void *app)
{
    struct lt_http_req **held = app;
    lt_http_req_hold(r);
    *held = r;
}

static const struct lt_http_route routes[] = {
    LT_HTTP_ROUTE("GET", "/hello", LT_HTTP_MAY_ANYONE, 0, hello),
    LT_HTTP_ROUTE("GET", "/to/{}", LT_HTTP_MAY_ANYONE, 0, hello),
    LT_HTTP_ROUTE("GET", "/never", LT_HTTP_MAY_ANYONE, 0, never),
};

static struct lt_http_server *serve(const char *listen, const char *name, struct lt_http_req **held)
{
    struct lt_http_server_conf conf = {.listen = listen,
                                       .cert = check_path(&pki, name, "crt"),
                                       .key = check_path(&pki, name, "key"),
                                       .client_ca = pki.ca,
                                       .routes = routes,
                                       .route_count = 3,
                                       .app = held,
                                       .threads = 1};
    struct lt_http_server *s = NULL;
    struct lt_err e = {0};
    if (lt_http_server_start(&conf, &s, &e))
        fail_msg("server: %s", e.msg);
    return s;
}

static char *pem_of(const char *name)
{
    uint8_t *p;
    size_t n;
    struct lt_err e = {0};
    assert_int_equal(lt_file_read(check_path(&pki, name, "crt"), 1 << 16, &p, &n, &e), 0);
    return (char *)p;
}

/* 200, another status, or the client's fault. */
static int get(struct lt_http_client *c, const char *address, const char *path, const char *pin)
{
    struct lt_http_reply r = {0};
    struct lt_err e = {0};
    char url[256];
    snprintf(url, sizeof url, "https://%s%s", address, path);
    int rc = lt_http_call(c, &(struct lt_http_request){.method = "GET", .url = url, .pin = pin}, &r, &e);
    free((char *)r.body);
    if (!rc && pin)
        assert_int_equal(r.server.roles, 0);
    return rc ? rc : r.status;
}

/* self is an agent's certificate: self-signed, with names and usage of nobody. */
static void test_pins(void **state)
{
    LT_AUTOFREE char *self = pem_of("self");
    LT_AUTOFREE char *other = pem_of("self2");
    LT_AUTOFREE char *by_ca = pem_of("server");
    struct lt_http_client *c = check_client(&pki, "tenant");
    struct lt_http_server *s = serve("127.0.0.1:0", "self", NULL);
    char at[64];
    (void)state;

    snprintf(at, sizeof at, "%s", lt_http_server_address(s));
    /* One address, one server, kept connections: each request is judged by its own expectation. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(get(c, at, "/hello", self), 200);
        assert_int_equal(get(c, at, "/hello", self), 200);
        assert_int_equal(get(c, at, "/hello", other), LT_E_UNAUTHENTICATED);
        assert_int_equal(get(c, at, "/hello", by_ca), LT_E_UNAUTHENTICATED);
        assert_int_equal(get(c, at, "/hello", NULL), LT_E_UNAUTHENTICATED);
    }
    assert_int_equal(get(c, at, "/hello", "no PEM"), LT_E_UNAUTHENTICATED);
    assert_int_equal(get(c, at, "/hello", ""), LT_E_UNAUTHENTICATED);
    lt_http_server_stop(s);

    /* Another server on the same port. */
    s = serve(at, "self2", NULL);
    assert_int_equal(get(c, at, "/hello", self), LT_E_UNAUTHENTICATED);
    assert_int_equal(get(c, at, "/hello", other), 200);
    lt_http_server_stop(s);
    s = serve(at, "server", NULL);
    assert_int_equal(get(c, at, "/hello", other), LT_E_UNAUTHENTICATED);
    assert_int_equal(get(c, at, "/hello", NULL), 200);
    /* A pin is the one certificate: its own CA does not stand in for it, and it needs no CA. */
    assert_int_equal(get(c, at, "/hello", by_ca), 200);
    assert_int_equal(get(c, at, "/hello", other), LT_E_UNAUTHENTICATED);
    assert_int_equal(get(c, at, "/hello", NULL), 200);
    lt_http_client_free(c);

    struct lt_http_client *bare = NULL;
    struct lt_err e = {0};
    assert_int_equal(lt_http_client_new(&(struct lt_http_client_conf){0}, &bare, &e), 0);
    assert_int_equal(get(bare, at, "/hello", by_ca), 200);
    assert_int_equal(get(bare, at, "/hello", NULL), LT_E_UNAUTHENTICATED);
    lt_http_client_free(bare);
    lt_http_server_stop(s);
}

static void test_role(void **state)
{
    struct lt_http_server *s = serve("127.0.0.1:0", "server", NULL);
    (void)state;
    for (unsigned role = 1; role <= LT_PEER_ROLE_OPERATOR; role <<= 1) {
        struct lt_http_client_conf conf = {.ca = pki.ca, .server_role = role};
        struct lt_http_client *c = NULL;
        struct lt_err e = {0};
        assert_int_equal(lt_http_client_new(&conf, &c, &e), 0);
        assert_int_equal(get(c, lt_http_server_address(s), "/hello", NULL),
                         role == LT_PEER_ROLE_PROVIDER ? 200 : LT_E_UNAUTHENTICATED);
        lt_http_client_free(c);
    }
    lt_http_server_stop(s);
}

static void test_no_redirects(void **state)
{
    struct lt_http_server *s = serve("127.0.0.1:0", "server", NULL);
    struct lt_http_client *c = check_client(&pki, NULL);
    (void)state;
    assert_int_equal(get(c, lt_http_server_address(s), "/to/x", NULL), 302);
    lt_http_client_free(c);
    lt_http_server_stop(s);
}

static void test_restart(void **state)
{
    struct lt_http_client *c = check_client(&pki, "tenant");
    struct lt_http_server *s = serve("127.0.0.1:0", "server", NULL);
    char at[64];
    (void)state;
    snprintf(at, sizeof at, "%s", lt_http_server_address(s));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get(c, at, "/hello", NULL), 200);
        lt_http_server_stop(s);
        s = serve(at, "server", NULL);
    }
    lt_http_server_stop(s);
    assert_int_equal(get(c, at, "/hello", NULL), LT_E_UNREACHABLE);
    lt_http_client_free(c);
}

/* ---- stopping ---- */

struct tally {
    struct lt_http_client *c;
    atomic_int done, lost;
    sem_t sem;
};

static void count(void *arg, const struct lt_http_reply *r, const struct lt_err *e)
{
    struct tally *t = arg;
    (void)r;
    atomic_fetch_add(&t->done, 1);
    atomic_fetch_add(&t->lost, e->code == LT_E_UNREACHABLE);
    sem_post(&t->sem);
}

static void test_free_under_way(void **state)
{
    struct lt_http_req *held = NULL;
    struct lt_http_server *s = serve("127.0.0.1:0", "server", &held);
    struct lt_http_client_conf conf = {.ca = pki.ca, .max_per_host = 1};
    struct lt_http_client *c = NULL;
    struct tally t = {0};
    struct lt_err e = {0};
    char url[256];
    (void)state;

    assert_int_equal(lt_http_client_new(&conf, &c, &e), 0);
    snprintf(url, sizeof url, "https://%s/never", lt_http_server_address(s));
    for (int i = 0; i < 50; i++) /* one on its way at most, the others in line */
        lt_http_send(c, &(struct lt_http_request){.method = "GET", .url = url}, count, &t);
    lt_http_client_free(c);
    assert_int_equal(t.done, 50);
    assert_int_equal(t.lost, 50);
    lt_http_server_stop(s);
    if (held)
        lt_http_reply_empty(held, 200);
    lt_http_client_free(NULL);
}

static void again(void *arg, const struct lt_http_reply *r, const struct lt_err *e)
{
    struct tally *t = arg;
    if (atomic_load(&t->done) < 9)
        lt_http_send(t->c, &(struct lt_http_request){.method = "GET", .url = "https://127.0.0.1:1/"}, again,
                     t);
    count(arg, r, e);
}

static void test_send_from_callback(void **state)
{
    struct tally t = {.c = check_client(&pki, NULL)};
    (void)state;
    sem_init(&t.sem, 0, 0);
    lt_http_send(t.c, &(struct lt_http_request){.method = "GET", .url = "https://127.0.0.1:1/"}, again, &t);
    for (int i = 0; i < 10; i++)
        sem_wait(&t.sem);
    lt_http_client_free(t.c);
    assert_int_equal(t.lost, 10);
}

/* ---- servers played by hand, without TLS ----
 * Each connection is given the next lines of the script: "" reads one request; anything else is sent. NULL
 * hangs up and goes to the next connection; a second NULL ends. */

struct stage {
    int fd;
    char address[64];
    const char *const *script;
    atomic_int requests, connections;
    pthread_t thread;
};

static bool read_request(int fd)
{
    char buf[4096];
    size_t at = 0, need = 0;
    while (at < sizeof buf - 1) {
        ssize_t got = read(fd, buf + at, sizeof buf - 1 - at);
        if (got <= 0)
            return false;
        at += (size_t)got;
        buf[at] = 0;
        char *end = strstr(buf, "\r\n\r\n"), *length = strcasestr(buf, "content-length:");
        if (end && length)
            need = (size_t)atoi(length + 15);
        if (end && at >= (size_t)(end + 4 - buf) + need)
            return true;
    }
    return false;
}

static void *play(void *arg)
{
    struct stage *s = arg;
    for (const char *const *line = s->script; *line; line++) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            break;
        atomic_fetch_add(&s->connections, 1);
        for (; *line; line++) {
            if (!**line) {
                if (!read_request(fd))
                    continue;
                atomic_fetch_add(&s->requests, 1);
            } else if (send(fd, *line, strlen(*line), MSG_NOSIGNAL) < 0) {
                continue;
            }
        }
        close(fd);
    }
    return NULL;
}

static void open_stage(struct stage *s, const char *const *script)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    memset(s, 0, sizeof *s);
    s->script = script;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
    snprintf(s->address, sizeof s->address, "127.0.0.1:%d", ntohs(a.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, play, s), 0);
}

static void close_stage(struct stage *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static struct lt_http_client *plain_client(void)
{
    struct lt_http_client *c = NULL;
    struct lt_err e = {0};
    assert_int_equal(lt_http_client_new(&(struct lt_http_client_conf){.allow_plain = true}, &c, &e), 0);
    return c;
}

static int plain(struct lt_http_client *c, const struct stage *s, const char *method, const char *body,
                 struct lt_http_reply *r, struct lt_err *e)
{
    char url[256];
    snprintf(url, sizeof url, "http://%s/x", s->address);
    struct lt_http_request q = {.method = method,
                                .url = url,
                                .body = body,
                                .body_n = body ? strlen(body) : 0,
                                .timeout_ms = 5000,
                                .max_reply = 1000};
    return lt_http_call(c, &q, r, e);
}

#define OK_KEPT "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* A kept connection dies under the second request. What only asks is asked once more; what changes is not. */
static void test_retry(void **state)
{
    static const struct {
        const char *method, *body;
        int requests;
    } kinds[] = {{"GET", NULL, 3}, {"POST", "x", 2}, {"POST", NULL, 2}, {"PUT", "x", 2}, {"DELETE", NULL, 2}};
    static const char *const script[] = {"", OK_KEPT, "", NULL, "", OK_KEPT, NULL, NULL};
    (void)state;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct lt_http_client *c = plain_client();
        struct lt_http_reply r = {0};
        struct lt_err e = {0};
        struct stage s;
        open_stage(&s, script);
        assert_int_equal(plain(c, &s, kinds[i].method, kinds[i].body, &r, &e), 0);
        free((char *)r.body);
        int rc = plain(c, &s, kinds[i].method, kinds[i].body, &r, &e);
        assert_int_equal(rc, kinds[i].requests == 3 ? 0 : LT_E_UNREACHABLE);
        if (!rc)
            free((char *)r.body);
        close_stage(&s);
        if (atomic_load(&s.requests) != kinds[i].requests)
            fail_msg("%s: %d requests", kinds[i].method, s.requests);
        lt_http_client_free(c);
    }
}

/* Twice in a row: given up. And not once something was received. */
static void test_retry_ends(void **state)
{
    static const char *const twice[] = {"", OK_KEPT, "", NULL, "", NULL, "", OK_KEPT, NULL, NULL};
    static const char *const begun[] = {"",      OK_KEPT, "",  "HTTP/1.1 200 OK\r\n", NULL, "",
                                        OK_KEPT, NULL,    NULL};
    static const char *const *const scripts[] = {twice, begun};
    static const int requests[] = {3, 2};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct lt_http_client *c = plain_client();
        struct lt_http_reply r = {0};
        struct lt_err e = {0};
        struct stage s;
        open_stage(&s, scripts[i]);
        assert_int_equal(plain(c, &s, "GET", NULL, &r, &e), 0);
        free((char *)r.body);
        assert_int_equal(plain(c, &s, "GET", NULL, &r, &e), LT_E_UNREACHABLE);
        assert_int_equal(r.status, 0);
        close_stage(&s);
        assert_int_equal(s.requests, requests[i]);
        lt_http_client_free(c);
    }
}

static void test_hostile_replies(void **state)
{
#define HUNDRED                                                                                              \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define THOUSAND HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
    static const struct {
        const char *script[5];
        int rc;
        const char *body;
    } cases[] = {
        {{"", "HTTP/1.1 200 OK\r\n\r\n" THOUSAND, NULL, NULL}, 0, THOUSAND},
        {{"", "HTTP/1.1 200 OK\r\n\r\n" THOUSAND "a", NULL, NULL}, LT_E_TOO_LARGE, NULL},
        {{"", "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" THOUSAND "a", NULL, NULL},
         LT_E_TOO_LARGE,
         NULL},
        {{"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" THOUSAND "a\r\n0\r\n\r\n", NULL,
          NULL},
         LT_E_TOO_LARGE,
         NULL},
        {{"", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", NULL, NULL}, LT_E_UNREACHABLE, NULL},
        {{"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", NULL, NULL},
         LT_E_UNREACHABLE,
         NULL},
        {{"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", NULL, NULL},
         LT_E_UNREACHABLE,
         NULL},
        {{"", "SSH-2.0-OpenSSH_9.2\r\n", NULL, NULL}, LT_E_UNREACHABLE, NULL},
        {{"", "just text", NULL, NULL}, LT_E_UNREACHABLE, NULL},
        {{"", NULL, NULL}, LT_E_UNREACHABLE, NULL},
        {{"", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL, NULL}, 0, ""},
        {{"", "HTTP/1.1 503 No\r\nretry-AFTER: 7\r\nLocation:  /here \r\nContent-Length: 1\r\n\r\nx", NULL,
          NULL},
         0,
         "x"},
        {{"", "HTTP/1.1 503 No\r\nRetry-After: 99999999999999999999\r\nContent-Length: 1\r\n\r\ny", NULL,
          NULL},
         0,
         "y"},
        {{"", "HTTP/1.1 503 No\r\nRetry-After: -5\r\nContent-Length: 1\r\n\r\nz", NULL, NULL}, 0, "z"},
        /* of a reply that came before nothing is kept, nor what has no room, but what is behind it */
        {{"",
          "HTTP/1.1 100 Continue\r\nLocation: /no\r\n\r\nHTTP/1.1 200 OK\r\nX-Long: " THOUSAND THOUSAND
              THOUSAND "\r\nX-Short:1\r\nContent-Length: 1\r\n\r\nw",
          NULL, NULL},
         0,
         "w"},
    };
    struct lt_http_client *c = plain_client();
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_http_reply r = {0};
        struct lt_err e = {0};
        struct stage s;
        open_stage(&s, cases[i].script);
        int rc = plain(c, &s, "GET", NULL, &r, &e);
        if (rc != cases[i].rc)
            fail_msg("case %zu: %d (%s), %d expected", i, rc, e.msg, cases[i].rc);
        if (!rc) {
            assert_string_equal(r.body, cases[i].body);
            assert_int_equal(r.n, strlen(cases[i].body));
            if (*r.body == 'x') {
                assert_int_equal(r.retry_after_s, 7);
                assert_memory_equal(lt_http_reply_header(&r, "location"), "/here", 5);
            } else if (*r.body == 'y' || *r.body == 'z') {
                assert_true(r.retry_after_s <= 3600);
            } else if (*r.body == 'w') {
                assert_null(lt_http_reply_header(&r, "Location"));
                assert_null(lt_http_reply_header(&r, "X-Long"));
                assert_string_equal(lt_http_reply_header(&r, "X-Short"), "1");
            }
            free((char *)r.body);
        }
        close_stage(&s);
    }
    lt_http_client_free(c);
}

static void test_endless_headers(void **state)
{
    static const char *script[1003];
    struct lt_http_client *c = plain_client();
    struct lt_http_reply r = {0};
    struct lt_err e = {0};
    struct stage s;
    (void)state;
    script[0] = "";
    script[1] = "HTTP/1.1 200 OK\r\n";
    for (int i = 2; i < 1001; i++)
        script[i] = "X: " HUNDRED "\r\n";
    open_stage(&s, script);
    assert_int_equal(plain(c, &s, "GET", NULL, &r, &e), LT_E_TOO_LARGE);
    close_stage(&s);
    lt_http_client_free(c);
}

/* A large reply is taken from the budget, waits for room, and what it took is the caller's to give back. */
static void test_large_replies(void **state)
{
    const size_t n = LT_SMALL_REPLY + 1, room = 3 * n;
    LT_AUTOFREE char *reply = malloc(n + 100);
    const char *const script[] = {"", reply, NULL, "", reply, NULL, "", reply, NULL, NULL};
    struct lt_budget *b = lt_budget_new(room + 10);
    struct lt_http_client *c = NULL;
    struct lt_http_reply r = {0};
    struct lt_err e = {0};
    struct lt_budget_use use;
    struct stage s;
    char url[256];
    (void)state;
    int head = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    memset(reply + head, 'x', n);
    reply[(size_t)head + n] = 0;
    struct lt_http_client_conf conf = {.allow_plain = true, .budget = b, .leave = 10};
    assert_int_equal(lt_http_client_new(&conf, &c, &e), 0);
    open_stage(&s, script);
    snprintf(url, sizeof url, "http://%s/x", s.address);
    struct lt_http_request q = {.method = "POST", .url = url, .weight = 4, .timeout_ms = 300};
    assert_int_equal(lt_http_call(c, &q, &r, &e), LT_E_BUSY); /* would never fit */
    assert_non_null(strstr(e.msg, "more than may be used"));
    q.weight = 3;
    assert_true(lt_budget_take(b, 1, 0));
    assert_int_equal(lt_http_call(c, &q, &r, &e), LT_E_BUSY); /* waited in vain */
    assert_non_null(strstr(e.msg, "left no room in time"));
    lt_budget_use(b, &use);
    assert_int_equal(use.used, 1);
    lt_budget_give(b, 1);
    q.timeout_ms = 0;
    assert_int_equal(lt_http_call(c, &q, &r, &e), 0);
    assert_int_equal(r.n, n);
    assert_int_equal(r.charge, room);
    lt_budget_use(b, &use);
    assert_int_equal(use.used, room);
    lt_budget_give(b, r.charge);
    free((char *)r.body);
    lt_http_client_free(c);
    close_stage(&s);
    lt_budget_free(b);
}

struct outcome {
    pthread_mutex_t lock;
    pthread_cond_t news;
    int done, code[2];
    char msg[320];
    struct lt_budget *b;
};

static void on_outcome(void *arg, const struct lt_http_reply *r, const struct lt_err *e)
{
    struct outcome *o = arg;
    pthread_mutex_lock(&o->lock);
    o->code[o->done++] = e->code;
    if (e->code)
        memcpy(o->msg, e->msg, sizeof o->msg);
    lt_budget_give(o->b, r->charge);
    pthread_cond_signal(&o->news);
    pthread_mutex_unlock(&o->lock);
}

/* One that has room and trickles is given up as soon as its time is over and another waits; that one is read
 * on. */
static void test_slow_reply(void **state)
{
    const size_t n = LT_SMALL_REPLY + 1;
    LT_AUTOFREE char *reply = malloc(n + 100);
    const char *const quick[] = {"", reply, NULL, NULL};
    struct outcome o = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0}, "",
                        lt_budget_new(2 * n - 1)};
    struct lt_http_client *c = NULL;
    struct lt_err e = {0};
    struct stage s[2];
    char url[2][256];
    (void)state;
    int head = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    memset(reply + head, 'x', n);
    reply[(size_t)head + n] = 0;
    struct lt_http_client_conf conf = {.allow_plain = true, .budget = o.b};
    assert_int_equal(lt_http_client_new(&conf, &c, &e), 0);
    LT_AUTOFREE char *part = strndup(reply, (size_t)head + 10);
    const char *const trickle[] = {"", part, "", NULL, NULL};
    open_stage(&s[0], trickle);
    open_stage(&s[1], quick);
    struct lt_budget_use use = {0};
    for (int i = 0; i < 2; i++) {
        snprintf(url[i], sizeof url[i], "http://%s/x", s[i].address);
        lt_http_send(c, &(struct lt_http_request){.method = "GET", .url = url[i], .rank = (unsigned)i},
                     on_outcome, &o);
        for (uint64_t until = lt_clock_ms() + 10000; !use.used && lt_clock_ms() < until; usleep(1000))
            lt_budget_use(o.b, &use); /* the first has its room */
    }
    pthread_mutex_lock(&o.lock);
    while (o.done < 2)
        pthread_cond_wait(&o.news, &o.lock);
    pthread_mutex_unlock(&o.lock);
    assert_int_equal(o.code[0], LT_E_BUSY);
    assert_non_null(strstr(o.msg, "while others wait for room"));
    assert_int_equal(o.code[1], 0);
    lt_budget_use(o.b, &use);
    assert_int_equal(use.used, 0);
    lt_http_client_free(c);
    close_stage(&s[0]);
    close_stage(&s[1]);
    lt_budget_free(o.b);
}

static void room_back(struct lt_room *r, struct lt_room_turn *c)
{
    size_t n = lt_room_done(r, c);
    assert_int_equal(n, c->size);
    lt_budget_give(r->budget, n);
}

/* Who waits for room is served by rank, then the smaller first, then by turn. */
static void test_room_order(void **state)
{
    static const struct {
        unsigned rank;
        size_t size;
    } ask[] = {{0, 90}, {1, 10}, {0, 50}, {0, 20}, {1, 10}, {0, 50}};
    struct lt_room_turn c[6] = {0}, first = {0};
    struct lt_room r = {.budget = lt_budget_new(100)};
    uint64_t next;
    (void)state;

    assert_true(lt_room_claim(&r, &first, 9, 100, 1000));
    assert_null(lt_room_slow(&r, UINT64_MAX, &next)); /* nobody waits */
    for (int i = 0; i < 6; i++)
        assert_false(lt_room_claim(&r, &c[i], ask[i].rank, ask[i].size, 1000));
    assert_null(lt_room_next(&r, 1000));
    assert_null(lt_room_slow(&r, 1000 + LT_ROOM_MS - 1, &next));
    assert_int_equal(next, 1000 + LT_ROOM_MS);
    assert_ptr_equal(lt_room_slow(&r, next, &next), &first);
    room_back(&r, &first);
    assert_ptr_equal(lt_room_next(&r, 2000), &c[3]);
    assert_ptr_equal(lt_room_next(&r, 2000), &c[2]);
    assert_null(lt_room_next(&r, 2000));
    assert_false(lt_room_claim(&r, &first, 0, 51, 2000)); /* not before those who wait already */
    assert_int_equal(lt_room_done(&r, &first), 0);
    room_back(&r, &c[3]);
    assert_ptr_equal(lt_room_next(&r, 2000), &c[5]);
    room_back(&r, &c[2]);
    room_back(&r, &c[5]);
    assert_ptr_equal(lt_room_next(&r, 2000), &c[0]);
    assert_ptr_equal(lt_room_next(&r, 2000), &c[1]);
    assert_null(lt_room_next(&r, 2000));
    room_back(&r, &c[0]);
    assert_ptr_equal(lt_room_next(&r, 2000), &c[4]);
    room_back(&r, &c[1]);
    room_back(&r, &c[4]);
    assert_int_equal(lt_room_done(&r, &c[0]), 0);
    assert_true(lt_budget_take(r.budget, 100, 0));
    assert_true(lt_room_never(&r, 101));
    assert_false(lt_room_never(&r, 100));
    lt_budget_free(r.budget);
}

static void test_timeout(void **state)
{
    static const char *const script[] = {"", "", NULL, NULL}; /* hears and says nothing */
    struct lt_http_client *c = plain_client();
    struct lt_http_reply r = {0};
    struct lt_err e = {0};
    struct stage s;
    char url[256];
    (void)state;
    open_stage(&s, script);
    snprintf(url, sizeof url, "http://%s/x", s.address);
    struct lt_http_request q = {.method = "GET", .url = url, .timeout_ms = 100};
    uint64_t before = lt_clock_ms();
    assert_int_equal(lt_http_call(c, &q, &r, &e), LT_E_TIMEOUT);
    assert_true(lt_clock_ms() - before >= 100);
    lt_http_client_free(c); /* hangs up */
    close_stage(&s);
}

static void test_refusals(void **state)
{
    static const char *const bad[] = {"http://127.0.0.1:1/", "ftp://127.0.0.1:1/", "file:///etc/passwd",  "",
                                      "127.0.0.1:1",         "https://",           "https://127.0.0.1:1/"};
    struct lt_http_client *c = check_client(&pki, NULL);
    struct lt_http_client_conf conf = {.ca = check_path(&pki, "server", "key")};
    struct lt_http_reply r = {0};
    struct lt_err e = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lt_http_request q = {.method = "GET", .url = bad[i]};
        assert_int_equal(lt_http_call(c, &q, &r, &e), LT_E_UNREACHABLE);
        assert_null(r.body && *r.body ? r.body : NULL);
    }
    lt_http_client_free(c);
    assert_int_equal(lt_http_client_new(&conf, &c, &e), LT_E_CONFIG); /* no certificate in it */
    assert_null(c);
    conf = (struct lt_http_client_conf){.cert = check_path(&pki, "server", "crt")};
    assert_int_equal(lt_http_client_new(&conf, &c, &e), LT_E_CONFIG); /* no key */
    conf.key = check_path(&pki, "tenant", "key");
    assert_int_equal(lt_http_client_new(&conf, &c, &e), LT_E_CONFIG); /* another's key */
}

static void test_json(void **state)
{
    static const struct {
        int status;
        const char *body;
        int code; /* 0: an object comes back */
        const char *message;
        lt_http_error_read told; /* NULL: the federation's */
    } cases[] = {
        {200, "{}", 0, NULL, NULL},
        {200, "[]", LT_E_MALFORMED, "object", NULL},
        {200, "", LT_E_MALFORMED, "", NULL},
        {200, "{\"a\":1,\"a\":1}", LT_E_MALFORMED, "", NULL},
        {503, "{\"error\":{\"code\":503,\"slug\":\"host-unreachable\",\"message\":\"gone\"}}",
         LT_E_HOST_UNREACHABLE, "gone", NULL},
        {404, "{\"error\":{\"code\":404,\"slug\":\"of-the-future\",\"message\":\"m\"}}", LT_E_NOT_FOUND, "m",
         NULL},
        {500, "{\"error\":{\"code\":500,\"slug\":\"internal\",\"message\":\"internal\"}}", LT_E_INTERNAL,
         "internal", NULL},
        {409, "{\"code\":409,\"status\":\"Conflict here\",\"results\":{}}", LT_E_CONFLICT, "Conflict here",
         lt_envelope_error_read},
        {418, "{\"code\":418,\"status\":\"teapot\",\"results\":{}}", LT_E_REFUSED, "teapot",
         lt_envelope_error_read},
        {404, "{\"code\":404,\"status\":\"s\",\"results\":{}}", LT_E_UNREACHABLE, "404", NULL},
        {404, "{\"error\":{\"slug\":\"busy\",\"message\":\"m\"}}", LT_E_UNREACHABLE, "404",
         lt_envelope_error_read},
        {502, "<html>", LT_E_UNREACHABLE, "502", NULL},
        {404, "{\"error\":\"text\"}", LT_E_UNREACHABLE, "404", NULL},
        {404, "{\"error\":{\"slug\":5,\"message\":[]}}", LT_E_UNREACHABLE, "404", NULL},
        {201, "{}", LT_E_UNREACHABLE, "201", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_http_reply r = {
            .status = cases[i].status, .body = cases[i].body, .n = strlen(cases[i].body)};
        struct lt_err e = {0};
        LT_JSON_AUTO json_t *j =
            lt_http_json(&r, 200, cases[i].told ? cases[i].told : lt_residency_error_read, &e);
        assert_int_equal(e.code, cases[i].code);
        assert_true((j != NULL) == (cases[i].code == 0));
        if (!j)
            assert_non_null(strstr(e.msg, cases[i].message));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_role),
        cmocka_unit_test(test_no_redirects),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_free_under_way),
        cmocka_unit_test(test_send_from_callback),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retry_ends),
        cmocka_unit_test(test_hostile_replies),
        cmocka_unit_test(test_endless_headers),
        cmocka_unit_test(test_large_replies),
        cmocka_unit_test(test_slow_reply),
        cmocka_unit_test(test_room_order),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_json),
    };
    struct lt_pki_subject self = {.common_name = "agent", .days = 1};
    struct lt_err e = {0};
    check_pki_make(&pki);
    if (lt_pki_issue(NULL, NULL, &self, check_path(&pki, "self", "crt"), check_path(&pki, "self", "key"),
                     &e) ||
        lt_pki_issue(NULL, NULL, &self, check_path(&pki, "self2", "crt"), check_path(&pki, "self2", "key"),
                     &e))
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    check_pki_remove(&pki);
    return rc;
}
