#include "tpm/attest.h"

#include "common/limits.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_attest a;

    if (lt_attest_parse(p, n, &a, LT_NO_ERR))
        return 0;
    FUZZ_REQUIRE(n <= LT_MAX_ATTEST && a.bank_count <= 16);
    /* Every byte is accounted for. */
    FUZZ_REQUIRE(6 + 2 + a.qualified_signer.n + 2 + a.extra_data.n + 17 + 8 + a.selection_raw.n + 2 +
                     a.pcr_digest.n ==
                 n);
    FUZZ_REQUIRE(lt_tpm_clock_compare(&a.clock, &a.clock) == 0);
    return 0;
}
