/* limetree domain: the digest of a domain's definition, offline; and sealed vTPMs, by way of this host's
 * agent. */
#include "cli/domain_verbs.h"

#include "cli/cli.h"
#include "cli/client.h"
#include "common/hash.h"
#include "vtpm/domain.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: limetree domain digest FILE [--lines]\n"
    "       limetree domain define FILE [--autostart]\n"
    "       limetree domain provision UUID [--escrow PEM] [--convert]\n"
    "       limetree domain start UUID [--paused]\n"
    "       limetree domain pin UUID [--clear]\n"
    "       limetree domain hook NAME OPERATION SUBOPERATION EXTRA\n\n"
    "digest     Prints the domain digest as a host's record of residency carries it, and as a guest "
    "policy's\n"
    "           \"domain\" lists it. FILE is the live XML of a running domain (`virsh dumpxml NAME`; '-' is\n"
    "           standard input). Kernel and initrd that the XML names are read, so run it on the host or\n"
    "           where the same files lie. No agent is asked.\n\n"
    "The others are for domains with a sealed vTPM, on the host that runs them; they ask its agent.\n\n"
    "define     Gives the XML in FILE to libvirt, with the <encryption> that a sealed vTPM needs in its "
    "<tpm>.\n"
    "provision  Makes the domain's vTPM, and enters it in the host's vault. What is there already stays.\n"
    "start      Starts it: its key is in libvirtd only meanwhile.\n"
    "pin        From now on it starts only with the firmware and the definition that it runs with now.\n"
    "hook       What libvirt calls, as a host's administrator has installed it; the XML is on standard "
    "input.\n\n"
    "  --lines        digest: print the lines that are hashed, too\n"
    "  --autostart    define: the agent starts it when the host has booted (libvirt's own autostart has no "
    "key)\n"
    "  --escrow PEM   provision: the guest's owner's recovery key (public half): he can open the vTPM "
    "without\n"
    "                 this host, and its link is no better than `copyable` unless his policy names the key\n"
    "  --convert      provision: a vTPM that is there and not in the vault is REPLACED BY A NEW ONE: keys "
    "that\n"
    "                 the guest keeps in it are lost, a disk that only they open too\n"
    "  --paused       start: its processors do not run until `virsh resume`\n"
    "  --clear        pin: nothing is pinned any more, for a change that is meant\n"
    "  --socket PATH  the agent's; else local_socket of /etc/limetree/agent.conf, else "
    "/run/limetree/agent.sock\n"
    "  --json         the agent's answer; of digest {\"uuid\",\"name\",\"digest\",\"lines\"}\n\n"
    "Exit status: 0 ok, 1 refused, 2 usage or a file that cannot be read, 4 no answer or busy, 5 internal.\n";

/* ---- digest ---- */

static int hash_file(void *ctx, const char *path, uint8_t out[32], struct lt_err *e)
{
    (void)ctx;
    return lt_file_sha256(path, out, e);
}

static int print(const struct lt_domain *d, const struct lt_cli_domain *c, struct lt_err *e)
{
    LT_AUTOFREE char *lines = NULL;
    uint8_t digest[32];
    char hex[65];

    LT_TRY(lt_domain_lines(d, hash_file, NULL, &lines, e));
    lt_sha256(lines, strlen(lines), digest);
    lt_hex(digest, 32, hex);
    if (c->json) {
        LT_JSON_AUTO json_t *o =
            json_pack("{s:o, s:o, s:s, s:o}", "uuid", lt_json_new_uuid(d->uuid), "name",
                      lt_json_new_text(d->name), "digest", hex, "lines", lt_json_new_text(lines));
        LT_AUTOFREE char *text = o ? lt_json_pretty(o) : NULL;
        if (!text)
            return lt_fail(e, LT_E_NO_MEMORY, "no memory");
        fputs(text, stdout);
    } else {
        printf("%s%s\n", c->lines ? lines : "", hex);
    }
    return fflush(stdout) ? lt_fail(e, LT_E_IO, "standard output: write failed") : 0;
}

int lt_cli_domain_digest(const struct lt_cli_domain *c, struct lt_err *e)
{
    const char *file = c->argument[0];
    LT_AUTOFREE uint8_t *xml = NULL;
    struct lt_domain domain = {0};
    size_t n;

    int rc = lt_file_read(file, LT_MAX_DOMAIN_XML, &xml, &n, e);
    if (!rc)
        rc = lt_domain_parse(xml, n, &domain, e);
    if (!rc)
        rc = print(&domain, c, e);
    lt_domain_free(&domain);
    return rc ? lt_fail_in(e, rc, "%s", file) : 0;
}

/* ---- which verb ---- */

enum { JSON = 1, LINES = 2, AUTOSTART = 4, ESCROW = 8, CONVERT = 16, PAUSED = 32, CLEAR = 64, SOCKET = 128 };

static const struct verb {
    const char *name;
    int min, max;
    unsigned options;
    int (*run)(const struct lt_cli_domain *c, struct lt_err *e);
} verbs[] = {
    {"digest", 1, 1, JSON | LINES, lt_cli_domain_digest},
    {"define", 1, 1, JSON | AUTOSTART | SOCKET, lt_cli_domain_define},
    {"provision", 1, 1, JSON | ESCROW | CONVERT | SOCKET, lt_cli_domain_provision},
    {"start", 1, 1, JSON | PAUSED | SOCKET, lt_cli_domain_start},
    {"pin", 1, 1, JSON | CLEAR | SOCKET, lt_cli_domain_pin},
    {"hook", 2, 4, JSON | SOCKET, lt_cli_domain_hook},
};

static const struct option options[] = {
    {"json", no_argument, NULL, JSON},           {"lines", no_argument, NULL, LINES},
    {"autostart", no_argument, NULL, AUTOSTART}, {"escrow", required_argument, NULL, ESCROW},
    {"convert", no_argument, NULL, CONVERT},     {"paused", no_argument, NULL, PAUSED},
    {"clear", no_argument, NULL, CLEAR},         {"socket", required_argument, NULL, SOCKET},
    {"help", no_argument, NULL, 'h' << 8},       {0}};

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

/* What was given; -1: help was asked for; 0 as verb: usage. */
static const struct verb *parse(int argc, char **argv, struct lt_cli_domain *c, bool *help)
{
    unsigned given = 0;

    for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if ((*help = o == 'h' || o == 'h' << 8) || o == '?')
            return NULL;
        given |= (unsigned)o;
        if (o == ESCROW)
            c->escrow = optarg;
        else if (o == SOCKET)
            c->socket = optarg;
    }
    const struct verb *v = optind < argc ? find(argv[optind]) : NULL;
    if (!v || given & ~v->options)
        return NULL;
    c->argument = argv + optind + 1;
    c->count = argc - optind - 1;
    c->json = given & JSON;
    c->lines = given & LINES;
    c->autostart = given & AUTOSTART;
    c->convert = given & CONVERT;
    c->paused = given & PAUSED;
    c->clear = given & CLEAR;
    return c->count >= v->min && c->count <= v->max ? v : NULL;
}

static void complain(const char *verb, const struct lt_err *e)
{
    char command[64];

    snprintf(command, sizeof command, "limetree: domain %s", verb);
    lt_cli_complain(command, e);
}

int lt_cli_cmd_domain(int argc, char **argv)
{
    struct lt_cli_domain c = {0};
    struct lt_err e = {0};
    bool help = false;
    const struct verb *v = parse(argc, argv, &c, &help);

    if (!v) {
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    int rc = v->run(&c, &e);
    if (rc)
        complain(v->name, &e);
    return lt_err_exit(rc);
}
