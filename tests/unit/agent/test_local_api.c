/* What the local routes make of a request: its members, its domain, and how a refusal is told. */
#include "agent/local_api.h"
#include "common/alloc.h"
#include "common/http/client.h"
#include "residency/error.h"
#include "tests/support/unit.h"

#include <unistd.h>

#define ID "11111111-2222-4333-8444-555555555555"

static char dir[64], path[96], got[256];
static int outcome; /* of the next call */

static int answer(json_t **out, struct lt_err *e)
{
    if (outcome)
        return lt_fail(e, outcome, "the cause, in words");
    *out = json_pack("{s:s}", "uuid", ID);
    return 0;
}

static void heard(const char *what, const uint8_t uuid[LT_UUID], const char *more)
{
    char id[LT_UUID_TEXT];

    lt_uuid_format(uuid, id);
    snprintf(got, sizeof got, "%s %s %s", what, id, more);
}

int lt_agent_domains_define(struct lt_agent_domains *d, const char *xml, bool autostart, json_t **out,
                            struct lt_err *e)
{
    (void)d;
    snprintf(got, sizeof got, "define %s%s", xml, autostart ? " autostart" : "");
    return answer(out, e);
}

int lt_agent_domains_provision(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], const char *escrow,
                               bool convert, json_t **out, struct lt_err *e)
{
    char more[64];

    (void)d;
    snprintf(more, sizeof more, "%s%s", escrow ? escrow : "-", convert ? " convert" : "");
    heard("provision", uuid, more);
    return answer(out, e);
}

int lt_agent_domains_launch(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool paused,
                            json_t **out, struct lt_err *e)
{
    (void)d;
    heard("start", uuid, paused ? "paused" : "");
    return answer(out, e);
}

int lt_agent_domains_pin(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool clear, json_t **out,
                         struct lt_err *e)
{
    (void)d;
    heard("pin", uuid, clear ? "clear" : "");
    return answer(out, e);
}

int lt_agent_domains_hook(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID],
                          enum lt_agent_domains_hook what, const char *xml, struct lt_err *e)
{
    static const char *const names[] = {"prepare", "started", "release"};

    (void)d;
    heard(names[what], uuid, xml);
    return outcome ? lt_fail(e, outcome, "the cause, in words") : 0;
}

json_t *lt_agent_seal_json(struct lt_agent_seal *s)
{
    (void)s;
    return json_pack("{s:s}", "state", "open");
}

json_t *lt_inventory_report(struct lt_vtpm_inventory *inv)
{
    (void)inv;
    return json_pack("{s:b}", "ready", 1);
}

/* ---- frame ---- */

static struct lt_work *work;
static struct lt_http_server *server;
static struct lt_http_client *client;

static int setup(void **state)
{
    static struct lt_agent_local_api api;
    const char *tmp = getenv("TMPDIR");
    char listen[112];

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-api-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sock", dir);
    snprintf(listen, sizeof listen, "unix:%s", path);
    OK(lt_work_start(&(struct lt_work_conf){"test", 2, 16}, &work, &err));
    const struct lt_http_server_conf conf = {
        .listen = listen,
        .error_body = lt_residency_error,
        .routes = lt_agent_local_routes,
        .route_count = lt_agent_local_route_count,
        .app = &api,
        .work = work,
        .threads = 1,
    };
    OK(lt_http_server_start(&conf, &server, &err));
    OK(lt_http_client_new(&(struct lt_http_client_conf){.allow_plain = true, .socket = path}, &client, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lt_http_client_free(client);
    lt_work_stop(work);
    lt_http_server_stop(server);
    lt_work_free(work);
    return rmdir(dir);
}

/* The status; *body (may be NULL): free. */
static int call(const char *method, const char *where, const char *text, char **body)
{
    struct lt_http_reply reply = {0};
    char url[160];

    got[0] = 0;
    snprintf(url, sizeof url, "http://agent/local/v1/%s", where);
    const struct lt_http_request r = {
        .method = method, .url = url, .body = text, .body_n = text ? strlen(text) : 0};
    OK(lt_http_call(client, &r, &reply, &err));
    if (body)
        *body = (char *)reply.body;
    else
        free((char *)reply.body);
    return reply.status;
}

/* ---- tests ---- */

static void what_is_asked_is_what_is_done(void **state)
{
    static const struct {
        const char *where, *body;
        int status;
        const char *heard;
    } calls[] = {
        {"domains", "{\"xml\":\"<domain/>\"}", 201, "define <domain/>"},
        {"domains", "{\"xml\":\"<domain/>\",\"autostart\":true}", 201, "define <domain/> autostart"},
        {"domains/" ID "/provision", "{}", 200, "provision " ID " -"},
        {"domains/" ID "/provision", "{\"escrow\":\"PEM\",\"convert\":true}", 200,
         "provision " ID " PEM convert"},
        {"domains/" ID "/start", "{}", 200, "start " ID " "},
        {"domains/" ID "/start", "{\"paused\":true}", 200, "start " ID " paused"},
        {"domains/" ID "/pin", "{\"clear\":true}", 200, "pin " ID " clear"},
        {"hook", "{\"uuid\":\"" ID "\",\"operation\":\"prepare\",\"xml\":\"x\"}", 200, "prepare " ID " x"},
        {"hook", "{\"uuid\":\"" ID "\",\"operation\":\"started\",\"xml\":\"x\"}", 200, "started " ID " x"},
        {"hook", "{\"uuid\":\"" ID "\",\"operation\":\"release\",\"xml\":\"x\"}", 200, "release " ID " x"},
    };

    (void)state;
    outcome = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        assert_int_equal(call("POST", calls[i].where, calls[i].body, NULL), calls[i].status);
        assert_string_equal(got, calls[i].heard);
    }
    assert_int_equal(call("GET", "vault", NULL, NULL), 200);
    assert_int_equal(call("GET", "inventory", NULL, NULL), 200);
}

static void nonsense_reaches_nobody(void **state)
{
    static const struct {
        const char *where, *body;
    } bad[] = {
        {"domains", "{}"},
        {"domains", "{\"xml\":7}"},
        {"domains", "{\"xml\":\"<domain/>\",\"autostart\":1}"},
        {"domains", "{\"xml\":\"<domain/>\",\"more\":true}"},
        {"domains", "[]"},
        {"domains/1111/start", "{}"},
        {"domains/" ID "x/provision", "{}"},
        {"domains/" ID "/provision", "{\"convert\":\"yes\"}"},
        {"domains/" ID "/provision", "{\"escrow\":[]}"},
        {"domains/" ID "/start", "{\"clear\":true}"},
        {"domains/" ID "/start", ""},
        {"domains/" ID "/pin", "{\"paused\":true}"},
        {"hook", "{\"uuid\":\"" ID "\",\"operation\":\"stopped\",\"xml\":\"x\"}"},
        {"hook", "{\"uuid\":\"1\",\"operation\":\"prepare\",\"xml\":\"x\"}"},
        {"hook", "{\"uuid\":\"" ID "\",\"operation\":\"prepare\"}"},
    };

    (void)state;
    outcome = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int status = call("POST", bad[i].where, bad[i].body, NULL);
        if (status != 400 || *got)
            fail_msg("%s %s: %d, %s", bad[i].where, bad[i].body, status, got);
    }
}

/* The operator is told what of his own is wrong; who may come again, when. */
static void refusals_are_told_whole(void **state)
{
    static const struct {
        int code, status;
        const char *slug;
    } codes[] = {
        {LT_E_STATE_PLAIN, 409, "state-plain"},
        {LT_E_DOMAIN_UNPINNED, 409, "domain-unpinned"},
        {LT_E_VAULT_LOCKED, 409, "vault-locked"},
        {LT_E_NOT_FOUND, 404, "not-found"},
        {LT_E_CONFIG, 422, "refused"},
        {LT_E_IO, 422, "refused"},
        {LT_E_VAULT_BUSY, 503, "vault-busy"},
        {LT_E_UNREACHABLE, 503, "unreachable"},
    };
    char *body;

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        outcome = codes[i].code;
        assert_int_equal(call("POST", "domains/" ID "/start", "{}", &body), codes[i].status);
        assert_non_null(strstr(body, codes[i].slug));
        assert_non_null(strstr(body, "the cause, in words"));
        assert_int_equal(strstr(body, "\"retry_after\":1") != NULL, codes[i].status == 503);
        free(body);
        assert_int_equal(
            call("POST", "hook", "{\"uuid\":\"" ID "\",\"operation\":\"prepare\",\"xml\":\"x\"}", NULL),
            codes[i].status);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_asked_is_what_is_done),
        T(nonsense_reaches_nobody),
        T(refusals_are_told_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
