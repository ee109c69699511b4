/* What the unit tests of the core share: cmocka, one error struct, and the two sweeps every parser gets. */
#ifndef LT_TESTS_SUPPORT_UNIT_H
#define LT_TESTS_SUPPORT_UNIT_H

#include "common/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Pass &err to the call under test. */
static _Thread_local struct lt_err err;

#define OK(call)                                                                                             \
    do {                                                                                                     \
        err = (struct lt_err){0};                                                                            \
        if ((call) != 0)                                                                                     \
            fail_msg("%s: %s", #call, err.msg);                                                              \
    } while (0)

/* The call fails with that code and says something. */
#define FAILS(want, call)                                                                                    \
    do {                                                                                                     \
        err = (struct lt_err){0};                                                                            \
        int rc_ = (call);                                                                                    \
        if (rc_ != (want) || err.code != rc_ || !err.msg[0])                                                 \
            fail_msg("%s: %d (%s), not %d", #call, rc_, err.msg, (want));                                    \
    } while (0)

/* Hex with blanks between, n bytes of it. */
static inline size_t unit_hex(const char *text, uint8_t *out, size_t max)
{
    size_t n = 0;
    for (; *text; text += 2) {
        text += strspn(text, " \n");
        if (!*text)
            break;
        assert_true(n < max);
        char pair[3] = {text[0], text[1], 0};
        OK(lt_unhex(pair, out + n++, 1, &err));
    }
    return n;
}

/* 0: accepted. Whatever a parser under sweep takes must be judged inside. */
typedef int unit_parser(const uint8_t *p, size_t n, void *state);

/* Every proper prefix is refused, and so is a byte behind. Each try lies in an allocation of its own size, so
 * that a sanitizer sees a read beyond it. */
static inline void unit_every_prefix(unit_parser *parse, const void *p, size_t n, void *state)
{
    for (size_t k = 0; k <= n + 1; k++) {
        uint8_t *copy = malloc(k ? k : 1);
        assert_non_null(copy);
        memcpy(copy, p, k < n ? k : n);
        if (k > n)
            copy[n] = 0;
        int rc = parse(copy, k, state);
        free(copy);
        if ((rc == 0) != (k == n))
            fail_msg("%zu of %zu bytes: %d", k, n, rc);
    }
}

/* No bit is ignored: with any one turned, parse must not return 0. */
static inline void unit_every_bit(unit_parser *parse, const void *p, size_t n, void *state)
{
    uint8_t *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, p, n);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (parse(copy, n, state) == 0)
            fail_msg("byte %zu, bit %zu turned: accepted, and nothing differs", bit / 8, bit % 8);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(copy);
}

#endif
