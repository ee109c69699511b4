#include "appraisal/checks/history.h"

#include <string.h>

/* Rounds may end in another order than they began: nothing here ever goes back. */
void lt_history_guest_learn(struct lt_history_guest *h, const struct lt_history_round_facts *f)
{
    if (!f->guest_genuine)
        return;
    if (!h->has_clock || lt_tpm_clock_compare(&f->guest_clock, &h->clock) > 0) {
        h->has_clock = true;
        h->clock = f->guest_clock;
    }
    /* Only null and paused count as a row, only a residency that passed ends it (section 5). */
    if (f->absence == LT_HISTORY_ABSENT_NULL || f->absence == LT_HISTORY_ABSENT_PAUSED)
        h->absent_before = true;
    else if (f->resident)
        h->absent_before = false;
    if (f->accepted && (!h->has_accepted || lt_tpm_clock_compare(&f->guest_clock, &h->accepted_clock) > 0)) {
        h->has_accepted = true;
        h->accepted_clock = f->guest_clock;
        memcpy(h->accepted_ak_name, f->host_ak_name, LT_TPM_NAME);
        memcpy(h->accepted_incarnation, f->incarnation, LT_RESIDENCY_INCARNATION);
        memcpy(h->accepted_host, f->host_id, LT_RESIDENCY_HOST_ID);
        h->has_accepted_host = true;
    }
}

/* A full table gives up its oldest time, not its clock: the second entry takes over the first one's time, so
 * that a question about a t1 in between is answered with the higher clock. That can only refuse, and only
 * rounds that were under way while that many newer quotes of one host came in. */
static void forget_oldest(struct lt_history_host *h)
{
    h->entry[1].received_ms = h->entry[0].received_ms;
    memmove(h->entry, h->entry + 1, (LT_HISTORY_HOST_QUOTES_KEPT - 1) * sizeof *h->entry);
    h->count--;
}

void lt_history_host_learn(struct lt_history_host *h, const struct lt_history_round_facts *f, uint64_t t5_ms)
{
    unsigned at = h->count, end;

    if (!f->host_genuine)
        return;
    while (at && h->entry[at - 1].received_ms > t5_ms)
        at--;
    if (at && lt_tpm_clock_compare(&f->host_clock, &h->entry[at - 1].clock) <= 0)
        return;
    /* Entries received later with a clock no higher say nothing any more. */
    for (end = at; end < h->count && lt_tpm_clock_compare(&h->entry[end].clock, &f->host_clock) <= 0; end++)
        ;
    if (at == end && h->count == LT_HISTORY_HOST_QUOTES_KEPT) {
        forget_oldest(h);
        at -= at > 0;
        end = at;
    }
    memmove(h->entry + at + 1, h->entry + end, (h->count - end) * sizeof *h->entry);
    h->count = h->count - (end - at) + 1;
    h->entry[at].received_ms = t5_ms;
    h->entry[at].clock = f->host_clock;
}

bool lt_history_host_at(const struct lt_history_host *h, uint64_t t1_ms, struct lt_attest_clock_info *out)
{
    unsigned i = h->count;

    while (i && h->entry[i - 1].received_ms >= t1_ms)
        i--;
    if (i)
        *out = h->entry[i - 1].clock;
    return i;
}
