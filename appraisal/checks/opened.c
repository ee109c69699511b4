/* One state of a list of openers beside a host policy, and beside a host's boot. */
#include "appraisal/checks/opened.h"

#include <stdio.h>
#include <string.h>

#define APART (1u << LT_IMA_PCR | 1u << LT_RESIDENCY_AK_PCR) /* never in a state, and no state's matter */

/* One state under one policy. */
struct held {
    const struct lt_checks_openers_policy *p;
    const struct lt_boot_policy *boot; /* NULL: it names none */
    const struct lt_pcrs *state;
    uint32_t listed;  /* PCRs whose value stands in a list */
    uint32_t by_boot; /* those that the boot policy alone judges */
};

static int refused(struct lt_err *e, uint32_t pcrs, const char *what)
{
    char list[200];

    return lt_fail(e, LT_E_REFUSED, "%s: %s", lt_measured_list(pcrs, list), what);
}

/* What is judged must be sealed to: else the key answers in states that the policy refuses. */
static int sealed(const struct held *h, uint32_t judged, struct lt_err *e)
{
    uint32_t open = judged & ~APART & ~h->state->mask;

    return open ? refused(e, open, "the policy judges it, and the state leaves it open") : 0;
}

static int listed(struct held *h, struct lt_err *e)
{
    const struct lt_policy_pcr_rules *rules = &h->p->policy->pcrs;

    LT_TRY(sealed(h, rules->mask, e));
    for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
        if (!((rules->mask & ~APART) >> i & 1))
            continue;
        if (!lt_policy_digests_have(&rules->accepted[i], h->state->value[i]))
            return refused(e, 1u << i, "its value is not among those of the policy");
        h->listed |= 1u << i;
    }
    return 0;
}

/* What the boot policy judges, and no list. */
static int left_to_boot(struct held *h, struct lt_err *e)
{
    const struct lt_policy_measured *m = &h->p->policy->measured;
    const struct lt_measured_documents *d = h->p->documents;
    uint32_t golden;

    if (!m->has_boot)
        return 0;
    if (!d || !d->boot || memcmp(d->boot_digest, m->boot, LT_SHA256) != 0)
        return lt_fail(e, LT_E_REFUSED, "the boot policy that it names is not at hand");
    h->boot = d->boot;
    LT_TRY(lt_boot_policy_golden(h->boot, h->state, &golden, e));
    h->listed |= golden & ~APART;
    LT_TRY(sealed(h, lt_boot_policy_judges(h->boot), e));
    h->by_boot = lt_boot_policy_judges(h->boot) & ~APART & ~h->listed;
    uint32_t never = h->by_boot & ~lt_boot_policy_foretells(h->boot);
    return never ? refused(e, never, "a boot policy is not enough for a state, its values must be listed")
                 : 0;
}

/* The log comes to the state in all that the boot policy judges by events. */
static bool replays(const struct held *h, const struct lt_boot_log *log)
{
    uint32_t judged = lt_boot_policy_judges(h->boot) & h->state->mask & ~APART;

    if (!log->replay.present || log->replay.fault.code)
        return false;
    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        if (judged >> i & 1 && !lt_boot_replay_fits(&log->replay, LT_HASH_SHA256, i, h->state->value[i]))
            return false;
    return true;
}

static bool kernel_as_file(const struct held *h, const struct lt_boot_log *log,
                           struct lt_checks_openers_memo *memo)
{
    if (memo->kernel_as_file == LT_CHECKS_FACT_UNKNOWN)
        memo->kernel_as_file =
            lt_boot_policy_kernel_as_file(h->boot, log) ? LT_CHECKS_FACT_YES : LT_CHECKS_FACT_NO;
    return memo->kernel_as_file == LT_CHECKS_FACT_YES;
}

static bool passes(const struct held *h, const struct lt_boot_log *log, struct lt_checks_openers_memo *memo,
                   struct lt_err *e)
{
    if (h->by_boot >> 9 & 1 && kernel_as_file(h, log, memo)) {
        (void)!lt_fail(e, LT_E_REFUSED, "a kernel was read as a file, which an initrd could stand for");
        return false;
    }
    if (memo->passes == LT_CHECKS_FACT_UNKNOWN)
        memo->passes = lt_boot_policy_judge_log(h->boot, log, e) ? LT_CHECKS_FACT_NO : LT_CHECKS_FACT_YES;
    return memo->passes == LT_CHECKS_FACT_YES;
}

static int foretold(const struct held *h, const struct lt_boot_log *const *log, size_t log_count,
                    struct lt_checks_openers_memo *memo, struct lt_err *e)
{
    struct lt_err why = {0};

    for (size_t i = 0; i < log_count; i++)
        if (log[i] && replays(h, log[i]) && passes(h, log[i], &memo[i], &why))
            return 0;
    return refused(e, h->by_boot,
                   *why.msg ? why.msg : "no boot log that its boot policy could judge comes to the state");
}

int lt_checks_openers_holds_memo(const struct lt_checks_openers_policy *p, const struct lt_pcrs *state,
                                 const struct lt_boot_log *const *log, size_t log_count,
                                 struct lt_checks_openers_memo *memo, struct lt_err *e)
{
    struct held h = {.p = p, .state = state};

    LT_TRY(listed(&h, e));
    LT_TRY(left_to_boot(&h, e));
    uint32_t unjudged = LT_OPENERS_STATE_MIN & ~(h.listed | h.by_boot);
    if (unjudged)
        return refused(e, unjudged, "the policy does not judge it");
    return h.by_boot ? foretold(&h, log, log_count, memo, e) : 0;
}

int lt_checks_openers_holds(const struct lt_checks_openers_policy *p, const struct lt_pcrs *state,
                            const struct lt_boot_log *const *log, size_t log_count, struct lt_err *e)
{
    LT_AUTOFREE struct lt_checks_openers_memo *memo = lt_alloc(log_count + 1, sizeof *memo);

    return lt_checks_openers_holds_memo(p, state, log, log_count, memo, e);
}

/* ---- a host off its policy ---- */

/* In the boot that ends in the quoted values the state was never there. */
static bool never_open(const struct lt_pcrs *state, const struct lt_boot_log *log,
                       const struct lt_pcrs *quoted)
{
    if (!log || quoted->alg != LT_HASH_SHA256)
        return false;
    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        if ((state->mask & quoted->mask) >> i & 1 &&
            !lt_boot_log_may_have_held(log, i, quoted->value[i], state->value[i]))
            return true;
    return false;
}

bool lt_checks_openers_exposed(const struct lt_openers *list, const uint8_t host_ek_digest[LT_SHA256],
                               const struct lt_boot_log *log, const struct lt_pcrs *quoted)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct lt_openers_one *o = &list->one[i];
        if (o->kind == LT_OPENERS_STATE && !memcmp(o->digest, host_ek_digest, LT_SHA256) &&
            !never_open(&o->state, log, quoted))
            return true;
    }
    return false;
}
