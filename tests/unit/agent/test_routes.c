/* Who may call the agent: each route as nobody and in every wrong role; none without a rule for trusted
 * peers. */
#include "agent/guest_routes.h"
#include "agent/host_api.h"
#include "agent/local_api.h"
#include "tests/support/http/http_check.h"
#include "tests/support/unit.h"

static void closed(const struct lt_http_route *routes, size_t count, unsigned rule)
{
    struct check_pki pki;
    struct lt_http_server *server;
    struct lt_work *work;

    for (size_t i = 0; i < count; i++)
        assert_int_equal(routes[i].access, rule);
    check_pki_make(&pki);
    OK(lt_work_start(&(struct lt_work_conf){"test", 1, 0}, &work, &err));
    const struct lt_http_server_conf conf = {
        .listen = "127.0.0.1:0",
        .cert = check_path(&pki, "server", "crt"),
        .key = check_path(&pki, "server", "key"),
        .client_ca = pki.ca,
        .routes = routes,
        .route_count = count,
        .work = work,
    };
    OK(lt_http_server_start(&conf, &server, &err));
    check_routes_are_closed(&pki, lt_http_server_address(server), routes, count);
    lt_http_server_stop(server);
    lt_work_free(work);
    check_pki_remove(&pki);
}

static void host_routes_are_the_providers(void **state)
{
    (void)state;
    closed(lt_agent_host_routes, lt_agent_host_route_count, LT_PEER_ROLE_PROVIDER);
}

static void guest_routes_need_the_tenants_ca(void **state)
{
    (void)state;
    closed(lt_agent_guest_routes, lt_agent_guest_route_count, LT_HTTP_MAY_TRUSTED);
}

/* The same server over TCP has them for nobody: only a UNIX socket tells whose user calls. */
static void local_routes_are_nobodys_over_tcp(void **state)
{
    (void)state;
    closed(lt_agent_local_routes, lt_agent_local_route_count, LT_HTTP_MAY_LOCAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_routes_are_the_providers),
        cmocka_unit_test(guest_routes_need_the_tenants_ca),
        cmocka_unit_test(local_routes_are_nobodys_over_tcp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
