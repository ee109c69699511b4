/* Lists of openers for tests: hosts and states by number. */
#ifndef LT_TESTS_SUPPORT_OPENER_LISTS_H
#define LT_TESTS_SUPPORT_OPENER_LISTS_H

#include "residency/openers.h"
#include "tests/support/unit.h"

/* A state of LT_OPENERS_STATE_MIN: PCR 4 holds `state`, the others are zero. */
static inline void opener_lists_add(struct lt_openers *o, const uint8_t host[LT_SHA256], uint8_t state)
{
    struct lt_openers_one one = {.kind = LT_OPENERS_STATE,
                                 .state = {.alg = LT_HASH_SHA256, .mask = LT_OPENERS_STATE_MIN}};

    memcpy(one.digest, host, LT_SHA256);
    memset(one.state.value[4], state, LT_SHA256);
    OK(lt_openers_add(o, &one, &err));
}

/* The bytes, which the caller frees, and their digest. */
static inline struct lt_slice opener_lists_bytes(const struct lt_openers *o, uint8_t digest[LT_SHA256])
{
    struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);

    lt_openers_write(o, &b);
    assert_false(b.failed);
    lt_sha256(b.p, b.n, digest);
    return (struct lt_slice){b.p, b.n};
}

#endif
