#include "provider/provider.h"

static struct lt_provider *provider;
static struct lt_provider_conf conf;

static int start(void *c, json_t **ready, struct lt_err *e)
{
    int rc = lt_provider_start(c, &provider, e);
    if (!rc)
        *ready = json_pack("{s:s}", "listen", lt_http_server_address(provider->server));
    return rc;
}

static int check(void *c, bool alone, struct lt_err *e)
{
    return lt_provider_check(c, alone, e);
}

static void reload(void *c)
{
    (void)c;
    lt_provider_reload(provider);
}

static void stop(void *c)
{
    (void)c;
    lt_provider_stop(provider);
}

int main(int argc, char **argv)
{
    const struct lt_daemon d = {
        .program = "limetree-provider",
        .summary = "the provider verifier: enrols hosts and gives tenants proofs, one host quote for many",
        .config = "/etc/limetree/provider.conf",
        .keys = lt_provider_keys,
        .key_count = lt_provider_key_count,
        .conf = &conf,
        .start = start,
        .reload = reload,
        .stop = stop,
        .check = check,
        .unchecked = "whether hosts answer",
    };
    return lt_daemon_main(&d, argc, argv);
}
