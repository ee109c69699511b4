#include "appraisal/checks/checks.h"

#include <stdio.h>

/* Layers judge what the kernel measured, and the command line says what it measures: with that open, the list
 * says nothing of what was not asked for. Nor does it where nothing measured a command line (a BIOS, a loader
 * that measures nothing), unless the host says in the domain digest which one it gave. */
static void rest_on_boot(const struct lt_policy_guest *p, struct lt_measured_result *r, bool *rests_on_domain)
{
    char *message = r->part[LT_MEASURED_PART_IMA].message, list[200];
    size_t n = sizeof r->part[LT_MEASURED_PART_IMA].message;
    uint32_t open = r->open & LT_MEASURED_PCRS_IMA;

    *rests_on_domain = false;
    if (!p->measured.layer_count || p->accept_open_boot ||
        r->part[LT_MEASURED_PART_IMA].state != LT_MEASURED_GOOD)
        return;
    *rests_on_domain = !open && r->blind && p->judges_domain;
    if (open)
        snprintf(message, n,
                 "the policy has layers and leaves %s open, so whoever chose the command line chose what IMA"
                 " measures; judge them, or accept \"open-boot\"",
                 lt_measured_list(open, list));
    else if (r->blind && !p->judges_domain)
        snprintf(message, n,
                 "the policy has layers, and PCR 8, 9 and 12 are zero: nothing measured the command line, so"
                 " whoever chose it chose what IMA measures; name \"domain\", or accept \"open-boot\"");
    else
        return;
    r->part[LT_MEASURED_PART_IMA].state = LT_MEASURED_LACKING;
}

/* One of the parts that a policy's own rules stand in was judged. */
static bool judged(const struct lt_measured_result *r)
{
    static const enum lt_measured_part rules[] = {LT_MEASURED_PART_PCRS, LT_MEASURED_PART_BOOT_POLICY,
                                                  LT_MEASURED_PART_IMA};

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (r->part[rules[i]].state == LT_MEASURED_GOOD || r->part[rules[i]].state == LT_MEASURED_BAD)
            return true;
    return false;
}

/* By its own words: nothing that the guest measured could be against it. */
static bool judges_nothing(const struct lt_policy_guest *p)
{
    return !p->pcrs.mask && !p->measured.layer_count && !p->measured.has_boot;
}

static void unjudged(struct lt_verdict *v)
{
    lt_verdict_leave_out(v, 1u << LT_CHECK_GUEST_POLICY,
                         "the guest policy judges nothing of what was measured, and accepts \"unjudged\"");
    lt_verdict_weakened(v, LT_VERDICT_WEAK_UNJUDGED, true);
}

void lt_checks_guest_policy(struct lt_checks *c)
{
    const struct lt_checks_guest_round *in = c->guest;
    struct lt_verdict *v = c->v;
    const struct lt_policy_guest *p = in->policy;
    struct lt_measured_result r;

    if (!p) {
        lt_check_skip(v, LT_CHECK_GUEST_POLICY, "no guest policy");
        return;
    }
    if (p->accept_unjudged && judges_nothing(p)) {
        unjudged(v);
        return;
    }
    const struct lt_measured m = {.pcrs = in->pcrs, .logs = &in->logs, .progress = in->progress};
    lt_measured_appraise(&m, &p->pcrs, &p->measured, p->digest, false, &r);
    rest_on_boot(p, &r, &c->f->rests_on_domain);
    lt_measured_tell(&r, LT_CHECK_GUEST_POLICY, v);
    if (r.part[LT_MEASURED_PART_PCRS].state == LT_MEASURED_OMITTED &&
        r.part[LT_MEASURED_PART_BOOT_POLICY].state == LT_MEASURED_OMITTED &&
        r.part[LT_MEASURED_PART_IMA].state == LT_MEASURED_OMITTED)
        lt_check_lack(v, LT_CHECK_GUEST_POLICY, "rules",
                      "the guest policy judges nothing of what was measured");
    if (v->offline && !judged(&r) && r.part[LT_MEASURED_PART_BOOT_LOG].state != LT_MEASURED_BAD)
        lt_check_skip(v, LT_CHECK_GUEST_POLICY,
                      "nothing that the guest policy asks for is at hand to be judged");
}
