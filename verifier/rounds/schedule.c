#include "verifier/rounds/schedule.h"

#include <string.h>

static uint64_t at_period(uint64_t t1_ms, uint64_t now_ms, uint64_t period_ms)
{
    return t1_ms + period_ms > now_ms ? t1_ms + period_ms : now_ms;
}

static uint64_t backoff(unsigned n, uint64_t period_ms, unsigned retry_after_s)
{
    uint64_t wait = LT_SCHEDULE_BACKOFF_MS << (n < 16 ? n : 16);

    if (wait < retry_after_s * UINT64_C(1000))
        wait = retry_after_s * UINT64_C(1000);
    return wait < period_ms ? wait : period_ms;
}

uint64_t lt_schedule_next(struct lt_schedule *s, const struct lt_verdict *v, uint64_t t1_ms, uint64_t now_ms,
                          uint64_t period_ms, unsigned retry_after_s)
{
    if (v->result == LT_VERDICT_UNREACHABLE)
        return now_ms + backoff(s->unreachable++, period_ms, retry_after_s);
    s->unreachable = 0;
    if (v->result == LT_VERDICT_FAILED)
        return LT_SCHEDULE_NEVER;
    /* Another round changes nothing about a level or a weakness that the policy does not accept. */
    if (v->result == LT_VERDICT_UNCHECKED && strcmp(v->reason, "level") && !v->refused &&
        s->at_once < LT_SCHEDULE_AT_ONCE) {
        s->at_once++;
        return now_ms;
    }
    s->at_once = 0;
    return at_period(t1_ms, now_ms, period_ms);
}
