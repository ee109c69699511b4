/* Our form of boot policy; Keylime's is in bootrefstate.c. */
#include "appraisal/bootrules.h"

#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum role { FIRMWARE, SHIM, GRUB, KERNEL, INITRD, ROLES };

static const struct {
    const char *name;
    uint32_t pcrs; /* that must be quoted for it: grub without secure boot measures the kernel as a file */
} roles[ROLES] = {{"firmware", 1u << 0},
                  {"shim", 1u << 4},
                  {"grub", 1u << 4},
                  {"kernel", 1u << 4 | 1u << 9},
                  {"initrd", 1u << 9}};

struct golden {
    char name[64];
    struct lt_pcrs pcrs;
};

struct lt_boot_policy {
    struct lt_refstate *refstate; /* NULL: ours */
    uint32_t pcrs;
    bool judges_secure_boot, secure_boot, judges_cmdline, judges[ROLES];
    struct lt_digests digests[ROLES];
    size_t pattern_count, option_count, golden_count;
    struct lt_pattern **pattern;
    uint8_t (*option)[LT_SHA256]; /* digests of load options */
    struct lt_slice *literal;     /* owned copies: patterns without operators, for load options */
    size_t literal_count;
    struct golden *golden;
};

/* ---- parsing ---- */

static int role(const json_t *o, enum role r, struct lt_boot_policy *p, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, roles[r].name, LT_MAX_BOOT_DIGESTS, &list, e));
    if (json_array_size(list) && !(p->digests[r].d = calloc(json_array_size(list), LT_SHA256)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu digests", json_array_size(list));
    json_array_foreach(list, i, v)
    {
        if (lt_unhex(json_string_value(v), p->digests[r].d[i], LT_SHA256, e))
            return lt_fail_in(e, "\"%s\" value %zu", roles[r].name, i);
        p->digests[r].count++;
    }
    p->judges[r] = true;
    p->pcrs |= roles[r].pcrs;
    return 0;
}

/* A pattern that stands for one text only: its text, unescaped. */
static int literal(struct lt_boot_policy *p, const char *s, struct lt_err *e)
{
    char *copy = strdup(s);
    size_t n = 0;

    if (!copy)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a pattern");
    for (; *s; s++) {
        bool escaped = *s == '\\';
        s += escaped;
        if (escaped ? !*s || (*s >= '0' && *s <= '9') || ((*s | 32) >= 'a' && (*s | 32) <= 'z')
                    : strchr("^$.[|()?*+{", *s) != NULL) {
            free(copy);
            return 0;
        }
        copy[n++] = *s;
    }
    p->literal[p->literal_count++] = (struct lt_slice){(uint8_t *)copy, n};
    return 0;
}

static int cmdlines(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, "cmdline", LT_MAX_BOOT_CHOICES, &list, e));
    size_t n = json_array_size(list) + 1;
    p->pattern = calloc(n, sizeof *p->pattern);
    p->option = calloc(n, sizeof *p->option);
    p->literal = calloc(n, sizeof *p->literal);
    if (!p->pattern || !p->option || !p->literal)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu patterns", n);
    json_array_foreach(list, i, v)
    {
        const char *s = json_string_value(v);
        int rc;
        if (!s)
            return lt_fail(e, LT_E_MALFORMED, "\"cmdline\" value %zu is no string", i);
        if (!strncmp(s, "sha256:", 7)) {
            rc = lt_unhex(s + 7, p->option[p->option_count], LT_SHA256, e);
            p->option_count += !rc;
        } else {
            rc = lt_pattern_compile(s, strlen(s), true, &p->pattern[p->pattern_count], e);
            p->pattern_count += !rc;
            rc = rc ? rc : literal(p, s, e);
        }
        if (rc)
            return e ? lt_fail_in(e, "\"cmdline\" value %zu", i) : rc;
    }
    p->judges_cmdline = true;
    p->pcrs |= 1u << 8 | 1u << 9;
    return 0;
}

static int configuration(const char *name, const json_t *values, struct golden *g, struct lt_err *e)
{
    const char *index;
    json_t *v;

    if (!name[0] || strlen(name) >= sizeof g->name || !json_is_object(values) || !json_object_size(values))
        return lt_fail(e, LT_E_MALFORMED, "a name of 1 to %zu bytes and PCRs are wanted", sizeof g->name - 1);
    memcpy(g->name, name, strlen(name) + 1);
    for (char *c = g->name; *c; c++)
        *c = *c >= ' ' && *c < 127 ? *c : '?';
    g->pcrs.alg = LT_BOOT_ALG;
    json_object_foreach((json_t *)values, index, v)
    {
        char *end;
        unsigned long i = strtoul(index, &end, 10);
        if (index[0] < '0' || index[0] > '9' || *end || i >= LT_MAX_PCRS || (index[0] == '0' && index[1]))
            return lt_fail(e, LT_E_MALFORMED, "a key is no PCR from 0 to %d", LT_MAX_PCRS - 1);
        if (lt_unhex(json_string_value(v), g->pcrs.value[i], LT_SHA256, e))
            return lt_fail_in(e, "PCR %lu", i);
        g->pcrs.mask |= 1u << i;
    }
    return 0;
}

static int goldens(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    json_t *all, *v;
    const char *name;

    LT_TRY(lt_json_object(o, "golden", &all, e));
    if (!json_object_size(all) || json_object_size(all) > LT_MAX_BOOT_CHOICES)
        return lt_fail(e, LT_E_MALFORMED, "\"golden\": %zu configurations, not 1 to %d",
                       json_object_size(all), LT_MAX_BOOT_CHOICES);
    if (!(p->golden = calloc(json_object_size(all), sizeof *p->golden)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu configurations", json_object_size(all));
    json_object_foreach(all, name, v)
    {
        if (configuration(name, v, &p->golden[p->golden_count], e))
            return lt_fail_in(e, "\"golden\" configuration %zu", p->golden_count);
        p->pcrs |= p->golden[p->golden_count++].pcrs.mask;
    }
    return 0;
}

static int parse(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    static const char *const keys[] = {"secure_boot", "firmware", "shim",   "grub", "kernel",
                                       "initrd",      "cmdline",  "golden", NULL};

    if (!json_is_object(o))
        return lt_fail(e, LT_E_MALFORMED, "not a JSON object");
    if (lt_refstate_is(o)) {
        p->pcrs = LT_REFSTATE_PCRS;
        return lt_refstate_parse(o, &p->refstate, e);
    }
    LT_TRY(lt_json_only(o, keys, e));
    if (json_object_get(o, "secure_boot")) {
        LT_TRY(lt_json_bool(o, "secure_boot", &p->secure_boot, e));
        p->judges_secure_boot = true;
        p->pcrs |= 1u << 7;
    }
    for (enum role r = 0; r < ROLES; r++)
        if (json_object_get(o, roles[r].name))
            LT_TRY(role(o, r, p, e));
    if (json_object_get(o, "cmdline"))
        LT_TRY(cmdlines(o, p, e));
    return json_object_get(o, "golden") ? goldens(o, p, e) : 0;
}

int lt_boot_policy_parse(const void *p, size_t n, struct lt_boot_policy **out, struct lt_err *e)
{
    struct lt_err why = {0};

    *out = NULL;
    LT_AUTOJSON json_t *o = lt_json_parse(p, n, LT_MAX_BOOT_POLICY, &why);
    struct lt_boot_policy *new = o ? calloc(1, sizeof *new) : NULL;
    if (o && !new)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a boot policy");
    if (!o || parse(o, new, &why)) {
        lt_boot_policy_free(new);
        return lt_fail(e, why.code, "boot policy: %.300s", why.msg);
    }
    *out = new;
    return 0;
}

void lt_boot_policy_free(struct lt_boot_policy *p)
{
    if (!p)
        return;
    lt_refstate_free(p->refstate);
    for (int r = 0; r < ROLES; r++)
        free(p->digests[r].d);
    for (size_t i = 0; i < p->pattern_count; i++)
        lt_pattern_free(p->pattern[i]);
    for (size_t i = 0; i < p->literal_count; i++)
        free((void *)p->literal[i].p);
    free(p->pattern);
    free(p->option);
    free(p->literal);
    free(p->golden);
    free(p);
}

uint32_t lt_boot_policy_pcrs(const struct lt_boot_policy *p)
{
    return p->pcrs;
}

/* ---- judging ---- */

static int accept(const struct lt_boot_policy *p, enum role r, const struct lt_boot_event *ev,
                  struct lt_err *e)
{
    const struct lt_digests *l = &p->digests[r];
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
    char value[80], first[2 * LT_SHA256 + 1] = "none";

    if (d && lt_digests_have(l, d))
        return 0;
    if (l->count)
        lt_hex(l->d[0], LT_SHA256, first);
    return lt_boot_refuse(ev, e, "%s %s is not accepted (%zu %s: %.16s%s)", roles[r].name,
                          lt_boot_value(ev, value), l->count, l->count == 1 ? "is" : "are", first,
                          l->count > 1 ? "…" : "");
}

static int missing(enum role r, struct lt_err *e)
{
    return lt_fail(e, LT_E_REFUSED, "boot log: no %s was measured", roles[r].name);
}

/* Everything in PCR 0 but separators, whatever its type says: the type is not measured. */
static int firmware(const struct lt_boot_policy *p, const struct lt_boot_log *l, struct lt_err *e)
{
    bool any = false;

    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        if (ev->pcr || ev->type == LT_EV_NO_ACTION || lt_boot_separator(ev, LT_BOOT_ALG))
            continue;
        LT_TRY(accept(p, FIRMWARE, ev, e));
        any = true;
    }
    return any ? 0 : missing(FIRMWARE, e);
}

/* Boot applications in order: shim, grub, then only kernels. */
static int applications(const struct lt_boot_policy *p, const struct lt_boot_log *l, struct lt_err *e)
{
    struct lt_boot_apps apps;
    unsigned next = 0;
    bool any = false;

    LT_TRY(lt_boot_applications(l, &apps, e));
    for (enum role r = SHIM; r <= GRUB; r++) {
        if (!p->judges[r])
            continue;
        if (next == apps.count)
            return missing(r, e);
        LT_TRY(accept(p, r, apps.app[next++], e));
    }
    if (!p->judges[KERNEL])
        return 0;
    for (; next < apps.count; next++, any = true)
        LT_TRY(accept(p, KERNEL, apps.app[next], e));
    for (unsigned i = 0; i < l->count; i++)
        if (lt_boot_file(&l->event[i]) == LT_BOOT_KERNEL && !any)
            LT_TRY(accept(p, KERNEL, &l->event[i], e));
    for (unsigned i = 0; i < l->count && !any; i++)
        any = lt_boot_file(&l->event[i]) == LT_BOOT_KERNEL;
    return any ? 0 : missing(KERNEL, e);
}

/* PCR 9. Labels are not measured: without grub in the policy nothing but the kernel's two own events may
 * stand there. */
static int initrd(const struct lt_boot_policy *p, const struct lt_boot_log *l, struct lt_err *e)
{
    bool any = false;
    char value[80];

    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        if (ev->pcr != 9 || ev->type == LT_EV_NO_ACTION || lt_boot_tagged(ev, LT_TAG_LOAD_OPTIONS))
            continue;
        if (lt_boot_file(ev) == LT_BOOT_INITRD || lt_boot_tagged(ev, LT_TAG_INITRD)) {
            LT_TRY(accept(p, INITRD, ev, e));
            any = true;
        } else if (ev->type != LT_EV_IPL || !p->judges[GRUB]) {
            return lt_boot_refuse(ev, e, "%s is not expected without grub in the policy",
                                  lt_boot_value(ev, value));
        }
    }
    return any ? 0 : missing(INITRD, e);
}

static int load_options(const struct lt_boot_policy *p, const struct lt_boot_log *l,
                        const struct lt_boot_event *ev, struct lt_err *e)
{
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
    struct lt_slice text;
    char value[80];

    for (size_t i = 0; i < p->option_count; i++)
        if (d && !memcmp(p->option[i], d, LT_SHA256))
            return 0;
    for (size_t i = 0; i < p->literal_count; i++)
        if (d && lt_boot_is_load_options(d, p->literal[i]))
            return 0;
    /* grub's own command lines are judged each; what it handed over may be one of them. */
    for (unsigned i = 0, lines = 0; i < l->count && lines < LT_MAX_BOOT_CMDLINES && d; i++)
        if (lt_boot_cmdline(&l->event[i], &text) && ++lines && lt_boot_is_load_options(d, text))
            return 0;
    return lt_boot_refuse(ev, e,
                          "load options %s are of no accepted command line (\"cmdline\" may name the digest)",
                          lt_boot_value(ev, value));
}

static int cmdline(const struct lt_boot_policy *p, const struct lt_boot_log *l, struct lt_err *e)
{
    unsigned found = 0; /* bounded: each may cost a match of every pattern */
    char shown[80];

    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        struct lt_slice text;
        bool hit = false;
        bool options = lt_boot_tagged(ev, LT_TAG_LOAD_OPTIONS);
        if (!options && !lt_boot_cmdline(ev, &text))
            continue;
        if (found++ == LT_MAX_BOOT_CMDLINES)
            return lt_boot_refuse(ev, e, "more than %d command lines", LT_MAX_BOOT_CMDLINES);
        if (options) {
            LT_TRY(load_options(p, l, ev, e));
            continue;
        }
        if (!lt_boot_cmdline_measured(ev, LT_BOOT_ALG, text))
            return lt_boot_refuse(ev, e, "%s is not the digest of its command line",
                                  lt_boot_value(ev, shown));
        for (size_t k = 0; k < p->pattern_count && !hit; k++)
            LT_TRY(lt_pattern_match(p->pattern[k], text, &hit, e));
        if (!hit)
            return lt_boot_refuse(ev, e, "command line '%s' matches none of %zu patterns",
                                  lt_boot_shown(text, shown), p->pattern_count);
    }
    return found ? 0 : lt_fail(e, LT_E_REFUSED, "boot log: no command line was measured");
}

static int golden(const struct lt_boot_policy *p, const struct lt_pcrs *quoted, struct lt_err *e)
{
    char is[2 * LT_SHA256 + 1], want[2 * LT_SHA256 + 1];
    size_t best = 0;
    unsigned far = 0, pcr = 0;

    for (size_t i = 0; i < p->golden_count; i++) {
        const struct lt_pcrs *g = &p->golden[i].pcrs;
        unsigned same = 1, first = LT_MAX_PCRS;
        for (unsigned k = 0; k < LT_MAX_PCRS; k++) {
            if (!(g->mask >> k & 1))
                continue;
            if (!memcmp(g->value[k], quoted->value[k], LT_SHA256))
                same++;
            else if (first == LT_MAX_PCRS)
                first = k;
        }
        if (first == LT_MAX_PCRS)
            return 0;
        if (same > far) {
            far = same;
            best = i;
            pcr = first;
        }
    }
    lt_hex(quoted->value[pcr], LT_SHA256, is);
    lt_hex(p->golden[best].pcrs.value[pcr], LT_SHA256, want);
    return lt_fail(e, LT_E_REFUSED, "boot policy: PCR %u is %s, golden '%s', the nearest of %zu, wants %s",
                   pcr, is, p->golden[best].name, p->golden_count, want);
}

int lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *l,
                         const struct lt_pcrs *quoted, struct lt_err *e)
{
    bool needs_log = p->refstate || p->judges_secure_boot || p->judges_cmdline;

    for (int r = 0; r < ROLES; r++)
        needs_log = needs_log || p->judges[r];
    if (!p->pcrs)
        return 0; /* judges nothing: lt_boot_policy_pcrs says so */
    if (needs_log && (!l || !l->replay.present))
        return lt_fail(e, LT_E_REFUSED, "boot policy: there is no boot log to judge");
    if (needs_log && l->replay.fault.code)
        return lt_fail(e, l->replay.fault.code, "%s", l->replay.fault.msg);
    LT_TRY(lt_boot_quoted(needs_log ? l : NULL, p->pcrs, quoted, e));
    if (p->refstate)
        return lt_refstate_judge(p->refstate, l, e);
    if (p->golden_count)
        LT_TRY(golden(p, quoted, e));
    if (p->judges[FIRMWARE])
        LT_TRY(firmware(p, l, e));
    if (p->judges_secure_boot)
        LT_TRY(lt_boot_pcr7(l, p->secure_boot, NULL, NULL, e));
    if (p->judges[SHIM] || p->judges[GRUB] || p->judges[KERNEL])
        LT_TRY(applications(p, l, e));
    if (p->judges[INITRD])
        LT_TRY(initrd(p, l, e));
    return p->judges_cmdline ? cmdline(p, l, e) : 0;
}
