/* limetree host: hosts of a provider (operator of the federation), and as a tenant sees them. */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/hostvault.h"
#include "cli/view.h"
#include "common/file.h"
#include "tpm/certs.h"

#include <stdio.h>
#include <string.h>

static void last_quote(const json_t *h, char out[32])
{
    const json_t *age = json_object_get(h, "last_quote_age_ms");

    if (json_is_integer(age))
        snprintf(out, 32, "%lld s ago", (long long)json_integer_value(age) / 1000);
    else
        snprintf(out, 32, "none yet");
}

/* Below the table: what its words do not say. */
static void print_troubles(const json_t *hosts)
{
    json_t *h;
    size_t i;

    json_array_foreach(hosts, i, h)
    {
        const json_t *error = json_object_get(h, "error");
        if (json_is_object(error))
            printf("%s: %s: %s\n", lt_cli_text(h, "host"), lt_cli_text(error, "slug"),
                   lt_cli_text(error, "message"));
    }
}

static int list(struct lt_cli *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "hosts");
    json_t *hosts, *h;
    size_t i;

    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    LT_TRY(lt_json_array(j, "hosts", SIZE_MAX, &hosts, e));
    static const char *const heading[] = {"host",  "address",    "verdict", "reason",
                                          "state", "last quote", "guests",  "policy"};
    struct lt_cli_table *t = lt_cli_table_new(sizeof heading / sizeof *heading);
    for (size_t k = 0; k < sizeof heading / sizeof *heading; k++)
        lt_cli_table_cell(t, "%s", heading[k]);
    json_array_foreach(hosts, i, h)
    {
        lt_cli_table_cell(t, "%s", lt_cli_text(h, "host"));
        lt_cli_table_cell(t, "%s", lt_cli_text(h, "address"));
        const json_t *v = json_object_get(h, "verdict");
        lt_cli_table_cell(t, "%s", json_is_object(v) ? lt_cli_text(v, "result") : "(no round yet)");
        lt_cli_table_cell(t, "%s", lt_cli_text(v, "reason"));
        char quoted[32];
        last_quote(h, quoted);
        lt_cli_table_cell(t, "%s", lt_cli_text(h, "state"));
        lt_cli_table_cell(t, "%s", quoted);
        lt_cli_table_cell(t, "%lld", (long long)json_integer_value(json_object_get(h, "guests")));
        const char *policy = lt_cli_text(h, "policy");
        lt_cli_table_cell(t, "%.16s",
                          policy[strspn(policy, "0")] ? policy : "-"); /* zeros: none is published */
    }
    lt_cli_table_print(t);
    print_troubles(hosts);
    return 0;
}

static void print_verdict(const json_t *v)
{
    char how_old[32];

    if (!json_is_object(v)) {
        printf("  no round yet\n");
        return;
    }
    const char *reason = json_string_value(json_object_get(v, "reason"));
    lt_cli_verdict_age(v, how_old);
    printf("  verdict   %s %s\n  level     %s\n  age       %s\n", lt_cli_text(v, "result"),
           reason ? lt_cli_shown(reason) : "", lt_cli_text(v, "host_level"), how_old);
    lt_cli_verdict_checks(v);
}

static int show(struct lt_cli *c, struct lt_err *e)
{
    char id[33];
    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "hosts/%s", id);
    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    const char *policy = lt_cli_text(j, "policy");
    char quoted[32];
    last_quote(j, quoted);
    printf("host %s\n  address   %s\n  policy    %s\n  state     %s, last quote %s\n", lt_cli_text(j, "host"),
           lt_cli_text(j, "address"), policy[strspn(policy, "0")] ? policy : "none is published",
           lt_cli_text(j, "state"), quoted);
    print_verdict(json_object_get(j, "verdict"));
    return 0;
}

static int ask_round(struct lt_cli *c, struct lt_err *e)
{
    char id[33];

    if (c->all == !!c->count)
        return lt_fail(e, LT_E_USAGE, "usage: limetree host round HOST... | --all");
    json_t *hosts = c->all ? NULL : json_array();
    for (int i = 0; i < c->count; i++) {
        if (lt_cli_host(c, i, id, e)) {
            json_decref(hosts);
            return e->code;
        }
        json_array_append_new(hosts, json_string(id));
    }
    LT_JSON_AUTO json_t *j =
        lt_cli_call(c, LT_CLI_PROVIDER, "POST", 202, json_pack("{s:o?}", "hosts", hosts), e, "rounds");
    if (j && c->json)
        lt_cli_json(j);
    return j ? 0 : e->code;
}

static int clear(struct lt_cli *c, struct lt_err *e)
{
    char id[33];
    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_JSON_AUTO json_t *j =
        lt_cli_call(c, LT_CLI_PROVIDER, "POST", 200, json_object(), e, "hosts/%s/clear", id);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        printf("host %s: cleared; the next round decides anew\n", id);
    return 0;
}

static int take_pem(void *list, struct lt_slice der, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf pem = LT_BUF(2 * LT_MAX_CERTIFICATE);
    LT_AUTOFREE char *text = lt_base64_dup(der.p, der.n);

    lt_buf_str(&pem, "-----BEGIN CERTIFICATE-----\n");
    for (const char *at = text; at && *at; at += strnlen(at, 64))
        lt_buf_printf(&pem, "%.64s\n", at);
    lt_buf_str(&pem, "-----END CERTIFICATE-----\n");
    json_t *one = text && !pem.failed ? json_stringn((const char *)pem.p, pem.n) : NULL;
    return one && !json_array_append_new(list, one) ? 0 : lt_fail(e, LT_E_NO_MEMORY, "no memory");
}

/* The certificates of a file, PEM or DER, one text each; the provider judges them. */
static int read_intermediates(const char *path, json_t **out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    LT_JSON_AUTO json_t *list = json_array();
    struct lt_err why = {0};
    size_t n;

    *out = NULL;
    if (!path)
        return 0;
    LT_TRY(lt_file_read(path, LT_MAX_BODY_SMALL, &p, &n, e));
    if (lt_certs_read((struct lt_slice){p, n}, LT_MAX_CERTIFICATES, take_pem, list, &why))
        return lt_fail(e, LT_E_USAGE, "%s: %s", path, why.msg);
    *out = lt_take(&list);
    return 0;
}

static int add(struct lt_cli *c, struct lt_err *e)
{
    json_t *intermediates;

    LT_TRY(read_intermediates(c->intermediates, &intermediates, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "POST", 201,
                                         json_pack("{s:s, s:s?, s:o?}", "address", c->argument[0],
                                                   "ek_digest", c->ek_digest, "intermediates", intermediates),
                                         e, "hosts");
    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    printf("host %s enrolled; EK digest %s%s\n", lt_cli_text(j, "host"), lt_cli_text(j, "ek_digest"),
           c->ek_digest ? ""
                        : "\nNo --ek-digest was given: compare it with what 'limetree-agent --identity' "
                          "prints on the host");
    return 0;
}

static int removal(struct lt_cli *c, struct lt_err *e)
{
    char id[33];
    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "DELETE", 200, NULL, e, "hosts/%s", id);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    return 0;
}

static int learn(struct lt_cli *c, struct lt_err *e)
{
    char id[33];
    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "POST", 201,
                                         json_pack("{s:b}", "ima", (int)c->ima), e, "hosts/%s/learn", id);
    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    printf("policy %s published for host %s: its present PCR 0-9, 12 and 14%s were trusted as they are\n",
           lt_cli_text(j, "digest"), id, c->ima ? " and the files it has measured" : "");
    return 0;
}

static int document(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_document(c, LT_CLI_PROVIDER, e);
}

static int policy(struct lt_cli *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    size_t n;
    char id[33];

    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_TRY(lt_file_read(c->argument[1], LT_MAX_POLICY, &bytes, &n, e));
    LT_JSON_AUTO json_t *made = lt_cli_send(c, LT_CLI_PROVIDER, "POST", 201, bytes, n, e, "policies");
    if (!made)
        return e->code;
    const char *digest;
    LT_TRY(lt_json_string(made, "digest", &digest, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "PUT", 200, json_pack("{s:s}", "policy", digest),
                                         e, "hosts/%s/policy", id);
    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(made), 0;
    printf("policy %s published for host %s\n", digest, id);
    return 0;
}

static int registry(struct lt_cli *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "registry");
    if (!j)
        return e->code;
    lt_cli_json(j);
    return 0;
}

static int known(struct lt_cli *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "hosts");
    if (!j)
        return e->code;
    lt_cli_json(j);
    return 0;
}

static int delete_document(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_delete_document(c, LT_CLI_PROVIDER, e);
}

static int status(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_status(c, LT_CLI_PROVIDER, e);
}

static int revocations(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_revocations(c, true, e);
}

static const struct lt_cli_verb verbs[] = {
    {"list", "", "the hosts of the provider", 0, 0, 0, list},
    {"show", "HOST", "one host: state, policy and verdict, check by check (--json: keys, too)", 1, 1, 0,
     show},
    {"round", "HOST... | --all", "attest these hosts now", 0, LT_CLI_ARGUMENTS, LT_CLI_ALL, ask_round},
    {"revocations", "", "what was decided against hosts, the newest first, and whether the webhook has it", 0,
     0, 0, revocations},
    {"clear", "HOST", "end a failed verdict: the next round judges anew", 1, 1, 0, clear},
    {"add", "HOST:PORT [--ek-digest HEX] [--intermediates FILE]", "enrol the host agent that answers there",
     1, 1, LT_CLI_EK_DIGEST | LT_CLI_INTERMEDIATES, add},
    {"remove", "HOST", "forget a host", 1, 1, 0, removal},
    {"learn", "HOST [--ima]", "publish its present PCRs (and measured files) as its policy", 1, 1, LT_CLI_IMA,
     learn},
    {"document", "FILE", "bring a document that host policies name: a layer, a boot policy", 1, 1, 0,
     document},
    {"delete-document", "DIGEST", "remove a document that no host and no policy names", 1, 1, 0,
     delete_document},
    {"status", "", "the provider: hosts, guests, and how its store is", 0, 0, 0, status},
    {"policy", "HOST FILE", "publish a policy document for it", 2, 2, 0, policy},
    {"seal", "HOST [--bitmap HEX]", "make the vault of its sealed vTPMs, open in the state it is in now", 1,
     1, LT_CLI_BITMAP, lt_cli_hostvault_seal},
    {"reseal", "HOST [--pcrs FILE]... [--drop N]...",
     "open it in these states too, and in the dropped ones no more (neither: end one cut short)", 1, 1,
     LT_CLI_RESEAL, lt_cli_hostvault_reseal},
    {"predict", "HOST [-o FILE] [--bitmap HEX]",
     "the state of a host that runs a new kernel already, for others' reseal", 1, 1,
     LT_CLI_OUT | LT_CLI_BITMAP, lt_cli_hostvault_predict},
    {"openers", "HOST", "every state its vTPMs were ever open in, and which policy accepts it", 1, 1, 0,
     lt_cli_hostvault_openers},
    {"registry", "", "the list of EKs that tenants pin (JSON)", 0, 0, 0, registry},
    {"known", "", "the hosts as the tenant has judged them (JSON)", 0, 0, 0, known},
};

int lt_cli_cmd_host(int argc, char **argv)
{
    return lt_cli_main("limetree host", verbs, sizeof verbs / sizeof *verbs, argc, argv);
}
