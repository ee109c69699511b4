/* Verdict tokens: whatever is taken was signed by the key of the set, and says what was asked for. */
#include "verifier/token/token.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static const char keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"alg\":\"ES256\",\"x\":"
    "\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":"
    "\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}]}";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static json_t *set;
    const struct lt_token_expected x = {.aud = "vault", .nonce = "12345678", .now = 1800000000};

    if (!set)
        set = lt_json_parse(keys, sizeof keys - 1, sizeof keys, LT_NO_ERR);
    json_t *c = lt_token_verify((const char *)p, n, set, &x, LT_NO_ERR);
    FUZZ_REQUIRE(!c || !strcmp(json_string_value(json_object_get(c, "aud")), "vault"));
    json_decref(c);
    return 0;
}
