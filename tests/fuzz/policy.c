/* Policy documents, and EK certificates as text. */
#include "appraisal/policy.h"
#include "appraisal/ekcert.h"

#include "tests/fuzz/fuzz.h"

static void certificate(const uint8_t *p, size_t n)
{
    static const struct lt_public no_key = {.type = LT_ALG_RSA};
    LT_AUTOFREE char *pem = strndup((const char *)p, n);
    struct lt_ek_roots *roots;

    FUZZ_REQUIRE(pem && !lt_ek_roots_new(&roots, NULL));
    /* No roots: nothing can be good. */
    FUZZ_REQUIRE(lt_ek_certificates_check(roots, &pem, 1, &no_key, 0, NULL));
    lt_ek_roots_free(roots);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_guest_policy *guest = NULL;
    struct lt_host_policy *host = NULL;

    FUZZ_REQUIRE((lt_guest_policy_parse(p, n, &guest, NULL) == 0) == (guest != NULL));
    FUZZ_REQUIRE((lt_host_policy_parse(p, n, &host, NULL) == 0) == (host != NULL));
    FUZZ_REQUIRE(!host || guest); /* a host policy's one key is also a guest policy's */
    lt_guest_policy_free(guest);
    lt_host_policy_free(host);
    certificate(p, n);
    return 0;
}
