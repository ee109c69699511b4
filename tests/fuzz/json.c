/* JSON from outside: what is accepted is written and read again as the same value. */
#include "common/json.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    LT_JSON_AUTO json_t *j = lt_json_parse(p, n, 65536, LT_NO_ERR), *again = NULL;

    if (!j)
        return 0;
    LT_AUTOFREE char *s = lt_json_dump(j);
    FUZZ_REQUIRE(s);
    again = lt_json_parse(s, strlen(s), 1 << 20, LT_NO_ERR);
    FUZZ_REQUIRE(again && json_equal(j, again));
    return 0;
}
