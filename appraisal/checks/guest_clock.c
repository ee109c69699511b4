#include "appraisal/checks/checks.h"

void lt_checks_guest_clock(struct lt_checks *c)
{
    const struct lt_history_guest *h = c->guest->history;
    const struct lt_attest_clock_info *now = &c->f->guest_clock, *last;
    struct lt_verdict *v = c->v;

    if (!h) {
        lt_check_skip(v, LT_CHECK_GUEST_CLOCK, "no history of earlier rounds");
        return;
    }
    last = &h->clock;
    if (!h->has_clock)
        lt_check_note(v, LT_CHECK_GUEST_CLOCK, "first", "the first round: there is nothing to compare with");
    else if (lt_tpm_clock_compare(now, last) <= 0)
        lt_check_fault(v, LT_CHECK_GUEST_CLOCK,
                       "reset %u, restart %u, clock %llu ms is not above %u, %u, %llu ms of an earlier round",
                       now->reset_count, now->restart_count, (unsigned long long)now->clock_ms,
                       last->reset_count, last->restart_count, (unsigned long long)last->clock_ms);
    if (!now->safe)
        lt_check_note(v, LT_CHECK_GUEST_CLOCK, "safe",
                      "the vTPM says that its clock may have gone back at a hard stop");
}
