/* OPENERS: what is accepted says the same bytes again, and is its own prefix. */
#include "residency/openers.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);
    struct lt_openers o;
    uint8_t digest[LT_SHA256], want[LT_SHA256];

    if (!lt_openers_parse(p, n, &o, LT_NO_ERR)) {
        lt_openers_write(&o, &b);
        FUZZ_REQUIRE(!lt_buf_ok(&b, LT_NO_ERR) && b.n == n && !memcmp(b.p, p, n) && lt_openers_size(&o) == n);
        lt_sha256(p, n, want);
        FUZZ_REQUIRE(!lt_openers_digest(&o, digest, LT_NO_ERR) && !memcmp(digest, want, LT_SHA256));
        FUZZ_REQUIRE(lt_openers_prefix(&o, &o) && o.count <= LT_MAX_OPENERS);
        for (unsigned i = 0; i < o.count; i++) {
            FUZZ_REQUIRE(lt_openers_find(&o, &o.one[i]) == i || o.one[i].closed);
            FUZZ_REQUIRE(o.one[i].kind != LT_OPENERS_AUTHORITY || !i);
            FUZZ_REQUIRE(!(o.one[i].state.mask & ~0xdbffu));
        }
        json_decref(lt_openers_to_json(&o));
    }
    lt_openers_free(&o);
    return 0;
}
