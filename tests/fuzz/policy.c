/* Policy documents, and EK certificates as text. */
#include "appraisal/policy/policy.h"
#include "appraisal/checks/ek_certificates.h"

#include "tests/fuzz/fuzz.h"

static void certificate(const uint8_t *p, size_t n)
{
    static const struct lt_public no_key = {.type = LT_TPM_ALG_RSA};
    LT_AUTOFREE char *pem = strndup((const char *)p, n);
    struct lt_ek_certificates_roots *roots;

    FUZZ_REQUIRE(pem && !lt_ek_certificates_roots_new(&roots, LT_NO_ERR));
    /* No roots: nothing can be good. */
    FUZZ_REQUIRE(lt_ek_certificates_check(roots, &pem, 1, &no_key, 0, LT_NO_ERR));
    lt_ek_certificates_roots_free(roots);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_policy_guest *guest = NULL;
    struct lt_policy_host *host = NULL;

    FUZZ_REQUIRE((lt_policy_guest_parse(p, n, &guest, LT_NO_ERR) == 0) == (guest != NULL));
    FUZZ_REQUIRE((lt_policy_host_parse(p, n, &host, LT_NO_ERR) == 0) == (host != NULL));
    FUZZ_REQUIRE(!host || guest); /* a host policy's one key is also a guest policy's */
    lt_policy_guest_free(guest);
    lt_policy_host_free(host);
    certificate(p, n);
    return 0;
}
