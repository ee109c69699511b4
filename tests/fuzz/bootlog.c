/* Boot logs: bounded, and what is refused says why. */
#include "appraisal/bootlog.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_pcrs quoted = {.alg = LT_HASH_SHA256, .mask = 0x3ff};
    struct lt_boot_replay r;

    lt_boot_replay((struct lt_slice){p, n}, &r);
    FUZZ_REQUIRE((r.fault.code != 0) == (r.fault.msg[0] != 0) &&
                 r.bank_count <= sizeof r.bank / sizeof *r.bank);
    FUZZ_REQUIRE(!r.fault.code || lt_boot_replay_match(&r, &quoted, NULL));
    return 0;
}
