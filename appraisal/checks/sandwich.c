#include "appraisal/checks/checks.h"

#include <inttypes.h>
#include <string.h>

/* Resident before the guest evidence was made: seen by an earlier round, or since long enough before this
 * one. A TPM's clock may be off by a third or so either way; twice the round and two seconds cover that. */
void lt_checks_sandwich(struct lt_checks *c)
{
    const struct lt_checks_host_round *in = c->host;
    const struct lt_history_guest *h = c->guest->history;

    bool seen = h && h->has_accepted && !memcmp(h->accepted_ak_name, c->f->host_ak_name, LT_TPM_NAME) &&
                !memcmp(h->accepted_incarnation, c->record.incarnation, LT_RESIDENCY_INCARNATION);
    uint64_t here_ms = c->attest.clock.clock_ms - c->record.start_clock_ms; /* check 9: not negative */
    uint64_t round_ms = in->t5_ms - in->t1_ms;
    bool long_enough = in->t5_ms >= in->t1_ms && round_ms < UINT64_MAX / 4 && here_ms >= 2 * round_ms + 2000;
    if (!seen && !long_enough)
        lt_check_fault(c->v, LT_CHECK_SANDWICH,
                       "this incarnation is %" PRIu64 " ms old, the round took %" PRIu64
                       " ms, and no earlier round saw it",
                       here_ms, round_ms);
}
