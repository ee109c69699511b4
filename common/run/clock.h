/* Clocks. Durations and deadlines are CLOCK_BOOTTIME (protocol.md section 4: t1 … t5); wall time is for
 * people and for certificates only. */
#ifndef LT_COMMON_RUN_CLOCK_H
#define LT_COMMON_RUN_CLOCK_H

#include <stdint.h>

uint64_t lt_clock_ms(void);    /* CLOCK_BOOTTIME */
uint64_t lt_clock_ns(void);    /* CLOCK_BOOTTIME */
int64_t lt_clock_wall_s(void); /* seconds since 1970 */
/* "2026-11-22T05:24:38Z" */
void lt_clock_wall_text(int64_t s, char out[32]);

#endif
