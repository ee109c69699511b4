/* limetree guest: the guests of a tenant; `assign` speaks to the provider. */
#include "appraisal/checks/reason.h"
#include "cli/bootstrap.h"
#include "cli/certificate.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/guest_openers.h"
#include "cli/payload.h"
#include "cli/view.h"
#include "common/alloc.h"

#include <stdio.h>
#include <string.h>

static const json_t *member(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

static void print_reasons(const json_t *guests);

static int list(struct lt_cli *c, struct lt_err *e)
{
    static const char *const heading[] = {"guest",      "verdict", "reason", "link",
                                          "host level", "host",    "age",    "batch"};
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "guests");
    json_t *guests, *g;
    size_t i;

    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    LT_TRY(lt_json_array(j, "guests", SIZE_MAX, &guests, e));
    struct lt_cli_table *t = lt_cli_table_new(sizeof heading / sizeof *heading);
    for (size_t k = 0; k < sizeof heading / sizeof *heading; k++)
        lt_cli_table_cell(t, "%s", heading[k]);
    json_array_foreach(guests, i, g)
    {
        const json_t *v = member(g, "verdict"), *n = member(member(v, "batch"), "n");
        char how_old[32];
        lt_cli_verdict_age(v, how_old);
        const char *why = lt_cli_openers_why(v);
        bool alike = !strcmp(lt_cli_text(g, "agent"), lt_cli_text(g, "uuid"));
        lt_cli_table_cell(t, "%s%s%s", lt_cli_text(g, "uuid"), alike ? "" : " ",
                          alike ? "" : lt_cli_text(g, "agent"));
        lt_cli_table_cell(t, "%s",
                          json_is_object(v)                  ? lt_cli_text(v, "result")
                          : json_is_true(member(g, "added")) ? "(no round yet)"
                                                             : "(registered)");
        lt_cli_table_cell(t, "%s", lt_cli_text(v, "reason"));
        lt_cli_table_cell(t, "%s%s%s%s", lt_cli_text(v, "link"),
                          json_is_true(member(v, "tainted")) ? ", tainted" : "", *why ? ": " : "", why);
        lt_cli_table_cell(t, "%s", lt_cli_text(v, "host_level"));
        lt_cli_table_cell(t, "%.8s", lt_cli_text(v, "host"));
        lt_cli_table_cell(t, "%s", how_old);
        lt_cli_table_cell(t, json_is_integer(n) ? "%lld" : "-", (long long)json_integer_value(n));
    }
    lt_cli_table_print(t);
    print_reasons(guests);
    return 0;
}

static size_t with_reason(const json_t *guests, const char *slug)
{
    const json_t *g;
    size_t i, n = 0;

    json_array_foreach((json_t *)guests, i, g)
    {
        const char *is = json_string_value(member(member(g, "verdict"), "reason"));
        n += is && !strcmp(is, slug);
    }
    return n;
}

/* Each reason once, however many guests have it. */
static void print_reasons(const json_t *guests)
{
    bool any = false;

    for (const struct lt_reason *r = lt_reasons; r->slug; r++) {
        size_t n = with_reason(guests, r->slug);
        if (!n)
            continue;
        printf("%s%s, %zu guest%s: %s\n  do: %s\n", any ? "" : "\n", r->slug, n, n == 1 ? "" : "s", r->cause,
               r->remedy);
        any = true;
    }
}

/* Where V is; of a guest that has none nothing. */
static void print_release(const json_t *release)
{
    long long tries = json_integer_value(member(release, "tries"));

    if (!json_is_object(release))
        return;
    if (json_is_true(member(release, "delivered")))
        printf("  payload   V was delivered\n");
    else if (json_is_string(member(release, "error")))
        printf("  payload   V did not arrive, %lld tr%s: %s\n", tries, tries == 1 ? "y" : "ies",
               lt_cli_text(release, "error"));
    else
        printf("  payload   V waits for a trusted round\n");
}

/* What it lacks, in the words that a policy accepts it by. */
static void print_weak(const json_t *verdict)
{
    const json_t *word;
    size_t i;

    json_array_foreach(member(verdict, "weak"), i, word)
    {
        printf("%s%s", i ? ", " : "  weak      ", lt_cli_shown(json_string_value(word)));
    }
    if (i)
        printf("\n");
}

static void print_guest(const json_t *g)
{
    const json_t *v = member(g, "verdict");
    char how_old[32];

    printf("guest %s\n  agent     %s\n  address   %s\n  policy    %s\n", lt_cli_text(g, "uuid"),
           lt_cli_text(g, "agent"), lt_cli_text(g, "address"), lt_cli_text(g, "policy"));
    if (json_is_string(member(g, "ek")))
        printf("  pinned EK %s\n", lt_cli_text(g, "ek"));
    print_release(member(g, "release"));
    if (!json_is_object(v)) {
        printf("  no round yet\n");
        return;
    }
    lt_cli_verdict_age(v, how_old);
    printf("  verdict   %s %s\n  link      %s%s\n  host      %s (%s)\n  age       %s\n",
           lt_cli_text(v, "result"),
           member(v, "reason") && json_is_string(member(v, "reason")) ? lt_cli_text(v, "reason") : "",
           lt_cli_text(v, "link"), json_is_true(member(v, "tainted")) ? ", tainted" : "",
           lt_cli_text(v, "host"), lt_cli_text(v, "host_level"), how_old);
    print_weak(v);
    lt_cli_openers_problems(g);
    const struct lt_reason *r = lt_reason(json_string_value(member(v, "reason")));
    if (r)
        printf("  because   %s\n  do        %s\n", r->cause, r->remedy);
    lt_cli_verdict_checks(v);
}

static int show(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT];
    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "guests/%s", uuid);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        print_guest(j);
    return 0;
}

/* Argument 0 is what its agent registers as: the domain's UUID, unless that is told. */
static int who(const struct lt_cli *c, char uuid[LT_UUID_TEXT], const char **agent, struct lt_err *e)
{
    uint8_t id[LT_UUID];

    *agent = NULL;
    if (c->domain ? lt_uuid_parse(c->domain, id, e) : 0)
        return lt_fail(e, LT_E_USAGE, "--domain %s: not a UUID", c->domain);
    if (!c->domain)
        lt_uuid_of_id(c->argument[0], id);
    lt_uuid_format(id, uuid);
    if (!lt_id_ok(c->argument[0]))
        return lt_fail(e, LT_E_USAGE, "'%s' is no agent's id", c->argument[0]);
    /* A domain's UUID may be typed in either case; what an agent registers as is in one. */
    if (c->domain ? strcmp(uuid, c->argument[0]) != 0 : lt_uuid_parse(c->argument[0], id, LT_NO_ERR) != 0)
        *agent = c->argument[0];
    return 0;
}

static int read_policy(const struct lt_cli *c, json_t **policy, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    size_t n;

    *policy = NULL;
    if (!c->policy)
        return 0;
    LT_TRY(lt_file_read(c->policy, LT_MAX_POLICY, &bytes, &n, e));
    *policy = lt_json_parse(bytes, n, LT_MAX_POLICY, e);
    return *policy ? 0 : lt_fail_in(e, e->code, "%s", c->policy);
}

/* b NULL: no payload; revocation_key may be. */
static int put(struct lt_cli *c, const char *uuid, const char *agent, const struct lt_cli_bootstrap *b,
               const char *revocation_key, json_t **guest, struct lt_err *e)
{
    json_t *policy;

    LT_TRY(read_policy(c, &policy, e));
    LT_JSON_AUTO json_t *body =
        json_pack("{s:s?, s:o?, s:s?, s:s?, s:s?}", "address", c->address, "policy", policy, "agent", agent,
                  "ek", c->ek, "revocation_key", revocation_key);
    if (b)
        json_object_set_new(body, "v", lt_json_new_base64(b->v.p, b->v.n));
    *guest = lt_cli_call(c, LT_CLI_TENANT, "PUT", 200, json_incref(body), e, "guests/%s", uuid);
    lt_json_wipe(body, "v");
    lt_json_wipe(body, "revocation_key");
    return *guest ? 0 : e->code;
}

static int add_plain(struct lt_cli *c, const char *uuid, const char *agent, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = NULL;

    LT_TRY(put(c, uuid, agent, NULL, NULL, &j, e));
    if (c->json)
        lt_cli_json(j);
    else
        printf("guest %s is attested from now on%s\n", uuid,
               json_is_null(member(j, "policy"))
                   ? "; it has no policy yet: 'limetree guest learn' or --policy"
                   : "");
    return 0;
}

/* keylime_tenant's order: the agent has U before the tenant has V. */
static int bring(struct lt_cli *c, const char *uuid, const char *agent, const struct lt_cli_certificate *with,
                 struct lt_cli_bootstrap *b, json_t **guest, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf payload = {0};

    LT_TRY(lt_cli_payload_read(c->payload, with->file, with->ca ? LT_CLI_CERTIFICATE_FILES : 0, &payload, e));
    LT_TRY(lt_cli_bootstrap_begin(c, agent ? agent : uuid, (struct lt_slice){payload.p, payload.n}, b, e));
    LT_TRY(put(c, uuid, agent, b, with->revocation_key, guest, e));
    lt_share_wipe(&b->v);
    fprintf(stderr, "tenant: has V, for when guest %s is trusted\n", uuid);
    return 0;
}

static int add_with_payload(struct lt_cli *c, const char *uuid, const char *agent, struct lt_err *e)
{
    LT_CLI_AUTOCERTIFICATE struct lt_cli_certificate with = {0};
    LT_CLI_AUTOBOOTSTRAP struct lt_cli_bootstrap b = {0};
    LT_JSON_AUTO json_t *j = NULL;

    if (c->cert)
        LT_TRY(lt_cli_certificate_make(c->conf.guests_ca, agent ? agent : uuid, c->names, &with, e));
    int rc = bring(c, uuid, agent, &with, &b, &j, e);
    if (rc) {
        lt_cli_certificate_revoke(&with);
        return rc;
    }
    if (c->wait)
        LT_TRY(lt_cli_bootstrap_wait(c, uuid, &b, e));
    if (c->json)
        lt_cli_json(j);
    else
        printf("guest %s %s\n", uuid,
               c->wait ? "has its payload: it is trusted, and showed that it has the key"
                       : "is attested from now on, and gets its payload when it is trusted");
    return 0;
}

static int add(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT];
    const char *agent;

    LT_TRY(who(c, uuid, &agent, e));
    bool payload = c->payload || c->cert;
    if (!payload && (c->wait || c->names))
        return lt_fail(e, LT_E_USAGE, "--wait needs --payload or --cert, --name needs --cert");
    return payload ? add_with_payload(c, uuid, agent, e) : add_plain(c, uuid, agent, e);
}

static int simple(struct lt_cli *c, struct lt_err *e, const char *method, const char *suffix,
                  const char *done)
{
    char uuid[LT_UUID_TEXT];
    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    LT_JSON_AUTO json_t *j =
        lt_cli_call(c, LT_CLI_TENANT, method, 200, strcmp(method, "POST") ? NULL : json_object(), e,
                    "guests/%s%s", uuid, suffix);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        printf("guest %s: %s\n", uuid, done);
    return 0;
}

static int removal(struct lt_cli *c, struct lt_err *e)
{
    return simple(c, e, "DELETE", "", "no longer attested");
}

/* Failed, and by its verdict on that host (NULL: any). */
static bool is_failed(const json_t *guest, const char *host)
{
    const json_t *v = member(guest, "verdict");
    const char *is = json_string_value(member(v, "result")), *on = json_string_value(member(v, "host"));

    return is && !strcmp(is, "failed") && (!host || (on && !strcmp(on, host)));
}

/* One that ceased to be failed meanwhile is nobody's fault. */
static int clear_one(struct lt_cli *c, const char *uuid, json_t *cleared, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j =
        lt_cli_call(c, LT_CLI_TENANT, "POST", 200, json_object(), e, "guests/%s/clear", uuid);

    if (j)
        json_array_append_new(cleared, json_string(uuid));
    return j || e->code == LT_E_CONFLICT ? 0 : e->code;
}

static int clear_all(struct lt_cli *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "guests");
    LT_JSON_AUTO json_t *cleared = json_array();
    char host[33];
    json_t *g;
    size_t i;

    if (!j)
        return e->code;
    if (c->host)
        LT_TRY(lt_cli_host_id(c->host, host, e));
    json_array_foreach(member(j, "guests"), i, g)
    {
        const char *uuid = json_string_value(member(g, "uuid"));
        if (uuid && is_failed(g, c->host ? host : NULL))
            LT_TRY(clear_one(c, uuid, cleared, e));
    }
    if (c->json)
        return lt_cli_json(cleared), 0;
    printf("%zu guest%s cleared%s\n", json_array_size(cleared), json_array_size(cleared) == 1 ? "" : "s",
           json_array_size(cleared) ? "; the next round decides anew" : ": none was failed");
    return 0;
}

static int clear(struct lt_cli *c, struct lt_err *e)
{
    if ((c->all ? c->count : c->count != 1 || c->host) || (c->all && c->exposed))
        return lt_fail(e, LT_E_USAGE, "usage: limetree guest clear UUID [--exposed] | --all [--host ID]");
    if (c->exposed)
        return lt_cli_openers_clear(c, e);
    return c->all ? clear_all(c, e) : simple(c, e, "POST", "/clear", "cleared; the next round decides anew");
}

static int learn(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT], *save = NULL;
    LT_AUTOFREE char *words = lt_alloc_text(c->accept ? c->accept : "");
    json_t *accept = json_array();

    for (char *w = strtok_r(words, ",", &save); w; w = strtok_r(NULL, ",", &save))
        json_array_append_new(accept, lt_json_new_text(w));
    json_t *body = json_pack("{s:o, s:b}", "accept", accept, "ima", (int)c->ima);
    if (lt_cli_uuid(c, 0, uuid, e)) {
        json_decref(body);
        return e->code;
    }
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "POST", 201, body, e, "guests/%s/learn", uuid);
    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    printf(
        "policy %s for guest %s: its present PCRs, firmware and domain digests and its host's policy were\n"
        "trusted as they are, after every other check passed. Read it before you rely on it:\n",
        lt_cli_text(j, "digest"), uuid);
    lt_cli_json(member(j, "policy"));
    return 0;
}

static int document(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_document(c, LT_CLI_TENANT, e);
}

static int run_round(struct lt_cli *c, struct lt_err *e)
{
    json_t *guests = c->all ? json_null() : json_array();

    if (c->all ? c->count : !c->count) {
        json_decref(guests);
        return lt_fail(e, LT_E_USAGE, "usage: limetree guest round UUID... | --all");
    }
    for (int i = 0; i < c->count; i++) {
        char uuid[LT_UUID_TEXT];
        if (lt_cli_uuid(c, i, uuid, e)) {
            json_decref(guests);
            return e->code;
        }
        json_array_append_new(guests, json_string(uuid));
    }
    LT_JSON_AUTO json_t *j =
        lt_cli_call(c, LT_CLI_TENANT, "POST", 202, json_pack("{s:o}", "guests", guests), e, "rounds");
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    return 0;
}

static int bundle(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT];
    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "guests/%s/bundle%s", uuid,
                                         c->trusted ? "?trusted=1" : "");
    if (!j)
        return e->code;
    lt_cli_json(j);
    return 0;
}

static int assign(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT], tenant[LT_UUID_TEXT];
    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    LT_TRY(lt_cli_uuid(c, 1, tenant, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "PUT", 200, json_pack("{s:s}", "tenant", tenant),
                                         e, "guests/%s/tenant", uuid);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        printf("guest %s belongs to tenant %s\n", uuid, tenant);
    return 0;
}

static int delete_document(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_delete_document(c, LT_CLI_TENANT, e);
}

static int status(struct lt_cli *c, struct lt_err *e)
{
    return lt_cli_status(c, LT_CLI_TENANT, e);
}

static const struct lt_cli_verb verbs[] = {
    {"list", "", "guests that have registered, and their verdicts", 0, 0, 0, list},
    {"show", "UUID", "one guest: every check passed, failed, not made, and why", 1, 1, 0, show},
    {"add",
     "ID [--domain UUID] [--ek HEX] [--address HOST:PORT] [--policy FILE]"
     " [--payload DIR|FILE] [--cert [--name NAMES]] [--wait]",
     "attest it from now on; with a payload, that it gets once it is trusted", 1, 1,
     LT_CLI_PAYLOAD | LT_CLI_WAIT | LT_CLI_CERT | LT_CLI_NAMES | LT_CLI_ADDRESS | LT_CLI_POLICY |
         LT_CLI_DOMAIN | LT_CLI_EK,
     add},
    {"remove", "UUID", "attest it no longer", 1, 1, 0, removal},
    {"learn", "UUID [--accept WORDS] [--ima]", "make its policy from its present, attested state", 1, 1,
     LT_CLI_ACCEPT | LT_CLI_IMA, learn},
    {"document", "FILE", "bring a document that policies name: a layer, a boot policy", 1, 1, 0, document},
    {"delete-document", "DIGEST", "remove a document that no guest and no policy names", 1, 1, 0,
     delete_document},
    {"status", "", "the tenant: guests by result, and how its store is", 0, 0, 0, status},
    {"round", "UUID... | --all", "attest now, all of these in one request", 0, LT_CLI_ARGUMENTS, LT_CLI_ALL,
     run_round},
    {"clear", "UUID [--exposed] | --all [--host ID]",
     "clear failed verdicts (of guests on that host), or that one was exposed: nothing else does", 0, 1,
     LT_CLI_ALL | LT_CLI_HOST | LT_CLI_EXPOSED, clear},
    {"openers", "UUID",
     "every state and key that its vTPM was ever open to, and the policies that accept them", 1, 1, 0,
     lt_cli_openers},
    {"escrow", "UUID -o FILE", "the copy of its vTPM's key for its recovery key (limetree escrow show)", 1, 1,
     LT_CLI_OUT, lt_cli_openers_escrow},
    {"bundle", "UUID [--trusted]", "the evidence of its last round (JSON)", 1, 1, LT_CLI_TRUSTED, bundle},
    {"assign", "UUID TENANT", "say at the provider whose guest it is", 2, 2, 0, assign},
};

int lt_cli_cmd_guest(int argc, char **argv)
{
    return lt_cli_main("limetree guest", verbs, sizeof verbs / sizeof *verbs, argc, argv);
}
