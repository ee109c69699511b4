#include "cli/client.h"

#include "common/alloc.h"
#include "common/run/conf.h"
#include "common/run/log.h"
#include "common/utf8.h"
#include "residency/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY(k, text)                                                                                         \
    {                                                                                                        \
#k, LT_CONF_TEXT, offsetof(struct lt_cli_conf, k), "", 0, 0, text                                    \
    }
static const struct lt_conf_key keys[] = {
    KEY(provider_url, "https://HOST:PORT of limetree-provider"),
    KEY(provider_cert, "PEM file: certificate with the role operator under the federation CA"),
    KEY(provider_key, "PEM file: its key, mode 0600"),
    KEY(provider_ca, "PEM file: the federation CA"),
    KEY(provider_crl, "PEM file: certificates that the federation CA has revoked; empty: none is asked for"),
    KEY(tenant_url, "https://HOST:PORT of limetree-tenant"),
    KEY(tenant_cert, "PEM file: certificate with the role operator under the tenant CA"),
    KEY(tenant_key, "PEM file: its key, mode 0600"),
    KEY(tenant_ca, "PEM file: the tenant CA"),
    KEY(registrar_url,
        "https://HOST:PORT of limetree-tenant's registrar_tls_listen, for guest add --payload"),
    {"guests_ca", LT_CONF_TEXT, offsetof(struct lt_cli_conf, guests_ca), "/var/lib/limetree/ca", 0, 0,
     "directory of the CA of guests' certificates (limetree ca init), for guest add --cert"},
    {"wait_s", LT_CONF_INT, offsetof(struct lt_cli_conf, wait_s), "300", 1, 86400,
     "seconds that guest add --wait waits for at most"},
};
#define KEYS (sizeof keys / sizeof *keys)
#define MAX_OVERRIDES 16
#define WAIT_MS 60000 /* a host's vault takes longest: LT_PROVIDER_VAULT_TIMEOUT_MS */

static const struct {
    const char *name, *value, *help;
    unsigned bit;
    size_t offset; /* of the text, the list of them, or of the flag */
} options[] = {
    {"--all", NULL, "all of them", LT_CLI_ALL, offsetof(struct lt_cli, all)},
    {"--trusted", NULL, "of the last trusted round", LT_CLI_TRUSTED, offsetof(struct lt_cli, trusted)},
    {"--ima", NULL, "learn what was measured too: boot log and IMA list", LT_CLI_IMA,
     offsetof(struct lt_cli, ima)},
    {"--address", "HOST:PORT", "where the guest's agent answers, if not where it registered", LT_CLI_ADDRESS,
     offsetof(struct lt_cli, address)},
    {"--policy", "FILE", "a policy document", LT_CLI_POLICY, offsetof(struct lt_cli, policy)},
    {"--accept", "WORDS",
     "what to accept by name: bound,copyable,boot-only,tainted,open-boot,\n"
     "                          unlinked,ek-unproven",
     LT_CLI_ACCEPT, offsetof(struct lt_cli, accept)},
    {"--ek-digest", "HEX", "SHA-256 of the EK's SubjectPublicKeyInfo the host must show", LT_CLI_EK_DIGEST,
     offsetof(struct lt_cli, ek_digest)},
    {"--intermediates", "FILE",
     "PEM or DER: issuers of the host's EK certificate that its chip does not carry", LT_CLI_INTERMEDIATES,
     offsetof(struct lt_cli, intermediates)},
    {"--domain", "UUID", "the machine that an agent of another id runs in", LT_CLI_DOMAIN,
     offsetof(struct lt_cli, domain)},
    {"--ek", "HEX", "SHA-256 of the SubjectPublicKeyInfo of its vTPM's EK: no other is this guest's",
     LT_CLI_EK, offsetof(struct lt_cli, ek)},
    {"--payload", "DIR|FILE", "what the guest gets once it is trusted: a directory, zipped, or a file",
     LT_CLI_PAYLOAD, offsetof(struct lt_cli, payload)},
    {"--cert", NULL, "put a key and a certificate for the guest into the payload, of the CA in guests_ca",
     LT_CLI_CERT, offsetof(struct lt_cli, cert)},
    {"--name", "NAMES", "DNS names and IP addresses for --cert, with commas between", LT_CLI_NAMES,
     offsetof(struct lt_cli, names)},
    {"--aud", "TEXT", "who is to believe the token: its name, as agreed", LT_CLI_TOKEN,
     offsetof(struct lt_cli, aud)},
    {"--nonce", "TEXT", "the receiver's, of 8 to 64 bytes", LT_CLI_TOKEN, offsetof(struct lt_cli, nonce)},
    {"--keys", "FILE", "JWKS, of limetree token keys", LT_CLI_KEYS, offsetof(struct lt_cli, keys)},
    {"--issuer", "URN", "the tenant it must be of, urn:limetree:tenant:UUID; else any whose key it is",
     LT_CLI_KEYS, offsetof(struct lt_cli, issuer)},
    {"--wait", NULL, "until it has it", LT_CLI_WAIT, offsetof(struct lt_cli, wait)},
    {"--bitmap", "HEX", "the PCRs of a platform state, 8 digits, PCR 0 the lowest bit; 00005395 is the least",
     LT_CLI_BITMAP, offsetof(struct lt_cli, bitmap)},
    {"--pcrs", "FILE", "a state that is to be added, lines N HEX (limetree host predict); can be repeated",
     LT_CLI_RESEAL, offsetof(struct lt_cli, pcrs)},
    {"--drop", "N", "the number of a state that is to be closed (limetree host openers); can be repeated",
     LT_CLI_RESEAL, offsetof(struct lt_cli, drop)},
    {"--exposed", NULL, "that it was open on a host that failed its check: nothing else takes it back",
     LT_CLI_EXPOSED, offsetof(struct lt_cli, exposed)},
    {"--host", "ID", "only guests whose verdict names this host", LT_CLI_HOST, offsetof(struct lt_cli, host)},
};
#define OPTIONS (sizeof options / sizeof *options)
#define MANY LT_CLI_RESEAL /* those that may be given more than once */

static void help(const char *name, const struct lt_cli_verb *verbs, size_t count)
{
    unsigned used = 0;

    printf("usage: %s VERB [ARGUMENT]... [--json] [--config FILE] [-o key=value]...\n\n", name);
    for (size_t i = 0; i < count; i++) {
        int n = printf("  %s%s%s", verbs[i].name, *verbs[i].arguments ? " " : "", verbs[i].arguments);
        printf("%s%*s%s\n", n < 54 ? "" : "\n", n < 54 ? 54 - n : 54, "", verbs[i].help);
        used |= verbs[i].options;
    }
    printf("\n");
    for (size_t i = 0; i < OPTIONS; i++)
        if (used & options[i].bit) {
            int n = printf("  %s %s", options[i].name, options[i].value ? options[i].value : "");
            printf("%*s%s\n", n < 26 ? 26 - n : 1, "", options[i].help);
        }
    if (used & LT_CLI_OUT)
        printf("  -o FILE                 where to (its name has no '=')\n");
    printf("  --json                  the server's JSON\n"
           "\nConnections are read from --config, $LIMETREE_CONFIG or ~/.config/limetree/cli.conf:\n\n");
    lt_conf_help(keys, KEYS, stdout);
    printf(
        "\nExit status: 0 ok, 1 refused, 2 usage or a file that cannot be read, 4 no answer, 5 internal.\n");
}

static int take_option(struct lt_cli *c, size_t o, const char *value, struct lt_err *e)
{
    void *at = (char *)c + options[o].offset;
    struct lt_cli_list *list = at;

    if (!value)
        *(bool *)at = true;
    else if (!(options[o].bit & MANY))
        *(const char **)at = value;
    else if (list->n < LT_CLI_LISTED)
        list->at[list->n++] = value;
    else
        return lt_fail(e, LT_E_USAGE, "%s: at most %d times", options[o].name, LT_CLI_LISTED);
    return 0;
}

/* The verb, its own options and arguments, and nothing else. */
static int parse(struct lt_cli *c, const struct lt_cli_verb *verbs, size_t count, int argc, char **argv,
                 const char **config, const char **overrides, const struct lt_cli_verb **out,
                 struct lt_err *e)
{
    const struct lt_cli_verb *verb = NULL;
    unsigned given = 0;
    int set = 0;

    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        size_t o = 0;
        while (o < OPTIONS && strcmp(options[o].name, a))
            o++;
        bool wants = o < OPTIONS ? options[o].value != NULL : !strcmp(a, "--config") || !strcmp(a, "-o");
        const char *value = wants ? argv[++i] : NULL;
        if (wants && !value)
            return lt_fail(e, LT_E_USAGE, "%s needs a value", a);
        if (o < OPTIONS) {
            given |= options[o].bit;
            LT_TRY(take_option(c, o, value, e));
        } else if (!strcmp(a, "--config")) {
            *config = value;
        } else if (!strcmp(a, "-o") && !strchr(value, '=')) {
            given |= LT_CLI_OUT;
            c->out = value;
        } else if (!strcmp(a, "-o") && set < MAX_OVERRIDES) {
            overrides[set++] = value;
        } else if (!strcmp(a, "--json")) {
            c->json = true;
        } else if (*a == '-') {
            return lt_fail(e, LT_E_USAGE, "unknown option %s; '%s --help' lists them", a, c->name);
        } else if (!verb) {
            for (size_t v = 0; v < count; v++)
                if (!strcmp(verbs[v].name, a))
                    verb = &verbs[v];
            if (!verb)
                return lt_fail(e, LT_E_USAGE, "no verb '%s'; '%s --help' lists them", a, c->name);
        } else if (c->count < LT_CLI_ARGUMENTS) {
            c->argument[c->count++] = a;
        } else {
            return lt_fail(e, LT_E_USAGE, "too many arguments");
        }
    }
    if (!verb)
        return lt_fail(e, LT_E_USAGE, "no verb; '%s --help' lists them", c->name);
    if (c->count < verb->min || c->count > verb->max || (given & ~verb->options))
        return lt_fail(e, LT_E_USAGE, "usage: %s %s %s", c->name, verb->name, verb->arguments);
    *out = verb;
    return 0;
}

/* NULL: there is none, which is an error only when it was named. */
static char *config_file(const char *named)
{
    const char *home = getenv("HOME"), *env = getenv("LIMETREE_CONFIG");
    char *path;

    if (!named)
        named = env && *env ? env : NULL;
    if (named)
        return strdup(named);
    if (!home || asprintf(&path, "%s/.config/limetree/cli.conf", home) < 0)
        return NULL;
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

int lt_cli_main(const char *name, const struct lt_cli_verb *verbs, size_t count, int argc, char **argv)
{
    struct lt_cli c = {.name = name};
    const char *config = NULL, *overrides[MAX_OVERRIDES + 1] = {0};
    struct lt_err e = {0};

    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            help(name, verbs, count);
            return 0;
        }
    const struct lt_cli_verb *verb = NULL;
    int rc = parse(&c, verbs, count, argc, argv, &config, overrides, &verb, &e);
    LT_AUTOFREE char *file = config_file(config);
    if (!rc)
        rc = lt_log_open("limetree", NULL, LT_LOG_WARNING, &e); /* what a daemon would tell is no news here */
    if (!rc)
        rc = lt_conf_load(keys, KEYS, &c.conf, file, overrides, &e);
    if (!rc)
        rc = verb->run(&c, &e);
    if (rc)
        lt_cli_complain(name, &e);
    for (int i = 0; i < 2; i++)
        if (c.client[i])
            lt_http_client_free(c.client[i]);
    lt_crl_free(c.crl);
    lt_conf_free(keys, KEYS, &c.conf);
    return lt_err_exit(rc);
}

int lt_cli_connect(struct lt_cli *c, enum lt_cli_peer peer, struct lt_http_client **client, const char **url,
                   struct lt_err *e)
{
    const struct lt_cli_conf *f = &c->conf;
    bool tenant = peer == LT_CLI_TENANT;
    const char *who = tenant ? "tenant" : "provider";
    struct lt_http_client_conf conf = {
        .cert = tenant ? f->tenant_cert : f->provider_cert,
        .key = tenant ? f->tenant_key : f->provider_key,
        .ca = tenant ? f->tenant_ca : f->provider_ca,
        .server_role = tenant ? LT_PEER_ROLE_TENANT : LT_PEER_ROLE_PROVIDER,
    };

    *url = tenant ? f->tenant_url : f->provider_url;
    if (!**url || !*conf.cert || !*conf.key || !*conf.ca)
        return lt_fail(
            e, LT_E_CONFIG,
            "%s_url, %s_cert, %s_key and %s_ca must be set in the configuration ('%s --help' says where)",
            who, who, who, who, c->name);
    if (!c->client[peer] && !tenant && *f->provider_crl)
        LT_TRY(lt_crl_open("provider_crl", f->provider_crl, f->provider_ca, &c->crl, e));
    conf.crl = tenant ? NULL : c->crl;
    if (!c->client[peer])
        LT_TRY(lt_http_client_new(&conf, &c->client[peer], e));
    *client = c->client[peer];
    return 0;
}

/* The reply's body is the caller's, whatever the status. */
static int ask(struct lt_cli *c, enum lt_cli_peer peer, struct lt_http_request r, const char *path,
               struct lt_http_reply *reply, struct lt_err *e)
{
    struct lt_http_client *client;
    const char *url;
    LT_AUTOFREE char *full = NULL;

    LT_TRY(lt_cli_connect(c, peer, &client, &url, e));
    if (asprintf(&full, "%s/federation/v1/%s", url, path) < 0) {
        full = NULL;
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    }
    r.url = full;
    r.timeout_ms = WAIT_MS;
    return lt_http_call(client, &r, reply, e);
}

json_t *lt_cli_send(struct lt_cli *c, enum lt_cli_peer peer, const char *method, int want, const void *body,
                    size_t n, struct lt_err *e, const char *path)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    const struct lt_http_request r = {
        .method = method, .body = body, .body_n = n, .headers = body ? headers : NULL};
    struct lt_http_reply reply = {0};

    if (ask(c, peer, r, path, &reply, e))
        return NULL;
    json_t *j = lt_http_json(&reply, want, lt_residency_error_read, e);
    free((char *)reply.body);
    return j;
}

int lt_cli_get(struct lt_cli *c, enum lt_cli_peer peer, const char *path, size_t max, uint8_t **out,
               size_t *n, struct lt_err *e)
{
    struct lt_http_reply reply = {0};

    *out = NULL;
    *n = 0;
    LT_TRY(ask(c, peer, (struct lt_http_request){.method = "GET", .max_reply = max}, path, &reply, e));
    if (reply.status == 200) {
        *out = (uint8_t *)reply.body;
        *n = reply.n;
        return 0;
    }
    LT_JSON_AUTO json_t *none = lt_http_json(&reply, 200, lt_residency_error_read, e);
    free((char *)reply.body);
    return e->code ? e->code : lt_fail(e, LT_E_UNREACHABLE, "HTTP %d", reply.status);
}

json_t *lt_cli_call(struct lt_cli *c, enum lt_cli_peer peer, const char *method, int want, json_t *body,
                    struct lt_err *e, const char *path, ...)
{
    LT_AUTOFREE char *where = NULL, *text = NULL;
    va_list ap;

    va_start(ap, path);
    if (vasprintf(&where, path, ap) < 0)
        where = NULL;
    va_end(ap);
    if (body) {
        text = lt_json_dump(body);
        json_decref(body);
    }
    if (!where || (body && !text)) {
        (void)lt_fail(e, LT_E_NO_MEMORY, "no memory");
        return NULL;
    }
    json_t *j = lt_cli_send(c, peer, method, want, text, text ? strlen(text) : 0, e, where);
    if (text)
        lt_wipe(text, strlen(text)); /* a guest's V may be in it */
    return j;
}

int lt_cli_document(struct lt_cli *c, enum lt_cli_peer peer, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    size_t n;

    LT_TRY(lt_file_read(c->argument[0], LT_MAX_POLICY, &bytes, &n, e));
    LT_JSON_AUTO json_t *j = lt_cli_send(c, peer, "POST", 201, bytes, n, e, "policies");
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        printf("%s\n", lt_cli_text(j, "digest"));
    return 0;
}

int lt_cli_uuid(const struct lt_cli *c, int i, char out[LT_UUID_TEXT], struct lt_err *e)
{
    uint8_t uuid[LT_UUID];
    if (lt_uuid_parse(c->argument[i], uuid, e)) {
        (void)lt_fail(e, LT_E_USAGE, "'%s' is not a UUID ('limetree guest list' shows each guest's)",
                      c->argument[i]);
        return LT_E_USAGE;
    }
    lt_uuid_format(uuid, out);
    return 0;
}

int lt_cli_host_id(const char *text, char out[33], struct lt_err *e)
{
    uint8_t id[16];
    if (lt_unhex(text, id, sizeof id, e))
        return lt_fail(e, LT_E_USAGE,
                       "'%s' is not a host id (32 hex digits; 'limetree host list' shows them)", text);
    lt_hex(id, sizeof id, out);
    return 0;
}

int lt_cli_host(const struct lt_cli *c, int i, char out[33], struct lt_err *e)
{
    return lt_cli_host_id(c->argument[i], out, e);
}

void lt_cli_json(const json_t *j)
{
    LT_AUTOFREE char *s = lt_json_pretty(j);
    fputs(s ? s : "", stdout);
}

const char *lt_cli_shown(const char *s)
{
    enum { ROOM = 4096, TURNS = 16 };
    static char ring[TURNS][ROOM];
    static unsigned turn;
    char *out = ring[turn++ % TURNS];

    lt_utf8_show(s, out, ROOM);
    return out;
}

void lt_cli_complain(const char *command, const struct lt_err *e)
{
    static const int vault[] = {LT_E_VAULT_NONE,   LT_E_VAULT_LOCKED, LT_E_VAULT_STALE, LT_E_VAULT_FORGED,
                                LT_E_COUNTER_LOST, LT_E_TPM_NO_HMAC,  LT_E_HOST_LEAKS,  LT_E_VAULT_BUSY};
    const char *slug = "", *colon = "";

    for (size_t i = 0; i < sizeof vault / sizeof *vault; i++)
        if (e->code == vault[i]) {
            slug = lt_err_slug(e->code);
            colon = ": ";
        }
    fprintf(stderr, "%s: %s%s%s\n", command, slug, colon, lt_cli_shown(e->msg));
}

const char *lt_cli_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && *s ? lt_cli_shown(s) : "-";
}

/* ---- table ---- */

#define MAX_COLUMNS 10

struct lt_cli_table {
    unsigned columns, count, room;
    char **cell; /* row after row */
};

struct lt_cli_table *lt_cli_table_new(unsigned columns)
{
    struct lt_cli_table *t = lt_new(struct lt_cli_table);
    if (columns > MAX_COLUMNS)
        abort();
    t->columns = columns;
    return t;
}

void lt_cli_table_cell(struct lt_cli_table *t, const char *fmt, ...)
{
    va_list ap;

    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 64;
        t->cell = realloc(t->cell, t->room * sizeof *t->cell);
        if (!t->cell)
            abort();
    }
    va_start(ap, fmt);
    if (vasprintf(&t->cell[t->count++], fmt, ap) < 0)
        abort();
    va_end(ap);
}

void lt_cli_table_print(struct lt_cli_table *t)
{
    size_t width[MAX_COLUMNS] = {0};

    for (unsigned i = 0; i < t->count; i++) {
        size_t n = strlen(t->cell[i]);
        if (n > width[i % t->columns])
            width[i % t->columns] = n;
    }
    for (unsigned i = 0; i < t->count; i++) {
        bool end = i % t->columns == t->columns - 1;
        printf("%-*s%s", end ? 0 : (int)width[i % t->columns], t->cell[i], end ? "\n" : "  ");
        free(t->cell[i]);
    }
    free(t->cell);
    free(t);
}

int lt_cli_delete_document(struct lt_cli *c, enum lt_cli_peer peer, struct lt_err *e)
{
    uint8_t digest[32];
    char hex[65];

    if (lt_unhex(c->argument[0], digest, sizeof digest, e))
        return lt_fail(e, LT_E_USAGE, "%.80s: not the digest of a document, 64 hex digits", c->argument[0]);
    lt_hex(digest, sizeof digest, hex);
    LT_JSON_AUTO json_t *j = lt_cli_call(c, peer, "DELETE", 200, NULL, e, "policies/%s", hex);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        printf("document %s removed\n", hex);
    return 0;
}

static void print_store(const json_t *store)
{
    const char *message = lt_cli_text(store, "message"), *skipped = lt_cli_text(store, "skipped_first");

    printf("store: %s", lt_cli_text(store, "state"));
    if (json_is_string(json_object_get(store, "since")))
        printf(" since %s", lt_cli_text(store, "since"));
    printf(", %lld MiB free, reserve %lld of %lld MiB",
           json_integer_value(json_object_get(store, "free_mib")),
           json_integer_value(json_object_get(store, "held_mib")),
           json_integer_value(json_object_get(store, "reserve_mib")));
    if (json_integer_value(json_object_get(store, "unwritten")))
        printf(", %lld verdicts in memory only", json_integer_value(json_object_get(store, "unwritten")));
    printf("\n");
    if (json_is_string(json_object_get(store, "message")))
        printf("  %s\n", message);
    if (json_integer_value(json_object_get(store, "skipped")))
        printf("  %lld rows were left out; the first: %s\n",
               json_integer_value(json_object_get(store, "skipped")), skipped);
}

int lt_cli_status(struct lt_cli *c, enum lt_cli_peer peer, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, peer, "GET", 200, NULL, e, "status");
    const char *key;
    json_t *v;

    if (!j)
        return e->code;
    if (c->json) {
        lt_cli_json(j);
        return 0;
    }
    json_object_foreach(j, key, v)
    {
        if (json_is_integer(v))
            printf("%s: %lld\n", key, json_integer_value(v));
        else if (json_is_null(v))
            printf("%s: not known\n", key);
    }
    print_store(json_object_get(j, "store"));
    return 0;
}
