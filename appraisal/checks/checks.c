#include "appraisal/checks/checks.h"

#include <string.h>

#define ON(slug) (1u << LT_CHECK_##slug)
#define ON_5_TO_8 (ON(HOST_QUOTE) | ON(HOST_IDENTITY) | ON(HOST_POLICY) | ON(RESIDENCY))
#define GUEST_HALF (ON(GUEST_QUOTE) | ON(GUEST_CLOCK) | ON(GUEST_POLICY))
#define HOST_HALF ((1u << LT_CHECKS) - 1 - GUEST_HALF)
#define OF_GUESTS (GUEST_HALF | ON(BATCH_INCLUSION) | ON(RESIDENCY) | ON(SANDWICH))
#define TIMED (ON(WINDOW) | ON(SANDWICH))

#define FAILED LT_CHECK_WEIGHT_FAILED
#define UNCHECKED LT_CHECK_WEIGHT_UNCHECKED
#define STALE LT_CHECK_WEIGHT_STALE

/* docs/protocol.md section 5: the checks, what they rest on, what their failure means, and who makes them. */
const struct lt_verdict_rule lt_verdict_rules[LT_CHECKS] = {
    [LT_CHECK_GUEST_QUOTE] = {"guest-quote", 0, FAILED, lt_checks_guest_quote},
    [LT_CHECK_GUEST_CLOCK] = {"guest-clock", ON(GUEST_QUOTE), FAILED, lt_checks_guest_clock},
    [LT_CHECK_GUEST_POLICY] = {"guest-policy", ON(GUEST_QUOTE), FAILED, lt_checks_guest_policy},
    [LT_CHECK_BATCH_INCLUSION] = {"batch-inclusion", ON(GUEST_QUOTE) | ON(HOST_QUOTE), FAILED,
                                  lt_checks_batch_inclusion},
    [LT_CHECK_HOST_QUOTE] = {"host-quote", 0, FAILED, lt_checks_host_quote},
    [LT_CHECK_HOST_IDENTITY] = {"host-identity", ON(HOST_QUOTE), FAILED, lt_checks_host_identity},
    [LT_CHECK_HOST_POLICY] = {"host-policy", ON(HOST_QUOTE) | ON(HOST_IDENTITY), FAILED,
                              lt_checks_host_policy},
    [LT_CHECK_RESIDENCY] = {"residency", ON(HOST_QUOTE) | ON(HOST_IDENTITY) | ON(HOST_POLICY), FAILED,
                            lt_checks_residency},
    [LT_CHECK_HOST_CLOCK] = {"host-clock", ON_5_TO_8, UNCHECKED, lt_checks_host_clock},
    [LT_CHECK_WINDOW] = {"window", 0, STALE, lt_checks_window},
    [LT_CHECK_SANDWICH] = {"sandwich", ON(BATCH_INCLUSION) | ON_5_TO_8 | ON(HOST_CLOCK), UNCHECKED,
                           lt_checks_sandwich},
};

/* The first of those left, in protocol order, that rests on none of them; LT_CHECKS: there is none. */
static enum lt_check next(unsigned left)
{
    for (enum lt_check c = 0; c < LT_CHECKS; c++)
        if (left >> c & 1 && !(left & lt_verdict_rules[c].rests_on))
            return c;
    return LT_CHECKS;
}

static void run(struct lt_checks *c, unsigned left)
{
    left &= ~c->v->left_out;
    for (enum lt_check k; (k = next(left)) < LT_CHECKS; left &= ~(1u << k)) {
        if (!lt_check_open(c->v, k))
            continue;
        lt_verdict_rules[k].run(c);
        lt_check_close(c->v, k);
    }
}

void lt_checks_appraise_guest(const struct lt_checks_guest_round *in, struct lt_history_round_facts *f,
                              struct lt_verdict *v)
{
    struct lt_checks c = {.guest = in, .f = f, .v = v};

    memset(f, 0, sizeof *f);
    if (in->attest.n <= LT_MAX_ATTEST && in->signature.n <= LT_MAX_SIGNATURE) {
        lt_residency_evidence_digest(in->attest, in->signature, f->evidence);
        if (in->identity->linkable)
            lt_residency_commitment(in->tenant_id, in->guest_uuid, in->identity->ek_digest,
                                    in->identity->ak_name, in->nonce, f->evidence, f->commitment);
    }
    run(&c, GUEST_HALF);
    f->guest_genuine = lt_verdict_passed(v, LT_CHECK_GUEST_QUOTE);
}

/* Without a host only its certificate, or its operator's word, says that the EK is a vTPM's: registration is
 * open to any software that names the guest first. */
static void weigh_ek(const struct lt_checks_ek *ek, const struct lt_policy_guest *p, struct lt_verdict *v)
{
    if (ek && (ek->pinned == LT_CHECKS_FACT_YES || (!ek->pinned && ek->certified == LT_CHECKS_FACT_YES)))
        return;
    lt_check_omit(v, LT_CHECK_GUEST_QUOTE, "ek-unproven", "nobody vouches for its EK: %s",
                  ek && ek->text[0] ? ek->text : "it is not pinned, and its certificate was not checked");
    lt_verdict_weakened(v, LT_VERDICT_WEAK_EK_UNPROVEN, p && p->accept_ek_unproven);
}

/* What check 3 left to a host's word is nobody's now. */
static void miss_domain(const struct lt_history_round_facts *f, struct lt_verdict *v)
{
    if (f->rests_on_domain && lt_verdict_passed(v, LT_CHECK_GUEST_POLICY))
        lt_check_skip(
            v, LT_CHECK_GUEST_POLICY,
            "the policy has layers, and PCR 8, 9 and 12 are zero: which command line chose what IMA measures"
            " a host says, in the domain digest, and there is none; accept \"open-boot\"");
}

void lt_checks_unlinked(const struct lt_checks_host_round *in, const struct lt_history_round_facts *f,
                        const char *why, struct lt_verdict *v)
{
    struct lt_checks c = {.guest = in->guest, .host = in, .v = v};
    const struct lt_policy_guest *p = in->guest->policy;

    lt_verdict_leave_out(v, HOST_HALF & ~ON(WINDOW), why);
    v->link = LT_VERDICT_LINK_UNLINKED;
    lt_verdict_weakened(v, LT_VERDICT_WEAK_UNLINKED, p && p->accept_unlinked);
    weigh_ek(in->guest->ek, p, v);
    miss_domain(f, v);
    run(&c, ON(WINDOW));
}

enum lt_verdict_link lt_checks_least_link(const struct lt_policy_guest *p)
{
    if (p && p->accept_copyable)
        return LT_VERDICT_LINK_COPYABLE;
    return p && p->accept_bound ? LT_VERDICT_LINK_BOUND : LT_VERDICT_LINK_RESIDENT;
}

void lt_checks_host_alone(struct lt_verdict *v)
{
    lt_verdict_leave_out(v, OF_GUESTS, "a host by itself is judged: no guest is asked about");
}

void lt_checks_appraise_host(const struct lt_checks_host_round *in, struct lt_history_round_facts *f,
                             struct lt_verdict *v)
{
    struct lt_checks c = {.guest = in->guest, .host = in, .f = f, .v = v};

    if (!in->guest)
        memset(f, 0, sizeof *f);
    run(&c, in->timed ? HOST_HALF : HOST_HALF & ~TIMED);
    if (!in->timed) {
        lt_check_skip(v, LT_CHECK_WINDOW, "the times of the round are not one's own");
        lt_check_skip(v, LT_CHECK_SANDWICH, "the times and earlier rounds are not one's own");
    }
    f->host_genuine = lt_verdict_passed(v, LT_CHECK_HOST_IDENTITY);
    f->resident = lt_verdict_passed(v, LT_CHECK_RESIDENCY);
    f->accepted = true;
    for (enum lt_check k = LT_CHECK_BATCH_INCLUSION; k <= LT_CHECK_HOST_CLOCK; k++)
        f->accepted = f->accepted && lt_verdict_passed(v, k);
    lt_checks_openers_expose(&c);
}
