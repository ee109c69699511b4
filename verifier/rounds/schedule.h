/* When a guest's next round is due (docs/protocol.md section 5): a pure rule, so that it can be tested
 * without time. */
#ifndef LT_VERIFIER_ROUNDS_SCHEDULE_H
#define LT_VERIFIER_ROUNDS_SCHEDULE_H

#include "appraisal/checks/verdict.h"

#define LT_SCHEDULE_AT_ONCE 2       /* in a row, after `unchecked` */
#define LT_SCHEDULE_BACKOFF_MS 1000 /* the first, after `unreachable`; doubles up to the period */
#define LT_SCHEDULE_NEVER UINT64_MAX

/* Of one guest; zeroed at first, and when somebody asks for a round. */
struct lt_schedule {
    unsigned at_once;     /* rounds at once since the last regular one */
    unsigned unreachable; /* in a row */
};

/* CLOCK_BOOTTIME at which the next round is due, at or after now_ms; LT_SCHEDULE_NEVER after `failed`, which
 * only the tenant clears. t1_ms: the start of the round just ended. retry_after_s: what the other side asked
 * for, 0 if nothing. */
uint64_t lt_schedule_next(struct lt_schedule *s, const struct lt_verdict *v, uint64_t t1_ms, uint64_t now_ms,
                          uint64_t period_ms, unsigned retry_after_s);

#endif
