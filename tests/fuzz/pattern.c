/* A pattern, a NUL, a subject: compiled or refused with a reason, matched within the limits. */
#include "appraisal/policy/pattern.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const uint8_t *nul = n ? memchr(p, 0, n) : NULL;
    size_t pattern_n = nul ? (size_t)(nul - p) : n;
    struct lt_slice subject = {nul ? nul + 1 : NULL, nul ? n - pattern_n - 1 : 0};

    for (int whole = 0; whole < 2; whole++) {
        struct lt_pattern *pattern;
        struct lt_err e = {0};
        bool hit = true;
        int rc = lt_pattern_compile((const char *)p, pattern_n, whole, &pattern, &e);
        FUZZ_REQUIRE((rc == 0) == (pattern != NULL) && (rc == 0) == (e.msg[0] == 0));
        if (rc)
            continue;
        rc = lt_pattern_match(pattern, subject, &hit, &e);
        FUZZ_REQUIRE(!rc || (!hit && e.msg[0]));
        lt_pattern_free(pattern);
    }
    return 0;
}
