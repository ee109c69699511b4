#include "appraisal/checks/verdict.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ON(c) (1u << (c))

static const char *const results[] = {
    [LT_VERDICT_TRUSTED] = "trusted",           [LT_VERDICT_FAILED] = "failed",
    [LT_VERDICT_UNCHECKED] = "unchecked",       [LT_VERDICT_STALE] = "stale",
    [LT_VERDICT_UNREACHABLE] = "unreachable",   [LT_VERDICT_CONSISTENT] = "consistent",
    [LT_VERDICT_INCONSISTENT] = "inconsistent",
};
static const char *const links[] = {NULL, "unlinked", "copyable", "bound", "resident"};
static const char *const weaknesses[] = {"unlinked", "unjudged", "ek-unproven"};
static const char *const levels[] = {NULL, "boot-only", "appraised"};

const char *lt_check_slug(enum lt_check c)
{
    return lt_verdict_rules[c].slug;
}

const char *lt_verdict_result_slug(enum lt_verdict_result r)
{
    return results[r];
}

const char *lt_verdict_link_slug(enum lt_verdict_link l)
{
    return links[l];
}

const char *lt_verdict_weakness_slug(enum lt_verdict_weakness w)
{
    return weaknesses[w];
}

const char *lt_verdict_level_slug(enum lt_verdict_level l)
{
    return levels[l];
}

static void init(struct lt_verdict *v, const char *message)
{
    size_t n = strlen(message) + 1;

    memset(v, 0, offsetof(struct lt_verdict, parts)); /* parts are many, and filled one by one */
    v->part_count = 0;
    for (enum lt_check c = 0; c < LT_CHECKS; c++) {
        v->check[c].weight = LT_CHECK_WEIGHT_UNCHECKED;
        memcpy(v->check[c].message, message, n);
    }
    v->result = LT_VERDICT_UNCHECKED;
}

void lt_verdict_init(struct lt_verdict *v)
{
    init(v, "the round did not come so far");
}

void lt_verdict_init_offline(struct lt_verdict *v)
{
    init(v, "offline: not in the bundle");
    v->offline = true;
}

void lt_verdict_leave_out(struct lt_verdict *v, unsigned checks, const char *message)
{
    v->left_out |= checks;
    for (enum lt_check c = 0; c < LT_CHECKS; c++) {
        if (!(checks & ON(c)) || v->check[c].state != LT_CHECK_NOT_MADE)
            continue;
        v->check[c].weight = LT_CHECK_WEIGHT_NONE;
        snprintf(v->check[c].message, sizeof v->check[c].message, "%s", message);
    }
}

void lt_verdict_weakened(struct lt_verdict *v, enum lt_verdict_weakness w, bool accepted)
{
    v->weak |= ON(w);
    if (!accepted)
        v->refused |= ON(w);
}

bool lt_verdict_passed(const struct lt_verdict *v, enum lt_check c)
{
    return v->check[c].state == LT_CHECK_PASSED;
}

bool lt_check_open(struct lt_verdict *v, enum lt_check c)
{
    unsigned rests_on = lt_verdict_rules[c].rests_on & ~v->left_out;

    if (v->left_out & ON(c))
        return false;
    for (enum lt_check on = 0; on < LT_CHECKS; on++) {
        if (!(rests_on & ON(on)) || lt_verdict_passed(v, on))
            continue;
        snprintf(v->check[c].message, sizeof v->check[c].message, "rests on %s, which did not pass",
                 lt_verdict_rules[on].slug);
        v->check[c].weight = LT_CHECK_WEIGHT_NONE;
        return false;
    }
    v->check[c].message[0] = 0;
    v->check[c].weight = LT_CHECK_WEIGHT_NONE;
    return true;
}

__attribute__((format(printf, 4, 0))) static void fault(struct lt_verdict *v, enum lt_check c,
                                                        const char *cause, const char *fmt, va_list ap)
{
    if (v->check[c].state == LT_CHECK_NOT_PASSED)
        return;
    v->check[c].state = LT_CHECK_NOT_PASSED;
    v->check[c].weight = lt_verdict_rules[c].failure;
    v->check[c].reason = NULL;
    snprintf(v->check[c].cause, sizeof v->check[c].cause, "%s", cause ? cause : "");
    vsnprintf(v->check[c].message, sizeof v->check[c].message, fmt, ap);
}

void lt_check_fault(struct lt_verdict *v, enum lt_check c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fault(v, c, NULL, fmt, ap);
    va_end(ap);
}

void lt_check_fault_of(struct lt_verdict *v, enum lt_check c, const char *cause, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fault(v, c, cause, fmt, ap);
    va_end(ap);
}

/* A line that finds no room is not lost silently: the check it belongs to is not made. */
__attribute__((format(printf, 5, 0))) static void add_part(struct lt_verdict *v, enum lt_check c, bool note,
                                                           const char *part, const char *fmt, va_list ap)
{
    if (v->part_count == LT_VERDICT_PARTS) {
        v->check[c].lacking = true;
        return;
    }
    struct lt_check_part *p = &v->parts[v->part_count++];
    p->check = c;
    p->note = note;
    p->part = part;
    vsnprintf(p->message, sizeof p->message, fmt, ap);
}

__attribute__((format(printf, 5, 0))) static void
lack(struct lt_verdict *v, enum lt_check c, const char *part, const char *reason, const char *fmt, va_list ap)
{
    if (v->offline) {
        add_part(v, c, false, part, fmt, ap);
    } else if (v->check[c].state != LT_CHECK_NOT_PASSED && !v->check[c].lacking) {
        v->check[c].lacking = true;
        v->check[c].reason = reason;
        vsnprintf(v->check[c].message, sizeof v->check[c].message, fmt, ap);
    }
}

void lt_check_lack(struct lt_verdict *v, enum lt_check c, const char *part, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    lack(v, c, part, NULL, fmt, ap);
    va_end(ap);
}

void lt_check_gap(struct lt_verdict *v, enum lt_check c, const char *part, const char *reason,
                  const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    lack(v, c, part, reason, fmt, ap);
    va_end(ap);
}

void lt_check_omit(struct lt_verdict *v, enum lt_check c, const char *part, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_part(v, c, false, part, fmt, ap);
    va_end(ap);
}

void lt_check_note(struct lt_verdict *v, enum lt_check c, const char *part, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_part(v, c, true, part, fmt, ap);
    va_end(ap);
}

void lt_check_skip(struct lt_verdict *v, enum lt_check c, const char *fmt, ...)
{
    va_list ap;

    v->check[c].state = LT_CHECK_NOT_MADE;
    v->check[c].weight = LT_CHECK_WEIGHT_UNCHECKED;
    va_start(ap, fmt);
    vsnprintf(v->check[c].message, sizeof v->check[c].message, fmt, ap);
    va_end(ap);
}

void lt_check_failed(struct lt_verdict *v, enum lt_check c, const struct lt_err *e)
{
    bool nobodys = e->code == LT_E_NO_MEMORY && !v->offline;

    (nobodys ? lt_check_skip : lt_check_fault)(v, c, "%s", e->msg);
}

bool lt_verdict_stands(const struct lt_verdict *v, enum lt_check c)
{
    return v->check[c].state != LT_CHECK_NOT_PASSED && !v->check[c].lacking &&
           v->check[c].weight == LT_CHECK_WEIGHT_NONE; /* opened, and not skipped */
}

bool lt_check_close(struct lt_verdict *v, enum lt_check c)
{
    if (v->left_out & ON(c)) /* meanwhile, by the check itself */
        return false;
    if (lt_verdict_stands(v, c))
        v->check[c].state = LT_CHECK_PASSED;
    else if (v->check[c].state != LT_CHECK_NOT_PASSED)
        v->check[c].weight = LT_CHECK_WEIGHT_UNCHECKED;
    return v->check[c].state == LT_CHECK_PASSED;
}

bool lt_verdict_stopped(const struct lt_verdict *v)
{
    return v->check[LT_CHECK_GUEST_QUOTE].state == LT_CHECK_NOT_PASSED ||
           v->check[LT_CHECK_GUEST_CLOCK].state == LT_CHECK_NOT_PASSED ||
           v->check[LT_CHECK_GUEST_POLICY].state == LT_CHECK_NOT_PASSED;
}

/* The first row that applies: the smallest weight, and of that weight the first check in protocol order. */
static enum lt_check_weight heaviest(const struct lt_verdict *v, const char **slug)
{
    enum lt_check_weight worst = LT_CHECK_WEIGHT_NONE;

    *slug = "";
    for (enum lt_check c = 0; c < LT_CHECKS; c++) {
        if (v->check[c].state != LT_CHECK_PASSED && v->check[c].weight < worst) {
            worst = v->check[c].weight;
            *slug = v->check[c].reason ? v->check[c].reason : lt_verdict_rules[c].slug;
        }
    }
    return worst;
}

static void conclude(struct lt_verdict *v, enum lt_verdict_result r, const char *reason)
{
    v->result = r;
    snprintf(v->reason, sizeof v->reason, "%s", reason);
}

static void conclude_offline(struct lt_verdict *v)
{
    for (enum lt_check c = 0; c < LT_CHECKS; c++)
        if (v->check[c].state == LT_CHECK_NOT_PASSED) {
            conclude(v, LT_VERDICT_INCONSISTENT, lt_verdict_rules[c].slug);
            return;
        }
    conclude(v, LT_VERDICT_CONSISTENT, "");
}

/* A guest without a host says so, and nobody else does. */
static bool link_stands(const struct lt_verdict *v)
{
    bool hostless = v->left_out & ON(LT_CHECK_RESIDENCY) && !(v->left_out & ON(LT_CHECK_GUEST_QUOTE));

    return hostless == (v->link == LT_VERDICT_LINK_UNLINKED) &&
           hostless == (v->weak >> LT_VERDICT_WEAK_UNLINKED & 1);
}

/* How much the round proves is enough: of what applies to it. */
static bool level_accepted(const struct lt_verdict *v, enum lt_verdict_link least, bool boot_only)
{
    bool link = v->link >= least && v->link >= LT_VERDICT_LINK_COPYABLE;
    bool level =
        v->level == LT_VERDICT_LEVEL_APPRAISED || (boot_only && v->level == LT_VERDICT_LEVEL_BOOT_ONLY);

    return (link || v->left_out & ON(LT_CHECK_RESIDENCY)) &&
           (level || v->left_out & ON(LT_CHECK_HOST_POLICY));
}

void lt_verdict_conclude(struct lt_verdict *v, enum lt_verdict_link least, bool accept_boot_only)
{
    static const enum lt_verdict_result by_weight[] = {LT_VERDICT_FAILED, LT_VERDICT_UNCHECKED,
                                                       LT_VERDICT_STALE};
    const char *slug;
    unsigned stand = v->left_out;

    if (v->offline) {
        conclude_offline(v);
        return;
    }
    enum lt_check_weight w = heaviest(v, &slug);
    for (enum lt_check c = 0; c < LT_CHECKS; c++)
        stand |= lt_verdict_passed(v, c) ? ON(c) : 0;
    if (w < LT_CHECK_WEIGHT_NONE)
        conclude(v, by_weight[w], slug);
    else if (stand != ON(LT_CHECKS) - 1 || v->left_out == stand)
        /* cannot be: a check hangs on one that decides; but never trust by default */
        conclude(v, LT_VERDICT_UNCHECKED, "internal");
    else if (!level_accepted(v, least, accept_boot_only) || !link_stands(v))
        conclude(v, LT_VERDICT_UNCHECKED, "level");
    else if (v->refused)
        conclude(v, LT_VERDICT_UNCHECKED, weaknesses[__builtin_ctz(v->refused)]);
    else
        conclude(v, LT_VERDICT_TRUSTED, "");
}

void lt_verdict_undecided(struct lt_verdict *v, const char *reason)
{
    conclude(v, LT_VERDICT_UNCHECKED, reason);
}

void lt_verdict_no_answer(struct lt_verdict *v, enum lt_verdict_result result, const struct lt_err *e)
{
    const char *slug;

    for (enum lt_check c = 0; c < LT_CHECKS; c++)
        if (v->check[c].state == LT_CHECK_NOT_MADE && !v->check[c].lacking &&
            v->check[c].weight != LT_CHECK_WEIGHT_NONE)
            lt_check_skip(v, c, "%s", e->msg);
    if (heaviest(v, &slug) == LT_CHECK_WEIGHT_FAILED)
        conclude(v, LT_VERDICT_FAILED, slug);
    else
        conclude(v, result, lt_err_slug(e->code));
}

/* ---- JSON ---- */

static json_t *line(enum lt_check c, const char *part, const char *message)
{
    json_t *o = json_pack("{s:s}", "check", lt_verdict_rules[c].slug);

    if (part)
        json_object_set_new(o, "part", json_string(part));
    json_object_set_new(o, "message", lt_json_new_text(message));
    return o;
}

static json_t *failed_line(const struct lt_verdict *v, enum lt_check c)
{
    json_t *o = line(c, NULL, v->check[c].message);

    if (v->check[c].cause[0])
        json_object_set_new(o, "cause", json_string(v->check[c].cause));
    return o;
}

static json_t *slug_or_null(const char *s)
{
    return s && *s ? json_string(s) : json_null();
}

static json_t *weak_list(const struct lt_verdict *v)
{
    json_t *list = json_array();

    for (enum lt_verdict_weakness w = 0; w < LT_VERDICT_WEAKNESSES; w++)
        if (v->weak >> w & 1)
            json_array_append_new(list, json_string(weaknesses[w]));
    return list;
}

static json_t *problem_list(const struct lt_verdict *v)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < v->openers.problem_count; i++) {
        const struct lt_verdict_problem *p = &v->openers.problem[i];
        json_array_append_new(list, json_pack("{s:o, s:s, s:o}", "opener",
                                              p->opener < 0 ? json_null() : json_integer(p->opener), "reason",
                                              p->reason, "message", lt_json_new_text(p->message)));
    }
    return list;
}

static json_t *openers(const struct lt_verdict *v)
{
    json_t *o =
        json_pack("{s:o, s:i, s:o}", "digest", lt_json_new_hex(v->openers.digest, sizeof v->openers.digest),
                  "count", (int)v->openers.count, "problems", problem_list(v));

    if (o && v->openers.untold)
        json_object_set_new(o, "untold", json_integer(v->openers.untold));
    return o;
}

json_t *lt_verdict_to_json(const struct lt_verdict *v, json_t *times)
{
    json_t *passed = json_array(), *failed = json_array(), *not_made = json_array(), *notes = json_array();

    for (enum lt_check c = 0; c < LT_CHECKS; c++) {
        if (v->check[c].state == LT_CHECK_PASSED)
            json_array_append_new(passed, json_string(lt_verdict_rules[c].slug));
        else
            json_array_append_new(v->check[c].state == LT_CHECK_NOT_PASSED ? failed : not_made,
                                  failed_line(v, c));
    }
    for (unsigned i = 0; i < v->part_count; i++)
        json_array_append_new(v->parts[i].note ? notes : not_made,
                              line(v->parts[i].check, v->parts[i].part, v->parts[i].message));
    json_t *o = json_pack(
        "{s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "result", results[v->result],
        "reason", slug_or_null(v->reason), "link", slug_or_null(links[v->link]), "host_level",
        slug_or_null(levels[v->level]), "tainted", (int)v->tainted, "host",
        v->has_host ? lt_json_new_hex(v->host_id, sizeof v->host_id) : json_null(), "passed", passed,
        "failed", failed, "not_made", not_made, "notes", notes, "batch",
        v->has_batch ? json_pack("{s:I, s:I}", "n", (json_int_t)v->batch_n, "seq", (json_int_t)v->batch_seq)
                     : json_null(),
        "times", times ? times : json_null());
    if (o && v->openers.listed)
        json_object_set_new(o, "openers", openers(v));
    if (o && v->weak)
        json_object_set_new(o, "weak", weak_list(v));
    return o;
}
