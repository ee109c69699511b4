/* limetree log judge: one log and one document, judged by the same function as checks 3 and 7
 * (appraisal/checks/measured.h). */
#include "appraisal/ima/banks.h"
#include "cli/log.h"
#include "cli/policy.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/run/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PCRS_TEXT 8192u

struct judge {
    const struct lt_cli_log_conf *c;
    const struct lt_cli_log_input *log;
    struct lt_pcrs pcrs;
    struct lt_policy_measured policy;
    struct lt_measured_documents documents;
    struct lt_boot_policy *boot;
    struct lt_ima_table *table;
    struct lt_buf table_bytes;
    json_t *reasons, *notes;
};

static void judge_free(struct judge *j)
{
    lt_boot_policy_free(j->boot);
    lt_ima_table_close(j->table);
    lt_buf_free(&j->table_bytes);
    json_decref(j->reasons);
    json_decref(j->notes);
}

static __attribute__((format(printf, 2, 3))) void add(json_t *list, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(list, lt_json_new_text(text));
}

static int accept(struct judge *j, struct lt_err *e)
{
    LT_AUTOFREE char *words = j->c->accept ? lt_alloc_text(j->c->accept) : NULL;

    if (words && j->log->boot)
        return lt_fail(e, LT_E_USAGE, "--accept: %s is a boot log", j->c->path);
    for (char *save = NULL, *w = words ? strtok_r(words, ",", &save) : NULL; w;
         w = strtok_r(NULL, ",", &save)) {
        if (!strcmp(w, "violations"))
            j->policy.accept_violations = true;
        else if (!strcmp(w, "sha1_padded"))
            j->policy.accept_padded = true;
        else
            return lt_fail(e, LT_E_USAGE, "--accept: '%.40s' is neither violations nor sha1_padded", w);
    }
    return 0;
}

/* A document of the other kind is the caller's mistake, not a refusal. */
static int load(struct judge *j, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *doc = NULL;
    const char *path = j->c->policy;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_POLICY, &doc, &n, e));
    bool runtime = lt_log_kind_is_runtime((struct lt_slice){doc, n});
    if (runtime == (j->log->boot != NULL))
        return lt_fail(e, LT_E_USAGE, "%s is %s and %s is %s: it cannot judge it", path,
                       runtime ? "a runtime policy" : "no runtime policy", j->c->path,
                       runtime ? "a boot log" : "an IMA list");
    if (runtime) {
        LT_TRY(lt_cli_policy_load(path, j->c->key, false, &j->table_bytes, &j->table, e));
        j->policy.layer_count = 1;
        snprintf(j->policy.layer[0].name, sizeof j->policy.layer[0].name, "policy");
        memcpy(j->policy.layer[0].policy, lt_ima_table_digest(j->table), LT_SHA256);
        j->documents.layer[0] = j->table;
        return 0;
    }
    if (j->c->key)
        return lt_fail(e, LT_E_USAGE, "-k: %s is no runtime policy, and only these are signed", path);
    LT_TRY_IN(lt_boot_policy_parse(doc, n, &j->boot, e), e, "%s", path);
    lt_sha256(doc, n, j->policy.boot);
    memcpy(j->documents.boot_digest, j->policy.boot, LT_SHA256);
    j->policy.has_boot = true;
    j->documents.boot = j->boot;
    return 0;
}

/* ---- the PCR values it is judged by ---- */

static int given_pcrs(struct judge *j, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    LT_TRY(lt_file_read(j->c->pcrs, MAX_PCRS_TEXT, &text, &n, e));
    LT_TRY_IN(lt_pcrs_text_parse((struct lt_slice){text, n}, &j->pcrs, e), e, "%s", j->c->pcrs);
    add(j->notes, "the PCR values are those of %.200s: no quote was checked", j->c->pcrs);
    return 0;
}

/* The log's own values. Not 0: it is malformed. */
static int own_pcrs(struct judge *j, struct lt_err *e)
{
    struct lt_ima_replay r;

    j->pcrs = (struct lt_pcrs){.alg = LT_HASH_SHA256};
    if (j->log->boot && j->log->boot->replay.fault.code)
        return lt_fail(e, j->log->boot->replay.fault.code, "%s", j->log->boot->replay.fault.msg);
    if (j->log->boot) {
        if (!lt_boot_replay_pcrs(&j->log->boot->replay, LT_HASH_SHA256, &j->pcrs))
            return lt_fail(e, LT_E_MALFORMED,
                           "boot log: not every event has a SHA-256 digest, and documents are in that bank");
    } else {
        LT_TRY(lt_ima_replay((struct lt_slice){j->log->bytes, j->log->n}, &r, e));
        for (int b = 0; b < LT_IMA_BANKS; b++)
            if (r.bank[b].alg == LT_HASH_SHA256)
                memcpy(j->pcrs.value[LT_IMA_PCR], r.bank[b].value, LT_SHA256);
        j->pcrs.mask = 1u << LT_IMA_PCR;
    }
    add(j->notes, "no quote stands behind it: judged by the PCR values that it replays to");
    return 0;
}

/* ---- the judgement ---- */

/* Not good is refused, whatever the state: a part that was not made accepts nothing. */
static void part(struct judge *j, const struct lt_measured_result *r, enum lt_measured_part p)
{
    if (r->part[p].state != LT_MEASURED_GOOD)
        add(j->reasons, "%s", r->part[p].message);
}

/* What the document leaves open is named, as in a verdict. */
static void note_open(struct judge *j, uint32_t open)
{
    char list[96] = "";
    size_t n = 0;

    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (open >> i & 1)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%u", n ? ", " : "", i);
    if (n)
        add(j->notes, "open, the document does not judge what they measured: PCR %s", list);
}

static void appraise(struct judge *j, struct lt_measured_result *r)
{
    static const struct lt_policy_pcr_rules none;
    static const uint8_t no_policy[LT_SHA256];
    const struct lt_measured_logs logs = {
        .boot_log = j->log->boot,
        .has_ima = !j->log->boot,
        .ima = {j->log->boot ? NULL : j->log->bytes, j->log->boot ? 0 : j->log->n},
        .documents = &j->documents,
        .now = lt_clock_wall_s(),
    };
    const struct lt_measured m = {.pcrs = &j->pcrs, .logs = &logs, .alone = true};

    lt_measured_appraise(&m, &none, &j->policy, no_policy, false, r);
    if (j->log->boot) {
        part(j, r, LT_MEASURED_PART_BOOT_LOG);
        part(j, r, LT_MEASURED_PART_BOOT_POLICY);
        if (r->part[LT_MEASURED_PART_BOOT_POLICY].state == LT_MEASURED_GOOD)
            note_open(j, r->open);
        return;
    }
    part(j, r, LT_MEASURED_PART_IMA);
    for (unsigned i = 0; i < r->kept; i++)
        add(j->reasons, "%s", r->fault[i]);
    if (r->faults > r->kept + 1u)
        add(j->reasons, "and %llu more entries", (unsigned long long)(r->faults - r->kept - 1));
    if (LT_IMA_BOOT_PCRS & ~j->pcrs.mask)
        add(j->notes, "PCR 0-9 are not at hand: boot_aggregate was not compared with them");
    if (r->part[LT_MEASURED_PART_IMA].state == LT_MEASURED_GOOD && r->matched_bytes < logs.ima.n)
        add(j->notes, "the last %zu bytes of the list are behind what PCR 10 covers, and not judged",
            logs.ima.n - r->matched_bytes);
}

static void print_list(const char *before, const json_t *list)
{
    json_t *text;
    size_t i;

    json_array_foreach((json_t *)list, i, text) lt_cli_policy_say("%s%s\n", before, json_string_value(text));
}

static int print(const struct judge *j, const char *result, struct lt_err *e)
{
    if (j->c->json)
        return lt_cli_policy_print_json(json_pack("{s:o, s:s, s:s, s:b, s:O, s:O}", "file",
                                                  lt_json_new_text(j->c->path), "log",
                                                  lt_log_kind_name(j->log->kind), "result", result, "quoted",
                                                  false, "reasons", j->reasons, "notes", j->notes),
                                        e);
    if (json_array_size(j->reasons))
        print_list(!strcmp(result, "malformed") ? "malformed: " : "refused: ", j->reasons);
    else
        lt_cli_policy_say("%s\n", result);
    print_list("note: ", j->notes);
    return 0;
}

int lt_cli_log_judge(const struct lt_cli_log_conf *c, const struct lt_cli_log_input *log, int *verdict,
                     struct lt_err *e)
{
    __attribute__((cleanup(judge_free))) struct judge j = {
        .c = c, .log = log, .reasons = json_array(), .notes = json_array()};
    LT_AUTOFREE struct lt_measured_result *r = lt_new(struct lt_measured_result);
    struct lt_err why;
    int malformed;
    LT_TRY(load(&j, e));
    LT_TRY(accept(&j, e));
    malformed = own_pcrs(&j, &why);
    if (c->pcrs) {
        json_array_clear(j.notes);
        LT_TRY(given_pcrs(&j, e));
    }
    if (malformed)
        add(j.reasons, "%s", why.msg);
    else
        appraise(&j, r);
    *verdict = json_array_size(j.reasons) != 0;
    return print(&j, malformed ? "malformed" : *verdict ? "refused" : "ok", e);
}
