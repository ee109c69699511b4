/* limetree policy learn: what a good machine measured becomes what others may measure. Evidence of a bundle
 * is believed only as far as its quotes reach; the same evidence always gives the same document. */
#include "cli/policy.h"

#include "appraisal/checks/offline.h"
#include "appraisal/ima/learn.h"
#include "appraisal/policy/log_kind.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/run/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A boot policy that was written. */
struct boot_learnt {
    char digest[2 * LT_SHA256 + 1], pcrs[80]; /* pcrs: "0-9, 12, 14", which it leaves nothing open of */
    json_t *covers;                           /* the same as an array, owned */
};

static void boot_learnt_free(struct boot_learnt *b)
{
    json_decref(b->covers);
}

static void covered_pcrs(uint32_t mask, struct boot_learnt *b)
{
    size_t n = 0;

    b->covers = json_array();
    for (unsigned i = 0, first = 0; i < LT_MAX_PCRS; i++) {
        if (!(mask >> i & 1))
            continue;
        json_array_append_new(b->covers, json_integer(i));
        if (!i || !(mask >> (i - 1) & 1))
            n += (size_t)snprintf(b->pcrs + n, sizeof b->pcrs - n, "%s%u", n ? ", " : "", first = i);
        if (!(mask >> (i + 1) & 1) && first != i)
            n += (size_t)snprintf(b->pcrs + n, sizeof b->pcrs - n, "-%u", i);
    }
}

static int write_boot(const char *out, const struct lt_cli_policy_evidence *ev, struct boot_learnt *b,
                      struct lt_err *e)
{
    LT_AUTOFREE char *text = NULL;
    uint8_t digest[LT_SHA256];
    uint32_t covers;

    if (!ev->boot_log.p)
        return lt_fail(e, LT_E_NOT_FOUND, "no boot log to learn --boot from");
    struct lt_boot_log *log = lt_boot_log_new(ev->boot_log);
    if (!log)
        return lt_fail(e, LT_E_NO_MEMORY, "boot log: no memory");
    int rc = lt_boot_policy_learn(log, ev->pcrs, &text, &covers, e);
    lt_boot_log_free(log);
    if (rc)
        return rc;
    lt_sha256(text, strlen(text), digest);
    lt_hex(digest, sizeof digest, b->digest);
    covered_pcrs(covers, b);
    return lt_file_write(out, text, strlen(text), 0644, e);
}

static void say_boot(const struct boot_learnt *b, bool quoted)
{
    lt_cli_policy_say("%s: a boot policy, covers PCR %s%s\n", b->digest, b->pcrs,
                      quoted ? "" : "; no quote stands behind it, judged by what the log replays to");
}

/* A boot log alone: its policy is all there is to write, and goes to --boot or -o. */
static int learn_boot(const struct lt_cli_policy_conf *c, const struct lt_cli_policy_evidence *ev,
                      struct lt_err *e)
{
    __attribute__((cleanup(boot_learnt_free))) struct boot_learnt b = {.covers = NULL};

    LT_TRY(write_boot(c->boot ? c->boot : c->out, ev, &b, e));
    if (c->json)
        return lt_cli_policy_print_json(json_pack("{s:s, s:b, s:b, s:O}", "digest", b.digest, "quoted",
                                                  ev->pcrs != NULL, "boot", true, "covers", b.covers),
                                        e);
    say_boot(&b, ev->pcrs != NULL);
    return 0;
}

static int say_json(const struct lt_cli_policy_conf *c, const struct lt_cli_policy_evidence *ev,
                    const struct lt_ima_learnt *l, const char *digest, json_t *covers, struct lt_err *e)
{
    json_t *notes = json_array();

    for (unsigned i = 0; i < l->told; i++)
        json_array_append_new(notes, lt_json_new_text(l->note[i]));
    return lt_cli_policy_print_json(
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:o, s:O*}", "digest", digest,
                  "names", (json_int_t)l->names, "files", (json_int_t)l->files, "buffers",
                  (json_int_t)l->buffers, "keys", (json_int_t)l->keys, "left_out", (json_int_t)l->behind,
                  "unnameable", (json_int_t)l->left_out, "escaped", (json_int_t)l->escaped, "violations",
                  (json_int_t)l->violations, "sha1_padded", l->padded, "quoted", ev->pcrs != NULL, "boot",
                  c->boot != NULL, "notes", notes, "covers", covers),
        e);
}

static void say(const struct lt_cli_policy_evidence *ev, const struct lt_ima_learnt *l, const char *digest)
{
    lt_cli_policy_say("%s: %zu names from %llu file entries, %llu buffers, %llu keys%s\n", digest, l->names,
                      (unsigned long long)l->files, (unsigned long long)l->buffers,
                      (unsigned long long)l->keys, ev->pcrs ? "" : "; no quote stands behind them");
    for (unsigned i = 0; i < l->told; i++)
        lt_cli_policy_say("%s\n", l->note[i]);
    if (l->left_out)
        lt_cli_policy_say("%llu entries could not be learnt, and do not pass\n",
                          (unsigned long long)l->left_out);
    if (l->violations)
        lt_cli_policy_say(
            "%llu violations: a policy passes them only with \"ima\": {\"violations\": \"accept\"}\n",
            (unsigned long long)l->violations);
    if (l->padded)
        lt_cli_policy_say(
            "a kernel before 5.8: a policy passes it only with \"ima\": {\"sha1_padded\": \"accept\"}\n");
    if (l->behind)
        lt_cli_policy_say("%llu entries beyond the quoted ones left out (--all takes them)\n",
                          (unsigned long long)l->behind);
}

static void learnt_free(struct lt_ima_learnt **l)
{
    if (*l)
        lt_ima_learnt_free(*l);
    free(*l);
}

static int learn(const struct lt_cli_policy_conf *c, const struct lt_cli_policy_evidence *ev,
                 struct lt_err *e)
{
    __attribute__((cleanup(learnt_free))) struct lt_ima_learnt *l = lt_new(struct lt_ima_learnt);
    const struct lt_ima_lesson lesson = {.list = ev->ima, .pcrs = ev->pcrs, .all = c->all};
    __attribute__((cleanup(boot_learnt_free))) struct boot_learnt boot = {.covers = NULL};
    char name[65];
    if (!ev->ima.p && c->boot_log)
        return learn_boot(c, ev, e);
    if (!ev->ima.p)
        return lt_fail(e, LT_E_NOT_FOUND, "no IMA list in the evidence");
    LT_TRY(lt_ima_learn(&lesson, l, e));
    LT_TRY(lt_file_write(c->out, l->text, strlen(l->text), 0644, e));
    if (c->boot)
        LT_TRY(write_boot(c->boot, ev, &boot, e));
    lt_hex(l->digest, sizeof l->digest, name);
    if (c->json)
        return say_json(c, ev, l, name, boot.covers, e);
    say(ev, l, name);
    if (c->boot)
        say_boot(&boot, ev->pcrs != NULL);
    return 0;
}

/* Activation, history and registry are not in a bundle; all that is must hold. */
static int consistent(const struct lt_bundle *b, struct lt_err *e)
{
    const struct lt_offline o = {.now = lt_clock_wall_s()};
    LT_AUTOFREE struct lt_verdict *v = lt_new(struct lt_verdict);
    LT_TRY(lt_offline_appraise(b, &o, v, e));
    if (v->result == LT_VERDICT_CONSISTENT)
        return 0;
    for (int i = 0; i < LT_CHECKS; i++)
        if (v->check[i].state == LT_CHECK_NOT_PASSED)
            return lt_fail(e, LT_E_REFUSED, "%s: %.250s", lt_check_slug(i), v->check[i].message);
    return lt_fail(e, LT_E_REFUSED, "inconsistent");
}

void lt_cli_policy_half(const struct lt_bundle *b, bool host, struct lt_cli_policy_evidence *out)
{
    const struct lt_bundle_blob *ima = host ? &b->host.ima : &b->guest.ima;
    const struct lt_bundle_blob *log = host ? &b->host.boot_log : &b->guest.boot_log;

    *out = (struct lt_cli_policy_evidence){
        .pcrs = host ? &b->host.quote.pcrs : &b->guest.pcrs,
        .ima = {ima->p, ima->n},
        .boot_log = {log->p, log->n},
    };
}

static int from_bundle(const struct lt_cli_policy_conf *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    struct lt_cli_policy_evidence ev;
    struct lt_bundle b;
    size_t n;

    LT_TRY(lt_file_read(c->from, LT_MAX_BUNDLE, &text, &n, e));
    LT_TRY_IN(lt_bundle_parse(text, n, &b, e), e, "%s", c->from);
    int rc =
        c->host && !b.has_host ? lt_fail(e, LT_E_NOT_FOUND, "no host evidence in it") : consistent(&b, e);
    if (!rc) {
        lt_cli_policy_half(&b, c->host, &ev);
        rc = learn(c, &ev, e);
    }
    lt_bundle_free(&b);
    return rc ? lt_fail_in(e, rc, "%s", c->from) : 0;
}

static int from_files(const struct lt_cli_policy_conf *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *ima = NULL, *log = NULL;
    struct lt_cli_policy_evidence ev = {0};

    if (c->ima)
        LT_TRY(lt_file_read(c->ima, LT_MAX_IMA_LOG, &ima, &ev.ima.n, e));
    if (c->boot_log)
        LT_TRY(lt_file_read(c->boot_log, LT_MAX_BOOT_LOG, &log, &ev.boot_log.n, e));
    ev.ima.p = ima;
    ev.boot_log.p = log;
    enum lt_log_kind i = lt_log_kind(ev.ima), b = lt_log_kind(ev.boot_log);
    if (ima && (i == LT_LOG_KIND_BOOT || i == LT_LOG_KIND_BOOT_BASE64))
        return lt_fail(e, LT_E_USAGE, "learn: --ima %s: this is a boot log", c->ima);
    if (log && (b == LT_LOG_KIND_IMA || b == LT_LOG_KIND_IMA_BINARY))
        return lt_fail(e, LT_E_USAGE, "learn: --boot-log %s: this is an IMA list", c->boot_log);
    LT_TRY_IN(learn(c, &ev, e), e, "%s", c->ima ? c->ima : c->boot_log);
    return 0;
}

int lt_cli_policy_learn(const struct lt_cli_policy_conf *c, int *verdict, struct lt_err *e)
{
    *verdict = 0;
    const bool files = c->ima || c->boot_log, boot_alone = !c->ima && c->boot_log;
    if (c->count || !c->from == !files || (files && c->host))
        return lt_fail(e, LT_E_USAGE,
                       "learn: either --from BUNDLE, or --ima FILE and --boot-log FILE or one of them");
    if (boot_alone ? !c->out == !c->boot : !c->out)
        return lt_fail(e, LT_E_USAGE,
                       boot_alone ? "learn: a boot log alone gives a boot policy: --boot OUT or -o OUT"
                                  : "learn: -o OUT");
    if (c->ima && c->boot_log && !c->boot)
        return lt_fail(e, LT_E_USAGE, "learn: --boot OUT, for what is learnt of --boot-log");
    return c->from ? from_bundle(c, e) : from_files(c, e);
}
