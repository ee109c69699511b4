/* Envelopes under a key that nobody has: nothing is ever good. */
#include "appraisal/policy/dsse.h"
#include "tests/fuzz/fuzz.h"

/* P-256, its private half thrown away. */
static const char pinned[] = "-----BEGIN PUBLIC KEY-----\n"
                             "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAET9/OYOvfVZrLOZ8KnJMp6ZUP4/gi\n"
                             "oWcSCTdhYtWIcVIc693YUrQEKs6zRYGe7mEnv/TlPIly24M0SjC42Ve6GA==\n"
                             "-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t *payload;
    size_t payload_n;

    (void)lt_dsse_is(p, n);
    FUZZ_REQUIRE(lt_dsse_open(p, n, pinned, &payload, &payload_n, LT_NO_ERR) < 0);
    FUZZ_REQUIRE(!payload && !payload_n);
    return 0;
}
