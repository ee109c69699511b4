/* limetree ca: certificates of guests alone, which a verdict ends. */
#include "cli/ca.h"

#include "cli/cli.h"
#include "cli/client.h"
#include "common/pki/ca.h"
#include "common/run/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CA_DAYS 3650
#define LEAF_DAYS 90
#define MAX_NAMES 16

static const char usage_text[] =
    "usage: limetree ca init DIR --url URL [--common-name TEXT] [--days N]\n"
    "       limetree ca issue DIR GUEST --out PREFIX [--name NAME]... [--days N]\n"
    "       limetree ca revoke DIR GUEST [--hold | --release]\n"
    "       limetree ca revoke DIR --cert CERT [--hold | --release]\n"
    "       limetree ca crl DIR\n"
    "       limetree ca list DIR [--json]\n"
    "       limetree ca serve [--config FILE] [-o key=value]... (--help tells its keys)\n"
    "\n"
    "An authority for guests' certificates alone; the federation's are 'limetree pki'. init makes DIR. issue "
    "makes\n"
    "PREFIX.crt and PREFIX.key for the guest with the agent id GUEST, for TLS servers and clients. revoke "
    "takes\n"
    "back all that the guest has, or one: for ever, or with --hold until --release. The list "
    "DIR/guests-ca.crl is\n"
    "written at once; crl writes it anew. serve publishes it, takes limetree-tenant's word on its guests\n"
    "(ca_url in tenant.conf) and signs the list again before it is out of date.\n"
    "\n"
    "  --url URL          http://HOST:PORT/guests.crl, where 'ca serve' will be found; goes into each "
    "certificate\n"
    "  --common-name TEXT of the CA (Limetree guests' CA)\n"
    "  --name NAME        a DNS name or IP address of the guest, may be repeated\n"
    "  --days N           validity in days (the CA: 3650, a guest's: 90)\n"
    "\n"
    "Exit status: 0 ok, 1 refused or malformed, 2 usage or a file that cannot be read, 5 internal.\n";

struct options {
    const char *url, *common_name, *out, *cert, *names[MAX_NAMES + 1];
    unsigned name_count;
    int days; /* 0: not told */
    bool hold, release, json, help;
    const char *dir, *guest; /* guest NULL: none */
};

/* ---- verbs ---- */

static int init(const struct options *o, struct lt_err *e)
{
    if (!o->url)
        return lt_fail(e, LT_E_USAGE,
                       "init needs --url http://HOST:PORT/guests.crl, where everybody fetches the list");
    LT_TRY(lt_ca_init(o->dir, o->common_name ? o->common_name : "Limetree guests' CA", o->url,
                      o->days ? o->days : CA_DAYS, e));
    printf("%s: guests' peers trust guests-ca.crt; next: limetree ca issue %s GUEST --out PREFIX\n", o->dir,
           o->dir);
    return 0;
}

/* Both or neither; nothing is overwritten. The certificate stays on record: what cannot be written down is
 * revoked. */
static int save(struct lt_ca *c, const char *out, const struct lt_pki_made *m, struct lt_err *e)
{
    LT_AUTOFREE char *cert = NULL;
    LT_AUTOFREE char *key = NULL;

    if (asprintf(&cert, "%s.crt", out) < 0 || asprintf(&key, "%s.key", out) < 0)
        abort();
    int rc = lt_pki_made_save(m, cert, key, e);
    if (rc && lt_ca_tell_one(c, m->cert, LT_CA_REVOKED, LT_NO_ERR))
        fprintf(stderr, "limetree ca: the certificate that was not saved could not be revoked either\n");
    if (!rc)
        printf("%s, %s\n", cert, key);
    return rc;
}

static int issue(const struct options *o, struct lt_err *e)
{
    struct lt_pki_made made = {0};
    struct lt_ca *c;

    if (!o->out || !o->guest)
        return lt_fail(e, LT_E_USAGE, "issue needs DIR, GUEST and --out PREFIX");
    const struct lt_ca_request r = {
        .guest = o->guest, .names = o->names, .days = o->days ? o->days : LEAF_DAYS};
    LT_TRY(lt_ca_open(o->dir, &c, e));
    int rc = lt_ca_issue(c, &r, &made, e);
    if (!rc)
        rc = save(c, o->out, &made, e);
    lt_pki_made_free(&made);
    lt_ca_close(c);
    return rc;
}

static int revoke_one(struct lt_ca *c, const char *path, enum lt_ca_state s, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_CERTIFICATE * 2, &pem, &n, e));
    LT_TRY_IN(lt_ca_tell_one(c, (const char *)pem, s, e), e, "%s", path);
    printf("%s: %s\n", path, lt_ca_state_name(s));
    return 0;
}

static int revoke_guest(struct lt_ca *c, const char *guest, enum lt_ca_state s, struct lt_err *e)
{
    unsigned count;

    LT_TRY(lt_ca_tell(c, guest, s, &count, e));
    printf("%s: %u certificates, %s (those that were revoked before stay so)\n", guest, count,
           lt_ca_state_name(s));
    return 0;
}

static int revoke(const struct options *o, struct lt_err *e)
{
    enum lt_ca_state s = o->hold ? LT_CA_HELD : o->release ? LT_CA_GOOD : LT_CA_REVOKED;
    struct lt_ca *c;

    if (!o->guest == !o->cert || (o->hold && o->release))
        return lt_fail(e, LT_E_USAGE,
                       "revoke needs GUEST or --cert CERT, and --hold or --release or neither");
    LT_TRY(lt_ca_open(o->dir, &c, e));
    int rc = o->cert ? revoke_one(c, o->cert, s, e) : revoke_guest(c, o->guest, s, e);
    lt_ca_close(c);
    return rc;
}

static int crl(const struct options *o, struct lt_err *e)
{
    struct lt_ca *c;

    LT_TRY(lt_ca_open(o->dir, &c, e));
    int rc = lt_ca_publish(c, e);
    lt_ca_close(c);
    if (!rc)
        printf("%s/guests-ca.crl: good for %d hours\n", o->dir, LT_CA_LIST_S / 3600);
    return rc;
}

static void print_table(const json_t *all)
{
    static const char *const columns[] = {"guest", "state", "since", "ends", "serial"};
    struct lt_cli_table *t = lt_cli_table_new(5);
    size_t i;
    json_t *row;

    for (size_t k = 0; k < 5; k++)
        lt_cli_table_cell(t, "%s", columns[k]);
    json_array_foreach(all, i, row) for (size_t k = 0; k < 5; k++)
        lt_cli_table_cell(t, "%s", lt_cli_text(row, columns[k]));
    lt_cli_table_print(t);
}

static int list(const struct options *o, struct lt_err *e)
{
    LT_JSON_AUTO json_t *all = NULL;
    struct lt_ca *c;

    LT_TRY(lt_ca_open(o->dir, &c, e));
    int rc = lt_ca_certificates(c, &all, e);
    lt_ca_close(c);
    if (!rc && o->json)
        lt_cli_json(all);
    else if (!rc)
        print_table(all);
    return rc;
}

static const struct {
    const char *name;
    int (*run)(const struct options *o, struct lt_err *e);
} verbs[] = {{"init", init}, {"issue", issue}, {"revoke", revoke}, {"crl", crl}, {"list", list}};

/* ---- the command line ---- */

static const struct option long_options[] = {
    {"url", required_argument, NULL, 'u'},
    {"common-name", required_argument, NULL, 'c'},
    {"out", required_argument, NULL, 'o'},
    {"cert", required_argument, NULL, 'C'},
    {"name", required_argument, NULL, 'n'},
    {"days", required_argument, NULL, 'd'},
    {"hold", no_argument, NULL, 'h'},
    {"release", no_argument, NULL, 'r'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'H'},
    {0},
};

static int take_days(struct options *o, const char *text, struct lt_err *e)
{
    char *end;
    long v = strtol(text, &end, 10);

    if (!*text || *end || v < 1 || v > 36500)
        return lt_fail(e, LT_E_USAGE, "--days %s: not from 1 to 36500", text);
    o->days = (int)v;
    return 0;
}

static int take_option(struct options *o, int opt, struct lt_err *e)
{
    const struct {
        int opt;
        const char **text;
        bool *flag;
    } plain[] = {{'u', &o->url, NULL},  {'c', &o->common_name, NULL}, {'o', &o->out, NULL},
                 {'C', &o->cert, NULL}, {'h', NULL, &o->hold},        {'r', NULL, &o->release},
                 {'j', NULL, &o->json}, {'H', NULL, &o->help}};

    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (plain[i].opt == opt) {
            if (plain[i].text)
                *plain[i].text = optarg;
            else
                *plain[i].flag = true;
            return 0;
        }
    if (opt == 'd')
        return take_days(o, optarg, e);
    if (opt != 'n')
        return lt_fail(e, LT_E_USAGE, "try 'limetree ca --help'");
    if (o->name_count == MAX_NAMES)
        return lt_fail(e, LT_E_USAGE, "more than %d --name", MAX_NAMES);
    o->names[o->name_count++] = optarg;
    return 0;
}

static int run(struct options *o, int argc, char **argv, struct lt_err *e)
{
    int opt;

    while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        LT_TRY(take_option(o, opt, e));
    if (o->help) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (argc - optind < 2 || argc - optind > 3)
        return lt_fail(e, LT_E_USAGE, "a verb and DIR are needed; try 'limetree ca --help'");
    o->dir = argv[optind + 1];
    o->guest = argv[optind + 2]; /* NULL at the end */
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, argv[optind]))
            return verbs[i].run(o, e);
    return lt_fail(e, LT_E_USAGE, "no verb '%s'; try 'limetree ca --help'", argv[optind]);
}

int lt_cli_cmd_ca(int argc, char **argv)
{
    struct options o = {0};
    struct lt_err e = {0};

    if (argc > 1 && !strcmp(argv[1], "serve"))
        return lt_cli_ca_serve(argc - 1, argv + 1);
    if (lt_log_open("limetree", NULL, LT_LOG_ERROR, &e))
        return lt_err_exit(e.code);
    int rc = run(&o, argc, argv, &e);
    if (rc)
        fprintf(stderr, "limetree ca: %s\n", e.msg);
    return lt_err_exit(rc);
}
