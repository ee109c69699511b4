#include "tenant/tenant.h"

#include <malloc.h>

static struct lt_tenant *tenant;
static struct lt_tenant_conf conf;

static int start(void *c, json_t **ready, struct lt_err *e)
{
    int rc = lt_tenant_start(c, &tenant, e);
    if (!rc)
        *ready = json_pack("{s:s, s:s, s:s}", "listen", lt_http_server_address(tenant->server),
                           "registrar_listen", lt_registrar_address(tenant->registrar),
                           "registrar_tls_listen", lt_registrar_tls_address(tenant->registrar));
    if (!rc && lt_revocation_zeromq(tenant->revocation))
        json_object_set_new(*ready, "revocation_zeromq",
                            json_string(lt_revocation_zeromq(tenant->revocation)));
    return rc;
}

static int check(void *c, bool alone, struct lt_err *e)
{
    return lt_tenant_check(c, alone, e);
}

static void reload(void *c)
{
    (void)c;
    lt_tenant_reload(tenant);
}

static void stop(void *c)
{
    (void)c;
    lt_tenant_stop(tenant);
}

/* glibc's threshold would rise with the first large answer, and what others leave behind then stays in the
 * heap: memory_limit_mib is about what the process has, not about what it uses. */
#define MAPPED (128 << 10)

int main(int argc, char **argv)
{
    const struct lt_daemon d = {
        .program = "limetree-tenant",
        .summary =
            "the tenant verifier: registers a tenant's guests and proves where they run, round by round",
        .config = "/etc/limetree/tenant.conf",
        .keys = lt_tenant_keys,
        .key_count = lt_tenant_key_count,
        .conf = &conf,
        .start = start,
        .reload = reload,
        .stop = stop,
        .check = check,
        .unchecked = "whether the provider answers",
    };
    mallopt(M_MMAP_THRESHOLD, MAPPED);
    mallopt(M_ARENA_MAX, 2);
    return lt_daemon_main(&d, argc, argv);
}
