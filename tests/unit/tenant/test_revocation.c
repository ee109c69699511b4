/* A guest that fails is told to all who should know, once each, whoever is away, slow or gone at that moment;
 * a tenant that was away itself revokes nobody. */
#include "tenant/revocation.h"

#include "common/pki/issue.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "keylime/notice.h"
#include "tests/support/tenant_rig.h"
#include "tests/support/vectors.h"

#include <sqlite3.h>
#include <unistd.h>

#define PATIENCE_MS 20000

static json_t *vectors; /* a revocation key and its certificate */

static int read_vectors(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("keylime-notice.json", &n);

    (void)state;
    vectors = lt_json_parse(p, n, 1 << 20, &err);
    return vectors ? 0 : -1;
}

static int drop_vectors(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

static const char *vector(const char *key)
{
    return json_string_value(json_object_get(vectors, key));
}

static void call(struct rig *r, const struct rig_guest *g, const char *method, const char *end, json_t *body)
{
    char path[96];

    snprintf(path, sizeof path, "guests/%s%s", g->text, end);
    rig_drop(rig_call(r, method, path, body, 200));
}

static void give_key(struct rig *r, const struct rig_guest *g)
{
    call(r, g, "PUT", "", json_pack("{s:s}", "revocation_key", vector("key")));
}

static size_t notices(struct rig *r, const struct rig_guest *g)
{
    pthread_mutex_lock(&r->lock);
    size_t n = json_array_size(g->notices);
    pthread_mutex_unlock(&r->lock);
    return n;
}

static void wait_notices(struct rig *r, const struct rig_guest *g, size_t n)
{
    uint64_t until = lt_clock_ms() + PATIENCE_MS;

    pthread_mutex_lock(&r->lock);
    while (json_array_size(g->notices) < n)
        if (!lt_cond_until(&r->news, &r->lock, until))
            fail_msg("guest %s heard %zu of %zu", g->text, json_array_size(g->notices), n);
    pthread_mutex_unlock(&r->lock);
}

/* The i-th notice of the guest, its signature checked. */
static json_t *notice(struct rig *r, const struct rig_guest *g, size_t i)
{
    json_t *msg = NULL;

    pthread_mutex_lock(&r->lock);
    OK(lt_notice_open(json_array_get(g->notices, i), vector("certificate"), &msg, &err));
    pthread_mutex_unlock(&r->lock);
    return msg;
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* Waits until the list says n decisions, and that so many receivers wait. */
static void wait_list(struct rig *r, size_t decisions, size_t receivers)
{
    uint64_t until = lt_clock_ms() + PATIENCE_MS;

    for (;;) {
        LT_JSON_AUTO json_t *j = rig_call(r, "GET", "revocations", NULL, 200);
        if (json_array_size(json_object_get(j, "revocations")) == decisions &&
            json_array_size(json_object_get(j, "receivers")) == receivers)
            return;
        if (lt_clock_ms() > until)
            fail_msg("%s", json_dumps(j, 0));
        usleep(10000);
    }
}

static void begin(struct rig *r)
{
    rig_make(r);
    rig_start(r);
    rig_adopt(r, &r->guest[0]);
    rig_adopt(r, &r->guest[1]);
}

static void fail_it(struct rig *r, struct rig_guest *g)
{
    g->mode = GUEST_FORGES;
    rig_ask(r, g);
    rig_wait(r, g, "failed");
}

/* It answers well from now on: rounds that were judged otherwise have ended. */
static void mend(struct rig *r, struct rig_guest *g)
{
    g->mode = GUEST_ANSWERS;
    for (int i = 0; i < 3; i++) {
        unsigned asked = g->asked;
        rig_ask(r, g);
        rig_wait_asked(g, asked + 1);
    }
}

static void test_all_hear_of_it(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *bad = &r.guest[0], *other = &r.guest[1];
    give_key(&r, bad);
    fail_it(&r, bad);
    uint64_t t = lt_clock_ms();
    wait_notices(&r, bad, 1);
    wait_notices(&r, other, 1);
    assert_true(lt_clock_ms() - t < 1000); /* of the verdict */
    LT_JSON_AUTO json_t *msg = notice(&r, other, 0);
    assert_string_equal(text(msg, "type"), "revocation");
    assert_string_equal(text(msg, "agent_id"), bad->text);
    assert_string_equal(text(msg, "ip"), "127.0.0.1");
    assert_true(json_integer_value(json_object_get(msg, "port")) > 0);
    assert_string_equal(text(msg, "severity_label"), "emergency");
    assert_non_null(strstr(text(msg, "event_id"), "quote"));
    assert_non_null(strstr(text(msg, "context"), "\"number\": 1")
                        ? text(msg, "context")
                        : strstr(text(msg, "context"), "\"number\":1"));
    assert_string_equal(text(msg, "meta_data"), "{}");
    wait_list(&r, 1, 0);
    for (int i = 0; i < 2; i++) { /* it fails on: that is no news */
        unsigned asked = bad->asked;
        rig_ask(&r, bad);
        rig_wait_asked(bad, asked + 1);
    }
    wait_list(&r, 1, 0);
    assert_int_equal(notices(&r, other), 1);
    assert_int_equal(r.guest[2].notices_asked, 0); /* is not the tenant's */
    rig_free(&r);
}

static void test_failed_cleared_failed_again(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *bad = &r.guest[0], *other = &r.guest[1];
    give_key(&r, bad);
    fail_it(&r, bad);
    wait_notices(&r, other, 1);
    mend(&r, bad);
    call(&r, bad, "POST", "/clear", json_object());
    rig_wait(&r, bad, "trusted");
    wait_list(&r, 1, 0); /* clearing takes nothing back, and says nothing */
    fail_it(&r, bad);
    wait_notices(&r, other, 2);
    wait_list(&r, 2, 0);
    assert_int_equal(notices(&r, bad), 2);
    rig_free(&r);
}

/* Without a key nothing can be signed: told all the same, for those who need no signature. */
static void test_without_a_key(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    fail_it(&r, &r.guest[0]);
    wait_notices(&r, &r.guest[1], 1);
    pthread_mutex_lock(&r.lock);
    assert_string_equal(text(json_array_get(r.guest[1].notices, 0), "signature"), "");
    pthread_mutex_unlock(&r.lock);
    rig_free(&r);
}

static void test_one_that_hangs_delays_nobody(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    rig_adopt(&r, &r.guest[2]);
    r.guest[1].notices_hang = true;
    fail_it(&r, &r.guest[0]);
    uint64_t t = lt_clock_ms();
    wait_notices(&r, &r.guest[2], 1);
    wait_notices(&r, &r.guest[0], 1);
    assert_true(lt_clock_ms() - t < 1000);
    wait_list(&r, 1, 1);
    r.guest[1].notices_hang = false;
    pthread_mutex_lock(&r.lock);
    struct lt_http_req *held = lt_take(&r.guest[1].held);
    pthread_mutex_unlock(&r.lock);
    lt_http_reply_json(held, 200, json_object());
    wait_list(&r, 1, 0);
    rig_free(&r);
}

/* An agent that is down hears of it when it is back; the others once, in whichever life of the tenant. */
static void test_the_tenant_is_stopped_meanwhile(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *bad = &r.guest[0], *away = &r.guest[1];
    give_key(&r, bad);
    away->notice_status = 500;
    fail_it(&r, bad);
    wait_notices(&r, bad, 1);
    wait_list(&r, 1, 1);
    rig_stop(&r);
    away->notice_status = 0;
    rig_start(&r);
    wait_notices(&r, away, 1);
    wait_list(&r, 1, 0);
    assert_int_equal(notices(&r, bad), 1);
    assert_int_equal(notices(&r, away), 1);
    rig_drop(notice(&r, away, 0)); /* the very text, signed */
    rig_free(&r);
}

static void test_one_without_that_path(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    r.guest[1].notice_status = 404; /* an agent that takes none */
    fail_it(&r, &r.guest[0]);
    wait_list(&r, 1, 0);
    assert_int_equal(r.guest[1].notices_asked, 1);
    rig_free(&r);
}

static void test_removed_after_it_failed(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *bad = &r.guest[0], *away = &r.guest[1];
    give_key(&r, bad);
    away->notice_status = 503;
    fail_it(&r, bad);
    wait_notices(&r, bad, 1);
    call(&r, bad, "DELETE", "", NULL);
    away->notice_status = 0;
    wait_notices(&r, away, 1);
    rig_drop(notice(&r, away, 0)); /* its key went with it, the text is kept */
    wait_list(&r, 1, 0);
    rig_free(&r);
}

static void test_agents_are_not_told(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    r.conf.revocation_agents = false;
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    fail_it(&r, &r.guest[0]);
    wait_list(&r, 1, 0);
    assert_int_equal(r.guest[0].notices_asked, 0);
    rig_free(&r);
}

/* ---- unproven ---- */

static void by_hand(struct rig *r, const char *sql)
{
    char path[160];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/tenant.db", r->state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Keylime's add takes more metadata than a message holds: nobody's revocation waits for that. */
static void test_one_that_was_added_with_much(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *bad = &r.guest[0], *other = &r.guest[1];
    give_key(&r, bad);
    rig_stop(&r);
    by_hand(&r, "INSERT INTO keylime(uuid, given, stopped, attestations, last_quote, last_attestation)"
                " SELECT uuid, json_object('meta_data', hex(zeroblob(32750)), 'tpm_policy', '{\"mask\":0}'),"
                " 0, 0, 0, 0 FROM guests");
    rig_start(&r);
    fail_it(&r, bad);
    wait_notices(&r, other, 1);
    LT_JSON_AUTO json_t *msg = notice(&r, other, 0);
    assert_string_equal(text(msg, "agent_id"), bad->text);
    assert_string_equal(text(msg, "meta_data"), "{}");
    wait_list(&r, 1, 0);
    rig_free(&r);
}

static const char rebooted[] = "UPDATE verdicts SET boot = 'x', trusted_boot = 'x'";

/* All verdicts are of before, and past every deadline: that says nothing of the guests. */
static void test_a_reboot_revokes_nobody(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    rig_stop(&r);
    by_hand(&r, rebooted);
    rig_start(&r);
    for (int i = 0; i < 2; i++) {
        rig_ask(&r, &r.guest[i]);
        rig_wait(&r, &r.guest[i], "trusted");
    }
    wait_list(&r, 0, 0);
    assert_int_equal(r.guest[0].notices_asked + r.guest[1].notices_asked, 0);
    rig_free(&r);
}

static void test_unproven_and_lifted(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    r.conf.max_stale_s = 1;
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    rig_stop(&r);
    by_hand(&r, rebooted);
    struct rig_guest *g = &r.guest[0];
    g->mode = GUEST_FAILS;
    uint64_t t = lt_clock_ms();
    rig_start(&r);
    for (int i = 0; i < 3; i++) {
        unsigned asked = g->asked;
        rig_ask(&r, g);
        rig_wait_asked(g, asked + 1);
    }
    wait_list(&r, 1, 0);
    assert_true(lt_clock_ms() - t >= 1000); /* max_stale of this life */
    wait_notices(&r, g, 1);
    g->mode = GUEST_ANSWERS;
    rig_ask(&r, g);
    rig_wait(&r, g, "trusted");
    wait_list(&r, 2, 0);
    LT_JSON_AUTO json_t *j = rig_call(&r, "GET", "revocations", NULL, 200);
    const json_t *d = json_object_get(j, "revocations");
    assert_string_equal(text(json_array_get(d, 0), "kind"), "lifted");
    assert_string_equal(text(json_array_get(d, 1), "kind"), "unproven");
    assert_string_equal(text(json_array_get(d, 1), "reason"), "unproven");
    assert_int_equal(notices(&r, g), 1); /* lifting is no message of Keylime's */
    pthread_mutex_lock(&r.lock);
    assert_non_null(strstr(text(json_array_get(g->notices, 0), "msg"), "comm_error"));
    pthread_mutex_unlock(&r.lock);
    rig_free(&r);
}

static void test_unproven_by_policy(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    r.conf.max_stale_s = 1;
    r.conf.revoke_unproven = false;
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    r.guest[0].mode = GUEST_FAILS;
    for (int i = 0; i < 3; i++) {
        unsigned asked = r.guest[0].asked;
        rig_ask(&r, &r.guest[0]);
        rig_wait_asked(&r.guest[0], asked + 1);
        usleep(500000);
    }
    wait_list(&r, 0, 0);
    rig_free(&r);
}

/* ---- the authority ---- */

struct authority {
    struct lt_http_server *server;
    pthread_mutex_t lock;
    char said[256]; /* the end of each id and its state, in order */
    uint64_t first_ms;
    atomic_int status; /* answered; 0: none */
    atomic_uint asked;
};

static void put_state(struct lt_http_req *req, void *app)
{
    struct authority *a = app;
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, LT_NO_ERR);
    int status = a->status;

    pthread_mutex_lock(&a->lock);
    size_t n = strlen(a->said);
    if (status == 200)
        snprintf(a->said + n, sizeof a->said - n, "%s%.8s:%s", n ? " " : "", lt_http_req_arg(req, 0) + 28,
                 text(body, "state"));
    a->first_ms = a->first_ms ? a->first_ms : lt_clock_ms();
    a->asked++;
    pthread_mutex_unlock(&a->lock);
    lt_http_reply_json(req, status, json_object());
}

static const struct lt_http_route authority_routes[] = {
    LT_HTTP_ROUTE("PUT", "/ca/v1/guests/{}", LT_PEER_ROLE_TENANT, LT_MAX_BODY_SMALL, put_state),
};

static void issue(struct rig *r, const char *name, bool server)
{
    const char *const names[] = {"127.0.0.1", NULL};
    const struct lt_pki_subject s = {.common_name = name,
                                     .role = LT_PEER_ROLE_TENANT,
                                     .tenant_id = r->pki.tenant_id,
                                     .names = server ? names : NULL,
                                     .server = server,
                                     .client = true,
                                     .days = 30};

    OK(lt_pki_issue(r->pki.ca, r->pki.ca_key, &s, check_path(&r->pki, name, "crt"),
                    check_path(&r->pki, name, "key"), &err));
}

static void set(char **at, const char *value)
{
    free(*at);
    *at = strdup(value);
}

static void begin_with(struct rig *r, struct authority *a)
{
    char url[96];

    *a = (struct authority){.status = 200};
    pthread_mutex_init(&a->lock, NULL);
    rig_make(r);
    issue(r, "authority", true);
    issue(r, "caller", false);
    const struct lt_http_server_conf c = {.listen = "127.0.0.1:0",
                                          .cert = check_path(&r->pki, "authority", "crt"),
                                          .key = check_path(&r->pki, "authority", "key"),
                                          .client_ca = r->pki.ca,
                                          .routes = authority_routes,
                                          .route_count = 1,
                                          .app = a,
                                          .threads = 1};
    OK(lt_http_server_start(&c, &a->server, &err));
    snprintf(url, sizeof url, "https://%s", lt_http_server_address(a->server));
    set(&r->conf.ca_url, url);
    set(&r->conf.agent_cert, check_path(&r->pki, "caller", "crt"));
    set(&r->conf.agent_key, check_path(&r->pki, "caller", "key"));
}

static void said(struct authority *a, const char *want)
{
    pthread_mutex_lock(&a->lock);
    assert_string_equal(a->said, want);
    pthread_mutex_unlock(&a->lock);
}

/* Revoked and published before anybody is told; held and lifted as verdicts come and go. */
static void test_the_authority_first(void **state)
{
    struct rig r;
    struct authority a;
    (void)state;
    begin_with(&r, &a);
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    fail_it(&r, &r.guest[0]);
    wait_notices(&r, &r.guest[0], 1);
    assert_true(a.first_ms); /* it had been told */
    said(&a, "00000001:revoked");
    wait_list(&r, 1, 0);
    rig_stop(&r);
    rig_start(&r);
    wait_list(&r, 1, 0);
    said(&a, "00000001:revoked"); /* once */
    rig_free(&r);
    lt_http_server_stop(a.server);
}

static void test_an_authority_that_is_away(void **state)
{
    struct rig r;
    struct authority a;
    (void)state;
    begin_with(&r, &a);
    a.status = 503;
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    fail_it(&r, &r.guest[0]);
    uint64_t t = lt_clock_ms();
    wait_notices(&r, &r.guest[0], 1);
    assert_true(lt_clock_ms() - t < 2000); /* held back for a second */
    assert_true(a.asked >= 1);
    wait_list(&r, 1, 1);
    LT_JSON_AUTO json_t *j = rig_call(&r, "GET", "revocations", NULL, 200);
    assert_string_equal(text(json_array_get(json_object_get(j, "receivers"), 0), "receiver"), "ca");
    call(&r, &r.guest[0], "DELETE", "", NULL); /* the decision stands */
    a.status = 200;
    wait_list(&r, 1, 0);
    said(&a, "00000001:revoked");
    rig_free(&r);
    lt_http_server_stop(a.server);
}

static void test_held_and_lifted(void **state)
{
    struct rig r;
    struct authority a;
    (void)state;
    begin_with(&r, &a);
    r.conf.max_stale_s = 1;
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->mode = GUEST_FAILS;
    for (int i = 0; i < 4; i++) {
        unsigned asked = g->asked;
        rig_ask(&r, g);
        rig_wait_asked(g, asked + 1);
        usleep(400000);
    }
    wait_list(&r, 1, 0);
    said(&a, "00000001:held");
    g->mode = GUEST_ANSWERS;
    rig_ask(&r, g);
    rig_wait(&r, g, "trusted");
    wait_list(&r, 2, 0);
    said(&a, "00000001:held 00000001:good");
    rig_free(&r);
    lt_http_server_stop(a.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_hear_of_it),
        cmocka_unit_test(test_failed_cleared_failed_again),
        cmocka_unit_test(test_without_a_key),
        cmocka_unit_test(test_one_that_hangs_delays_nobody),
        cmocka_unit_test(test_the_tenant_is_stopped_meanwhile),
        cmocka_unit_test(test_one_without_that_path),
        cmocka_unit_test(test_removed_after_it_failed),
        cmocka_unit_test(test_agents_are_not_told),
        cmocka_unit_test(test_one_that_was_added_with_much),
        cmocka_unit_test(test_a_reboot_revokes_nobody),
        cmocka_unit_test(test_unproven_and_lifted),
        cmocka_unit_test(test_unproven_by_policy),
        cmocka_unit_test(test_the_authority_first),
        cmocka_unit_test(test_an_authority_that_is_away),
        cmocka_unit_test(test_held_and_lifted),
    };
    return cmocka_run_group_tests(tests, read_vectors, drop_vectors);
}
