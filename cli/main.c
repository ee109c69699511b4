#include "cli/cli.h"

#include "common/run/daemon.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"verify", "check evidence bundles offline", lt_cli_cmd_verify},
    {"guest", "guests of a tenant: list, show, add, assign, learn", lt_cli_cmd_guest},
    {"host", "hosts of a provider: list, show, add, learn", lt_cli_cmd_host},
    {"policy", "runtime policies: learn, compile, check, diff, show", lt_cli_cmd_policy},
    {"log", "boot logs and IMA lists: replay, judge, show", lt_cli_cmd_log},
    {"ek", "EK certificates: check one as enrolment and appraisal do", lt_cli_cmd_ek},
    {"domain", "libvirt domains: sealed vTPMs, digest of a definition", lt_cli_cmd_domain},
    {"escrow", "copies of a sealed vTPM's key: show, with the recovery key", lt_cli_cmd_escrow},
    {"ca", "certificates of guests: issue, revoke, serve the list", lt_cli_cmd_ca},
    {"revocation", "what a tenant decided, and who has not heard of it", lt_cli_cmd_revocation},
    {"token", "verdict tokens: get, verify, keys", lt_cli_cmd_token},
    {"pki", "make the federation's certificates", lt_cli_cmd_pki},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static void help(FILE *out)
{
    fprintf(out, "usage: limetree COMMAND [ARGUMENT]...\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'limetree COMMAND --help' tells more.\n");
}

int main(int argc, char **argv)
{
    lt_daemon_no_core_dumps();
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        help(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("limetree %s\n", LT_VERSION);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, argv[1]))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "limetree: no command '%s'; 'limetree --help' lists them\n", argv[1]);
    return 2;
}
