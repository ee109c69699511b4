#include "common/siphash.h"

#include <endian.h>
#include <string.h>

static inline uint64_t le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return le64toh(v);
}

/* The last n of all bytes, which end at p + n; below eight. */
static uint64_t tail(const uint8_t *p, size_t n, size_t all)
{
    uint64_t v = 0;
    if (n && all >= 8)
        return le64(p + n - 8) >> (8 * (8 - n));
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

/* Four words in registers: as an array they would live in memory. */
struct state {
    uint64_t a, b, c, d;
};

static inline __attribute__((always_inline)) void round_(struct state *v)
{
    v->a += v->b;
    v->b = rotl(v->b, 13) ^ v->a;
    v->a = rotl(v->a, 32);
    v->c += v->d;
    v->d = rotl(v->d, 16) ^ v->c;
    v->a += v->d;
    v->d = rotl(v->d, 21) ^ v->a;
    v->c += v->b;
    v->b = rotl(v->b, 17) ^ v->c;
    v->c = rotl(v->c, 32);
}

static inline __attribute__((always_inline)) void absorb(struct state *v, uint64_t m)
{
    v->d ^= m;
    round_(v);
    round_(v);
    v->a ^= m;
}

uint64_t lt_siphash(const uint8_t key[16], const void *p, size_t n)
{
    uint64_t k0 = le64(key), k1 = le64(key + 8);
    struct state v = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                      k1 ^ 0x7465646279746573};
    const uint8_t *in = p;
    size_t left = n;

    for (; left >= 8; in += 8, left -= 8)
        absorb(&v, le64(in));
    absorb(&v, tail(in, left, n) | (uint64_t)n << 56);
    v.c ^= 0xff;
    round_(&v);
    round_(&v);
    round_(&v);
    round_(&v);
    return v.a ^ v.b ^ v.c ^ v.d;
}
