/* The HTTP server: routes, access, bodies, held requests, stopping. */
#include "keylime/envelope.h"
#include "residency/error.h"
#include "tests/support/http/http_check.h"

#include "common/limits.h"
#include "common/run/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct check_pki pki;

/* ---- the server under test ---- */

#define MAX_HELD 64

static struct {
    pthread_mutex_t lock;
    struct lt_http_req *held[MAX_HELD];
    unsigned count;
    sem_t arrived;
    atomic_int calls;
} app = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void echo(struct lt_http_req *r, void *arg)
{
    struct lt_slice b = lt_http_req_body(r);
    char *copy = malloc(b.n + 1);
    (void)arg;
    atomic_fetch_add(&app.calls, 1);
    memcpy(copy, b.n ? (const char *)b.p : "", b.n);
    lt_http_req_add_header(r, "Location", "/somewhere");
    lt_http_reply_bytes(r, 200, "application/octet-stream", copy, b.n);
}

static void tell(struct lt_http_req *r, void *arg)
{
    const struct lt_peer *p = lt_http_req_peer(r);
    const char *q = lt_http_req_query(r, "q"), *flag = lt_http_req_query(r, "flag");
    (void)arg;
    atomic_fetch_add(&app.calls, 1);
    lt_http_reply_json(r, 200,
                       json_pack("{ss* ss* ss* ss* si ss ss* sb}", "a", lt_http_req_arg(r, 0), "b",
                                 lt_http_req_arg(r, 1), "q", q, "flag", flag, "roles", p ? (int)p->roles : -1,
                                 "source", lt_http_req_source(r), "type",
                                 lt_http_req_header(r, "content-type"), "tenant",
                                 p && p->has_tenant && !memcmp(p->tenant_id, pki.tenant_id, 16)));
}

static void json_sum(struct lt_http_req *r, void *arg)
{
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *j = lt_http_req_json(r, &e);
    int64_t a = 0;
    (void)arg;
    if (!j || lt_json_int(j, "a", 0, 100, &a, &e))
        lt_http_reply_error(r, &e, 0);
    else
        lt_http_reply_json(r, 201, json_pack("{sI}", "a", (json_int_t)a));
}

static void wait_for_test(struct lt_http_req *r, void *arg)
{
    (void)arg;
    lt_http_req_hold(r);
    pthread_mutex_lock(&app.lock);
    if (app.count == MAX_HELD)
        abort();
    app.held[app.count++] = r;
    pthread_mutex_unlock(&app.lock);
    sem_post(&app.arrived);
}

static struct lt_http_req *take_held(void)
{
    assert_int_equal(sem_wait(&app.arrived), 0);
    pthread_mutex_lock(&app.lock);
    struct lt_http_req *r = app.held[--app.count];
    pthread_mutex_unlock(&app.lock);
    return r;
}

static void *reply_thread(void *arg)
{
    lt_http_reply_json(arg, 200, json_pack("{sb}", "late", 1));
    return NULL;
}

/* The classic race: the reply may come before, while or after the connection is suspended. */
static void race(struct lt_http_req *r, void *arg)
{
    pthread_t t;
    (void)arg;
    lt_http_req_hold(r);
    if (pthread_create(&t, NULL, reply_thread, r))
        abort();
    pthread_detach(t);
}

static void fault(struct lt_http_req *r, void *arg)
{
    struct lt_err e = {0};
    (void)arg;
    (void)lt_fail(&e, lt_err_from_slug(lt_http_req_arg(r, 0)), "the secret file has a fault");
    lt_http_reply_error(r, &e, e.code == LT_E_BUSY ? 7 : 0);
}

static void keylime(struct lt_http_req *r, void *arg)
{
    (void)arg;
    lt_http_reply_json(r, 200, lt_envelope_success(200, json_pack("{ss}", "uuid", lt_http_req_arg(r, 0))));
}

static void nothing(struct lt_http_req *r, void *arg)
{
    (void)arg;
    lt_http_reply_empty(r, 204);
}

static const struct lt_http_route routes[] = {
    LT_HTTP_ROUTE("POST", "/federation/v1/echo", LT_PEER_ROLE_TENANT, 1000, echo),
    LT_HTTP_ROUTE("POST", "/federation/v1/sum", LT_PEER_ROLE_TENANT | LT_PEER_ROLE_OPERATOR, 1000, json_sum),
    LT_HTTP_ROUTE("GET", "/federation/v1/tell/{}/of/{}", LT_HTTP_MAY_TRUSTED, 0, tell),
    LT_HTTP_ROUTE("POST", "/federation/v1/tell", LT_HTTP_MAY_TRUSTED, 10, tell),
    LT_HTTP_ROUTE("GET", "/federation/v1/wait", LT_PEER_ROLE_TENANT, 0, wait_for_test),
    LT_HTTP_ROUTE("POST", "/federation/v1/wait", LT_PEER_ROLE_TENANT, 1000, wait_for_test),
    LT_HTTP_ROUTE("GET", "/federation/v1/race", LT_PEER_ROLE_TENANT, 0, race),
    LT_HTTP_ROUTE("GET", "/federation/v1/fault/{}", LT_PEER_ROLE_TENANT, 0, fault),
    LT_HTTP_ROUTE("GET", "/v2.1/fault/{}", LT_PEER_ROLE_TENANT, 0, fault),
    LT_HTTP_ROUTE("GET", "/v2.1/agents/{}", LT_PEER_ROLE_TENANT, 0, keylime),
    LT_HTTP_ROUTE("DELETE", "/v2.1/agents/{}", LT_PEER_ROLE_OPERATOR, 0, nothing),
};
#define ROUTES (sizeof routes / sizeof *routes)

static const struct lt_http_error_form forms[] = {{"/federation/", lt_residency_error}, {NULL, NULL}};

static struct lt_http_server *serve_as(const char *listen, unsigned threads, lt_http_error_body error_body)
{
    struct lt_http_server *s = NULL;
    struct lt_err e = {0};
    struct lt_http_server_conf conf = {
        .listen = listen,
        .cert = check_path(&pki, "server", "crt"),
        .key = check_path(&pki, "server", "key"),
        .client_ca = pki.ca,
        .routes = routes,
        .route_count = ROUTES,
        .error_body = error_body,
        .error_forms = forms,
        .threads = threads,
    };
    if (lt_http_server_start(&conf, &s, &e))
        fail_msg("server: %s", e.msg);
    return s;
}

static struct lt_http_server *serve(const char *listen, unsigned threads)
{
    return serve_as(listen, threads, lt_residency_error);
}

struct world {
    struct lt_http_server *server;
    struct lt_http_client *tenant;
    const char *at;
};

static int setup(void **state)
{
    static struct world w;
    w.server = serve("127.0.0.1:0", 2);
    w.at = lt_http_server_address(w.server);
    w.tenant = check_client(&pki, "tenant");
    atomic_store(&app.calls, 0);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    lt_http_client_free(w->tenant);
    lt_http_server_stop(w->server);
    assert_int_equal(app.count, 0);
    return 0;
}

/* ---- tests ---- */

static void test_echo(void **state)
{
    struct world *w = *state;
    struct lt_http_reply r = {0};
    struct lt_err e = {0};

    uint64_t before = lt_clock_ms();
    assert_int_equal(check_call(w->tenant, "POST", w->at, "/federation/v1/echo", "hello", &r, &e), 0);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "hello");
    assert_int_equal(r.n, 5);
    assert_string_equal(lt_http_reply_header(&r, "Location"), "/somewhere");
    assert_null(lt_http_reply_header(&r, "X-Elsewhere"));
    assert_true(r.last_byte_ms >= before && r.last_byte_ms <= lt_clock_ms());
    assert_int_equal(r.server.roles, LT_PEER_ROLE_PROVIDER);
    free((char *)r.body);
}

static json_t *ask(struct world *w, const char *path)
{
    char *body = check_status(w->tenant, "GET", w->at, path, NULL, 200);
    struct lt_err e = {0};
    json_t *j = lt_json_parse(body, strlen(body), 1 << 20, &e);
    free(body);
    assert_non_null(j);
    return j;
}

static const char *text(json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static void test_arguments(void **state)
{
    struct world *w = *state;
    LT_JSON_AUTO json_t *j = ask(w, "/federation/v1/tell/a%20b%3f/of/%c3%a9?q=1+2%263&flag&&x=y");
    assert_string_equal(text(j, "a"), "a b?");
    assert_string_equal(text(j, "b"), "\xc3\xa9");
    assert_string_equal(text(j, "q"), "1 2&3");
    assert_string_equal(text(j, "flag"), "");
    assert_string_equal(text(j, "source"), "127.0.0.1");
    assert_int_equal(json_integer_value(json_object_get(j, "roles")), LT_PEER_ROLE_TENANT);
    assert_true(json_is_true(json_object_get(j, "tenant")));
    assert_null(text(j, "type"));
    LT_AUTOFREE char *posted = check_status(w->tenant, "POST", w->at, "/federation/v1/tell", "{}", 200);
    assert_non_null(strstr(posted, "\"type\":\"application/json\""));
    LT_JSON_AUTO json_t *slash = ask(w, "/federation/v1/tell/1/of/2/?q=");
    assert_string_equal(text(slash, "b"), "2");
    assert_string_equal(text(slash, "q"), "");
    assert_null(text(slash, "flag"));
}

static void test_bad_paths(void **state)
{
    static const struct {
        const char *path;
        int status;
    } bad[] = {
        {"/federation/v1/tell/%00/of/2", 400},       {"/federation/v1/tell/a%2fb/of/2", 400},
        {"/federation/v1/tell/%zz/of/2", 400},       {"/federation/v1/tell/%4", 400},
        {"/federation/v1/tell/1/of/2?q=%", 400},     {"/federation/v1/tell/1/of/2?q=%00", 400},
        {"/federation/v1/tell//of/2", 404},          {"/federation/v1/tell/%2e%2e/of/2", 404},
        {"/federation/v1/tell/1/of", 404},           {"/federation/v1/tell/1/of/2/3", 404},
        {"/federation/v1/tell/1/of/2//", 404},       {"/federation/v1/tel", 404},
        {"/federation/v1/tellx/1/of/2", 404},        {"/", 404},
        {"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", 404},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        free(check_status(w->tenant, "GET", w->at, bad[i].path, NULL, bad[i].status));
    char path[LT_MAX_URL + 100];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = 0;
    free(check_status(w->tenant, "GET", w->at, path, NULL, 413));
    assert_int_equal(atomic_load(&app.calls), 0);
}

static void test_method(void **state)
{
    struct world *w = *state;
    LT_AUTOFREE char *a = check_status(w->tenant, "PUT", w->at, "/federation/v1/wait", "{}", 405);
    assert_non_null(strstr(a, "GET, POST"));
    free(check_status(w->tenant, "GET", w->at, "/federation/v1/echo", NULL, 405));
    free(check_status(w->tenant, "post", w->at, "/federation/v1/echo", "x", 405));
    assert_int_equal(atomic_load(&app.calls), 0);
}

static void test_access(void **state)
{
    struct world *w = *state;
    check_routes_are_closed(&pki, w->at, routes, ROUTES);
    assert_int_equal(atomic_load(&app.calls), 0);
    struct lt_http_client *none = check_client(&pki, "none"), *op = check_client(&pki, "operator");
    free(check_status(none, "GET", w->at, "/federation/v1/tell/1/of/2", NULL, 200));
    free(check_status(op, "DELETE", w->at, "/v2.1/agents/x", NULL, 204));
    free(check_status(w->tenant, "DELETE", w->at, "/v2.1/agents/x", NULL, 403));
    lt_http_client_free(none);
    lt_http_client_free(op);
}

static void test_json_body(void **state)
{
    static const struct {
        const char *body;
        int status;
    } bodies[] = {
        {"{\"a\":7}", 201},
        {"{\"a\":101}", 400},
        {"{\"a\":\"7\"}", 400},
        {"{\"a\":7,\"a\":8}", 400},
        {"{}", 400},
        {"[7]", 400},
        {"7", 400},
        {"", 400},
        {"{\"a\":7", 400},
        {"{\"a\":7}x", 400},
        {"\xff", 400},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        free(check_status(w->tenant, "POST", w->at, "/federation/v1/sum", bodies[i].body, bodies[i].status));
    LT_AUTOFREE char *deep = malloc(400);
    memset(deep, '[', 399);
    deep[399] = 0;
    free(check_status(w->tenant, "POST", w->at, "/federation/v1/sum", deep, 400));
}

static void test_body_cap(void **state)
{
    struct world *w = *state;
    char body[2001];
    memset(body, 'x', sizeof body);

    body[1000] = 0;
    free(check_status(w->tenant, "POST", w->at, "/federation/v1/echo", body, 200));
    body[1000] = 'x';
    body[1001] = 0;
    free(check_status(w->tenant, "POST", w->at, "/federation/v1/echo", body, 413));
    free(check_status(w->tenant, "GET", w->at, "/federation/v1/tell/1/of/2", "x", 413));

    /* Without a length the cap holds while receiving. */
    static const char *const chunked[] = {"Transfer-Encoding: chunked", NULL};
    char url[256];
    snprintf(url, sizeof url, "https://%s/federation/v1/echo", w->at);
    for (size_t n = 1000; n <= 2000; n += 1000) {
        struct lt_http_request r = {
            .method = "POST", .url = url, .body = body, .body_n = n, .headers = chunked};
        struct lt_http_reply reply = {0};
        struct lt_err e = {0};
        body[1001] = 'x';
        if (lt_http_call(w->tenant, &r, &reply, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(reply.status, n == 1000 ? 200 : 413);
        free((char *)reply.body);
    }
    assert_int_equal(atomic_load(&app.calls), 2);
}

/* Ten megabytes announced for a route of a thousand bytes: refused or hung up on, and never handled. */
static void test_huge_body(void **state)
{
    struct world *w = *state;
    size_t n = 10u << 20;
    LT_AUTOFREE char *body = malloc(n + 1);
    struct lt_http_reply reply = {0};
    struct lt_err e = {0};
    memset(body, 'x', n);
    body[n] = 0;
    int rc = check_call(w->tenant, "POST", w->at, "/federation/v1/echo", body, &reply, &e);
    assert_true(rc == LT_E_UNREACHABLE || (!rc && reply.status == 413));
    free((char *)reply.body);
    assert_int_equal(atomic_load(&app.calls), 0);
}

static void test_errors(void **state)
{
    struct world *w = *state;
    LT_AUTOFREE char *a = check_status(w->tenant, "GET", w->at, "/federation/v1/fault/conflict", NULL, 409);
    assert_string_equal(
        a, "{\"error\":{\"code\":409,\"slug\":\"conflict\",\"message\":\"the secret file has a fault\"}}");
    struct lt_http_server *other = serve_as("127.0.0.1:0", 1, lt_envelope_error);
    LT_AUTOFREE char *b =
        check_status(w->tenant, "GET", lt_http_server_address(other), "/v2.1/fault/conflict", NULL, 409);
    lt_http_server_stop(other);
    assert_string_equal(b, "{\"code\":409,\"status\":\"the secret file has a fault\",\"results\":{}}");
    LT_AUTOFREE char *c = check_status(w->tenant, "GET", w->at, "/federation/v1/fault/io", NULL, 500);
    assert_null(strstr(c, "secret"));
    LT_AUTOFREE char *k = check_status(w->tenant, "GET", w->at, "/v2.1/agents/abc", NULL, 200);
    assert_string_equal(k, "{\"code\":200,\"status\":\"Success\",\"results\":{\"uuid\":\"abc\"}}");
    struct lt_http_reply r = {0};
    struct lt_err e = {0};
    assert_int_equal(check_call(w->tenant, "GET", w->at, "/federation/v1/fault/busy", NULL, &r, &e), 0);
    assert_int_equal(r.status, 503);
    assert_int_equal(r.retry_after_s, 7);
    assert_null(lt_http_json(&r, 200, lt_residency_error_read, &e));
    assert_int_equal(e.code, LT_E_BUSY);
    free((char *)r.body);
}

/* One server, two wires: each path has its own form of errors, also where no route, no method or no access
 * is. */
static void test_error_forms(void **state)
{
    static const struct {
        const char *method, *path;
        int status;
        bool ours;
    } calls[] = {
        {"GET", "/v2.1/fault/conflict", 409, false},
        {"GET", "/federation/v1/fault/conflict", 409, true},
        {"GET", "/v2.1/nothing", 404, false},
        {"GET", "/federation/v1/nothing", 404, true},
        {"GET", "/federation", 404, false},
        {"PUT", "/v2.1/agents/abc", 405, false},
        {"PUT", "/federation/v1/echo", 405, true},
        {"DELETE", "/v2.1/agents/abc", 403, false},
        {"GET", "/v2.1/fault/io", 500, false},
        {"GET", "/v2.1/agents/a%2fb", 400, false},
        {"GET", "/federation/v1/fault/%00", 400, true},
    };
    struct world *w = *state;
    struct lt_http_server *s = serve_as("127.0.0.1:0", 1, lt_envelope_error);

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        LT_AUTOFREE char *body = check_status(w->tenant, calls[i].method, lt_http_server_address(s),
                                              calls[i].path, NULL, calls[i].status);
        LT_JSON_AUTO json_t *j = lt_json_parse(body, strlen(body), 4096, LT_NO_ERR);
        assert_non_null(json_object_get(j, calls[i].ours ? "error" : "results"));
        assert_null(json_object_get(j, calls[i].ours ? "results" : "error"));
    }
    lt_http_server_stop(s);
}

/* ---- requests that wait ---- */

struct tally {
    sem_t done;
    atomic_int ok, busy, lost, other;
};

static void on_done(void *arg, const struct lt_http_reply *r, const struct lt_err *e)
{
    struct tally *t = arg;
    if (e->code)
        print_message("%s\n", e->msg);
    atomic_fetch_add(e->code            ? &t->lost
                     : r->status == 200 ? &t->ok
                     : r->status == 503 ? &t->busy
                                        : &t->other,
                     1);
    sem_post(&t->done);
}

static void post(struct world *w, const char *path, struct tally *t, long timeout_ms)
{
    char url[256];
    snprintf(url, sizeof url, "https://%s%s", w->at, path);
    lt_http_send(w->tenant, &(struct lt_http_request){.method = "GET", .url = url, .timeout_ms = timeout_ms},
                 on_done, t);
}

static void wait_for(struct tally *t, int n)
{
    while (n--)
        assert_int_equal(sem_wait(&t->done), 0);
}

static void test_held(void **state)
{
    struct world *w = *state;
    struct tally t = {0};
    sem_init(&t.done, 0, 0);
    for (int i = 0; i < 20; i++)
        post(w, "/federation/v1/wait", &t, 0);
    for (int i = 0; i < 20; i++)
        lt_http_reply_empty(take_held(), 200);
    wait_for(&t, 20);
    assert_int_equal(t.ok, 20);
}

static void test_held_body(void **state)
{
    struct world *w = *state;
    struct tally t = {0};
    char url[256];
    sem_init(&t.done, 0, 0);
    snprintf(url, sizeof url, "https://%s/federation/v1/wait", w->at);
    lt_http_send(w->tenant,
                 &(struct lt_http_request){.method = "POST", .url = url, .body = "abc", .body_n = 3}, on_done,
                 &t);
    struct lt_http_req *r = take_held();
    struct lt_slice b = lt_http_req_body(r); /* stays until the reply */
    assert_int_equal(b.n, 3);
    assert_memory_equal(b.p, "abc", 3);
    assert_non_null(lt_http_req_header(r, "content-length"));
    assert_int_equal(lt_http_req_peer(r)->roles, LT_PEER_ROLE_TENANT);
    lt_http_reply_empty(r, 200);
    wait_for(&t, 1);
    assert_int_equal(t.ok, 1);
}

static void test_race(void **state)
{
    struct world *w = *state;
    struct tally t = {0};
    sem_init(&t.done, 0, 0);
    for (int i = 0; i < 500; i++)
        post(w, "/federation/v1/race", &t, 0);
    wait_for(&t, 500);
    assert_int_equal(t.ok, 500);
}

static void test_client_vanishes(void **state)
{
    struct world *w = *state;
    struct tally t = {0};
    sem_init(&t.done, 0, 0);
    post(w, "/federation/v1/wait", &t, 100);
    struct lt_http_req *r = take_held();
    wait_for(&t, 1);
    assert_int_equal(t.lost, 1);
    assert_string_equal(lt_http_req_source(r), "127.0.0.1"); /* still there */
    lt_http_reply_json(r, 200, json_pack("{sb}", "late", 1));
    /* The client as a whole goes: its neighbours do not notice. */
    struct lt_http_client *other = check_client(&pki, "tenant"), *mine = w->tenant;
    w->tenant = other;
    post(w, "/federation/v1/wait", &t, 0);
    r = take_held();
    lt_http_client_free(other);
    w->tenant = mine;
    wait_for(&t, 1);
    assert_int_equal(t.lost, 2);
    lt_http_reply_empty(r, 200);
    free(check_status(w->tenant, "POST", w->at, "/federation/v1/echo", "x", 200));
}

static void test_stop_with_held(void **state)
{
    struct world *w = *state;
    struct tally t = {0};
    struct lt_http_req *held[10];
    sem_init(&t.done, 0, 0);
    for (int i = 0; i < 10; i++)
        post(w, "/federation/v1/wait", &t, 0);
    for (int i = 0; i < 10; i++)
        held[i] = take_held();
    lt_http_server_stop(w->server);
    wait_for(&t, 10);
    assert_int_equal(t.busy, 10);
    /* The owners do not know, and reply when they are ready: harmless, with the server gone. */
    for (int i = 0; i < 10; i++) {
        lt_http_req_add_header(held[i], "X-Late", "yes");
        assert_string_equal(lt_http_req_source(held[i]), "127.0.0.1");
        lt_http_reply_json(held[i], 200, json_object());
    }
    w->server = serve("127.0.0.1:0", 1);
}

static void *reply_soon(void *arg)
{
    (void)arg;
    for (int i = 0; i < 40; i++)
        lt_http_reply_empty(take_held(), 200);
    return NULL;
}

/* Stop and replies at the same moment: each request is answered once, by whoever was first. */
static void test_stop_race(void **state)
{
    struct world *w = *state;
    for (int round = 0; round < 5; round++) {
        struct tally t = {0};
        pthread_t thread;
        sem_init(&t.done, 0, 0);
        for (int i = 0; i < 40; i++)
            post(w, "/federation/v1/wait", &t, 0);
        for (int i = 0; i < 40; i++)
            assert_int_equal(sem_wait(&app.arrived), 0);
        for (int i = 0; i < 40; i++)
            sem_post(&app.arrived);
        assert_int_equal(pthread_create(&thread, NULL, reply_soon, NULL), 0);
        lt_http_server_stop(w->server);
        pthread_join(thread, NULL);
        wait_for(&t, 40);
        assert_int_equal(t.ok + t.busy, 40);
        w->server = serve("127.0.0.1:0", 2);
        w->at = lt_http_server_address(w->server);
    }
}

static void test_thousands(void **state)
{
    struct world *w = *state;
    struct tally t = {0};
    sem_init(&t.done, 0, 0);
    for (int i = 0; i < 3000; i++)
        post(w, i % 3 ? "/federation/v1/tell/1/of/2" : "/federation/v1/race", &t, 120000);
    wait_for(&t, 3000);
    assert_int_equal(t.ok, 3000);
}

/* ---- without TLS, and by hand ---- */

static struct lt_http_shared *log_bytes;

static void share(struct lt_http_req *r, void *arg)
{
    (void)arg;
    lt_http_reply_shared(r, 200, "application/octet-stream", log_bytes, 0);
}

static const struct lt_http_route plain_routes[] = {
    LT_HTTP_ROUTE("POST", "/echo", LT_HTTP_MAY_ANYONE, 1000, echo),
    LT_HTTP_ROUTE("GET", "/share", LT_HTTP_MAY_ANYONE, 0, share),
    LT_HTTP_ROUTE("GET", "/closed", LT_PEER_ROLE_TENANT, 0, echo),
    LT_HTTP_ROUTE("GET", "/trusted", LT_HTTP_MAY_TRUSTED, 0, echo),
};

static struct lt_http_server *serve_conf(struct lt_http_server_conf conf)
{
    struct lt_http_server *s = NULL;
    struct lt_err e = {0};

    conf.listen = "127.0.0.1:0";
    conf.threads = 1;
    if (!conf.routes) {
        conf.routes = plain_routes;
        conf.route_count = sizeof plain_routes / sizeof *plain_routes;
    }
    if (lt_http_server_start(&conf, &s, &e))
        fail_msg("server: %s", e.msg);
    return s;
}

static struct lt_http_server *serve_plain(bool tls)
{
    return serve_conf((struct lt_http_server_conf){
        .cert = tls ? check_path(&pki, "server", "crt") : NULL,
        .key = tls ? check_path(&pki, "server", "key") : NULL,
        .client_ca = tls ? pki.ca : NULL,
        .idle_timeout_s = tls ? 0 : 1,
    });
}

static int dial(const char *address)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *s)
{
    assert_int_equal(write(fd, s, strlen(s)), strlen(s));
}

/* Everything until the server hangs up. */
static void hear(int fd, char *out, size_t n)
{
    size_t at = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 20000) == 1) {
        ssize_t got = read(fd, out + at, n - 1 - at);
        if (got <= 0)
            break;
        at += (size_t)got;
    }
    out[at] = 0;
    close(fd);
}

static void test_plain(void **state)
{
    struct lt_http_server *s = serve_plain(false);
    char reply[4096];
    (void)state;

    int fd = dial(lt_http_server_address(s));
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    hear(fd, reply, sizeof reply);
    assert_non_null(strstr(reply, "200 OK"));
    assert_non_null(strstr(reply, "X-Request-ID: "));
    fd = dial(lt_http_server_address(s));
    say(fd, "GET /closed HTTP/1.1\r\nHost: x\r\n\r\nGET /trusted HTTP/1.1\r\nHost: x\r\nConnection: "
            "close\r\n\r\n");
    hear(fd, reply, sizeof reply);
    char *first = strstr(reply, "401 ");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "401 "));
    lt_http_server_stop(s);
}

static void test_slow_and_mad_clients(void **state)
{
    static const char *const mad[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "GET /%%%%%%%%?%%%=%%% HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET relative HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", /* and then nothing */
        "POST /ec",
    };
    struct lt_http_server *s = serve_plain(false);
    char reply[4096];
    int fds[sizeof mad / sizeof *mad], calls = atomic_load(&app.calls);
    (void)state;

    for (size_t i = 0; i < sizeof mad / sizeof *mad; i++) {
        fds[i] = dial(lt_http_server_address(s));
        say(fds[i], mad[i]);
    }
    /* A neighbour is served meanwhile. */
    int fd = dial(lt_http_server_address(s));
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    hear(fd, reply, sizeof reply);
    assert_non_null(strstr(reply, "200 OK"));
    for (size_t i = 0; i < sizeof mad / sizeof *mad; i++) {
        hear(fds[i], reply, sizeof reply);
        assert_null(strstr(reply, "200 OK"));
    }
    assert_int_equal(atomic_load(&app.calls), calls + 1);
    lt_http_server_stop(s);
}

/* Sends p one byte at a time, never idle for long. True: the server hung up before n were sent. */
static bool drip(int fd, const char *p, size_t n)
{
    struct pollfd gone = {.fd = fd, .events = POLLIN | POLLRDHUP};
    for (size_t i = 0; i < n; i++) {
        if (send(fd, p + i, 1, MSG_NOSIGNAL) != 1 || poll(&gone, 1, 100) == 1)
            return true;
    }
    return false;
}

/* A peer that is never idle and never done does not keep its connection. */
static void test_dripping_clients(void **state)
{
    static const char headers[] =
        "GET /trusted HTTP/1.1\r\nX-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const char body[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const char hello[60] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    struct lt_http_server *s = serve_conf((struct lt_http_server_conf){.request_timeout_s = 1});
    (void)state;

    int fd = dial(lt_http_server_address(s));
    assert_true(drip(fd, headers, sizeof headers - 1));
    close(fd);
    fd = dial(lt_http_server_address(s));
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n");
    assert_true(drip(fd, body, sizeof body - 1));
    close(fd);
    lt_http_server_stop(s);
    s = serve_conf((struct lt_http_server_conf){.cert = check_path(&pki, "server", "crt"),
                                                .key = check_path(&pki, "server", "key"),
                                                .client_ca = pki.ca,
                                                .request_timeout_s = 1});
    fd = dial(lt_http_server_address(s));
    assert_true(drip(fd, hello, sizeof hello));
    close(fd);
    lt_http_server_stop(s);
}

/* Nor does one that will not read its reply; and the bytes are shared, freed with the last that sends them.
 */
static void test_shared_and_slow_reader(void **state)
{
    static const size_t n = 9 << 20;
    struct lt_http_server *s = serve_conf(
        (struct lt_http_server_conf){.request_timeout_s = 1, .max_connections = 1, .max_bytes = 4096});
    int small = 4096;
    (void)state;

    log_bytes = lt_http_shared_new(calloc(1, 200 << 10), 200 << 10);
    int fd = dial(lt_http_server_address(s));
    say(fd, "GET /share HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    char *all = malloc(n);
    size_t got = 0;
    for (ssize_t k; (k = read(fd, all + got, n - got)) > 0;)
        got += (size_t)k;
    assert_true(got > 200 << 10);
    close(fd);
    lt_http_shared_unref(log_bytes);

    log_bytes = lt_http_shared_new(calloc(1, 8 << 20), 8 << 20);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(lt_http_server_address(s), ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    say(fd, "GET /share HTTP/1.1\r\nHost: x\r\n\r\n");
    struct pollfd begun = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&begun, 1, 10000), 1);
    lt_http_shared_unref(log_bytes); /* the reply has its own */
    /* There is one connection: a second client is served when the first is gone. */
    char reply[4096];
    int next = dial(lt_http_server_address(s));
    say(next, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    hear(next, reply, sizeof reply);
    assert_non_null(strstr(reply, "200 OK"));
    for (got = 0;;) {
        ssize_t k = read(fd, all, n);
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    assert_true(got < 8 << 20);
    close(fd);
    free(all);
    lt_http_server_stop(s);
}

static bool hung_up(int fd, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};
    return poll(&p, 1, wait_ms) == 1;
}

/* Who has not shown a certificate yet holds a quarter of the places at most, the newest of them. */
static void test_strangers(void **state)
{
    struct lt_http_server *s =
        serve_conf((struct lt_http_server_conf){.cert = check_path(&pki, "server", "crt"),
                                                .key = check_path(&pki, "server", "key"),
                                                .client_ca = pki.ca,
                                                .routes = routes,
                                                .route_count = ROUTES,
                                                .max_connections = 8,
                                                .max_per_address = 8});
    struct lt_http_client *tenant = check_client(&pki, "tenant");
    int fd[20];
    (void)state;

    for (int i = 0; i < 20; i++) {
        fd[i] = dial(lt_http_server_address(s));
        if (i > 1)
            assert_true(hung_up(fd[i - 2], 10000));
    }
    free(check_status(tenant, "GET", lt_http_server_address(s), "/federation/v1/tell/1/of/2", NULL, 200));
    free(check_status(tenant, "GET", lt_http_server_address(s), "/federation/v1/tell/1/of/2", NULL, 200));
    assert_true(hung_up(fd[18], 10000)); /* it had to give way */
    for (int i = 0; i < 20; i++)
        close(fd[i]);
    lt_http_client_free(tenant);
    lt_http_server_stop(s);
}

static void test_one_address(void **state)
{
    struct lt_http_server *s = serve_conf((struct lt_http_server_conf){.max_per_address = 2});
    int fd[3];
    (void)state;

    for (int i = 0; i < 3; i++)
        fd[i] = dial(lt_http_server_address(s));
    assert_true(hung_up(fd[2], 10000));
    assert_false(hung_up(fd[0], 0));
    assert_false(hung_up(fd[1], 0));
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    lt_http_server_stop(s);
}

/* From an address of its own: the loopback has many. */
static int dial_from(uint32_t source, const char *address)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Where nobody needs a certificate, whoever holds most of the places gives them up to the others. */
static void test_crowds(void **state)
{
    struct lt_http_server *s =
        serve_conf((struct lt_http_server_conf){.max_connections = 16, .max_per_address = 16, .threads = 1});
    char reply[4096];
    int fd[40];
    (void)state;

    int early = dial_from(INADDR_LOOPBACK + 9, lt_http_server_address(s));
    for (uint32_t i = 0; i < 40; i++) /* of four addresses, and silent */
        fd[i] = dial_from(INADDR_LOOPBACK + 1 + i % 4, lt_http_server_address(s));
    int late = dial_from(INADDR_LOOPBACK + 10, lt_http_server_address(s));
    const int honest[] = {late, early};
    for (int i = 0; i < 2; i++) {
        struct pollfd p = {.fd = honest[i], .events = POLLIN};
        say(honest[i], "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
        assert_int_equal(poll(&p, 1, 10000), 1);
        hear(honest[i], reply, sizeof reply);
        assert_non_null(strstr(reply, "200 OK"));
    }
    for (int i = 0; i < 40; i++)
        close(fd[i]);
    lt_http_server_stop(s);
}

/* Bodies and replies of all connections together have a ceiling; what is over it is told to come back. */
static void test_bytes(void **state)
{
    static const char small[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    struct lt_http_server *s = serve_conf((struct lt_http_server_conf){.max_bytes = 100});
    char reply[4096], big[400];
    (void)state;

    for (int i = 0; i < 3; i++) {
        for (int n = 60; n <= 120; n += 60) { /* the reply's bytes are too many, then the body's alone */
            snprintf(big, sizeof big,
                     "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%0*d",
                     n, n, 0);
            int fd = dial(lt_http_server_address(s));
            say(fd, big);
            hear(fd, reply, sizeof reply);
            assert_non_null(strstr(reply, "503 "));
            assert_non_null(strstr(reply, "Retry-After: 1"));
        }
        int fd = dial(lt_http_server_address(s));
        say(fd, small);
        hear(fd, reply, sizeof reply);
        assert_non_null(strstr(reply, "200 OK"));
    }
    lt_http_server_stop(s);
}

/* A client in the midst of its request does not keep a server from stopping. */
static void test_stop_with_half_request(void **state)
{
    struct lt_http_server *s = serve_plain(false);
    char reply[4096];
    (void)state;
    int fd = dial(lt_http_server_address(s));
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
    uint64_t before = lt_clock_ms();
    lt_http_server_stop(s);
    assert_true(lt_clock_ms() - before < 10000);
    hear(fd, reply, sizeof reply);
    assert_null(strstr(reply, "200 OK"));
}

/* With a route for anyone a certificate is asked for and not required; the other routes stay closed. */
static void test_mixed(void **state)
{
    struct lt_http_server *s = serve_plain(true);
    const char *at = lt_http_server_address(s);
    struct lt_http_client *nobody = check_client(&pki, NULL), *none = check_client(&pki, "none"),
                          *tenant = check_client(&pki, "tenant");
    (void)state;
    free(check_status(nobody, "POST", at, "/echo", "x", 200));
    free(check_status(nobody, "GET", at, "/closed", NULL, 401));
    free(check_status(nobody, "GET", at, "/trusted", NULL, 401));
    free(check_status(none, "GET", at, "/closed", NULL, 403));
    free(check_status(none, "GET", at, "/trusted", NULL, 200));
    free(check_status(tenant, "GET", at, "/closed", NULL, 200));
    check_routes_are_closed(&pki, at, plain_routes, 3);
    lt_http_client_free(nobody);
    lt_http_client_free(none);
    lt_http_client_free(tenant);
    lt_http_server_stop(s);
}

static void test_addresses(void **state)
{
    static const char *const bad[] = {
        "",       "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:http", "127.0.0.1:70000", "example.org:1",
        "[::1:0", NULL};
    struct lt_http_server_conf conf = {.routes = plain_routes, .route_count = 3};
    struct lt_http_server *s, *other;
    struct lt_err e = {0};
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        conf.listen = bad[i];
        assert_int_equal(lt_http_server_start(&conf, &s, &e), LT_E_CONFIG);
        assert_null(s);
    }
    conf.listen = "[::1]:0";
    if (!lt_http_server_start(&conf, &s, &e)) { /* a machine may be without IPv6 */
        assert_memory_equal(lt_http_server_address(s), "[::1]:", 6);
        assert_string_not_equal(lt_http_server_address(s), "[::1]:0");
        lt_http_server_stop(s);
    }
    conf.listen = "127.0.0.1:0";
    assert_int_equal(lt_http_server_start(&conf, &s, &e), 0);
    conf.listen = lt_http_server_address(s);
    assert_int_equal(lt_http_server_start(&conf, &other, &e), LT_E_IO); /* in use */
    conf.listen = "127.0.0.1:0";
    conf.cert = pki.ca;
    assert_int_equal(lt_http_server_start(&conf, &other, &e), LT_E_CONFIG); /* no key */
    conf.key = check_path(&pki, "server", "key");
    assert_int_equal(lt_http_server_start(&conf, &other, &e), LT_E_CONFIG); /* another's key */
    lt_http_server_stop(s);
    lt_http_server_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_echo, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_method, setup, teardown),
        cmocka_unit_test_setup_teardown(test_access, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body_cap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_huge_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_vanishes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_with_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_thousands, setup, teardown),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_slow_and_mad_clients),
        cmocka_unit_test(test_dripping_clients),
        cmocka_unit_test(test_shared_and_slow_reader),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_one_address),
        cmocka_unit_test(test_crowds),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_stop_with_half_request),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_addresses),
    };
    sem_init(&app.arrived, 0, 0);
    check_pki_make(&pki);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    check_pki_remove(&pki);
    return rc;
}
