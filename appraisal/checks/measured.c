#include "appraisal/checks/measured.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *const part_names[LT_MEASURED_PARTS] = {
    [LT_MEASURED_PART_PCRS] = "pcrs",
    [LT_MEASURED_PART_BOOT_LOG] = "boot-log",
    [LT_MEASURED_PART_BOOT_POLICY] = "boot-policy",
    [LT_MEASURED_PART_IMA] = "ima",
};

/* One appraisal under way. */
struct work {
    const struct lt_measured *m;
    const struct lt_measured_logs *logs; /* m's */
    const struct lt_policy_pcr_rules *rules;
    const struct lt_policy_measured *p;
    const struct lt_measured_documents *d;
    const uint8_t *policy;
    struct lt_measured_result *out;
};

__attribute__((format(printf, 4, 5))) static void set(struct work *w, enum lt_measured_part part,
                                                      enum lt_measured_state state, const char *fmt, ...)
{
    va_list ap;

    w->out->part[part].state = state;
    va_start(ap, fmt);
    vsnprintf(w->out->part[part].message, sizeof w->out->part[part].message, fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 3, 4))) static void because(struct work *w, enum lt_measured_part part,
                                                          const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(w->out->part[part].cause, sizeof w->out->part[part].cause, fmt, ap);
    va_end(ap);
}

/* Want of memory is no word about what was measured. */
static bool starved(struct work *w, enum lt_measured_part part, int code)
{
    return w->out->part[part].starved = code == LT_E_NO_MEMORY;
}

static bool is_layer(const struct lt_policy_measured *p, const struct lt_measured_documents *d, unsigned i)
{
    return d->layer[i] && !memcmp(lt_ima_table_digest(d->layer[i]), p->layer[i].policy, LT_SHA256);
}

static bool is_boot(const struct lt_policy_measured *p, const struct lt_measured_documents *d)
{
    return d->boot && !memcmp(d->boot_digest, p->boot, LT_SHA256);
}

uint32_t lt_measured_pcrs(const struct lt_policy_pcr_rules *rules, const struct lt_policy_measured *p,
                          const struct lt_measured_documents *d)
{
    uint32_t mask = rules->mask;

    if (p->layer_count)
        mask |= 1u << LT_IMA_PCR | LT_IMA_BOOT_PCRS;
    if (p->has_boot && d && is_boot(p, d))
        mask |= lt_boot_policy_pcrs(d->boot);
    return mask;
}

uint32_t lt_measured_active(const struct lt_policy_measured *p, int64_t now)
{
    uint32_t active = 0;

    for (unsigned i = 0; i < p->layer_count; i++)
        active |= (uint32_t)lt_policy_layer_in_force(&p->layer[i], now) << i;
    return active;
}

/* Boot policies and layers are about the SHA-256 bank. A guest that quotes another is not judged by them,
 * which fails nobody: who has no such bank could do nothing about it. */
static bool other_bank(struct work *w, enum lt_measured_part part, const char *what)
{
    if (w->m->pcrs->alg == LT_HASH_SHA256)
        return false;
    set(w, part, LT_MEASURED_LACKING, "the quote is of the bank %s, %s of sha256",
        lt_hash_name(w->m->pcrs->alg) ? lt_hash_name(w->m->pcrs->alg) : "(unknown)", what);
    return true;
}

static void judge_pcrs(struct work *w)
{
    struct lt_err e = {0};

    if (!w->rules->mask)
        set(w, LT_MEASURED_PART_PCRS, LT_MEASURED_OMITTED, "the policy names no PCR");
    else if (!lt_policy_pcr_rules_know(w->rules, w->m->pcrs->alg))
        set(w, LT_MEASURED_PART_PCRS, LT_MEASURED_LACKING,
            "the policy has no values of the bank %s for every PCR that"
            " it names",
            lt_hash_name(w->m->pcrs->alg) ? lt_hash_name(w->m->pcrs->alg) : "(unknown)");
    else if (lt_policy_pcr_rules_judge(w->rules, w->m->pcrs, w->policy, &e)) {
        int bad = lt_policy_pcr_rules_bad(w->rules, w->m->pcrs);
        set(w, LT_MEASURED_PART_PCRS, LT_MEASURED_BAD, "%s", e.msg);
        if (bad >= 0 && w->m->pcrs->mask >> bad & 1)
            because(w, LT_MEASURED_PART_PCRS, "pcr-%d", bad);
        else
            because(w, LT_MEASURED_PART_PCRS, "pcr-missing");
    }
}

static bool has_log(const struct work *w)
{
    return w->logs->boot_log && w->logs->boot_log->replay.present;
}

/* The first PCR that the log does not replay to. */
static void blame_log(struct work *w)
{
    const struct lt_boot_replay *r = &w->logs->boot_log->replay;
    const struct lt_pcrs *q = w->m->pcrs;

    for (unsigned i = 0; i < LT_BOOT_PCRS && !r->fault.code && lt_boot_replay_value(r, q->alg, 0); i++)
        if (q->mask >> i & 1 && !lt_boot_replay_fits(r, q->alg, i, q->value[i])) {
            because(w, LT_MEASURED_PART_BOOT_LOG, "boot-log-pcr-%u", i);
            return;
        }
    because(w, LT_MEASURED_PART_BOOT_LOG, "boot-log");
}

/* Nothing in a log is believed before it matches. */
static void judge_boot_log(struct work *w)
{
    struct lt_err e = {0};

    if (!has_log(w))
        set(w, LT_MEASURED_PART_BOOT_LOG, LT_MEASURED_OMITTED, "%s",
            w->logs->boot_log_trouble ? w->logs->boot_log_trouble : "no boot log");
    else if (w->m->pcrs->alg != LT_HASH_SHA256 && !w->logs->boot_log->replay.fault.code &&
             !lt_boot_replay_value(&w->logs->boot_log->replay, w->m->pcrs->alg, 0))
        set(w, LT_MEASURED_PART_BOOT_LOG, LT_MEASURED_OMITTED,
            "not every event has a digest of the quoted bank %s",
            lt_hash_name(w->m->pcrs->alg) ? lt_hash_name(w->m->pcrs->alg) : "(unknown)");
    else if (lt_boot_replay_match(&w->logs->boot_log->replay, w->m->pcrs, &e)) {
        set(w, LT_MEASURED_PART_BOOT_LOG, LT_MEASURED_BAD, "%s", e.msg);
        blame_log(w);
    }
}

static void judge_boot_policy(struct work *w)
{
    char name[2 * LT_SHA256 + 1], list[200];
    struct lt_err e = {0};

    if (!w->p->has_boot) {
        set(w, LT_MEASURED_PART_BOOT_POLICY, LT_MEASURED_OMITTED, "the policy names no boot policy");
        return;
    }
    if (other_bank(w, LT_MEASURED_PART_BOOT_POLICY, "boot policies are"))
        return;
    lt_hex(w->p->boot, LT_SHA256, name);
    uint32_t needed = is_boot(w->p, w->d) ? lt_boot_policy_pcrs(w->d->boot) : 0;
    because(w, LT_MEASURED_PART_BOOT_POLICY, needed & ~w->m->pcrs->mask ? "pcr-missing" : "boot-policy");
    if (!is_boot(w->p, w->d))
        set(w, LT_MEASURED_PART_BOOT_POLICY, LT_MEASURED_LACKING, "boot policy %s is not at hand", name);
    else if (!needed)
        set(w, LT_MEASURED_PART_BOOT_POLICY, LT_MEASURED_OMITTED, "boot policy %.8s judges nothing", name);
    else if (needed & ~w->m->pcrs->mask) /* G2: a required PCR that is missing fails, never skips */
        set(w, LT_MEASURED_PART_BOOT_POLICY, LT_MEASURED_BAD, "boot policy %.8s judges %s, not in the quote",
            name, lt_measured_list(needed & ~w->m->pcrs->mask, list));
    else if (w->out->part[LT_MEASURED_PART_BOOT_LOG].state == LT_MEASURED_BAD)
        set(w, LT_MEASURED_PART_BOOT_POLICY, LT_MEASURED_LACKING,
            "boot policy %.8s: the log does not match the quoted PCRs", name);
    else if (!has_log(w) && w->logs->boot_log_trouble)
        set(w, LT_MEASURED_PART_BOOT_POLICY, LT_MEASURED_LACKING, "boot policy %.8s: %s", name,
            w->logs->boot_log_trouble);
    else if (lt_boot_policy_judge(w->d->boot, has_log(w) ? w->logs->boot_log : NULL, w->m->pcrs, &e))
        set(w, LT_MEASURED_PART_BOOT_POLICY,
            starved(w, LT_MEASURED_PART_BOOT_POLICY, e.code) ? LT_MEASURED_LACKING : LT_MEASURED_BAD,
            "boot policy %.8s: %s", name, e.msg);
}

/* ---- IMA ---- */

static bool layers_of(struct work *w, struct lt_ima_layers *l)
{
    char name[2 * LT_SHA256 + 1];

    *l = (struct lt_ima_layers){.count = w->p->layer_count,
                                .accept_violations = w->p->accept_violations,
                                .accept_padded = w->p->accept_padded,
                                .learn_keys = w->p->learn_keys,
                                .log_hash = w->p->log_hash};
    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_policy_layer_rule *r = &w->p->layer[i];
        if (!is_layer(w->p, w->d, i)) {
            lt_hex(r->policy, LT_SHA256, name);
            set(w, LT_MEASURED_PART_IMA, LT_MEASURED_LACKING, "layer %s: its document %s is not at hand",
                r->name, name);
            return false;
        }
        l->layer[i] = (struct lt_ima_layer){r, w->d->layer[i]};
    }
    return true;
}

/* Where the list must go on: its beginning, or where the progress stands. */
static bool follows(struct work *w)
{
    const struct lt_measured *m = w->m;

    if (!w->logs->ima_first || (m->progress && w->logs->ima_first == m->progress->next))
        return true;
    set(w, LT_MEASURED_PART_IMA, LT_MEASURED_LACKING,
        "the IMA list begins at entry %llu, needed is entry %llu", (unsigned long long)w->logs->ima_first,
        (unsigned long long)(m->progress ? m->progress->next : 0));
    return false;
}

static void keep_faults(struct work *w, const struct lt_ima_result *r)
{
    struct lt_measured_result *o = w->out;

    for (unsigned i = 1; i < r->kept; i++)
        memcpy(o->fault[o->kept++], r->fault[i], sizeof o->fault[0]);
}

/* True: every entry is good and PCR 10 was met. */
static bool replay(struct work *w, const struct lt_ima_layers *l)
{
    struct lt_ima_aggregates aggregates;
    const struct lt_measured *m = w->m;
    struct lt_ima_progress none = {0};
    struct lt_ima_result r = {0};
    struct lt_err e = {0};
    struct lt_ima_input in = {
        .list = w->logs->ima,
        .first = w->logs->ima_first,
        .layers = l,
        .now = w->logs->now,
    };

    lt_ima_quoted(&in, m->pcrs, &aggregates);
    int rc = lt_ima_appraise(&in, m->progress ? m->progress : &none, &r, &e);
    lt_ima_progress_free(&none);
    w->out->entries = r.entries;
    w->out->matched = r.matched;
    w->out->matched_bytes = r.matched_bytes;
    w->out->aggregate_open = r.aggregate_open;
    w->out->faults = r.faults;
    if (!rc)
        return true;
    bool lacking = starved(w, LT_MEASURED_PART_IMA, rc) || (r.unable.code && !r.faults);
    set(w, LT_MEASURED_PART_IMA, lacking ? LT_MEASURED_LACKING : LT_MEASURED_BAD, "%s",
        r.kept ? r.fault[0] : e.msg);
    because(w, LT_MEASURED_PART_IMA, "%s", r.cause ? r.cause : rc == LT_E_MALFORMED ? "ima-entry" : "ima");
    keep_faults(w, &r);
    return false;
}

struct search {
    const struct lt_ima_layers *l;
    int64_t now;
    unsigned found, excluded;
};

static unsigned program_of(struct lt_slice path)
{
    static const struct {
        const char *name;
        bool prefix;
        unsigned bit;
    } programs[] = {{"limetree-agent", false, LT_MEASURED_PROGRAM_AGENT},
                    {"libvirtd", false, LT_MEASURED_PROGRAM_LIBVIRT},
                    {"virtqemud", false, LT_MEASURED_PROGRAM_LIBVIRT},
                    {"qemu-system-", true, LT_MEASURED_PROGRAM_QEMU},
                    {"swtpm", false, LT_MEASURED_PROGRAM_SWTPM}};
    const uint8_t *slash = path.n ? memrchr(path.p, '/', path.n) : NULL;
    const uint8_t *base = slash ? slash + 1 : path.p;
    size_t n = (size_t)(path.p + path.n - base);

    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        size_t len = strlen(programs[i].name);
        if ((programs[i].prefix ? n > len : n == len) && !memcmp(base, programs[i].name, len))
            return programs[i].bit;
    }
    return n > 6 && !memcmp(base, "lib", 3) && memmem(base, n, ".so", 3) ? LT_MEASURED_PROGRAM_LIBRARIES : 0;
}

/* Of what PCR 10 covers: entries past the match are anybody's text. A path that a layer excludes was
 * not judged, so it is no witness, and spoils its kind; one that is in no layer was good by its signature. A
 * violation (digest of zeros) says nothing about a file. */
static int look(void *arg, const struct lt_ima_file *f, struct lt_err *e)
{
    static const uint8_t zeros[LT_MAX_DIGEST];
    struct search *s = arg;
    unsigned bit = program_of(f->path);
    enum lt_ima_answer answer;
    int which;

    if (!bit || f->digest.n > sizeof zeros || !memcmp(f->digest.p, zeros, f->digest.n))
        return 0;
    LT_TRY(lt_ima_layers_ask(s->l, s->now, LT_IMA_FILES, f->path, f->digest, &answer, &which, e));
    if (answer == LT_IMA_EXCLUDED)
        s->excluded |= bit;
    else
        s->found |= bit;
    return 0;
}

static void judge_ima(struct work *w, bool programs)
{
    const struct lt_measured *m = w->m;
    struct lt_ima_layers l;

    if (!w->p->layer_count) {
        set(w, LT_MEASURED_PART_IMA, LT_MEASURED_OMITTED,
            "the policy has no layers: the IMA list is not judged");
        return;
    }
    if (!layers_of(w, &l) || other_bank(w, LT_MEASURED_PART_IMA, "layers are judged by PCRs"))
        return;
    because(w, LT_MEASURED_PART_IMA, "ima"); /* unless more is known */
    uint32_t missing = (1u << LT_IMA_PCR | (m->alone ? 0 : LT_IMA_BOOT_PCRS)) & ~m->pcrs->mask;
    if (missing) {
        set(w, LT_MEASURED_PART_IMA, LT_MEASURED_BAD,
            "PCR %d: the policy has layers and it is not in the quote", __builtin_ctz(missing));
        because(w, LT_MEASURED_PART_IMA, "pcr-missing");
        return;
    }
    if (!w->logs->has_ima && w->logs->ima_trouble) {
        set(w, LT_MEASURED_PART_IMA, LT_MEASURED_LACKING, "%s", w->logs->ima_trouble);
        return;
    }
    if (!w->logs->has_ima) {
        char names[200];
        lt_ima_layers_names(&l, names, sizeof names);
        set(w, LT_MEASURED_PART_IMA, LT_MEASURED_BAD, "no IMA list, the policy has layers %s", names);
        return;
    }
    if (!follows(w) || !replay(w, &l) || !programs || w->logs->ima_first)
        return;
    struct search s = {.l = &l, .now = w->logs->now};
    if (!lt_ima_files((struct lt_slice){w->logs->ima.p, w->out->matched_bytes}, look, &s, LT_NO_ERR))
        w->out->programs = s.found & ~s.excluded;
}

static bool is_zero(const struct lt_pcrs *q, unsigned pcr)
{
    static const uint8_t zeros[LT_MAX_DIGEST];
    return !(q->mask >> pcr & 1) || !memcmp(q->value[pcr], zeros, lt_hash_size(q->alg));
}

/* Of PCR 11 and 14 only a quoted value other than zero is something measured. */
static void judge_coverage(struct work *w)
{
    const struct lt_pcrs *q = w->m->pcrs;
    uint32_t boot = LT_BOOT_LEARNT & ~(1u << 14), covered = 0;

    for (unsigned i = 11; i <= 14; i += 3)
        if (!is_zero(q, i))
            boot |= 1u << i;
    if (w->out->part[LT_MEASURED_PART_PCRS].state == LT_MEASURED_GOOD)
        covered |= w->rules->mask;
    if (w->out->part[LT_MEASURED_PART_BOOT_POLICY].state == LT_MEASURED_GOOD)
        covered |= lt_boot_policy_covers(w->d->boot);
    w->out->open = boot & ~covered;
    w->out->blind = !(LT_MEASURED_PCRS_LINE & ~covered) && is_zero(q, 8) && is_zero(q, 9) && is_zero(q, 12) &&
                    (is_zero(q, 11) || !(covered >> 11 & 1));
}

void lt_measured_appraise(const struct lt_measured *m, const struct lt_policy_pcr_rules *rules,
                          const struct lt_policy_measured *p, const uint8_t policy[LT_SHA256], bool programs,
                          struct lt_measured_result *out)
{
    static const struct lt_measured_documents none;
    const struct lt_measured_documents *d = m->logs->documents;
    struct work w = {m, m->logs, rules, p, d ? d : &none, policy, out};

    memset(out, 0, offsetof(struct lt_measured_result, fault));
    out->programs = 0;
    judge_pcrs(&w);
    judge_boot_log(&w);
    judge_boot_policy(&w);
    judge_ima(&w, programs);
    judge_coverage(&w);
}

const char *lt_measured_list(uint32_t pcrs, char buf[200])
{
    size_t n = 0;

    buf[0] = 0;
    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (pcrs >> i & 1)
            n += (size_t)snprintf(buf + n, 200 - n, "%sPCR %u", n ? ", " : "", i);
    return buf;
}

static void tell_open(uint32_t open, enum lt_check c, struct lt_verdict *v)
{
    char list[200];

    if (open)
        lt_check_omit(v, c, part_names[LT_MEASURED_PART_PCRS],
                      "open, the policy does not judge what they measured: %s", lt_measured_list(open, list));
}

void lt_measured_tell(const struct lt_measured_result *r, enum lt_check c, struct lt_verdict *v)
{
    for (int i = 0; i < LT_MEASURED_PARTS; i++) {
        const char *message = r->part[i].message;
        switch (r->part[i].state) {
        case LT_MEASURED_BAD:
            /* The first is the check's message; another part's is told beside it. */
            if (v->check[c].state == LT_CHECK_NOT_PASSED)
                lt_check_note(v, c, part_names[i], "%s", message);
            lt_check_fault_of(v, c, r->part[i].cause, "%s", message);
            break;
        case LT_MEASURED_LACKING:
            if (v->offline && r->part[i].starved)
                lt_check_fault(v, c, "%s", message);
            lt_check_lack(v, c, part_names[i], "%s", message);
            break;
        case LT_MEASURED_OMITTED:
            lt_check_omit(v, c, part_names[i], "%s", message);
            break;
        case LT_MEASURED_GOOD:
            break;
        }
    }
    tell_open(r->open, c, v);
    for (unsigned i = 0; i < r->kept; i++)
        lt_check_note(v, c, part_names[LT_MEASURED_PART_IMA], "%s", r->fault[i]);
    if (r->faults > r->kept + 1)
        lt_check_note(v, c, part_names[LT_MEASURED_PART_IMA],
                      "%llu more entries of the IMA list are not as they should be",
                      (unsigned long long)(r->faults - r->kept - 1));
}

/* ---- kept results ---- */

struct lt_result_cache *lt_measured_cache_new(void)
{
    return lt_result_cache_new(256, 2, sizeof(struct lt_measured_result));
}

/* A log is there, absent, or could not be had, and each is judged in its own way. */
static uint8_t presence(bool there, const char *trouble)
{
    return there ? 1 : trouble ? 2 : 0;
}

/* Fixed lengths throughout, with a flag where something may be absent. */
void lt_measured_key(const uint8_t ak_name[34], const struct lt_pcrs *pcrs, const uint8_t policy[LT_SHA256],
                     const struct lt_policy_measured *p, const struct lt_measured_logs *l,
                     uint8_t out[LT_SHA256])
{
    static const struct lt_measured_documents none;
    const struct lt_measured_documents *d = l->documents ? l->documents : &none;
    static const uint8_t zeros[LT_SHA256];
    uint8_t fixed[20] = {0};
    uint32_t at_hand = 0;

    for (unsigned i = 0; i < p->layer_count; i++)
        at_hand |= (uint32_t) !!d->layer[i] << i;
    at_hand |= (uint32_t) !!d->boot << LT_MAX_LAYERS;
    lt_put_u32(fixed, pcrs->alg);
    lt_put_u32(fixed + 4, pcrs->mask);
    lt_put_u32(fixed + 8, lt_measured_active(p, l->now));
    lt_put_u32(fixed + 12, at_hand);
    fixed[16] = presence(l->boot_log, l->boot_log_trouble);
    fixed[17] = presence(l->has_ima, l->ima_trouble);
    const struct lt_slice parts[] = {
        {ak_name, 34},
        {(const uint8_t *)pcrs->value, sizeof pcrs->value},
        {policy, LT_SHA256},
        {fixed, sizeof fixed},
        {l->boot_log ? l->boot_log_digest : zeros, LT_SHA256},
        {l->has_ima ? l->ima_digest : zeros, LT_SHA256},
    };
    lt_hash(LT_HASH_SHA256, parts, sizeof parts / sizeof *parts, out);
}
