#include "common/run/cond.h"

#include "common/run/clock.h"

#include <time.h>

void lt_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

/* That deadline on the clock pthreads waits by. */
static struct timespec monotonic(uint64_t until_ms)
{
    uint64_t now = lt_clock_ms(), ms = until_ms > now ? until_ms - now : 0;
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    long ns = t.tv_nsec + (long)(ms % 1000) * 1000000;
    t.tv_sec += (time_t)(ms / 1000) + ns / 1000000000;
    t.tv_nsec = ns % 1000000000;
    return t;
}

bool lt_cond_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ms)
{
    if (until_ms == LT_COND_EVER) {
        pthread_cond_wait(c, lock);
        return true;
    }
    const struct timespec t = monotonic(until_ms);
    pthread_cond_timedwait(c, lock, &t);
    return lt_clock_ms() < until_ms;
}
