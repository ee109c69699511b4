#include "appraisal/checks/claimants.h"

static unsigned passed(const struct lt_verdict *v)
{
    unsigned n = 0;

    for (enum lt_check c = 0; c < LT_CHECKS; c++)
        n += lt_verdict_passed(v, c);
    return n;
}

bool lt_claimants_verdict_holds(const struct lt_verdict *v)
{
    return passed(v) == LT_CHECKS;
}

/* Higher is better; 0: nothing to go by. */
static unsigned worth(const struct lt_claimant *c)
{
    if (!c->verdict || c->verdict->result == LT_VERDICT_FAILED)
        return 0;
    if (c->verdict->result == LT_VERDICT_TRUSTED)
        return 2 * LT_CHECKS + 2 + c->its_host;
    return 1 + passed(c->verdict) +
           (lt_claimants_verdict_holds(c->verdict) ? LT_CHECKS - 1 + c->its_host : 0);
}

enum lt_claimants_choice lt_claimants_choose(const struct lt_claimant *c, unsigned count, unsigned *which)
{
    unsigned best = 0;
    bool known = false;

    *which = 0;
    for (unsigned i = 0; i < count; i++) {
        if (worth(&c[i]) > best) {
            best = worth(&c[i]);
            *which = i;
        }
    }
    if (best && lt_claimants_verdict_holds(c[*which].verdict))
        return LT_CLAIMANTS_CHOICE_ONE;
    for (unsigned i = 0; i < count; i++)
        if (c[i].its_host) {
            known = true;
            *which = i;
        }
    if (known)
        return c[*which].verdict ? LT_CLAIMANTS_CHOICE_ONE : LT_CLAIMANTS_CHOICE_SILENT;
    if (count == 1 && c[0].verdict)
        return LT_CLAIMANTS_CHOICE_ONE;
    return best ? LT_CLAIMANTS_CHOICE_ONE : LT_CLAIMANTS_CHOICE_UNDECIDED;
}
