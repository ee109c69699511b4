/* The CA's daemon over real sockets: who may say what to it, and the verifier's client of it. */
#include "cli/ca.h"

#include "common/file.h"
#include "common/pki/ca.h"
#include "common/pki/identity.h"
#include "common/pki/issue.h"
#include "common/run/log.h"
#include "residency/error.h"
#include "tests/support/http/http_check.h"
#include "tests/support/unit.h"
#include "verifier/ca_client.h"

#include <unistd.h>

#define GUEST "d432fbb3-d2f1-4a97-9ef7-75bd81c00000"

struct at {
    struct check_pki pki;
    char dir[96];
    struct lt_ca *ca;
    struct lt_cli_ca of;
    struct lt_work *work;
    struct lt_http_server *tls, *plain;
};

static struct lt_http_server *serve(struct at *a, const struct lt_http_route *routes, size_t count, bool tls)
{
    const struct lt_http_server_conf c = {.listen = "127.0.0.1:0",
                                          .cert = tls ? check_path(&a->pki, "ca-server", "crt") : NULL,
                                          .key = tls ? check_path(&a->pki, "ca-server", "key") : NULL,
                                          .client_ca = tls ? a->pki.ca : NULL,
                                          .routes = routes,
                                          .route_count = count,
                                          .error_body = lt_residency_error,
                                          .app = &a->of,
                                          .work = a->work,
                                          .threads = 1};
    struct lt_http_server *s;

    OK(lt_http_server_start(&c, &s, &err));
    return s;
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);

    check_pki_make(&a->pki);
    const struct lt_pki_subject server = {.common_name = "ca-server",
                                          .role = LT_PEER_ROLE_TENANT,
                                          .tenant_id = a->pki.tenant_id,
                                          .server = true,
                                          .days = CHECK_DAYS};
    OK(lt_pki_issue(a->pki.ca, a->pki.ca_key, &server, check_path(&a->pki, "ca-server", "crt"),
                    check_path(&a->pki, "ca-server", "key"), &err));
    snprintf(a->dir, sizeof a->dir, "%s-ca", a->pki.dir);
    OK(lt_ca_init(a->dir, "Guests", "http://127.0.0.1:1/guests.crl", 30, &err));
    OK(lt_ca_open(a->dir, &a->ca, &err));
    a->of.ca = a->ca;
    memcpy(a->of.tenant_id, a->pki.tenant_id, sizeof a->of.tenant_id);
    OK(lt_work_start(&(struct lt_work_conf){"test", 4, 0}, &a->work, &err));
    a->tls = serve(a, lt_cli_ca_routes, lt_cli_ca_route_count, true);
    a->plain = serve(a, lt_cli_ca_list_routes, lt_cli_ca_list_route_count, false);
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;
    char command[160];

    if (a->tls)
        lt_http_server_stop(a->tls);
    lt_http_server_stop(a->plain);
    lt_work_free(a->work);
    lt_ca_close(a->ca);
    snprintf(command, sizeof command, "rm -r '%s'", a->dir);
    assert_int_equal(system(command), 0);
    check_pki_remove(&a->pki);
    free(a);
    return 0;
}

static struct lt_ca_client *client(struct at *a, const char *who)
{
    char url[80];
    struct lt_ca_client *c;

    snprintf(url, sizeof url, "https://%s", lt_http_server_address(a->tls));
    OK(lt_ca_client_new(&(struct lt_ca_client_conf){.url = url,
                                                    .cert = check_path(&a->pki, who, "crt"),
                                                    .key = check_path(&a->pki, who, "key"),
                                                    .ca = a->pki.ca},
                        &c, &err));
    return c;
}

static const char *state_of(struct at *a, size_t i)
{
    LT_JSON_AUTO json_t *all = NULL;
    enum lt_ca_state s;

    OK(lt_ca_certificates(a->ca, &all, &err));
    OK(lt_ca_state_by_name(json_string_value(json_object_get(json_array_get(all, i), "state")), &s, &err));
    return lt_ca_state_name(s);
}

static void test_routes_are_closed(void **state)
{
    struct at *a = *state;

    check_routes_are_closed(&a->pki, lt_http_server_address(a->tls), lt_cli_ca_routes, lt_cli_ca_route_count);
}

static void test_a_verifier_tells(void **state)
{
    struct at *a = *state;
    struct lt_ca_client *tenant = client(a, "tenant"), *host = client(a, "host");
    struct lt_pki_made made;
    const struct lt_ca_request r = {.guest = GUEST, .days = 1};

    OK(lt_ca_issue(a->ca, &r, &made, &err));
    OK(lt_ca_client_tell(tenant, GUEST, LT_CA_HELD, 5000, &err));
    assert_string_equal(state_of(a, 0), "held");
    OK(lt_ca_client_tell(tenant, GUEST, LT_CA_GOOD, 5000, &err));
    assert_string_equal(state_of(a, 0), "good");
    FAILS(LT_E_UNREACHABLE, lt_ca_client_tell(host, GUEST, LT_CA_REVOKED, 5000, &err));
    assert_string_equal(state_of(a, 0), "good");
    OK(lt_ca_client_tell(tenant, "D432FBB3-d2f1-4a97-9ef7-75bd81c00000", LT_CA_REVOKED, 5000, &err));
    assert_string_equal(state_of(a, 0), "revoked");
    OK(lt_ca_client_tell(tenant, "nobody-has.one", LT_CA_REVOKED, 5000, &err));
    FAILS(LT_E_INTERNAL, lt_ca_client_tell(tenant, "../x", LT_CA_REVOKED, 5000, &err));
    lt_http_server_stop(a->tls);
    a->tls = NULL;
    FAILS(LT_E_UNREACHABLE, lt_ca_client_tell(tenant, GUEST, LT_CA_REVOKED, 1000, &err));
    lt_ca_client_free(tenant);
    lt_ca_client_free(host);
    lt_pki_made_free(&made);
}

/* Another tenant under the same CA: neither his word nor his look. */
static void test_another_tenant(void **state)
{
    struct at *a = *state;
    const uint8_t id[16] = {0x77};
    const struct lt_pki_subject other = {.common_name = "other",
                                         .role = LT_PEER_ROLE_TENANT,
                                         .tenant_id = id,
                                         .client = true,
                                         .days = CHECK_DAYS};
    struct lt_peer who;

    OK(lt_pki_issue(a->pki.ca, a->pki.ca_key, &other, check_path(&a->pki, "other", "crt"),
                    check_path(&a->pki, "other", "key"), &err));
    struct lt_http_client *c = check_client(&a->pki, "other");
    const char *at = lt_http_server_address(a->tls);
    free(check_status(c, "PUT", at, "/ca/v1/guests/" GUEST, "{\"state\": \"revoked\"}", 403));
    free(check_status(c, "GET", at, "/ca/v1/certificates", NULL, 403));
    lt_http_client_free(c);
    OK(lt_identity_peer("cert", check_path(&a->pki, "other", "crt"), &who, &err));
    assert_memory_equal(who.tenant_id, id, sizeof id);
    FAILS(LT_E_CONFIG, lt_identity_peer("cert", check_path(&a->pki, "other", "key"), &who, &err));
    FAILS(LT_E_UNAUTHENTICATED, lt_identity_peer("cert", a->pki.ca, &who, &err));
}

static void test_bad_words(void **state)
{
    static const struct {
        const char *path, *body;
        int status;
    } rows[] = {
        {"/ca/v1/guests/" GUEST, "{\"state\": \"good\"}", 200},
        {"/ca/v1/guests/" GUEST, "{\"state\": \"gone\"}", 400},
        {"/ca/v1/guests/" GUEST, "{\"state\": 1}", 400},
        {"/ca/v1/guests/" GUEST, "{}", 400},
        {"/ca/v1/guests/" GUEST, "[]", 400},
        {"/ca/v1/guests/" GUEST, "{\"state\": \"good\", \"serial\": \"00\"}", 400},
        {"/ca/v1/guests/a%20b", "{\"state\": \"good\"}", 400},
        {"/ca/v1/guests/..%2f", "{\"state\": \"good\"}", 400},
        {"/ca/v1/guests", "{\"state\": \"good\"}", 404},
    };
    struct at *a = *state;
    struct lt_http_client *c = check_client(&a->pki, "operator");

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        free(check_status(c, "PUT", lt_http_server_address(a->tls), rows[i].path, rows[i].body,
                          rows[i].status));
    free(check_status(c, "GET", lt_http_server_address(a->tls), "/ca/v1/certificates", NULL, 200));
    lt_http_client_free(c);
}

static void fetch(struct at *a, const char *path, int status, const char *begins, size_t n)
{
    const struct lt_http_client_conf conf = {.allow_plain = true};
    struct lt_http_reply reply = {0};
    struct lt_http_client *c;
    char url[128];

    OK(lt_http_client_new(&conf, &c, &err));
    snprintf(url, sizeof url, "http://%s%s", lt_http_server_address(a->plain), path);
    OK(lt_http_call(c, &(struct lt_http_request){.method = "GET", .url = url}, &reply, &err));
    assert_int_equal(reply.status, status);
    assert_true(reply.n > n && !memcmp(reply.body, begins, n));
    free((char *)reply.body);
    lt_http_client_free(c);
}

static void test_anybody_fetches_the_list(void **state)
{
    struct at *a = *state;

    fetch(a, "/guests.crl", 200, "\x30", 1);
    fetch(a, "/guests-ca.crt", 200, "-----BEGIN CERTIFICATE-----", 27);
    fetch(a, "/guests-ca.key", 404, "{", 1);
    fetch(a, "/ca/v1/certificates", 404, "{", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_routes_are_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_verifier_tells, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_tenant, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_anybody_fetches_the_list, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
