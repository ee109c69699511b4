/* The ways by which decisions leave: a webhook over real TLS, a ZeroMQ subscriber. */
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "tests/support/http/http_check.h"
#include "tests/support/unit.h"
#include "verifier/revoke/publish.h"
#include "verifier/revoke/webhook.h"
#include "verifier/store/store.h"

#include <unistd.h>
#include <zmq.h>

#define PATIENCE_MS 20000

enum mode { TAKES, TAKES_LATER, FAILS_500, REDIRECTS, HANGS };

struct at {
    struct check_pki pki;
    char db[128], url[128], seen_body[64], seen_number[32];
    struct lt_store *s;
    struct lt_http_server *server;
    struct lt_http_req *held[8];
    struct lt_revoke_webhook *hook;
    struct lt_revoke *r;
    pthread_mutex_t lock;
    pthread_cond_t news;
    enum mode mode;
    size_t asked, taken, other, held_count, elsewhere;
};

static void post_hook(struct lt_http_req *req, void *app)
{
    struct at *a = app;
    struct lt_slice body = lt_http_req_body(req);
    const char *number = lt_http_req_header(req, "X-Limetree-Revocation");

    pthread_mutex_lock(&a->lock);
    enum mode mode = a->mode;
    a->asked++;
    a->taken += mode == TAKES || mode == TAKES_LATER;
    snprintf(a->seen_body, sizeof a->seen_body, "%.*s", (int)body.n, (const char *)body.p);
    snprintf(a->seen_number, sizeof a->seen_number, "%s", number ? number : "");
    if (mode == HANGS) {
        lt_http_req_hold(req);
        a->held[a->held_count++] = req;
    }
    pthread_cond_broadcast(&a->news);
    pthread_mutex_unlock(&a->lock);
    if (mode == REDIRECTS)
        lt_http_req_add_header(req, "Location", "/elsewhere");
    if (mode != HANGS)
        lt_http_reply_empty(req, mode == TAKES         ? 200
                                 : mode == TAKES_LATER ? 202
                                 : mode == REDIRECTS   ? 307
                                                       : 500);
}

static void post_elsewhere(struct lt_http_req *req, void *app)
{
    struct at *a = app;

    pthread_mutex_lock(&a->lock);
    a->elsewhere++;
    pthread_mutex_unlock(&a->lock);
    lt_http_reply_empty(req, 200);
}

static const struct lt_http_route routes[] = {
    LT_HTTP_ROUTE("POST", "/secret/{}", LT_HTTP_MAY_ANYONE, 4096, post_hook),
    LT_HTTP_ROUTE("POST", "/elsewhere", LT_HTTP_MAY_ANYONE, 4096, post_elsewhere),
};

static void serve(struct at *a, const char *listen)
{
    const struct lt_http_server_conf c = {.listen = listen,
                                          .cert = check_path(&a->pki, "server", "crt"),
                                          .key = check_path(&a->pki, "server", "key"),
                                          .routes = routes,
                                          .route_count = 2,
                                          .app = a,
                                          .threads = 1};

    OK(lt_http_server_start(&c, &a->server, &err));
    snprintf(a->url, sizeof a->url, "https://%s/secret/token", lt_http_server_address(a->server));
}

static void send_other(void *app, struct lt_revoke_delivery *d)
{
    struct at *a = app;

    pthread_mutex_lock(&a->lock);
    a->other++;
    pthread_cond_broadcast(&a->news);
    pthread_mutex_unlock(&a->lock);
    lt_revoke_ended(d, NULL);
}

static int compose(void *app, const struct lt_outbox_item *item, char **out, struct lt_err *e)
{
    (void)app, (void)e;
    *out = malloc(40);
    snprintf(*out, 40, "{\"msg\":\"%lld\"}", (long long)item->number);
    return 0;
}

static void start(struct at *a, const char *ca)
{
    OK(lt_revoke_webhook_open(a->url, ca, &a->hook, &err));
    const struct lt_revoke_channel channels[] = {
        {.prefix = LT_REVOKE_WEBHOOK,
         .kinds = LT_REVOKE_ALL,
         .at_once = 1,
         .send = lt_revoke_webhook_send,
         .app = a->hook},
        {.prefix = "other", .kinds = LT_REVOKE_ALL, .at_once = 1, .send = send_other, .app = a},
    };
    const struct lt_revoke_conf c = {.db = lt_store_outbox(a->s),
                                     .channels = channels,
                                     .count = 2,
                                     .compose = compose,
                                     .app = a,
                                     .first_retry_ms = 20};
    OK(lt_outbox_join(c.db, lt_revoke_webhook_name(a->hook), &err));
    OK(lt_outbox_join(c.db, "other", &err));
    OK(lt_revoke_start(&c, &a->r, &err));
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);

    check_pki_make(&a->pki);
    snprintf(a->db, sizeof a->db, "%s/t.db", a->pki.dir);
    OK(lt_store_open(a->db, NULL, NULL, &a->s, &err));
    pthread_mutex_init(&a->lock, NULL);
    lt_cond_init(&a->news);
    serve(a, "127.0.0.1:0");
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;

    lt_revoke_stop(a->r);
    lt_revoke_webhook_close(a->hook);
    lt_revoke_free(a->r);
    for (size_t i = 0; i < a->held_count; i++)
        lt_http_reply_empty(a->held[i], 200);
    lt_http_server_stop(a->server);
    lt_store_close(a->s);
    check_pki_remove(&a->pki);
    free(a);
    return 0;
}

static int put(sqlite3 *sql, void *arg, struct lt_err *e)
{
    static const uint8_t id[16] = {7};

    for (int i = 0; i < *(int *)arg; i++)
        LT_TRY(lt_outbox_put(sql, id, LT_OUTBOX_FAILED, 5, "{}", e));
    return 0;
}

static void decide(struct at *a, int times)
{
    OK(lt_db_write(lt_store_outbox(a->s), put, &times, &err));
    lt_revoke_wake(a->r);
}

static void wait_for(struct at *a, const size_t *what, size_t n)
{
    uint64_t until = lt_clock_ms() + PATIENCE_MS;

    pthread_mutex_lock(&a->lock);
    while (*what < n)
        if (!lt_cond_until(&a->news, &a->lock, until))
            fail_msg("%zu of %zu", *what, n);
    pthread_mutex_unlock(&a->lock);
}

static void count_is(struct at *a, const size_t *what, size_t n)
{
    pthread_mutex_lock(&a->lock);
    assert_int_equal(*what, n);
    pthread_mutex_unlock(&a->lock);
}

static void saw(struct at *a, const char *number)
{
    pthread_mutex_lock(&a->lock);
    assert_string_equal(a->seen_number, number);
    pthread_mutex_unlock(&a->lock);
}

static void become(struct at *a, enum mode mode)
{
    pthread_mutex_lock(&a->lock);
    a->mode = mode;
    pthread_mutex_unlock(&a->lock);
}

/* What the list says of the webhook, when it says something. */
static void told(struct at *a, const char *want)
{
    for (int i = 0; i < PATIENCE_MS / 10; i++, usleep(10000)) {
        LT_JSON_AUTO json_t *j = NULL;
        OK(lt_outbox_list(lt_store_outbox(a->s), 60, &j, &err));
        json_t *r = json_array_get(json_object_get(j, "receivers"), 0);
        const char *name = json_string_value(json_object_get(r, "receiver")),
                   *why = json_string_value(json_object_get(r, "error"));
        if (!why)
            continue;
        assert_non_null(strstr(why, want));
        assert_null(strstr(why, "token"));
        assert_null(strstr(name, "token")); /* a URL's path may be what lets in */
        return;
    }
    fail_msg("nothing was told");
}

static void test_it_arrives(void **state)
{
    struct at *a = *state;

    start(a, a->pki.ca);
    decide(a, 3);
    wait_for(a, &a->taken, 3);
    assert_string_equal(a->seen_body, "{\"msg\":\"3\"}");
    saw(a, "3");
    become(a, TAKES_LATER);
    decide(a, 1);
    wait_for(a, &a->taken, 4);
    count_is(a, &a->asked, 4);
}

static void refused_until_mended(struct at *a, enum mode mode, const char *why)
{
    become(a, mode);
    start(a, a->pki.ca);
    decide(a, 2);
    wait_for(a, &a->asked, 3);
    wait_for(a, &a->other, 2); /* whatever the webhook does */
    told(a, why);
    saw(a, "1");
    become(a, TAKES);
    wait_for(a, &a->taken, 2); /* nothing was lost */
    saw(a, "2");
    count_is(a, &a->elsewhere, 0);
}

static void test_one_that_answers_500(void **state)
{
    refused_until_mended(*state, FAILS_500, "HTTP 500");
}

static void test_one_that_redirects(void **state)
{
    refused_until_mended(*state, REDIRECTS, "HTTP 307: redirects are not followed");
}

static void test_one_that_hangs(void **state)
{
    struct at *a = *state;

    become(a, HANGS);
    start(a, a->pki.ca);
    decide(a, 5);
    wait_for(a, &a->other, 5);
    wait_for(a, &a->asked, 1);
    count_is(a, &a->asked, 1);
}

static void test_a_server_nobody_knows(void **state)
{
    struct at *a = *state;

    start(a, a->pki.admin_ca); /* another CA */
    decide(a, 1);
    wait_for(a, &a->other, 1);
    told(a, "no answer (unauthenticated)");
    count_is(a, &a->asked, 0);
}

/* Its certificate is good, and names another host. */
static void test_a_server_of_another_name(void **state)
{
    struct at *a = *state;

    lt_http_server_stop(a->server);
    serve(a, "127.0.0.2:0");
    start(a, a->pki.ca);
    decide(a, 1);
    wait_for(a, &a->other, 1);
    told(a, "no answer");
    count_is(a, &a->asked, 0);
}

static void test_urls(void **state)
{
    static const char *const bad[] = {"",
                                      "http://h/",
                                      "HTTPS://h/",
                                      "https://",
                                      "https:///x",
                                      "https://u:p@h/",
                                      "https://h:0/",
                                      "https://h:99999/",
                                      "https://h/#x",
                                      "https://h/a b",
                                      "https://h/\n",
                                      "https://[::1/",
                                      "https://h:80:90/",
                                      "https://h\\@e/"};
    static const char *const good[] = {
        "https://h",       "https://h/",         "https://h.example:8443/a/b?c=d",
        "https://[::1]/x", "https://[::1]:8443", "https://h?x=@"};
    char long_one[LT_MAX_URL + 100];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(LT_E_CONFIG, lt_revoke_webhook_check("revocation_webhook", bad[i], &err));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        OK(lt_revoke_webhook_check("revocation_webhook", good[i], &err));
    memset(long_one, 'x', sizeof long_one);
    memcpy(long_one, "https://h/", 10);
    long_one[sizeof long_one - 1] = 0;
    FAILS(LT_E_CONFIG, lt_revoke_webhook_check("revocation_webhook", long_one, &err));
}

static void test_subscribers(void **state)
{
    struct lt_revoke_publish *p;
    struct lt_revoke *r = NULL;
    struct at *a = *state;
    char endpoint[80], frame[64];

    FAILS(LT_E_MALFORMED, lt_revoke_publish_open("nowhere", &p, &err));
    OK(lt_revoke_publish_open("127.0.0.1:0", &p, &err));
    const struct lt_revoke_channel c = {.prefix = LT_REVOKE_PUBLISH,
                                        .kinds = LT_REVOKE_ALL,
                                        .at_once = 1,
                                        .send = lt_revoke_publish_send,
                                        .app = p};
    const struct lt_revoke_conf conf = {
        .db = lt_store_outbox(a->s), .channels = &c, .count = 1, .compose = compose};
    snprintf(endpoint, sizeof endpoint, "tcp://%s", lt_revoke_publish_address(p));
    void *context = zmq_ctx_new(), *sub = zmq_socket(context, ZMQ_SUB);
    int wait_ms = 200, n = -1;
    assert_int_equal(zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "", 0), 0);
    assert_int_equal(zmq_setsockopt(sub, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms), 0);
    assert_int_equal(zmq_connect(sub, endpoint), 0);
    OK(lt_outbox_join(conf.db, LT_REVOKE_PUBLISH, &err));
    OK(lt_revoke_start(&conf, &r, &err));
    for (int i = 0; n < 0 && i < 50; i++) { /* what is published before it has joined is not for it */
        int one = 1;
        OK(lt_db_write(conf.db, put, &one, &err));
        lt_revoke_wake(r);
        n = zmq_recv(sub, frame, sizeof frame - 1, 0);
    }
    assert_true(n > 0);
    frame[n] = 0;
    assert_memory_equal(frame, "{\"msg\":\"", 8);
    lt_revoke_free(r);
    struct lt_revoke_publish *second;
    FAILS(LT_E_IO, lt_revoke_publish_open(lt_revoke_publish_address(p), &second, &err)); /* taken */
    lt_revoke_publish_close(p);
    zmq_close(sub);
    zmq_ctx_term(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_arrives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_answers_500, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_redirects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_server_nobody_knows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_server_of_another_name, setup, teardown),
        cmocka_unit_test(test_urls),
        cmocka_unit_test_setup_teardown(test_subscribers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
