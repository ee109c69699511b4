/* limetree verify: the checks of a bundle, done again by anybody. Exit codes: 0 consistent, 1 inconsistent or
 * a malformed bundle, 2 usage or an unreadable file, 5 internal; of several bundles the worst. */
#include "appraisal/checks/offline.h"
#include "cli/cli.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "verifier/roots.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: limetree verify BUNDLE... [--roots PATH] [--policy FILE] [--json]\n"
    "\n"
    "Redoes the checks of evidence bundles offline and says 'consistent' or 'inconsistent' (never "
    "'trusted':\n"
    "activation, history and the registry are not in a bundle). What was left out is listed as not made.\n"
    "\n"
    "  --roots PATH   certificates of TPM makers, a directory or a file: check the host's EK certificate "
    "chain\n"
    "  --policy FILE  a guest policy: check PCRs, expected digests, taint, the accepted host policies, and "
    "what\n"
    "                 a sealed vTPM was open to (without it no link is called more than copyable)\n"
    "  --json         an array with one object a bundle\n"
    "  --help         this text\n"
    "\n"
    "exit: 0 consistent, 1 inconsistent or malformed bundle, 2 usage or unreadable file, 5 internal\n";

struct verify {
    struct lt_offline options;
    json_t *out; /* an array, or NULL: text for people */
};

static int load_policy(const char *path, struct lt_policy_guest **out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_POLICY, &p, &n, e));
    LT_TRY_IN(lt_policy_guest_parse(p, n, out, e), e, "%s", path);
    return 0;
}

/* Bundles come from strangers: nothing of theirs may steer a terminal. JSON output keeps every character. */
static void print_text(FILE *to, const char *s)
{
    for (; *s; s++)
        putc(*s < ' ' || *s > '~' ? '?' : *s, to);
}

static void complain(const struct lt_err *e)
{
    fputs("limetree verify: ", stderr);
    print_text(stderr, e->msg);
    putc('\n', stderr);
}

static void print_line(const char *state, const char *check, const char *part, const char *message)
{
    printf("  %-8s %s%s%s%s", state, check, part ? "/" : "", part ? part : "", *message ? ": " : "");
    print_text(stdout, message);
    putchar('\n');
}

/* What keeps the link of a sealed vTPM from being a higher one, opener by opener. */
static void print_openers(const struct lt_verdict *v)
{
    char digest[2 * sizeof v->openers.digest + 1], which[16];

    if (!v->openers.listed)
        return;
    lt_hex(v->openers.digest, sizeof v->openers.digest, digest);
    printf("  openers  %u at hand, list %s\n", v->openers.count, digest);
    for (unsigned i = 0; i < v->openers.problem_count; i++) {
        const struct lt_verdict_problem *p = &v->openers.problem[i];
        snprintf(which, sizeof which, p->opener < 0 ? "the list" : "%d", p->opener);
        printf("    %s %s: ", which, p->reason);
        print_text(stdout, p->message);
        putchar('\n');
    }
    if (v->openers.untold)
        printf("    and %u more\n", v->openers.untold);
}

static void print_verdict(const char *path, const struct lt_verdict *v)
{
    static const char *const states[] = {
        [LT_CHECK_NOT_MADE] = "not made", [LT_CHECK_PASSED] = "passed", [LT_CHECK_NOT_PASSED] = "FAILED"};

    print_text(stdout, path);
    printf(": %s%s%s", lt_verdict_result_slug(v->result), *v->reason ? " " : "", v->reason);
    if (lt_verdict_link_slug(v->link))
        printf(" (link %s, host %s%s)", lt_verdict_link_slug(v->link), lt_verdict_level_slug(v->level),
               v->tainted ? ", tainted" : "");
    putchar('\n');
    for (int c = 0; c < LT_CHECKS; c++)
        print_line(states[v->check[c].state], lt_check_slug(c), NULL, v->check[c].message);
    for (unsigned i = 0; i < v->part_count; i++)
        print_line(v->parts[i].note ? "note" : "not made", lt_check_slug(v->parts[i].check), v->parts[i].part,
                   v->parts[i].message);
    print_openers(v);
}

static int verify(struct verify *self, const char *path, struct lt_verdict *v, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    struct lt_bundle b;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_BUNDLE, &text, &n, e));
    LT_TRY_IN(lt_bundle_parse(text, n, &b, e), e, "%s", path);
    int rc = lt_offline_appraise(&b, &self->options, v, e);
    lt_bundle_free(&b);
    return rc ? lt_fail_in(e, rc, "%s", path) : 0;
}

/* The exit code. */
static int one(struct verify *self, const char *path)
{
    struct lt_verdict v;
    struct lt_err e = {0};
    int rc = verify(self, path, &v, &e);

    if (rc) {
        if (self->out)
            json_array_append_new(self->out,
                                  json_pack("{s:o, s:{s:s, s:o}}", "file", lt_json_new_text(path), "error",
                                            "slug", lt_err_slug(rc), "message", lt_json_new_text(e.msg)));
        complain(&e);
        return lt_err_exit(rc);
    }
    if (self->out)
        json_array_append_new(self->out, json_pack("{s:o, s:o}", "file", lt_json_new_text(path), "verdict",
                                                   lt_verdict_to_json(&v, NULL)));
    else
        print_verdict(path, &v);
    return v.result == LT_VERDICT_CONSISTENT ? 0 : 1;
}

static int run(struct verify *self, char **paths)
{
    int worst = 0;

    for (; *paths; paths++) {
        int code = one(self, *paths);
        worst = code > worst ? code : worst;
    }
    if (self->out) {
        LT_AUTOFREE char *text = lt_json_pretty(self->out);
        if (!text)
            return 5;
        fputs(text, stdout);
    }
    if (fflush(stdout)) {
        perror("limetree verify: standard output");
        return 2;
    }
    return worst;
}

int lt_cli_cmd_verify(int argc, char **argv)
{
    static const struct option options[] = {{"roots", required_argument, NULL, 'r'},
                                            {"policy", required_argument, NULL, 'p'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *roots_path = NULL, *policy_file = NULL;
    struct verify self = {.options.now = lt_clock_wall_s()};
    struct lt_ek_certificates_roots *roots = NULL;
    struct lt_policy_guest *policy = NULL;
    struct lt_err e = {0};
    bool json = false;

    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'r')
            roots_path = optarg;
        else if (c == 'p')
            policy_file = optarg;
        else if (c == 'j')
            json = true;
        else if (c == 'h')
            return fputs(usage, stdout) < 0 ? 5 : 0;
        else
            return 2;
    }
    if (optind == argc) {
        fputs(usage, stderr);
        return 2;
    }
    int code = 2;
    if ((roots_path && lt_roots_load("roots", roots_path, &roots, &e)) ||
        (policy_file && load_policy(policy_file, &policy, &e))) {
        complain(&e);
    } else {
        self.options.roots = roots;
        self.options.policy = policy;
        self.out = json ? json_array() : NULL;
        code = json && !self.out ? 5 : run(&self, argv + optind);
        json_decref(self.out);
    }
    lt_ek_certificates_roots_free(roots);
    lt_policy_guest_free(policy);
    return code;
}
