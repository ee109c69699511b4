#include "tpm/credential.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_slice id, secret;

    if (lt_credential_parse(p, n, &id, &secret, LT_NO_ERR) == 0)
        FUZZ_REQUIRE(id.n + secret.n + 12 == n && id.p == p + 10 && secret.p + secret.n == p + n);
    return 0;
}
