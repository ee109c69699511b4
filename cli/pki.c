/* limetree pki: the certificates a federation starts with. */
#include "cli/cli.h"

#include "common/file.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/openssl.h"
#include "common/pki/issue.h"
#include "common/pki/peer.h"
#include "common/run/clock.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CA_DAYS 3650
#define LEAF_DAYS 825
#define LIST_DAYS 30
#define MAX_NAMES 16

static const struct {
    const char *name, *file, *common_name;
} cas[] = {
    {"federation", "federation-ca", "Limetree federation CA"},
    {"vtpm", "vtpm-ca", "Limetree vTPM EK CA"},
    {"tenant", "tenant-ca", "Limetree tenant CA"},
};
#define CAS (sizeof cas / sizeof *cas)

/* What a first set-up needs; host agents get theirs by "pki issue". */
static const struct {
    const char *ca, *file;
    unsigned role;
    bool server, client;
} leaves[] = {
    {"federation", "provider", LT_PEER_ROLE_PROVIDER, true, true},
    {"federation", "operator", LT_PEER_ROLE_OPERATOR, false, true},
    {"federation", "tenant", LT_PEER_ROLE_TENANT, false, true},
    {"tenant", "tenant-server", LT_PEER_ROLE_TENANT, true, false},
    {"tenant", "tenant-client", LT_PEER_ROLE_TENANT, false, true},
    {"tenant", "tenant-operator", LT_PEER_ROLE_OPERATOR, false, true},
};
#define LEAVES (sizeof leaves / sizeof *leaves)

static const char usage_text[] =
    "usage: limetree pki init DIR [--tenant UUID] [--name NAME]... [--days N] [--json]\n"
    "       limetree pki issue DIR --ca federation|tenant|vtpm --out PREFIX [--role ROLE]\n"
    "                      [--tenant UUID] [--host HEX] [--name NAME]... [--server] [--client]\n"
    "                      [--days N] [--json]\n"
    "       limetree pki revoke DIR --ca federation|tenant|vtpm [--cert CERT] [--days N]\n"
    "       limetree pki show CERT [--json]\n"
    "\n"
    "init makes DIR with three CAs (federation, vTPM, tenant) and the certificates of a provider, a tenant\n"
    "and their operators. issue makes PREFIX.crt and PREFIX.key under one of these CAs. Nothing is ever\n"
    "overwritten. Keep the *-ca.key files off the machines that only verify. revoke puts CERT on the CA's "
    "list\n"
    "DIR/*-ca.crl, or makes the list anew before it is out of date; the keys crl and federation_crl of the\n"
    "daemons name a copy of it.\n"
    "\n"
    "  --tenant UUID   the tenant's id (init: a new one is drawn if none is given)\n"
    "  --role ROLE     provider, host, tenant, operator or none (none)\n"
    "  --host HEX      the host's id, 32 hex digits; needed by role host\n"
    "  --name NAME     a DNS name or IP address that its clients call it by, may be repeated. init puts them "
    "into the\n"
    "                  servers' certificates (provider, tenant-server), with localhost, 127.0.0.1 and ::1\n"
    "  --server --client  extended key usage (both, if neither is given)\n"
    "  --cert CERT     the certificate that is not to be believed any more\n"
    "  --days N        validity in days (leaves: 825; a list: 30)\n"
    "  --json          tell the result as JSON\n"
    "\n"
    "Exit status: 0 ok, 1 refused or malformed, 2 usage or a file that cannot be read, 5 internal.\n";

struct options {
    const char *ca, *out, *cert, *names[MAX_NAMES + 4]; /* init's three, and NULL */
    unsigned role, name_count;
    bool has_tenant, has_host, server, client, json, help;
    uint8_t tenant[16], host[16];
    int days;
    const char *arg; /* DIR or CERT */
};

static int parse_days(const char *s, int *out, struct lt_err *e)
{
    char *end;
    long v = strtol(s, &end, 10);
    if (!*s || *end || v < 1 || v > 36500)
        return lt_fail(e, LT_E_USAGE, "--days %s: not from 1 to 36500", s);
    *out = (int)v;
    return 0;
}

static int parse_option(int opt, struct options *o, struct lt_err *e)
{
    switch (opt) {
    case 'c':
        o->ca = optarg;
        return 0;
    case 'o':
        o->out = optarg;
        return 0;
    case 'C':
        o->cert = optarg;
        return 0;
    case 'r':
        o->role = lt_peer_role_by_name(optarg);
        if (!o->role && strcmp(optarg, "none"))
            return lt_fail(e, LT_E_USAGE, "--role %s: not provider, host, tenant, operator or none", optarg);
        return 0;
    case 't':
        o->has_tenant = true;
        LT_TRY_IN(lt_uuid_parse(optarg, o->tenant, e), e, "--tenant %s", optarg);
        return 0;
    case 'h':
        o->has_host = true;
        LT_TRY_IN(lt_unhex(optarg, o->host, sizeof o->host, e), e, "--host %s", optarg);
        return 0;
    case 'n':
        if (o->name_count == MAX_NAMES)
            return lt_fail(e, LT_E_USAGE, "more than %d --name", MAX_NAMES);
        o->names[o->name_count++] = optarg;
        return 0;
    case 'd':
        return parse_days(optarg, &o->days, e);
    case 's':
        return o->server = true, 0;
    case 'l':
        return o->client = true, 0;
    case 'j':
        return o->json = true, 0;
    case 'H':
        return o->help = true, 0;
    default:
        return lt_fail(e, LT_E_USAGE, "try 'limetree pki --help'");
    }
}

static const struct option long_options[] = {
    {"ca", required_argument, NULL, 'c'},
    {"out", required_argument, NULL, 'o'},
    {"cert", required_argument, NULL, 'C'},
    {"role", required_argument, NULL, 'r'},
    {"tenant", required_argument, NULL, 't'},
    {"host", required_argument, NULL, 'h'},
    {"name", required_argument, NULL, 'n'},
    {"days", required_argument, NULL, 'd'},
    {"server", no_argument, NULL, 's'},
    {"client", no_argument, NULL, 'l'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'H'},
    {0},
};

/* ---- init ---- */

static char *file_of(const char *dir, const char *name, const char *ext)
{
    LT_AUTOFREE char *path = lt_file_path(dir, name);
    char *s;
    if (asprintf(&s, "%s.%s", path, ext) < 0)
        abort();
    return s;
}

static int make_ca(const char *dir, size_t i, int days, struct lt_err *e)
{
    LT_AUTOFREE char *cert = file_of(dir, cas[i].file, "crt");
    LT_AUTOFREE char *key = file_of(dir, cas[i].file, "key");
    return lt_pki_make_ca(cert, key, cas[i].common_name, days, e);
}

static int issue_under(const char *dir, const char *ca, const struct lt_pki_subject *s, const char *cert,
                       const char *key, struct lt_err *e)
{
    for (size_t i = 0; i < CAS; i++)
        if (!strcmp(cas[i].name, ca)) {
            LT_AUTOFREE char *ca_cert = file_of(dir, cas[i].file, "crt");
            LT_AUTOFREE char *ca_key = file_of(dir, cas[i].file, "key");
            return lt_pki_issue(ca_cert, ca_key, s, cert, key, e);
        }
    return lt_fail(e, LT_E_USAGE, "--ca %s: not federation, tenant or vtpm", ca);
}

/* Limetree's programs know each other by role; other clients of a server (Keylime's, curl) by its name. */
static void add_local_names(struct options *o)
{
    static const char *const local[] = {"localhost", "127.0.0.1", "::1"};

    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        o->names[o->name_count++] = local[i];
}

static int make_leaf(const char *dir, size_t i, const struct options *o, struct lt_err *e)
{
    LT_AUTOFREE char *cert = file_of(dir, leaves[i].file, "crt");
    LT_AUTOFREE char *key = file_of(dir, leaves[i].file, "key");
    struct lt_pki_subject s = {
        .common_name = leaves[i].file,
        .role = leaves[i].role,
        .tenant_id = leaves[i].role == LT_PEER_ROLE_TENANT ? o->tenant : NULL,
        .names = leaves[i].server ? o->names : NULL,
        .server = leaves[i].server,
        .client = leaves[i].client,
        .days = o->days ? o->days : LEAF_DAYS,
    };
    return issue_under(dir, leaves[i].ca, &s, cert, key, e);
}

/* Looked at before anything is made, so that a second init changes nothing. */
static int check_empty(const char *dir, struct lt_err *e)
{
    struct stat st;
    for (size_t i = 0; i < CAS + LEAVES; i++)
        for (int k = 0; k < 2; k++) {
            LT_AUTOFREE char *path =
                file_of(dir, i < CAS ? cas[i].file : leaves[i - CAS].file, k ? "key" : "crt");
            if (!lstat(path, &st))
                return lt_fail(e, LT_E_CONFLICT,
                               "%s: exists already and nothing is overwritten; name another "
                               "directory, or add single certificates with 'limetree pki issue'",
                               path);
        }
    return 0;
}

static int init(struct options *o, struct lt_err *e)
{
    char tenant[LT_UUID_TEXT];

    LT_TRY(check_empty(o->arg, e));
    LT_TRY(lt_file_dir_private(o->arg, e));
    if (!o->has_tenant)
        lt_uuid_random(o->tenant);
    add_local_names(o);
    int ca_days = o->days > CA_DAYS ? o->days : CA_DAYS; /* no leaf outlives its CA */
    for (size_t i = 0; i < CAS; i++)
        LT_TRY(make_ca(o->arg, i, ca_days, e));
    for (size_t i = 0; i < LEAVES; i++)
        LT_TRY(make_leaf(o->arg, i, o, e));
    lt_uuid_format(o->tenant, tenant);
    if (o->json) {
        LT_JSON_AUTO json_t *j = json_pack("{ss ss}", "directory", o->arg, "tenant", tenant);
        LT_AUTOFREE char *text = lt_json_pretty(j);
        fputs(text ? text : "", stdout);
        return 0;
    }
    printf("%s: three CAs and %zu certificates; tenant %s\n"
           "Next: limetree pki issue %s --ca federation --role host --host HEX --name ADDRESS --out PREFIX\n",
           o->arg, LEAVES, tenant, o->arg);
    return 0;
}

/* ---- show ---- */

static void wall(const ASN1_TIME *t, char out[32])
{
    struct tm tm = {0};
    out[0] = 0;
    if (ASN1_TIME_to_tm(t, &tm))
        lt_clock_wall_text(timegm(&tm), out);
}

static void put_name(struct lt_buf *b, const GENERAL_NAME *gn)
{
    char text[INET6_ADDRSTRLEN] = "";
    const ASN1_STRING *s = gn->d.ia5;
    int n = ASN1_STRING_length(s);

    if (gn->type == GEN_IPADD && (n == 4 || n == 16))
        inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(s), text, sizeof text);
    if (gn->type == GEN_DNS || *text) {
        lt_buf_str(b, b->n ? ", " : "");
        lt_buf_put(b, gn->type == GEN_DNS ? (const void *)ASN1_STRING_get0_data(s) : text,
                   gn->type == GEN_DNS ? (size_t)n : strlen(text));
    }
}

/* What clients may call it by; NULL: nothing. */
static json_t *names_of(X509 *x)
{
    LT_AUTO(GENERAL_NAMES) GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_CERTIFICATE);

    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++)
        put_name(&b, sk_GENERAL_NAME_value(all, i));
    LT_AUTOFREE char *text = b.n ? lt_buf_take_str(&b) : NULL;
    return text ? lt_json_new_text(text) : NULL;
}

static int describe(X509 *x, json_t **out, struct lt_err *e)
{
    char from[32], to[32], subject[256] = "";
    struct lt_peer p;
    uint8_t *der = NULL, print[32];
    int n = i2d_X509(x, &der), rc = 0;
    bool ca = X509_check_ca(x) == 1;

    if (n <= 0)
        return lt_fail(e, LT_E_MALFORMED, "not a certificate");
    memset(&p, 0, sizeof p);
    if (!ca)
        rc = lt_peer_from_der(der, (size_t)n, &p, e);
    if (!X509_digest(x, EVP_sha256(), print, NULL))
        rc = lt_fail(e, LT_E_INTERNAL, "no SHA-256");
    OPENSSL_free(der);
    LT_TRY(rc);
    wall(X509_get0_notBefore(x), from);
    wall(X509_get0_notAfter(x), to);
    X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof subject);
    *out = json_pack("{so sb ss* so* so* so* so ss ss sb sb}", "subject", lt_json_new_text(subject), "ca", ca,
                     "role", lt_peer_role_name(p.roles), "tenant",
                     p.has_tenant ? lt_json_new_uuid(p.tenant_id) : NULL, "host",
                     p.has_host ? lt_json_new_hex(p.host_id, 16) : NULL, "names", names_of(x), "fingerprint",
                     lt_json_new_hex(print, 32), "not_before", from, "not_after", to, "server", p.may_serve,
                     "client", p.may_call);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "no memory");
}

static int show_file(const char *path, bool as_json, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    LT_JSON_AUTO json_t *j = NULL;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_CERTIFICATE * 2, &pem, &n, e));
    BIO *b = BIO_new_mem_buf(pem, (int)n);
    X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    BIO_free(b);
    ERR_clear_error();
    int rc = x ? describe(x, &j, e) : lt_fail(e, LT_E_MALFORMED, "not a certificate in PEM");
    X509_free(x);
    if (rc)
        return lt_fail_in(e, rc, "%s", path);
    if (as_json) {
        LT_AUTOFREE char *text = lt_json_pretty(j);
        fputs(text ? text : "", stdout);
        return 0;
    }
    const char *key;
    json_t *v;
    json_object_foreach(j, key, v) printf("%-12s %s\n", key,
                                          json_is_string(v) ? json_string_value(v)
                                          : json_is_true(v) ? "yes"
                                                            : "no");
    return 0;
}

static int show(struct options *o, struct lt_err *e)
{
    return show_file(o->arg, o->json, e);
}

/* ---- issue ---- */

static int issue(struct options *o, struct lt_err *e)
{
    if (!o->ca || !o->out)
        return lt_fail(e, LT_E_USAGE, "issue needs --ca and --out");
    if (o->role == LT_PEER_ROLE_HOST && !o->has_host)
        return lt_fail(e, LT_E_USAGE,
                       "--role host needs --host HEX ('limetree-agent --identity' on it says which)");
    if (o->role == LT_PEER_ROLE_TENANT && !o->has_tenant)
        return lt_fail(e, LT_E_USAGE, "--role tenant needs --tenant UUID");
    const char *slash = strrchr(o->out, '/'), *name = slash ? slash + 1 : o->out;
    LT_AUTOFREE char *cert = NULL;
    LT_AUTOFREE char *key = NULL;
    if (asprintf(&cert, "%s.crt", o->out) < 0 || asprintf(&key, "%s.key", o->out) < 0)
        abort();
    bool both = !o->server && !o->client;
    struct lt_pki_subject s = {
        .common_name = name,
        .role = o->role,
        .tenant_id = o->has_tenant ? o->tenant : NULL,
        .host_id = o->has_host ? o->host : NULL,
        .names = o->names,
        .server = o->server || both,
        .client = o->client || both,
        .days = o->days ? o->days : LEAF_DAYS,
    };
    LT_TRY(issue_under(o->arg, o->ca, &s, cert, key, e));
    if (s.server && !o->name_count)
        fprintf(stderr,
                "limetree pki: %s names no --name: clients that check a server's name (Keylime's, curl)"
                " will refuse it\n",
                cert);
    return show_file(cert, o->json, e);
}

static int revoke(struct options *o, struct lt_err *e)
{
    size_t i = 0;

    while (i < CAS && (!o->ca || strcmp(cas[i].name, o->ca)))
        i++;
    if (i == CAS)
        return lt_fail(e, LT_E_USAGE, "revoke needs --ca federation, tenant or vtpm");
    LT_AUTOFREE char *cert = file_of(o->arg, cas[i].file, "crt");
    LT_AUTOFREE char *key = file_of(o->arg, cas[i].file, "key");
    LT_AUTOFREE char *list = file_of(o->arg, cas[i].file, "crl");
    int days = o->days ? o->days : LIST_DAYS;
    LT_TRY(lt_pki_revoke(cert, key, o->cert, list, days, e));
    printf(
        "%s: good for %d days; copy it to every machine whose configuration names it, and send HUP there\n",
        list, days);
    return 0;
}

static const struct {
    const char *verb;
    int (*run)(struct options *o, struct lt_err *e);
} verbs[] = {{"init", init}, {"issue", issue}, {"revoke", revoke}, {"show", show}};

int lt_cli_cmd_pki(int argc, char **argv)
{
    struct options o = {0};
    struct lt_err e = {0};
    int opt, rc = 0;

    while (!rc && (opt = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        rc = parse_option(opt, &o, &e) ? LT_E_USAGE : 0; /* a malformed argument is the caller's slip */
    if (!rc && o.help) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (!rc && argc - optind != 2)
        rc = lt_fail(&e, LT_E_USAGE, "a verb and one argument are needed; try 'limetree pki --help'");
    if (!rc) {
        size_t i = 0;
        while (i < sizeof verbs / sizeof *verbs && strcmp(verbs[i].verb, argv[optind]))
            i++;
        o.arg = argv[optind + 1];
        rc = i < sizeof verbs / sizeof *verbs
                 ? verbs[i].run(&o, &e)
                 : lt_fail(&e, LT_E_USAGE, "no verb '%s'; try 'limetree pki --help'", argv[optind]);
    }
    if (rc)
        fprintf(stderr, "limetree pki: %s\n", e.msg);
    return lt_err_exit(rc);
}
