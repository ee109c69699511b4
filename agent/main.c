/* limetree-agent: wires the roles to the daemon's frame and the one-shot commands to the host's. */
#include "agent/guest.h"
#include "agent/host.h"
#include "agent/leaks.h"
#include "common/run/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int start(void *arg, json_t **ready, struct lt_err *e)
{
    struct lt_agent_conf *c = arg;
    struct lt_agent_options o;

    LT_TRY(lt_agent_options(c, &o, e));
    return o.host ? lt_agent_host_start(c, &o, (struct lt_agent_host **)&c->running, ready, e)
                  : lt_guest_start(c, &o, (struct lt_agent_guest **)&c->running, ready, e);
}

static int check(void *arg, bool alone, struct lt_err *e)
{
    return lt_agent_check(arg, alone, e);
}

static void reload(void *arg)
{
    struct lt_agent_conf *c = arg;

    if (!strcmp(c->role, "host"))
        lt_agent_host_reload(c->running);
}

static void stop(void *arg)
{
    struct lt_agent_conf *c = arg;

    if (!strcmp(c->role, "host"))
        lt_agent_host_stop(c->running);
    else
        lt_guest_stop(c->running);
}

static const struct command {
    const char *flag;
    int (*run)(const struct lt_agent_conf *, const struct lt_agent_options *, json_t **, struct lt_err *);
} commands[] = {
    {"--anchor", lt_agent_host_anchor},
    {"--identity", lt_agent_host_identity},
    {"--inventory", lt_agent_host_inventory},
    {"--check-seals", lt_agent_leaks_command},
};

static const struct command *find_command(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
            if (!strcmp(argv[i], commands[k].flag))
                return &commands[k];
    return NULL;
}

/* Names of domains are not ours. */
static void print_string(const char *s)
{
    for (; *s; s++)
        putchar(*s < ' ' || *s > '~' ? '?' : *s);
    putchar('\n');
}

/* Lists (an inventory's domains) one object after the other, indented. */
static void print_text(const json_t *j, int indent)
{
    const char *key;
    json_t *value, *one;
    size_t i;

    json_object_foreach((json_t *)j, key, value)
    {
        printf("%*s%-*s ", indent, "", indent ? 11 : 10, key);
        if (json_is_array(value))
            printf("%zu\n", json_array_size(value));
        else if (json_is_integer(value))
            printf("%lld\n", (long long)json_integer_value(value));
        else if (json_is_boolean(value))
            print_string(json_is_true(value) ? "yes" : "no");
        else
            print_string(json_is_string(value) ? json_string_value(value) : "-");
        json_array_foreach(value, i, one)
        {
            print_text(one, indent + 2);
            putchar('\n');
        }
    }
}

/* limetree-agent --COMMAND [--json] [--config FILE] [-o key=value]… */
static int one_shot(const struct command *command, int argc, char **argv, struct lt_agent_conf *c,
                    const char *config, struct lt_err *e)
{
    const char *overrides[64 + 1] = {0};
    LT_JSON_AUTO json_t *result = NULL;
    struct lt_agent_options o;
    bool json = false;
    int n = 0;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], command->flag))
            continue;
        if (!strcmp(argv[i], "--json"))
            json = true;
        else if (!strcmp(argv[i], "--config") && i + 1 < argc)
            config = argv[++i];
        else if (!strcmp(argv[i], "-o") && i + 1 < argc && n < 64)
            overrides[n++] = argv[++i];
        else
            return lt_fail(e, LT_E_USAGE, "%s: unexpected argument '%s'", command->flag, argv[i]);
    }
    int rc = lt_conf_load(lt_agent_keys, lt_agent_key_count, c, config, overrides, e);
    if (!rc)
        rc = lt_agent_options(c, &o, e);
    if (!rc && !o.host)
        rc = lt_fail(e, LT_E_USAGE, "%s: for role = host only", command->flag);
    if (!rc)
        rc = lt_log_open("limetree-agent", "-", LT_LOG_WARNING, e);
    if (!rc)
        rc = command->run(c, &o, &result, e);
    if (!result)
        return rc;
    LT_AUTOFREE char *text = json ? lt_json_pretty(result) : NULL;
    if (json)
        fputs(text, stdout);
    else
        print_text(result, 0);
    return rc;
}

int main(int argc, char **argv)
{
    static const char config[] = "/etc/limetree/agent.conf";
    static struct lt_agent_conf conf;
    const struct lt_daemon daemon = {
        .program = "limetree-agent",
        .summary = "attests the machine it runs on by its TPM. With role = host also: --anchor, --identity, "
                   "--inventory, --check-seals (status 1: something does not hold), each with --json",
        .config = config,
        .keys = lt_agent_keys,
        .key_count = lt_agent_key_count,
        .conf = &conf,
        .start = start,
        .reload = reload,
        .stop = stop,
        .check = check,
        .unchecked = "the TPM, libvirt, whether the registrar answers",
    };
    const struct command *command = find_command(argc, argv);
    struct lt_err e = {0};

    /* Our own messages name the command and the code; the TSS's would only repeat them on standard error. */
    setenv("TSS2_LOG", "all+NONE", 0);
    if (!command) {
        int status = lt_daemon_main(&daemon, argc, argv);
        return status ? status : conf.exit_code;
    }
    lt_daemon_no_core_dumps();
    signal(SIGPIPE, SIG_IGN);
    int rc = one_shot(command, argc, argv, &conf, access(config, R_OK) ? NULL : config, &e);
    if (rc)
        fprintf(stderr, "limetree-agent: %s\n", e.msg);
    lt_conf_free(lt_agent_keys, lt_agent_key_count, &conf);
    return lt_err_exit(rc);
}
