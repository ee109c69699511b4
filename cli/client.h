/* What `limetree host` and `limetree guest` share: connection options, one table of verbs each, calls to a
 * provider and to a tenant, output for people or as JSON. */
#ifndef LT_CLI_CLIENT_H
#define LT_CLI_CLIENT_H

#include "common/file.h"
#include "common/http/client.h"
#include "common/ids.h"
#include "common/limits.h"

#define LT_CLI_ARGUMENTS 8

/* Values of an option that may be given more than once. */
#define LT_CLI_LISTED 8
struct lt_cli_list {
    const char *at[LT_CLI_LISTED];
    unsigned n;
};

struct lt_cli_conf {
    char *provider_url, *provider_cert, *provider_key, *provider_ca, *provider_crl;
    char *tenant_url, *tenant_cert, *tenant_key, *tenant_ca, *registrar_url, *guests_ca;
    int64_t wait_s;
};

enum lt_cli_peer { LT_CLI_PROVIDER, LT_CLI_TENANT };

struct lt_cli {
    const char *name; /* "limetree guest" */
    struct lt_cli_conf conf;
    struct lt_crl *crl;               /* the federation's; NULL: none configured */
    struct lt_http_client *client[2]; /* by enum lt_cli_peer, made when first used */
    bool json, all, trusted, ima, wait, cert, exposed;
    const char *address, *policy, *payload, *names, *accept, *ek_digest, *intermediates, *host, *domain, *ek,
        *aud, *nonce, *keys, *issuer, *bitmap, *out;
    struct lt_cli_list pcrs, drop;
    const char *argument[LT_CLI_ARGUMENTS]; /* behind the verb */
    int count;
};

/* Option bits of a verb; --json, --config and -o are always there. */
enum {
    LT_CLI_ALL = 1,
    LT_CLI_TRUSTED = 2,
    LT_CLI_ADDRESS = 4,
    LT_CLI_POLICY = 8,
    LT_CLI_ACCEPT = 16,
    LT_CLI_EK_DIGEST = 32,
    LT_CLI_IMA = 64,
    LT_CLI_INTERMEDIATES = 4096,
    LT_CLI_HOST = 8192,
    LT_CLI_DOMAIN = 16384,
    LT_CLI_EK = 32768,
    LT_CLI_PAYLOAD = 65536,
    LT_CLI_WAIT = 131072,
    LT_CLI_CERT = 262144,
    LT_CLI_NAMES = 524288,
    LT_CLI_TOKEN = 1048576,
    LT_CLI_KEYS = 2097152,
    LT_CLI_BITMAP = 4194304,
    LT_CLI_RESEAL = 8388608,
    LT_CLI_OUT = 16777216, /* -o FILE: a value without '=', which is a setting's */
    LT_CLI_EXPOSED = 33554432,
};

struct lt_cli_verb {
    const char *name, *arguments, *help;
    int min, max; /* arguments */
    unsigned options;
    int (*run)(struct lt_cli *c, struct lt_err *e);
};

/* The whole of a command: parses, runs the verb, prints an error. Returns the exit code. */
int lt_cli_main(const char *name, const struct lt_cli_verb *verbs, size_t count, int argc, char **argv);

/* The client of that peer, made when first used, and the peer's URL. That of the tenant calls its registrar
 * and (pinned) guests' agents, too. */
int lt_cli_connect(struct lt_cli *c, enum lt_cli_peer peer, struct lt_http_client **client, const char **url,
                   struct lt_err *e) LT_MUST_CHECK;
/* One call below /federation/v1/; takes body (may be NULL). A new reference, or NULL and *e. */
json_t *lt_cli_call(struct lt_cli *c, enum lt_cli_peer peer, const char *method, int want, json_t *body,
                    struct lt_err *e, const char *path, ...) LT_MUST_CHECK
    __attribute__((format(printf, 7, 8)));
/* The same with a body of bytes. */
json_t *lt_cli_send(struct lt_cli *c, enum lt_cli_peer peer, const char *method, int want, const void *body,
                    size_t n, struct lt_err *e, const char *path) LT_MUST_CHECK;
/* What is no JSON: *out is the caller's to free, at most max bytes. */
int lt_cli_get(struct lt_cli *c, enum lt_cli_peer peer, const char *path, size_t max, uint8_t **out,
               size_t *n, struct lt_err *e) LT_MUST_CHECK;

/* Verbs: removes the document with the digest of argument 0; tells the peer's status, its store above all. */
int lt_cli_delete_document(struct lt_cli *c, enum lt_cli_peer peer, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_status(struct lt_cli *c, enum lt_cli_peer peer, struct lt_err *e) LT_MUST_CHECK;
/* A verb: gives the peer the policy document in the file of argument 0, and prints its digest. */
int lt_cli_document(struct lt_cli *c, enum lt_cli_peer peer, struct lt_err *e) LT_MUST_CHECK;

/* argument i as a UUID in canonical text. */
int lt_cli_uuid(const struct lt_cli *c, int i, char out[LT_UUID_TEXT], struct lt_err *e) LT_MUST_CHECK;
/* argument i as a host id: 32 hex digits, lower case. */
int lt_cli_host(const struct lt_cli *c, int i, char out[33], struct lt_err *e) LT_MUST_CHECK;
int lt_cli_host_id(const char *text, char out[33], struct lt_err *e) LT_MUST_CHECK;

/* Prints j as JSON. */
void lt_cli_json(const json_t *j);
/* The text with what a terminal obeys or does not show as \xNN and \u{NNNN}; good for the next 15 calls. */
const char *lt_cli_shown(const char *s);
/* Why a command ends, on stderr. A vault that is not open is looked up by its slug. */
void lt_cli_complain(const char *command, const struct lt_err *e);
/* Text of a member so shown, "-" if it is null, absent or of another type. */
const char *lt_cli_text(const json_t *o, const char *key);

/* A table for people: the first row is the heading; cells are copied. */
struct lt_cli_table;
struct lt_cli_table *lt_cli_table_new(unsigned columns);
void lt_cli_table_cell(struct lt_cli_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lt_cli_table_print(struct lt_cli_table *t); /* and frees */

/* cli/revocation.c: what a tenant decided against guests, or a provider against hosts. */
int lt_cli_revocations(struct lt_cli *c, bool hosts, struct lt_err *e) LT_MUST_CHECK;

#endif
