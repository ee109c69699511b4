/* swtpm's state file: what is taken as sealed has the one header, and three values that fill the rest of it.
 */
#include "vtpm/blob.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_blob b;

    if (lt_blob_sealed(p, n, &b, LT_NO_ERR))
        return 0;
    FUZZ_REQUIRE(b.version == LT_BLOB_VERSION && b.flags == LT_BLOB_FLAGS && b.header == LT_BLOB_HEADER);
    FUZZ_REQUIRE(b.length == n && n == LT_BLOB_HEADER + 3 * 6 + b.data.n + b.hmac.n + b.iv.n);
    FUZZ_REQUIRE(b.data.p > p && b.hmac.p > p && b.iv.p > p && b.data.n && b.hmac.n == 32);
    return 0;
}
