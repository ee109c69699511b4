/* docs/api.md lists exactly the routes that a program serves, with who may call them. Built once for each
 * room that has such a table. */
#if defined LT_ROOM_agent
#include "agent/host_api.h"
#include "agent/local_api.h"
#elif defined LT_ROOM_provider
#include "provider/provider.h"
#else
#include "tenant/tenant.h"
#endif
#include "tests/support/unit.h"

#include "common/file.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ROUTES 64

static struct {
    char name[ROUTES][96]; /* "GET hosts/{}/ima" */
    unsigned roles[ROUTES];
    size_t n;
} listed;

static unsigned roles_named(const char *cell)
{
    return (strstr(cell, "tenant") ? LT_PEER_ROLE_TENANT : 0) |
           (strstr(cell, "operator") ? LT_PEER_ROLE_OPERATOR : 0) |
           (strstr(cell, "Keylime's admin") ? LT_PEER_ROLE_KEYLIME_ADMIN : 0) |
           (strstr(cell, "any certificate") ? LT_HTTP_MAY_TRUSTED : 0);
}

/* One `METHOD path`: what stands in braces becomes {}, and a query is not part of a route. */
static void add_route(const char *p, unsigned roles)
{
    char *out = listed.name[listed.n], *end = out + sizeof *listed.name - 1;

    assert_true(listed.n < ROUTES);
    for (bool inside = false; *p && *p != '`' && *p != '?'; p++) {
        inside = inside && *p != '}';
        if (!inside && out < end)
            *out++ = *p;
        inside = inside || *p == '{';
    }
    *out = 0;
    listed.roles[listed.n++] = roles;
}

/* A row of a table: the routes in its first cell, who may call them in the second if the table tells. */
static void add_row(char *row, bool has_who, unsigned roles)
{
    char *first = row + 1, *bar = strchr(first, '|');

    assert_non_null(bar);
    *bar = 0;
    char *second = bar + 1;
    *strchr(second, '|') = 0;
    for (char *p = first; (p = strchr(p, '`')); p = strchr(p + 1, '`') + 1)
        if (isupper((unsigned char)p[1]))
            add_route(p + 1, has_who ? roles_named(second) : roles);
}

/* The rows below "## SECTION". */
static void read_section(const char *section, bool has_who, unsigned roles)
{
    uint8_t *text;
    size_t n;
    bool here = false;

    listed.n = 0;
    OK(lt_file_read(LT_SOURCE_DIR "/docs/api.md", 1 << 20, &text, &n, &err));
    char *rest = (char *)text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (!strncmp(line, "## ", 3))
            here = !strncmp(line + 3, section, strlen(section));
        else if (here && !strncmp(line, "| `", 3))
            add_row(line, has_who, roles);
    }
    free(text);
}

#define FEDERATION "/federation/v1/"
#define KEYLIME "/{}/" /* the version */
#define LOCAL "/local/v1/"

static bool begins(const struct lt_http_route *r, const char *base)
{
    return !strncmp(r->path, base, strlen(base));
}

/* Those routes that begin with base; KEYLIME: all but the federation's, which may also be whole paths. */
static void compare(const struct lt_http_route *routes, size_t count, const char *base)
{
    bool keylime = !strcmp(base, KEYLIME);

    for (size_t i = 0; i < count; i++) {
        char name[96];
        size_t k = 0;
        if (keylime ? begins(&routes[i], FEDERATION) : !begins(&routes[i], base))
            continue;
        snprintf(name, sizeof name, "%s %s", routes[i].method,
                 routes[i].path + (begins(&routes[i], base) ? strlen(base) : 0));
        while (k < listed.n && strcmp(listed.name[k], name))
            k++;
        if (k == listed.n)
            fail_msg("docs/api.md does not list %s", name);
        if (listed.roles[k] != routes[i].access)
            fail_msg("docs/api.md names others for %s: 0x%x, not 0x%x", name, listed.roles[k],
                     routes[i].access);
        listed.name[k][0] = 0;
    }
    for (size_t k = 0; k < listed.n; k++)
        if (listed.name[k][0])
            fail_msg("docs/api.md lists %s, which nobody serves", listed.name[k]);
}

static void documented(void **state)
{
    size_t count;
    const struct lt_http_route *routes;

    (void)state;
#if defined LT_ROOM_agent
    read_section("Host agent, local socket", false, LT_HTTP_MAY_LOCAL);
    compare(lt_agent_local_routes, lt_agent_local_route_count, LOCAL);
    read_section("Host agent (", false, LT_PEER_ROLE_PROVIDER);
    routes = lt_agent_host_routes;
    count = lt_agent_host_route_count;
#elif defined LT_ROOM_provider
    read_section("Provider", true, 0);
    routes = lt_provider_routes(&count);
#else
    read_section("Tenant", false, LT_PEER_ROLE_OPERATOR);
    routes = lt_tenant_routes;
    count = lt_tenant_route_count;
#endif
    compare(routes, count, FEDERATION);
#if defined LT_ROOM_tenant
    read_section("Keylime's verifier API", true, 0);
    compare(routes, count, KEYLIME);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
