/* Blocking routes of the HTTP server: on which thread a handler runs, who waits for whom, and what a pool
 * that is full or stops makes of a request. */
#include "tests/support/http/http_check.h"
#include "tests/support/unit.h"

#include <pthread.h>

static struct check_pki pki;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned at_gate, answered;
static bool gate_open;

/* Says on which thread it runs. */
static void where(struct lt_http_req *r, void *app)
{
    char name[16];

    assert_ptr_equal(app, &pki);
    pthread_getname_np(pthread_self(), name, sizeof name);
    lt_http_reply_json(r, 200, json_pack("{s:s}", "thread", name));
}

static void wait_at_gate(struct lt_http_req *r, void *app)
{
    pthread_mutex_lock(&lock);
    at_gate++;
    pthread_cond_broadcast(&changed);
    while (!gate_open)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    where(r, app);
}

static const struct lt_http_route routes[] = {
    LT_HTTP_ROUTE("GET", "/plain", LT_HTTP_MAY_TRUSTED, 0, where),
    LT_HTTP_ROUTE("GET", "/look", LT_HTTP_MAY_TRUSTED, 0, where, .blocking = true),
    LT_HTTP_ROUTE("PUT", "/change", LT_HTTP_MAY_TRUSTED, 100, where, .blocking = true),
    LT_HTTP_ROUTE("POST", "/gate", LT_HTTP_MAY_TRUSTED, 100, wait_at_gate, .blocking = true),
    LT_HTTP_ROUTE("DELETE", "/change", LT_HTTP_MAY_TRUSTED, 0, where, .blocking = true, .urgent = true),
    LT_HTTP_ROUTE("GET", "/both", LT_PEER_ROLE_OPERATOR | LT_PEER_ROLE_TENANT, 0, where,
                  .blocking_for = LT_PEER_ROLE_OPERATOR),
};

struct world {
    struct lt_work *work, *look;
    struct lt_http_server *server;
    struct lt_http_client *tenant, *admin;
    const char *at;
};

static json_t *why(const struct lt_err *e, unsigned retry_after_s)
{
    (void)retry_after_s;
    return json_string(e->msg);
}

static void start(struct world *w, unsigned max_waiting, bool look)
{
    at_gate = answered = 0;
    gate_open = false;
    *w = (struct world){0};
    OK(lt_work_start(&(struct lt_work_conf){"change", 1, max_waiting}, &w->work, &err));
    if (look)
        OK(lt_work_start(&(struct lt_work_conf){"look", 1, 0}, &w->look, &err));
    const struct lt_http_server_conf conf = {
        .listen = "127.0.0.1:0",
        .cert = check_path(&pki, "server", "crt"),
        .key = check_path(&pki, "server", "key"),
        .client_ca = pki.ca,
        .routes = routes,
        .route_count = sizeof routes / sizeof *routes,
        .app = &pki,
        .error_body = why,
        .work = w->work,
        .look = w->look,
        .threads = 1,
    };
    OK(lt_http_server_start(&conf, &w->server, &err));
    w->at = lt_http_server_address(w->server);
    w->tenant = check_client(&pki, "tenant");
    w->admin = check_client(&pki, "operator");
}

static void open_gate(void)
{
    pthread_mutex_lock(&lock);
    gate_open = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void end(struct world *w)
{
    open_gate();
    lt_http_server_stop(w->server);
    lt_work_free(w->work);
    lt_work_free(w->look);
    lt_http_client_free(w->tenant);
    lt_http_client_free(w->admin);
}

static void runs_on(struct lt_http_client *c, const struct world *w, const char *method, const char *path,
                    const char *thread, bool same)
{
    LT_AUTOFREE char *body = check_status(c, method, w->at, path, strcmp(method, "PUT") ? NULL : "{}", 200);
    LT_JSON_AUTO json_t *j = lt_json_parse(body, strlen(body), 1000, &err);
    const char *is = json_string_value(json_object_get(j, "thread"));

    assert_non_null(is);
    if (!strcmp(is, thread) != same)
        fail_msg("%s %s ran on %s", method, path, is);
}

/* One request that is not waited for yet. */
struct asked {
    pthread_t thread;
    struct lt_http_client *client;
    const char *at, *method, *path;
    int status;
    char said[400];
};

static void *ask(void *arg)
{
    struct asked *a = arg;
    struct lt_http_reply reply = {0};
    struct lt_err e = {0};

    a->status = check_call(a->client, a->method, a->at, a->path, NULL, &reply, &e) ? -1 : reply.status;
    snprintf(a->said, sizeof a->said, "%s", a->status < 0 ? e.msg : reply.body);
    free((char *)(uintptr_t)reply.body);
    pthread_mutex_lock(&lock);
    answered++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void send_one(struct asked *a, const struct world *w, const char *method, const char *path)
{
    *a = (struct asked){.client = w->tenant, .at = w->at, .method = method, .path = path};
    assert_int_equal(pthread_create(&a->thread, NULL, ask, a), 0);
}

static void await(const unsigned *count, unsigned at_least)
{
    pthread_mutex_lock(&lock);
    while (*count < at_least)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* A request at the gate, and two of whom one waits behind it and the other was refused. */
static void fill(struct asked a[3], const struct world *w)
{
    send_one(&a[0], w, "POST", "/gate");
    await(&at_gate, 1);
    send_one(&a[1], w, "POST", "/gate");
    send_one(&a[2], w, "POST", "/gate");
    await(&answered, 1);
}

static int answer(struct asked *a)
{
    pthread_join(a->thread, NULL);
    return a->status;
}

static void on_the_thread_its_row_says(void **state)
{
    struct world w;

    (void)state;
    start(&w, 0, true);
    runs_on(w.tenant, &w, "GET", "/plain", "change", false);
    runs_on(w.tenant, &w, "GET", "/plain", "look", false);
    runs_on(w.tenant, &w, "GET", "/look", "look", true);
    runs_on(w.tenant, &w, "PUT", "/change", "change", true);
    runs_on(w.tenant, &w, "DELETE", "/change", "change", true);
    runs_on(w.tenant, &w, "GET", "/both", "look", false);
    runs_on(w.admin, &w, "GET", "/both", "look", true);
    end(&w);
    start(&w, 0, false);
    runs_on(w.tenant, &w, "GET", "/look", "change", true); /* there is but one pool */
    end(&w);
}

static void who_looks_waits_for_nobody(void **state)
{
    struct world w;
    struct asked gate;

    (void)state;
    start(&w, 0, true);
    send_one(&gate, &w, "POST", "/gate");
    await(&at_gate, 1);
    runs_on(w.tenant, &w, "GET", "/plain", "change", false);
    runs_on(w.tenant, &w, "GET", "/look", "look", true);
    open_gate();
    assert_int_equal(answer(&gate), 200);
    end(&w);
}

/* Of two that come in each queue one has room, the other is told to come again, at once. */
static void a_full_pool_says_so(void **state)
{
    struct world w;
    struct asked a[5];
    unsigned full = 0;

    (void)state;
    start(&w, 1, true);
    fill(a, &w);
    send_one(&a[3], &w, "DELETE", "/change");
    send_one(&a[4], &w, "DELETE", "/change");
    await(&answered, 2);
    open_gate();
    for (int i = 0; i < 5; i++) {
        int status = answer(&a[i]);
        assert_int_equal(status, strstr(a[i].said, "the queue is full") ? 503 : 200);
        full += status == 503;
    }
    assert_int_equal(full, 2);
    end(&w);
}

static void *stop(void *arg)
{
    lt_work_stop(arg);
    return NULL;
}

/* A pool with a bound that stops answers those that wait, without running their handlers. */
static void a_stopping_pool_answers(void **state)
{
    struct world w;
    struct asked a[3];
    pthread_t stopper;
    unsigned stopped = 0;

    (void)state;
    start(&w, 1, true);
    fill(a, &w);
    assert_int_equal(pthread_create(&stopper, NULL, stop, w.work), 0);
    for (bool stopping = false; !stopping;) { /* until then the queue is full */
        LT_AUTOFREE char *body = check_status(w.admin, "PUT", w.at, "/change", "{}", 503);
        stopping = strstr(body, "stopping");
    }
    open_gate();
    pthread_join(stopper, NULL);
    assert_int_equal(answer(&a[0]), 200);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(answer(&a[i]), 503);
        stopped += !!strstr(a[i].said, "stopping");
    }
    assert_int_equal(stopped, 1);
    assert_int_equal(at_gate, 1);
    end(&w);
}

static void without_a_pool_it_does_not_start(void **state)
{
    struct lt_http_server *server;
    const struct lt_http_server_conf conf = {
        .listen = "127.0.0.1:0",
        .cert = check_path(&pki, "server", "crt"),
        .key = check_path(&pki, "server", "key"),
        .client_ca = pki.ca,
        .routes = routes,
        .route_count = sizeof routes / sizeof *routes,
    };

    (void)state;
    FAILS(LT_E_INTERNAL, lt_http_server_start(&conf, &server, &err));
    assert_non_null(strstr(err.msg, "/look"));
    assert_null(server);
}

static int setup(void **state)
{
    (void)state;
    check_pki_make(&pki);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_pki_remove(&pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_the_thread_its_row_says),
        cmocka_unit_test(who_looks_waits_for_nobody),
        cmocka_unit_test(a_full_pool_says_so),
        cmocka_unit_test(a_stopping_pool_answers),
        cmocka_unit_test(without_a_pool_it_does_not_start),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
