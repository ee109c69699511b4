/* Conditions with a deadline: the one place that knows on which clock a pthread_cond_t waits, and how a
 * timespec is made. Deadlines are lt_clock_ms(), as everywhere. A machine that sleeps may wake a waiter late
 * by as long as it slept (CLOCK_MONOTONIC; pthreads knows no CLOCK_BOOTTIME), never early. */
#ifndef LT_COMMON_RUN_COND_H
#define LT_COMMON_RUN_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define LT_COND_EVER UINT64_MAX /* a deadline that never comes */

/* Destroyed with pthread_cond_destroy. Only lt_cond_until and pthread_cond_wait may wait on it. */
void lt_cond_init(pthread_cond_t *c);
/* Under the lock. Returns after a signal, at the deadline, or for nothing, so call it in a loop over what is
 * waited for. false: the deadline has come. */
bool lt_cond_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ms);

#endif
