#include "cli/guest_openers.h"

#include "appraisal/checks/reason.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The gravest first: what comes before hides what comes after it. appraisal/checks/reason.c has the words. */
static const char *const reasons[] = {
    "exposed",           "not-sealed",    "openers-missing", "opener-unknown-host",
    "opener-off-policy", "opener-escrow", "import-unknown",  "opener-not-enforced"};
#define REASONS (sizeof reasons / sizeof *reasons)

static const json_t *member(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

static bool has(const json_t *problems, const char *slug)
{
    const json_t *p;
    size_t i;

    json_array_foreach((json_t *)problems, i, p)
    {
        const char *is = json_string_value(member(p, "reason"));
        if (is && !strcmp(is, slug))
            return true;
    }
    return false;
}

const char *lt_cli_openers_why(const json_t *verdict)
{
    const json_t *problems = member(member(verdict, "openers"), "problems");

    for (size_t i = 0; i < REASONS; i++)
        if (has(problems, reasons[i]))
            return reasons[i];
    return "";
}

static void print_problems(const json_t *problems, const char *indent)
{
    const json_t *p;
    size_t i;

    json_array_foreach((json_t *)problems, i, p)
    {
        const json_t *opener = member(p, "opener");
        printf("%s%s", indent, lt_cli_text(p, "reason"));
        if (json_is_integer(opener))
            printf(", opener %lld", (long long)json_integer_value(opener));
        printf(": %s\n", lt_cli_text(p, "message"));
    }
}

/* Each once, however many openers have it. */
static void print_remedies(const json_t *problems, const char *indent)
{
    for (size_t i = 0; i < REASONS; i++)
        if (has(problems, reasons[i]))
            printf("%s%s: %s\n", indent, reasons[i], lt_reason(reasons[i])->remedy);
}

static void print_exposed(const json_t *exposed)
{
    const json_t *x;
    size_t i;

    json_array_foreach((json_t *)exposed, i, x)
    {
        printf("  exposed   by host %.32s, until it is cleared by name\n", lt_cli_text(x, "host_ek_digest"));
    }
}

void lt_cli_openers_problems(const json_t *guest)
{
    const json_t *problems = member(member(member(guest, "verdict"), "openers"), "problems");

    print_exposed(member(guest, "exposed"));
    print_problems(problems, "  no more   ");
    print_remedies(problems, "  do        ");
}

/* ---- guest openers ---- */

/* Whose it is, in the words of a policy. */
static void cell_whose(struct lt_cli_table *t, const json_t *o)
{
    const char *kind = lt_cli_text(o, "kind");

    if (!strcmp(kind, "state") || !strcmp(kind, "handover"))
        lt_cli_table_cell(t, "host %.32s", lt_cli_text(o, "host_ek_digest"));
    else
        lt_cli_table_cell(t, "key %.16s", lt_cli_text(o, "key"));
}

static void add_row(struct lt_cli_table *t, size_t i, const json_t *o, bool judged)
{
    const char *by = json_string_value(member(o, "accepted_by"));
    const json_t *problem = json_array_get(member(o, "problems"), 0);

    lt_cli_table_cell(t, "%zu", i);
    lt_cli_table_cell(t, "%s", lt_cli_text(o, "kind"));
    cell_whose(t, o);
    lt_cli_table_cell(t, "%s", json_is_true(member(o, "closed")) ? "closed" : "open");
    if (by)
        lt_cli_table_cell(t, "policy %.16s", lt_cli_shown(by));
    else
        lt_cli_table_cell(t, "%s", !judged ? "(not judged yet)" : problem ? "nobody" : "-");
    lt_cli_table_cell(t, "%s", problem ? lt_cli_text(problem, "reason") : "");
}

/* 0: nobody accepts it; 1: accepted, and something is to be said; 2: nothing is. */
static int rank(const json_t *o)
{
    size_t problems = json_array_size(member(o, "problems"));

    if (!problems)
        return 2;
    return json_is_string(member(o, "accepted_by")) ? 1 : 0;
}

static void print_table(const json_t *openers, bool judged)
{
    static const char *const heading[] = {"opener", "kind", "whose", "now", "accepted by", "problem"};
    struct lt_cli_table *t = lt_cli_table_new(sizeof heading / sizeof *heading);
    const json_t *o;
    size_t i;

    for (size_t k = 0; k < sizeof heading / sizeof *heading; k++)
        lt_cli_table_cell(t, "%s", heading[k]);
    for (int r = 0; r <= 2; r++)
        json_array_foreach((json_t *)openers, i, o)
        {
            if (rank(o) == r)
                add_row(t, i, o, judged);
        }
    lt_cli_table_print(t);
}

/* All problems in one list, as a verdict has them; a new reference. */
static json_t *all_problems(const json_t *j)
{
    json_t *all = json_array(), *p, *o;
    size_t i, k;

    json_array_foreach(member(j, "problems"), k, p)
    {
        json_array_append_new(all, json_copy(p));
    }
    json_array_foreach(member(j, "openers"), i, o)
    {
        json_array_foreach(member(o, "problems"), k, p)
        {
            json_t *with = json_copy(p);
            json_object_set_new(with, "opener", json_integer((json_int_t)i));
            json_array_append_new(all, with);
        }
    }
    return all;
}

static void print_openers(const char *uuid, const json_t *j)
{
    bool judged = json_is_true(member(j, "judged"));
    LT_JSON_AUTO json_t *problems = all_problems(j);

    printf("guest %s\n  link      %s\n", uuid, lt_cli_text(j, "link"));
    print_exposed(member(j, "exposed"));
    if (json_is_null(member(j, "digest"))) {
        printf("  no list of openers was seen of its vTPM: it is not sealed, or no round has shown one\n");
        return;
    }
    if (!judged)
        printf("  the list is that of the last round that showed one; none has judged it since the start\n");
    print_table(member(j, "openers"), judged);
    if (json_array_size(problems))
        printf("\n");
    print_problems(problems, "");
    print_remedies(problems, "  do, ");
}

int lt_cli_openers(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT];

    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "guests/%s/openers", uuid);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        print_openers(uuid, j);
    return 0;
}

/* ---- guest escrow ---- */

int lt_cli_openers_escrow(struct lt_cli *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *copy = NULL;
    char uuid[LT_UUID_TEXT], path[80];
    size_t n;

    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    if (!c->out)
        return lt_fail(e, LT_E_USAGE, "usage: limetree guest escrow UUID -o FILE");
    snprintf(path, sizeof path, "guests/%s/escrow", uuid);
    LT_TRY(lt_cli_get(c, LT_CLI_TENANT, path, LT_MAX_ESCROW, &copy, &n, e));
    LT_TRY(lt_file_write(c->out, copy, n, 0600, e));
    if (c->json) {
        LT_JSON_AUTO json_t *j = json_pack("{s:s, s:I}", "file", c->out, "bytes", (json_int_t)n);
        lt_cli_json(j);
    } else {
        printf("%s: %zu bytes; limetree escrow show %s --key PEM tells whether it opens\n",
               lt_cli_shown(c->out), n, lt_cli_shown(c->out));
    }
    return 0;
}

/* ---- guest clear --exposed ---- */

int lt_cli_openers_clear(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT];

    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "POST", 200, json_pack("{s:b}", "exposed", 1), e,
                                         "guests/%s/clear", uuid);
    if (!j)
        return e->code;
    if (c->json)
        lt_cli_json(j);
    else
        printf("guest %s: not exposed any more; the next round decides anew\n", uuid);
    return 0;
}
