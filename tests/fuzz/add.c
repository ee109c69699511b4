/* Keylime's `add`: whatever is taken is within its bounds, and what is told back holds no secret. */
#include "keylime/add.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    LT_JSON_AUTO json_t *body = lt_json_parse(p, n, 1 << 20, LT_NO_ERR);
    LT_KEYLIME_AUTOADD struct lt_add a = {0};

    if (!json_is_object(body) || lt_add_read(body, &a, LT_NO_ERR))
        return 0;
    FUZZ_REQUIRE(a.ak_n <= sizeof a.ak && strlen(a.address) <= LT_MAX_ADDRESS);
    FUZZ_REQUIRE(!a.runtime || !a.runtime[a.runtime_n]);
    FUZZ_REQUIRE(!json_object_get(a.given, "v") && !json_object_get(a.given, "revocation_key"));
    FUZZ_REQUIRE(!a.runtime_name[0] || lt_id_ok(a.runtime_name));
    return 0;
}
