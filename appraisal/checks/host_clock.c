#include "appraisal/checks/checks.h"

#include <inttypes.h>

static void check_record(struct lt_checks *c)
{
    const struct lt_attest_clock_info *now = &c->attest.clock;
    const struct lt_residency_record *r = &c->record;

    if (now->reset_count != r->start_reset || now->restart_count != r->start_restart)
        lt_check_fault(c->v, LT_CHECK_HOST_CLOCK, "record of reset %u, restart %u; the host is at %u, %u",
                       r->start_reset, r->start_restart, now->reset_count, now->restart_count);
    if (r->start_clock_ms > now->clock_ms)
        lt_check_fault(c->v, LT_CHECK_HOST_CLOCK,
                       "record starts at clock %" PRIu64 " ms, the quote is of %" PRIu64 " ms",
                       r->start_clock_ms, now->clock_ms);
}

void lt_checks_host_clock(struct lt_checks *c)
{
    const struct lt_attest_clock_info *now = &c->attest.clock;
    struct lt_attest_clock_info last;

    if (c->guest)
        check_record(c);
    if (!c->host->history)
        lt_check_lack(c->v, LT_CHECK_HOST_CLOCK, "history", "no history of this host's quotes");
    else if (lt_history_host_at(c->host->history, c->host->t1_ms, &last) &&
             lt_tpm_clock_compare(now, &last) < 0)
        lt_check_fault(c->v, LT_CHECK_HOST_CLOCK,
                       "reset %u, restart %u, clock %" PRIu64 " ms is below %u, %u, %" PRIu64
                       " ms of a quote received before this round",
                       now->reset_count, now->restart_count, now->clock_ms, last.reset_count,
                       last.restart_count, last.clock_ms);
}
