/* Check 8's judgement of a list of openers; one state beside one policy is opened.c. */
#include "appraisal/checks/checks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Why a link is not higher. All but NOT_ENFORCED make it copyable. */
enum why {
    NOT_SEALED,
    MISSING,
    EXPOSED,
    UNKNOWN_HOST,
    OFF_POLICY,
    ESCROW,
    IMPORT_UNKNOWN,
    NOT_ENFORCED,
    WHYS
};
static const char *const slugs[WHYS] = {
    [NOT_SEALED] = "not-sealed",
    [MISSING] = "openers-missing",
    [EXPOSED] = "exposed",
    [UNKNOWN_HOST] = "opener-unknown-host",
    [OFF_POLICY] = "opener-off-policy",
    [ESCROW] = "opener-escrow",
    [IMPORT_UNKNOWN] = "import-unknown",
    [NOT_ENFORCED] = "opener-not-enforced",
};

/* One list under its judgement. */
struct work {
    struct lt_checks *c;
    const struct lt_checks_openers *in;
    const struct lt_policy_guest *p;
    const struct lt_boot_log **log; /* the quoted one first */
    size_t log_count;
    struct lt_checks_openers_memo *memo; /* log_count a policy */
    unsigned times[WHYS];
    bool unlooked; /* offline: a host's registry or certificate is not at hand */
};

__attribute__((format(printf, 4, 5))) static void problem(struct work *w, enum why why, int opener,
                                                          const char *fmt, ...)
{
    struct lt_verdict *v = w->c->v;
    struct lt_verdict_problem *p = &v->openers.problem[v->openers.problem_count];
    va_list ap;

    w->times[why]++;
    if (v->openers.problem_count == LT_VERDICT_PROBLEMS) {
        v->openers.untold++;
        return;
    }
    v->openers.problem_count++;
    p->opener = opener;
    p->reason = slugs[why];
    va_start(ap, fmt);
    vsnprintf(p->message, sizeof p->message, fmt, ap);
    va_end(ap);
}

/* ---- what was retired ---- */

/* Retired before all, unless it is known when. */
static bool retired_after(const struct lt_checks_openers *in, bool host, const uint8_t digest[LT_SHA256],
                          int64_t moment)
{
    bool after = false;

    for (size_t i = 0; i < in->retired_count; i++) {
        const struct lt_checks_openers_retired *r = &in->retired[i];
        if (r->host != host || memcmp(r->digest, digest, LT_SHA256) != 0)
            continue;
        if (r->at <= moment)
            return false;
        after = true;
    }
    return after;
}

/* This tenant saw the opener closed before it retired that: nothing was opened there since. */
static bool closed_in_time(const struct work *w, unsigned i, bool host, const uint8_t digest[LT_SHA256])
{
    const struct lt_checks_openers *in = w->in;

    return in->list->one[i].closed && in->last && in->closed_at && i < in->last->count && in->closed_at[i] &&
           retired_after(in, host, digest, in->closed_at[i]);
}

/* ---- hosts ---- */

static const struct lt_checks_identity_host *host_of(const struct lt_checks_openers *in,
                                                     const uint8_t ek_digest[LT_SHA256])
{
    for (size_t i = 0; i < in->host_count; i++)
        if (!memcmp(in->host[i]->ek_digest, ek_digest, LT_SHA256))
            return in->host[i];
    return NULL;
}

/* What speaks for a host: yes, or that nobody could look. */
static bool stands(struct work *w, enum lt_checks_fact f)
{
    bool unlooked = f == LT_CHECKS_FACT_UNKNOWN && w->c->v->offline;

    w->unlooked = w->unlooked || unlooked;
    return unlooked || f == LT_CHECKS_FACT_YES;
}

/* The provider wrote the registry: the maker's word counts besides. */
static bool host_counts(struct work *w, unsigned i)
{
    const uint8_t *ek = w->in->list->one[i].digest;
    const struct lt_checks_identity_host *id = host_of(w->in, ek);
    bool retired = lt_policy_digests_have(&w->p->retired_hosts, ek);
    char name[17];

    lt_hex(ek, 8, name);
    if (retired && !closed_in_time(w, i, true, ek))
        problem(w, UNKNOWN_HOST, (int)i, "host %s is retired, and the state was not seen closed before",
                name);
    else if (!retired && !stands(w, id ? id->in_registry : LT_CHECKS_FACT_UNKNOWN))
        problem(w, UNKNOWN_HOST, (int)i, "a state of host %s, which is %s", name,
                id && id->in_registry ? "not in the pinned registry"
                : id                  ? "in no registry that is pinned"
                                      : "not known: neither the registry nor the provider has its EK");
    else if (!stands(w, id ? id->certificate : LT_CHECKS_FACT_UNKNOWN))
        problem(w, UNKNOWN_HOST, (int)i, "a state of host %s, whose EK no maker vouches for: %.150s", name,
                id && *id->certificate_text ? id->certificate_text : "no certificate is at hand");
    else
        return true;
    return false;
}

/* ---- states ---- */

static bool policy_counts(const struct work *w, unsigned i, const uint8_t digest[LT_SHA256])
{
    return lt_policy_digests_have(&w->p->host_policies, digest) ||
           (lt_policy_digests_have(&w->p->retired_host_policies, digest) &&
            closed_in_time(w, i, false, digest));
}

bool lt_checks_openers_counts(const struct lt_checks_openers *in, const struct lt_policy_guest *p, unsigned i,
                              const uint8_t digest[LT_SHA256])
{
    const struct work w = {.in = in, .p = p};

    return policy_counts(&w, i, digest);
}

/* The policy that holds the state, one of `seals` if there is such; NULL: none. */
static const struct lt_policy_host *holder(struct work *w, unsigned i, struct lt_err *why, unsigned *asked)
{
    const struct lt_policy_host *holder = NULL;

    *asked = 0;
    for (size_t k = 0; k < w->in->policy_count; k++) {
        const struct lt_checks_openers_policy *p = &w->in->policy[k];
        struct lt_err e = {0};
        if (!policy_counts(w, i, p->policy->digest))
            continue;
        if (lt_checks_openers_holds_memo(p, &w->in->list->one[i].state, w->log, w->log_count,
                                         w->memo + k * w->log_count, &e)) {
            if (!(*asked)++)
                *why = e;
            continue;
        }
        if (lt_policy_digests_have(&w->p->seals, p->policy->digest))
            return p->policy;
        holder = p->policy;
    }
    return holder;
}

/* *enforced: held by a policy of `seals`. */
static void judge_state(struct work *w, unsigned i, const struct lt_policy_host **by)
{
    struct lt_err why = {0};
    unsigned asked;

    if (!host_counts(w, i))
        return;
    *by = holder(w, i, &why, &asked);
    if (*by)
        return;
    if (asked)
        problem(w, OFF_POLICY, (int)i, "%.180s%s", why.msg,
                asked > 1 ? " (and other policies do not hold it)" : "");
    else
        problem(w, OFF_POLICY, (int)i, "no accepted host policy is at hand for it");
}

static void judge_one(struct work *w, unsigned i, const struct lt_policy_host **by)
{
    const struct lt_openers_one *o = &w->in->list->one[i];
    char key[2 * LT_SHA256 + 1];

    lt_hex(o->digest, LT_SHA256, key);
    switch (o->kind) {
    case LT_OPENERS_STATE:
        judge_state(w, i, by);
        break;
    case LT_OPENERS_ESCROW:
        if (!lt_policy_digests_have(&w->p->escrow, o->digest))
            problem(w, ESCROW, (int)i, "recovery key %s is not in the policy's \"escrow\"", key);
        break;
    case LT_OPENERS_AUTHORITY:
        if (!lt_policy_digests_have(&w->p->authorities, o->digest))
            problem(w, ESCROW, (int)i, "authority %s is not in the policy's \"authorities\"", key);
        break;
    case LT_OPENERS_HANDOVER: /* a departure cannot be shown yet */
        problem(w, IMPORT_UNKNOWN, (int)i, "handed over by host %.16s: nothing says what was open before",
                key);
        break;
    }
}

/* Whoever runs it opened it: his vault takes no entry without an open state of his own. */
static void judge_own(struct work *w)
{
    const uint8_t *ek = w->c->host->identity->ek_digest;

    for (unsigned i = 0; i < w->in->list->count; i++) {
        const struct lt_openers_one *o = &w->in->list->one[i];
        if (o->kind == LT_OPENERS_STATE && !o->closed && !memcmp(o->digest, ek, LT_SHA256))
            return;
    }
    problem(w, UNKNOWN_HOST, -1, "no open state of the host that runs it is on the list");
}

/* A host that is not on the list never had the key: one that is off its policy can invent a list with itself
 * on it, and so be remembered as exposing any guest. */
static void judge_exposed(struct work *w)
{
    for (size_t k = 0; k < w->in->exposed_count; k++) {
        const uint8_t *ek = w->in->exposed[k].host_ek_digest;
        char name[17];
        int opener = -1;
        for (unsigned i = 0; i < w->in->list->count && opener < 0; i++)
            if (w->in->list->one[i].kind == LT_OPENERS_STATE &&
                !memcmp(w->in->list->one[i].digest, ek, LT_SHA256))
                opener = (int)i;
        if (opener < 0)
            continue;
        lt_hex(ek, 8, name);
        problem(w, EXPOSED, opener, "host %s, a state of which is on the list, failed its policy", name);
    }
}

static void judge_list(struct work *w)
{
    const struct lt_openers *list = w->in->list;
    LT_AUTOFREE const struct lt_policy_host **by = lt_alloc(list->count + 1, sizeof *by);
    char name[9];

    judge_exposed(w);
    judge_own(w);
    for (unsigned i = 0; i < list->count; i++)
        judge_one(w, i, &by[i]);
    for (unsigned i = 0; i < list->count; i++) { /* behind what weighs more: room is short */
        if (!by[i] || lt_policy_digests_have(&w->p->seals, by[i]->digest))
            continue;
        lt_hex(by[i]->digest, 4, name);
        problem(w, NOT_ENFORCED, (int)i,
                "host policy %s holds the state, and the guest's policy does not name it in \"seals\"", name);
    }
}

/* ---- the list as a whole ---- */

/* False: there is none to judge. */
static bool at_hand(struct work *w)
{
    const struct lt_residency_record *r = &w->c->record;
    struct lt_verdict *v = w->c->v;
    uint8_t digest[LT_SHA256];
    char want[2 * LT_SHA256 + 1];

    lt_hex(r->openers_digest, LT_SHA256, want);
    if (!w->in || !w->in->list) {
        problem(w, MISSING, -1, "the list %s is not at hand: %.120s", want,
                w->in && w->in->trouble ? w->in->trouble : "nobody brought it");
        return false;
    }
    if (lt_openers_digest(w->in->list, digest, LT_NO_ERR) ||
        memcmp(digest, r->openers_digest, sizeof digest) != 0) {
        problem(w, MISSING, -1, "what was brought is not the list %s", want);
        if (v->offline) /* a bundle brings its own */
            lt_check_fault_of(v, LT_CHECK_RESIDENCY, slugs[MISSING],
                              "the openers are not those of the record");
        return false;
    }
    v->openers.count = w->in->list->count;
    if (w->in->last && !lt_openers_prefix(w->in->last, w->in->list)) {
        lt_check_fault_of(v, LT_CHECK_RESIDENCY, "openers-shrunk",
                          "the list of openers is no continuation of the one of %u that was seen before",
                          w->in->last->count);
        return false;
    }
    return true;
}

/* A bundle brings a list that its record does not name. */
static void needless(const struct work *w)
{
    if (w->c->v->offline && w->in && w->in->list)
        lt_check_fault_of(w->c->v, LT_CHECK_RESIDENCY, slugs[MISSING], "the record names no list of openers");
}

static void sealed(struct work *w)
{
    static const uint8_t none[LT_SHA256];
    const struct lt_residency_record *r = &w->c->record;
    const uint32_t both = LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED;
    bool named = r->flags & LT_RESIDENCY_BORN && memcmp(r->openers_digest, none, LT_SHA256) != 0;
    struct lt_verdict *v = w->c->v;

    v->openers.listed = true;
    memcpy(v->openers.digest, r->openers_digest, LT_SHA256);
    if ((r->flags & both) != both || !named)
        problem(w, NOT_SEALED, -1, "%s",
                r->flags & LT_RESIDENCY_BORN ? "its vTPM's state does not run under the vault's key alone"
                                             : "its vTPM is not in the vault of its host");
    if (!named)
        needless(w);
    if (!named || !at_hand(w))
        return;
    w->c->f->openers_seen = true;
    if (w->p)
        judge_list(w);
    else
        problem(w, OFF_POLICY, -1, "no guest policy: its states are not judged");
}

/* Each reason once among what was not made. */
static void tell(const struct work *w)
{
    struct lt_verdict *v = w->c->v;
    char where[40];

    for (unsigned i = 0; i < v->openers.problem_count; i++) {
        const struct lt_verdict_problem *p = &v->openers.problem[i];
        enum why why = 0;
        bool told = false;
        for (unsigned k = 0; k < i; k++)
            told = told || v->openers.problem[k].reason == p->reason;
        while (slugs[why] != p->reason)
            why++;
        if (told)
            continue;
        snprintf(where, sizeof where, p->opener < 0 ? "" : "opener %d: ", p->opener);
        if (w->times[why] > 1)
            lt_check_omit(v, LT_CHECK_RESIDENCY, p->reason, "%s%s (and %u more)", where, p->message,
                          w->times[why] - 1);
        else
            lt_check_omit(v, LT_CHECK_RESIDENCY, p->reason, "%s%s", where, p->message);
    }
    if (w->unlooked)
        lt_check_omit(v, LT_CHECK_RESIDENCY, "opener-hosts",
                      "registry and EK certificates of the openers' hosts are not all at hand");
}

static enum lt_verdict_link link_of(const struct work *w)
{
    for (enum why why = 0; why < WHYS; why++)
        if (why != NOT_ENFORCED && w->times[why])
            return LT_VERDICT_LINK_COPYABLE;
    return w->times[NOT_ENFORCED] ? LT_VERDICT_LINK_BOUND : LT_VERDICT_LINK_RESIDENT;
}

void lt_checks_openers_judge(struct lt_checks *c)
{
    const struct lt_checks_openers *in = c->host->openers;
    struct work w = {.c = c, .in = in, .p = c->guest->policy, .log_count = 1 + (in ? in->log_count : 0)};
    LT_AUTOFREE const struct lt_boot_log **log = lt_alloc(w.log_count, sizeof *log);
    LT_AUTOFREE struct lt_checks_openers_memo *memo =
        lt_alloc(w.log_count * (in ? in->policy_count : 0) + 1, sizeof *memo);

    if (c->record.version < 2) {
        c->v->link = LT_VERDICT_LINK_COPYABLE;
        lt_check_note(c->v, LT_CHECK_RESIDENCY, slugs[NOT_SEALED],
                      "a record of version 1: nothing says where its vTPM's state was open");
        needless(&w);
        return;
    }
    log[0] = c->host->logs.boot_log;
    for (size_t i = 1; i < w.log_count; i++)
        log[i] = in->log[i - 1];
    w.log = log;
    w.memo = memo;
    sealed(&w);
    tell(&w);
    if (lt_verdict_stands(c->v, LT_CHECK_RESIDENCY))
        c->v->link = link_of(&w);
    else
        c->f->openers_seen = false;
}

/* ---- exposed ---- */

static bool exposes(const struct lt_checks *c, const struct lt_openers *list)
{
    return list && lt_checks_openers_exposed(list, c->host->identity->ek_digest, c->host->logs.boot_log,
                                             &c->host->quote->pcrs);
}

/* The list at hand is this guest's, by the word of a host that is off its policy: it can only lower. */
static bool names_list(struct lt_checks *c)
{
    const struct lt_openers *list = c->host->openers->list;
    uint8_t digest[LT_SHA256];

    return list && c->host->proof->resident && !lt_checks_residency_record(c, LT_NO_ERR) &&
           !memcmp(c->record.ek_digest, c->guest->identity->ek_digest, LT_SHA256) &&
           !memcmp(c->record.guest_uuid, c->guest->guest_uuid, LT_UUID) &&
           !lt_openers_digest(list, digest, LT_NO_ERR) &&
           !memcmp(digest, c->record.openers_digest, LT_SHA256);
}

void lt_checks_openers_expose(struct lt_checks *c)
{
    const struct lt_verdict *v = c->v;

    if (!c->guest || !c->host->openers || !lt_verdict_passed(v, LT_CHECK_HOST_IDENTITY) ||
        v->check[LT_CHECK_HOST_POLICY].state != LT_CHECK_NOT_PASSED)
        return;
    if (!exposes(c, c->host->openers->last) && !(names_list(c) && exposes(c, c->host->openers->list)))
        return;
    c->f->exposed = true;
    memcpy(c->f->exposed_host, c->host->identity->ek_digest, LT_SHA256);
}
