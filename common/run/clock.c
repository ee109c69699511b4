#include "common/run/clock.h"

#include <time.h>

uint64_t lt_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t lt_clock_ms(void)
{
    return lt_clock_ns() / 1000000u;
}

int64_t lt_clock_wall_s(void)
{
    return time(NULL);
}

void lt_clock_wall_text(int64_t s, char out[32])
{
    struct tm tm;
    time_t t = s;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
