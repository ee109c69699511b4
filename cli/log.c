/* limetree log: boot logs and IMA lists replayed, judged, shown. Nothing is judged here: appraisal/ does, as
 * it does for the daemons. Exit codes: 0, 1 (refused or malformed), 2 usage or unreadable file. */
#include "cli/log.h"

#include "appraisal/ima/banks.h"
#include "cli/cli.h"
#include "cli/policy.h"
#include "common/file.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: limetree log COMMAND FILE [OPTION]...\n"
    "\n"
    "  replay FILE               the PCR values that FILE gives, in each bank\n"
    "  judge FILE --policy DOC   whether DOC accepts what FILE says was measured, and why not\n"
    "  show FILE                 its events in words\n"
    "\n"
    "FILE is a boot log (binary_bios_measurements, or base64 of it) or an IMA list (ascii_ or\n"
    "binary_runtime_measurements); which of them, its bytes tell. - is standard input.\n"
    "DOC is a boot policy of ours, a Keylime reference state, or a runtime policy.\n"
    "\n"
    "  --pcrs FILE      lines 'N HEX': the PCR values that the log must give. Without it, it is judged by\n"
    "                   what it replays to itself, and the output says that no quote stands behind it\n"
    "  --accept WORDS   of an IMA list, as a policy's \"ima\" would: violations,sha1_padded\n"
    "  -k, --key FILE   PEM public key that a signed DOC is checked with\n"
    "  --json           output for programs\n"
    "  --help           this text\n"
    "\n"
    "Exit status: 0 ok, 1 refused or malformed, 2 usage or a file that cannot be read.\n";

static void log_free(struct lt_cli_log_input *l)
{
    lt_boot_log_free(l->boot);
    free(l->bytes);
}

static int from_base64(struct lt_cli_log_input *l, struct lt_err *e)
{
    uint8_t *raw;
    size_t n;

    while (l->n && (l->bytes[l->n - 1] == '\n' || l->bytes[l->n - 1] == '\r'))
        l->n--;
    LT_TRY(lt_unbase64((char *)l->bytes, l->n, LT_MAX_BOOT_LOG, &raw, &n, e));
    free(l->bytes);
    l->bytes = raw;
    l->n = n;
    l->kind = LT_LOG_KIND_BOOT;
    return 0;
}

static int log_read(const char *path, struct lt_cli_log_input *l, struct lt_err *e)
{
    LT_TRY(lt_file_read(path, LT_MAX_IMA_LOG, &l->bytes, &l->n, e));
    l->kind = lt_log_kind((struct lt_slice){l->bytes, l->n});
    if (l->kind == LT_LOG_KIND_UNKNOWN)
        return lt_fail(e, LT_E_MALFORMED, "%s: neither a boot log nor an IMA list", path);
    if (l->kind == LT_LOG_KIND_BOOT_BASE64)
        LT_TRY_IN(from_base64(l, e), e, "%s", path);
    if (l->kind == LT_LOG_KIND_BOOT && !(l->boot = lt_boot_log_new((struct lt_slice){l->bytes, l->n})))
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", path);
    return 0;
}

/* ---- replay ---- */

static void put(json_t *banks, const char *bank, unsigned pcr, const uint8_t *value, size_t n)
{
    json_t *values = json_object_get(banks, bank);
    char index[16];

    if (!values) {
        json_object_set_new(banks, bank, json_object());
        values = json_object_get(banks, bank);
    }
    snprintf(index, sizeof index, "%u", pcr);
    json_object_set_new(values, index, lt_json_new_hex(value, n));
}

static int replay_boot(const struct lt_boot_replay *r, json_t *pcrs, struct lt_err *e)
{
    if (r->fault.code)
        return lt_fail(e, r->fault.code, "%s", r->fault.msg);
    for (unsigned b = 0; b < r->bank_count; b++)
        for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
            put(pcrs, lt_hash_name(r->bank[b].alg), i, r->bank[b].value[i], lt_hash_size(r->bank[b].alg));
    return 0;
}

/* padded: what kernels before 5.8 extend, which differs in every bank but SHA-1's. */
static int replay_ima(const struct lt_cli_log_input *log, json_t *pcrs, json_t *padded, uint64_t *entries,
                      struct lt_err *e)
{
    struct lt_ima_replay r;

    LT_TRY(lt_ima_replay((struct lt_slice){log->bytes, log->n}, &r, e));
    for (int b = 0; b < LT_IMA_BANKS; b++) {
        const char *name = lt_hash_name(r.bank[b].alg);
        size_t n = lt_hash_size(r.bank[b].alg);
        put(pcrs, name, LT_IMA_PCR, r.bank[b].value, n);
        if (r.bank[b].alg != LT_HASH_SHA1)
            put(padded, name, LT_IMA_PCR, r.bank[b].padded, n);
    }
    *entries = r.entries;
    return 0;
}

static void print_banks(const json_t *banks, const char *remark)
{
    const char *bank, *pcr;
    json_t *values, *value;

    json_object_foreach((json_t *)banks, bank, values) json_object_foreach(values, pcr, value)
        lt_cli_policy_say("%s %s %s%s\n", bank, pcr, json_string_value(value), remark);
}

static int replay(const struct lt_cli_log_conf *c, const struct lt_cli_log_input *log, struct lt_err *e)
{
    LT_JSON_AUTO json_t *pcrs = json_object(), *padded = json_object();
    uint64_t entries = log->boot ? log->boot->replay.events : 0;

    if (log->boot ? replay_boot(&log->boot->replay, pcrs, e) : replay_ima(log, pcrs, padded, &entries, e))
        return lt_fail_in(e, e->code, "%s", c->path);
    if (c->json)
        return lt_cli_policy_print_json(json_pack("{s:s, s:I, s:O, s:O*}", "log", lt_log_kind_name(log->kind),
                                                  log->boot ? "events" : "entries", (json_int_t)entries,
                                                  "pcrs", pcrs, "pcrs_padded_sha1",
                                                  log->boot ? NULL : padded),
                                        e);
    print_banks(pcrs, "");
    print_banks(padded, " (kernels before 5.8)");
    return 0;
}

/* ---- the command ---- */

static int dispatch(const char *name, const struct lt_cli_log_conf *c, int *verdict, struct lt_err *e)
{
    __attribute__((cleanup(log_free))) struct lt_cli_log_input log = {0};
    bool judge = !strcmp(name, "judge");

    if (!judge && strcmp(name, "replay") && strcmp(name, "show"))
        return lt_fail(e, LT_E_USAGE, "no command '%.40s'; 'limetree log --help' lists them", name);
    if (!c->path)
        return lt_fail(e, LT_E_USAGE, "%s: one FILE (- is standard input)", name);
    if (judge != (c->policy != NULL) || (!judge && (c->pcrs || c->key || c->accept)))
        return lt_fail(e, LT_E_USAGE,
                       judge ? "judge: --policy DOC" : "%s: --policy, --pcrs, --accept and -k are judge's",
                       name);
    LT_TRY(log_read(c->path, &log, e));
    if (judge)
        return lt_cli_log_judge(c, &log, verdict, e);
    return !strcmp(name, "show") ? lt_cli_log_show(c, &log, e) : replay(c, &log, e);
}

/* The exit code. */
static int run(const char *name, const struct lt_cli_log_conf *c)
{
    struct lt_err e = {0};
    int verdict = 0, rc = dispatch(name, c, &verdict, &e);

    if (fflush(stdout) && !rc)
        rc = lt_fail(&e, LT_E_IO, "standard output: %m");
    if (!rc)
        return verdict;
    fputs("limetree log: ", stderr);
    for (const char *s = e.msg; *s; s++)
        putc(*s < ' ' || *s > '~' ? '?' : *s, stderr);
    putc('\n', stderr);
    return lt_err_exit(rc);
}

int lt_cli_cmd_log(int argc, char **argv)
{
    static const struct option options[] = {{"policy", required_argument, NULL, 'p'},
                                            {"pcrs", required_argument, NULL, 'q'},
                                            {"accept", required_argument, NULL, 'a'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct lt_cli_log_conf c = {0};

    for (int o; (o = getopt_long(argc, argv, "k:h", options, NULL)) != -1;) {
        if (o == 'p')
            c.policy = optarg;
        else if (o == 'q')
            c.pcrs = optarg;
        else if (o == 'a')
            c.accept = optarg;
        else if (o == 'k')
            c.key = optarg;
        else if (o == 'j')
            c.json = true;
        else if (o == 'h')
            return fputs(usage, stdout) < 0 ? 5 : 0;
        else
            return 2;
    }
    if (optind == argc) {
        fputs(usage, stderr);
        return 2;
    }
    c.path = argc - optind == 2 ? argv[optind + 1] : NULL;
    return run(argv[optind], &c);
}
