/* limetree revocation: what a tenant decided against guests (a provider against hosts: limetree host
 * revocations), and who has not heard of it yet. */
#include "cli/cli.h"
#include "cli/client.h"
#include "common/run/clock.h"

#include <stdio.h>
#include <string.h>

static const char *when(const json_t *o, const char *key, char out[32])
{
    const json_t *at = json_object_get(o, key);

    snprintf(out, 32, "-");
    if (json_is_integer(at))
        lt_clock_wall_text(json_integer_value(at), out);
    return out;
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static void print_decisions(const json_t *decisions, const char *whom)
{
    const char *const heading[] = {"number", whom, "decided", "decision", "reason", "not told"};
    struct lt_cli_table *t = lt_cli_table_new(sizeof heading / sizeof *heading);
    char at[32];
    json_t *d;
    size_t i;

    for (size_t k = 0; k < sizeof heading / sizeof *heading; k++)
        lt_cli_table_cell(t, "%s", heading[k]);
    json_array_foreach(decisions, i, d)
    {
        lt_cli_table_cell(t, "%lld", number(d, "number"));
        lt_cli_table_cell(t, "%s", lt_cli_text(d, whom));
        lt_cli_table_cell(t, "%s", when(d, "decided", at));
        lt_cli_table_cell(t, "%s", lt_cli_text(d, "kind"));
        lt_cli_table_cell(t, "%s", lt_cli_text(d, "reason"));
        lt_cli_table_cell(t, "%lld", number(d, "waiting"));
    }
    lt_cli_table_print(t);
}

/* Those who lack something: a sentence each. */
static void print_receivers(const json_t *receivers)
{
    char since[32];
    json_t *r;
    size_t i;

    json_array_foreach(receivers, i, r)
    {
        printf("%s: lacks %lld", lt_cli_text(r, "receiver"), number(r, "behind"));
        if (number(r, "tries"))
            printf(", fails since %s (%lld tries): %s%s", when(r, "since", since), number(r, "tries"),
                   lt_cli_text(r, "error"),
                   json_is_true(json_object_get(r, "dead")) ? " -- dead, and tried on" : "");
        printf("\n");
    }
}

int lt_cli_revocations(struct lt_cli *c, bool hosts, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j =
        lt_cli_call(c, hosts ? LT_CLI_PROVIDER : LT_CLI_TENANT, "GET", 200, NULL, e, "revocations");
    json_t *decisions, *receivers;

    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    LT_TRY(lt_json_array(j, "revocations", SIZE_MAX, &decisions, e));
    LT_TRY(lt_json_array(j, "receivers", SIZE_MAX, &receivers, e));
    print_decisions(decisions, hosts ? "host" : "guest");
    print_receivers(receivers);
    return 0;
}

static int list(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_revocations(c, false, e);
}

static const struct lt_cli_verb verbs[] = {
    {"list", "", "what was decided, the newest first, and who has not confirmed it", 0, 0, 0, list},
};

int lt_cli_cmd_revocation(int argc, char **argv)
{
    return lt_cli_main("limetree revocation", verbs, sizeof verbs / sizeof *verbs, argc, argv);
}
