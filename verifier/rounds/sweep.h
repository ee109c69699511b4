/* Flights that began together, for the stages where they gather. Inside drive.c only. */
#ifndef LT_VERIFIER_ROUNDS_SWEEP_H
#define LT_VERIFIER_ROUNDS_SWEEP_H

#include "verifier/rounds/flight.h"

/* Of a table in which nobody gathers there are none. */
void lt_sweep_begin(struct lt_flight_control *c, struct lt_flight *list);
/* At a stage that gathers. Returned, here and below: who goes on now. */
struct lt_flight *lt_sweep_join(struct lt_flight *list);
/* Nobody waits for it any more. */
struct lt_flight *lt_sweep_leave(struct lt_flight *f);
/* Under the lock. */
struct lt_flight *lt_sweep_late(struct lt_flight_control *c, uint64_t now_ms, uint64_t *next_ms);

#endif
