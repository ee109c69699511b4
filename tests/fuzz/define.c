/* <encryption> put into a domain's XML: whatever comes out is a domain that names that secret, the same in
 * all that its digest and our readers look at, and once more changes nothing. */
#include "vtpm/define.h"
#include "tests/fuzz/fuzz.h"
#include "vtpm/domain.h"

static int hash(void *ctx, const char *path, uint8_t out[32], struct lt_err *e)
{
    (void)ctx, (void)e;
    memset(out, *path, 32);
    return 0;
}

static char *lines_of(const char *xml, size_t n, bool sealed)
{
    struct lt_domain d;
    char *lines = NULL;

    FUZZ_REQUIRE(!lt_domain_parse(xml, n, &d, LT_NO_ERR));
    FUZZ_REQUIRE(d.tpm == LT_DOMAIN_TPM_EMULATOR && (!sealed || d.tpm_secret));
    FUZZ_REQUIRE(!lt_domain_lines(&d, hash, NULL, &lines, LT_NO_ERR));
    lt_domain_free(&d);
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const uint8_t secret[LT_UUID] = {0x49, 0xed};
    LT_AUTOFREE char *once = NULL, *twice = NULL, *before = NULL, *after = NULL;

    if (lt_define_sealed((const char *)p, n, secret, &once, LT_NO_ERR))
        return 0;
    before = lines_of((const char *)p, n, false);
    after = lines_of(once, strlen(once), true);
    FUZZ_REQUIRE(!strcmp(before, after));
    FUZZ_REQUIRE(!lt_define_sealed(once, strlen(once), secret, &twice, LT_NO_ERR) && !strcmp(once, twice));
    return 0;
}
