/* What the benches share: a clock, quantiles, and figures as one JSON object a line. */
#ifndef LT_TESTS_BENCH_BENCH_H
#define LT_TESTS_BENCH_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t bench_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline int bench_compare_(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts v; q from 0 to 1. */
static inline double bench_quantile(double *v, size_t n, double q)
{
    qsort(v, n, sizeof *v, bench_compare_);
    return v[(size_t)(q * (double)(n - 1) + 0.5)];
}

/* {"bench":name,"key":value,…} */
static inline void bench_begin(const char *name)
{
    printf("{\"bench\":\"%s\"", name);
}

static inline void bench_number(const char *key, double value)
{
    printf(",\"%s\":%.6g", key, value);
}

static inline void bench_text(const char *key, const char *plain)
{
    printf(",\"%s\":\"%s\"", key, plain);
}

static inline void bench_end(void)
{
    puts("}");
    fflush(stdout);
}

#endif
