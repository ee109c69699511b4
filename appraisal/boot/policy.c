/* Our form of boot policy; Keylime's is in refstate.c. */
#include "appraisal/boot/policy.h"

#include "appraisal/boot/rules.h"
#include "common/alloc.h"
#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Roles are stages of a PCR: shim before grub before kernel. */
enum role { FIRMWARE, SHIM, GRUB, KERNEL, INITRD, ROLES };

static const struct {
    const char *name;
    uint32_t pcr;
} roles[ROLES] = {{"firmware", 0}, {"shim", 4}, {"grub", 4}, {"kernel", 4}, {"initrd", 9}};

#define CMDLINE_PCRS                                                                                         \
    (1u << 8 | 1u << 9 | 1u << 12) /* grub's text; the stub's load options; systemd's text                   \
                                    */
/* Files are measured there too, and one can be a pattern's text and an archive at once. Who measures a
 * command line there does it in UTF-16, which no kernel unpacks. */
#define WIDE_PCRS (1u << 9 | 1u << 12)

struct golden {
    char name[64];
    struct lt_pcrs pcrs;
};

struct lt_boot_policy {
    struct lt_refstate *refstate; /* NULL: none */
    uint32_t pcrs;                /* that must be quoted */
    uint32_t closed;              /* whose events are judged by the sets */
    struct lt_boot_set set[LT_BOOT_REPLAYED];
    const char *stage[LT_BOOT_REPLAYED][ROLES]; /* what the roles' stages are called */
    struct lt_boot_set kernel;                  /* one of it is in PCR 4 or 9 */
    bool judges_secure_boot, secure_boot, judges_kernel, judges_cmdline;
    bool has_initrd, has_grub, also_files; /* also_files: "also" names digests of PCR 9 */
    size_t pattern_count, option_count, golden_count;
    struct lt_pattern **pattern;
    uint8_t (*option)[LT_SHA256]; /* digests of load options, those of patterns without operators too */
    struct golden *golden;
};

/* ---- parsing ---- */

static void judges(struct lt_boot_policy *p, uint32_t pcrs)
{
    p->closed |= pcrs;
    p->pcrs |= pcrs;
}

static bool pcr_index(const char *s, unsigned end, unsigned *out)
{
    char *rest;
    unsigned long i = strtoul(s, &rest, 10);

    *out = (unsigned)i;
    return s[0] >= '0' && s[0] <= '9' && !*rest && i < end && (s[0] != '0' || !s[1]);
}

/* {"N":list, …} of "events" and "also". */
static int sets(const json_t *o, const char *key, struct lt_boot_policy *p, struct lt_err *e)
{
    bool events = !strcmp(key, "events");
    const char *index;
    json_t *all, *list;
    unsigned i;

    if (!json_object_get(o, key))
        return 0;
    LT_TRY(lt_json_object(o, key, &all, e));
    json_object_foreach(all, index, list)
    {
        if (!pcr_index(index, LT_BOOT_REPLAYED, &i))
            return lt_fail(e, LT_E_MALFORMED, "\"%s\": \"%.20s\" is no PCR from 0 to %d", key, index,
                           LT_BOOT_REPLAYED - 1);
        if (events && p->refstate && LT_BOOT_REFSTATE_JUDGED >> i & 1)
            return lt_fail(e, LT_E_MALFORMED,
                           "\"events\": PCR %u is the reference state's; \"also\" names more", i);
        if (events ? lt_boot_set_events(&p->set[i], list, e)
                   : lt_boot_set_add(&p->set[i], list, LT_BOOT_ANYWHERE, e))
            return lt_fail_in(e, e->code, "\"%s\" of PCR %u", key, i);
        judges(p, 1u << i);
        p->also_files = p->also_files || (!events && i == 9);
    }
    return 0;
}

static int role(const json_t *o, enum role r, struct lt_boot_policy *p, struct lt_err *e)
{
    struct lt_boot_set *s = &p->set[roles[r].pcr];
    const json_t *list = json_object_get(o, roles[r].name);

    if (!list)
        return 0;
    if (s->listed || (r == KERNEL && p->set[9].listed))
        return lt_fail(e, LT_E_MALFORMED, "\"%s\": \"events\" has the order of that PCR already",
                       roles[r].name);
    p->stage[roles[r].pcr][s->stages] = roles[r].name;
    LT_TRY_IN(lt_boot_set_add(s, list, s->stages++, e), e, "\"%s\"", roles[r].name);
    if (r == KERNEL) {
        LT_TRY_IN(lt_boot_set_add(&p->kernel, list, 0, e), e, "\"%s\"", roles[r].name);
        LT_TRY_IN(lt_boot_set_add(&p->set[9], list, LT_BOOT_ANYWHERE, e), e, "\"%s\"", roles[r].name);
        p->judges_kernel = true; /* grub without secure boot measures it as a file only */
    } else {
        s->needed = s->stages;
    }
    p->has_initrd = p->has_initrd || r == INITRD;
    p->has_grub = p->has_grub || r == GRUB;
    judges(p, 1u << roles[r].pcr | (r == KERNEL ? 1u << 9 : 0));
    return 0;
}

/* A pattern that stands for one text only: the load options that are made of that. */
static int literal(struct lt_boot_policy *p, const char *s, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *copy = malloc(strlen(s) + 1);
    size_t n = 0;

    if (!copy)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a pattern");
    for (; *s; s++) {
        bool escaped = *s == '\\';
        s += escaped;
        if (escaped ? !*s || (*s >= '0' && *s <= '9') || ((*s | 32) >= 'a' && (*s | 32) <= 'z')
                    : strchr("^$.[|()?*+{", *s) != NULL)
            return 0;
        copy[n++] = (uint8_t)*s;
    }
    p->option_count += lt_boot_load_options((struct lt_slice){copy, n}, p->option + p->option_count);
    return 0;
}

static int cmdlines(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    if (!json_object_get(o, "cmdline"))
        return 0;
    LT_TRY(lt_json_array(o, "cmdline", LT_MAX_BOOT_CHOICES, &list, e));
    size_t n = json_array_size(list) + 1;
    p->pattern = calloc(n, sizeof *p->pattern);
    p->option = calloc(n * LT_BOOT_WAYS, sizeof *p->option);
    if (!p->pattern || !p->option)
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
            return lt_fail_in(e, rc, "\"cmdline\" value %zu", i);
    }
    p->judges_cmdline = true;
    judges(p, CMDLINE_PCRS);
    return 0;
}

static int configuration(const char *name, const json_t *values, struct golden *g, struct lt_err *e)
{
    const char *index;
    json_t *v;
    unsigned i;

    if (!name[0] || strlen(name) >= sizeof g->name || !json_is_object(values) || !json_object_size(values))
        return lt_fail(e, LT_E_MALFORMED, "a name of 1 to %zu bytes and PCRs are wanted", sizeof g->name - 1);
    memcpy(g->name, name, strlen(name) + 1);
    for (char *c = g->name; *c; c++)
        *c = *c >= ' ' && *c < 127 ? *c : '?';
    g->pcrs.alg = LT_BOOT_ALG;
    json_object_foreach((json_t *)values, index, v)
    {
        if (!pcr_index(index, LT_MAX_PCRS, &i))
            return lt_fail(e, LT_E_MALFORMED, "a key is no PCR from 0 to %d", LT_MAX_PCRS - 1);
        LT_TRY_IN(lt_unhex(json_string_value(v), g->pcrs.value[i], LT_SHA256, e), e, "PCR %u", i);
        g->pcrs.mask |= 1u << i;
    }
    return 0;
}

static int goldens(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    json_t *all, *v;
    const char *name;

    if (!json_object_get(o, "golden"))
        return 0;
    LT_TRY(lt_json_object(o, "golden", &all, e));
    if (!json_object_size(all) || json_object_size(all) > LT_MAX_BOOT_CHOICES)
        return lt_fail(e, LT_E_MALFORMED, "\"golden\": %zu configurations, not 1 to %d",
                       json_object_size(all), LT_MAX_BOOT_CHOICES);
    if (!(p->golden = calloc(json_object_size(all), sizeof *p->golden)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu configurations", json_object_size(all));
    json_object_foreach(all, name, v)
    {
        LT_TRY_IN(configuration(name, v, &p->golden[p->golden_count], e), e, "\"golden\" configuration %zu",
                  p->golden_count);
        p->pcrs |= p->golden[p->golden_count++].pcrs.mask;
    }
    return 0;
}

static int reference(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    p->pcrs |= LT_BOOT_REFSTATE_PCRS;
    return lt_boot_refstate_parse(o, &p->refstate, e);
}

/* Beside a reference state stands only what adds to it: its own rules judge the rest. */
static int carried(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    static const char *const keys[] = {"refstate", "events", "also", "golden", NULL};
    json_t *state;

    if (!json_object_get(o, "refstate"))
        return 0;
    LT_TRY(lt_json_only(o, keys, e));
    LT_TRY(lt_json_object(o, "refstate", &state, e));
    return reference(state, p, e);
}

static int parse(const json_t *o, struct lt_boot_policy *p, struct lt_err *e)
{
    static const char *const keys[] = {"events", "also",   "secure_boot", "firmware", "shim",     "grub",
                                       "kernel", "initrd", "cmdline",     "golden",   "refstate", NULL};

    if (!json_is_object(o))
        return lt_fail(e, LT_E_MALFORMED, "not a JSON object");
    if (lt_boot_refstate_is(o))
        return reference(o, p, e);
    LT_TRY(lt_json_only(o, keys, e));
    LT_TRY(carried(o, p, e));
    LT_TRY(sets(o, "events", p, e));
    LT_TRY(sets(o, "also", p, e));
    for (enum role r = 0; r < ROLES; r++)
        LT_TRY(role(o, r, p, e));
    if (json_object_get(o, "secure_boot")) {
        LT_TRY(lt_json_bool(o, "secure_boot", &p->secure_boot, e));
        p->judges_secure_boot = true;
        judges(p, 1u << 7);
    }
    LT_TRY(cmdlines(o, p, e));
    LT_TRY(goldens(o, p, e));
    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        LT_TRY_IN(lt_boot_set_close(&p->set[i], e), e, "PCR %u", i);
    return lt_boot_set_close(&p->kernel, e);
}

int lt_boot_policy_parse(const void *p, size_t n, struct lt_boot_policy **out, struct lt_err *e)
{
    struct lt_err why = {0};

    *out = NULL;
    LT_JSON_AUTO json_t *o = lt_json_parse(p, n, LT_MAX_BOOT_POLICY, &why);
    struct lt_boot_policy *new = o ? lt_new(struct lt_boot_policy) : NULL;
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
    lt_boot_refstate_free(p->refstate);
    for (int i = 0; i < LT_BOOT_REPLAYED; i++)
        lt_boot_set_free(&p->set[i]);
    lt_boot_set_free(&p->kernel);
    for (size_t i = 0; i < p->pattern_count; i++)
        lt_pattern_free(p->pattern[i]);
    free(p->pattern);
    free(p->option);
    free(p->golden);
    free(p);
}

uint32_t lt_boot_policy_pcrs(const struct lt_boot_policy *p)
{
    return p->pcrs;
}

uint32_t lt_boot_policy_covers(const struct lt_boot_policy *p)
{
    uint32_t values = p->golden_count ? UINT32_MAX : 0;

    for (size_t i = 0; i < p->golden_count; i++)
        values &= p->golden[i].pcrs.mask;
    return p->closed | values | (p->refstate ? lt_boot_refstate_covers(p->refstate) : 0);
}

/* ---- judging ---- */

/* One log under one policy. */
struct job {
    const struct lt_boot_policy *p;
    const struct lt_boot_log *log;
    bool kernel, separated, secure_boot; /* what was met */
    unsigned lines;                      /* command lines; bounded, each may cost a match of every pattern */
    unsigned options;
    uint8_t option[LT_MAX_BOOT_CMDLINES * LT_BOOT_WAYS][LT_SHA256]; /* load options of grub's */
    uint8_t buf[LT_MAX_SUBJECT];
};

/* True: the digest is one of the set's. Order is judged here. */
static bool named(const struct lt_boot_set *s, const struct lt_boot_event *ev, uint32_t *reached, int *rc,
                  struct lt_err *e)
{
    const struct lt_boot_named *n = lt_boot_set_find(s, lt_boot_digest(ev, LT_BOOT_ALG));
    char value[80];

    *rc = 0;
    if (n && n->stage != LT_BOOT_ANYWHERE && n->stage > *reached)
        *rc = lt_boot_refuse(ev, e, "%s stands before what the policy has in front of it",
                             lt_boot_value(ev, value));
    else if (n && n->stage == *reached)
        ++*reached;
    return n != NULL;
}

/* What needs no name where no list of events says otherwise. */
static bool usual(const struct job *j, const struct lt_boot_event *ev, uint32_t reached)
{
    if (j->p->set[ev->pcr].listed || ev->pcr > 7)
        return false;
    return lt_boot_is_separator(ev) ||
           (ev->pcr == 4 && (lt_boot_is_attempt(ev) || (!reached && lt_boot_is_return(ev))));
}

/* The load options that a kernel's stub measures are a digest without its text: that of a literal pattern, or
 * of a line that grub measured and that was accepted. */
static bool load_options(const struct job *j, const struct lt_boot_event *ev)
{
    return lt_boot_is_one_of(ev, j->p->option[0], j->p->option_count) ||
           lt_boot_is_one_of(ev, j->option[0], j->options);
}

static int cmdline(struct job *j, const struct lt_boot_event *ev, bool *hit, struct lt_err *e)
{
    struct lt_slice text;

    *hit = load_options(j, ev);
    bool proved = !*hit && lt_boot_proved_text(ev, LT_BOOT_ALG, j->buf, &text) &&
                  (text.p == j->buf || !(WIDE_PCRS >> ev->pcr & 1));
    for (size_t k = 0; k < j->p->pattern_count && proved && !*hit; k++)
        LT_TRY(lt_pattern_match(j->p->pattern[k], text, hit, e));
    if (!*hit)
        return 0;
    if (j->lines++ == LT_MAX_BOOT_CMDLINES)
        return lt_boot_refuse(ev, e, "more than %d command lines", LT_MAX_BOOT_CMDLINES);
    if (proved && text.p != j->buf)
        j->options += lt_boot_load_options(text, j->option + j->options);
    return 0;
}

/* A value has one digest, so what the log calls it is of no matter. */
static int secure_boot(struct job *j, const struct lt_boot_event *ev, bool *known, struct lt_err *e)
{
    bool want = j->p->secure_boot;

    if (lt_boot_is_secure_boot(ev, !want))
        return lt_boot_refuse(ev, e, "secure boot is %s, only %s is accepted", want ? "off" : "on",
                              want ? "on" : "off");
    *known = *known || (!j->separated && lt_boot_is_secure_boot(ev, want));
    j->secure_boot = j->secure_boot || (!j->separated && lt_boot_is_secure_boot(ev, want));
    j->separated = j->separated || lt_boot_is_separator(ev);
    return 0;
}

/* What the log calls it, where that is text. */
static const char *says(const struct lt_boot_event *ev, char buf[96])
{
    struct lt_slice text = lt_boot_text(ev);
    char shown[64];

    buf[0] = 0;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < ' ' || text.p[i] > '~')
            return buf;
    if (text.n)
        snprintf(buf, 96, " (the log says '%s')", lt_boot_shown(text, shown));
    return buf;
}

static int unnamed(struct job *j, const struct lt_boot_event *ev, struct lt_err *e)
{
    bool lines = j->p->judges_cmdline && CMDLINE_PCRS >> ev->pcr & 1, hit = false;
    size_t named = j->p->set[ev->pcr].count;
    char value[80], label[96];

    if (lines)
        LT_TRY(cmdline(j, ev, &hit, e));
    if (hit)
        return 0;
    if (!named)
        return lt_boot_refuse(ev, e, "%s%s: the policy names no digest for this PCR%s",
                              lt_boot_value(ev, value), says(ev, label),
                              lines ? ", and accepts no such command line" : "");
    return lt_boot_refuse(ev, e, "%s%s is not among the digests named for this PCR (%zu)%s",
                          lt_boot_value(ev, value), says(ev, label), named,
                          lines ? ", and no command line that is accepted" : "");
}

static int unmet(const struct lt_boot_policy *p, unsigned pcr, uint32_t stage, struct lt_err *e)
{
    const struct lt_boot_set *s = &p->set[pcr];
    char hex[2 * LT_SHA256 + 1] = "";

    if (!s->listed)
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR %u): no %s was measured", pcr, p->stage[pcr][stage]);
    for (size_t i = 0; i < s->count && !*hex; i++)
        if (s->named[i].stage == stage)
            lt_hex(s->named[i].digest, LT_SHA256, hex);
    return lt_fail(e, LT_E_REFUSED, "boot log (PCR %u): entry %u of \"events\" was not measured: sha256:%s",
                   pcr, stage, hex);
}

static int judge_pcr(struct job *j, unsigned pcr, struct lt_err *e)
{
    const struct lt_boot_set *s = &j->p->set[pcr];
    const struct lt_boot_event *ev;
    uint32_t reached = 0;
    int rc;

    for (unsigned at = 0; (ev = lt_boot_next(j->log, pcr, &at));) {
        bool known = named(s, ev, &reached, &rc, e);
        if (rc)
            return rc;
        if (pcr == 7 && j->p->judges_secure_boot)
            LT_TRY(secure_boot(j, ev, &known, e));
        if (!known && !usual(j, ev, reached))
            LT_TRY(unnamed(j, ev, e));
        if (pcr == 4 || pcr == 9)
            j->kernel = j->kernel || lt_boot_set_find(&j->p->kernel, lt_boot_digest(ev, LT_BOOT_ALG));
    }
    return reached < s->needed ? unmet(j->p, pcr, reached, e) : 0;
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

static int judge_events(const struct lt_boot_policy *p, const struct lt_boot_log *l, struct lt_err *e)
{
    struct job j = {.p = p, .log = l};

    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        if (p->closed >> i & 1 && !(p->refstate && LT_BOOT_REFSTATE_JUDGED >> i & 1))
            LT_TRY(judge_pcr(&j, i, e));
    if (p->judges_kernel && !j.kernel)
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 4, 9): no kernel was measured");
    if (p->judges_secure_boot && !j.secure_boot)
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 7): no variable SecureBoot of %s before the separator",
                       p->secure_boot ? "on" : "off");
    if (p->judges_cmdline && !j.lines && !p->set[8].listed && !p->set[9].listed && !p->set[12].listed)
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 8, 9, 12): no command line was measured");
    return 0;
}

int lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *l,
                         const struct lt_pcrs *quoted, struct lt_err *e)
{
    uint32_t events = p->closed | (p->refstate ? LT_BOOT_REFSTATE_PCRS : 0);

    if (!p->pcrs)
        return 0; /* judges nothing: lt_boot_policy_pcrs says so */
    if (events && (!l || !l->replay.present))
        return lt_fail(e, LT_E_REFUSED, "boot policy: there is no boot log to judge");
    if (events && l->replay.fault.code)
        return lt_fail(e, l->replay.fault.code, "%s", l->replay.fault.msg);
    LT_TRY(lt_boot_quoted(NULL, p->pcrs, quoted, e));
    LT_TRY(lt_boot_quoted(l, events, quoted, e));
    if (p->golden_count)
        LT_TRY(golden(p, quoted, e));
    if (p->refstate)
        LT_TRY(lt_boot_refstate_judge(p->refstate, l, p->set, e));
    return judge_events(p, l, e);
}

/* ---- states that nobody quoted ---- */

uint32_t lt_boot_policy_judges(const struct lt_boot_policy *p)
{
    uint32_t values = 0;

    for (size_t i = 0; i < p->golden_count; i++)
        values |= p->golden[i].pcrs.mask;
    return p->closed | values | (p->refstate ? LT_BOOT_REFSTATE_JUDGED : 0);
}

uint32_t lt_boot_policy_foretells(const struct lt_boot_policy *p)
{
    uint32_t enough = 1u << 0 | 1u << 7 | 1u << 14;

    if (p->judges_kernel)
        enough |= 1u << 4;
    if (p->has_initrd && !p->has_grub && !p->also_files && !p->set[9].listed)
        enough |= 1u << 9;
    return enough & (p->closed | (p->refstate ? lt_boot_refstate_covers(p->refstate) : 0));
}

static bool is_configuration(const struct golden *g, const struct lt_pcrs *state)
{
    if (state->alg != LT_BOOT_ALG || g->pcrs.mask & ~state->mask)
        return false;
    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (g->pcrs.mask >> i & 1 && memcmp(g->pcrs.value[i], state->value[i], LT_SHA256) != 0)
            return false;
    return true;
}

int lt_boot_policy_golden(const struct lt_boot_policy *p, const struct lt_pcrs *state, uint32_t *listed,
                          struct lt_err *e)
{
    *listed = 0;
    for (size_t i = 0; i < p->golden_count; i++)
        if (is_configuration(&p->golden[i], state))
            *listed |= p->golden[i].pcrs.mask;
    return *listed || !p->golden_count
               ? 0
               : lt_fail(e, LT_E_REFUSED, "it is none of the %zu golden configurations", p->golden_count);
}

bool lt_boot_policy_kernel_as_file(const struct lt_boot_policy *p, const struct lt_boot_log *log)
{
    const struct lt_boot_event *ev;

    for (unsigned at = 0; (ev = lt_boot_next(log, 9, &at));)
        if (lt_boot_set_find(&p->kernel, lt_boot_digest(ev, LT_BOOT_ALG)))
            return true;
    return false;
}

int lt_boot_policy_judge_log(const struct lt_boot_policy *p, const struct lt_boot_log *log, struct lt_err *e)
{
    struct lt_pcrs replayed;

    if (!log->replay.present)
        return lt_fail(e, LT_E_REFUSED, "boot policy: there is no boot log to judge");
    if (log->replay.fault.code)
        return lt_fail(e, log->replay.fault.code, "%s", log->replay.fault.msg);
    if (!lt_boot_replay_pcrs(&log->replay, LT_BOOT_ALG, &replayed))
        return lt_fail(e, LT_E_REFUSED, "boot log: not every event has a sha256 digest");
    if (p->refstate)
        LT_TRY(lt_boot_refstate_judge(p->refstate, log, p->set, e));
    return judge_events(p, log, e);
}
