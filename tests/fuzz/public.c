#include "tpm/public.h"

#include "tests/fuzz/fuzz.h"

#include <openssl/evp.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_public k, copy;
    uint8_t name[LT_TPM_NAME], digest[32];
    EVP_PKEY *pkey;

    if (lt_public_parse(p, n, &k, LT_NO_ERR))
        return 0;
    FUZZ_REQUIRE(k.raw_n == n && !memcmp(k.raw, p, n));
    lt_public_copy(&copy, &k);
    FUZZ_REQUIRE(lt_public_ek_digest(&copy, digest, LT_NO_ERR) == 0);
    FUZZ_REQUIRE((lt_public_name(&copy, name, LT_NO_ERR) == 0) == (k.name_alg == 0x000b));
    if (lt_public_check_ak_host(&k, LT_NO_ERR) == 0)
        FUZZ_REQUIRE(lt_public_check_ak(&k, LT_NO_ERR) == 0);
    if (lt_public_pkey(&k, &pkey, LT_NO_ERR) == 0)
        EVP_PKEY_free(pkey);
    return 0;
}
