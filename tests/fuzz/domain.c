/* A libvirt domain's XML: what is read makes the same lines every time, one a value, and no value makes two.
 */
#include "vtpm/domain.h"
#include "common/bytes.h"
#include "tests/fuzz/fuzz.h"

static int hash(void *ctx, const char *path, uint8_t out[32], struct lt_err *e)
{
    (void)ctx, (void)e;
    FUZZ_REQUIRE(*path == '/');
    memset(out, *path, 32);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_domain d;
    LT_AUTOFREE char *lines = NULL;
    size_t count = 0;

    if (!lt_domain_parse(p, n, &d, LT_NO_ERR)) {
        FUZZ_REQUIRE(d.type && d.name && !lt_domain_lines(&d, hash, NULL, &lines, LT_NO_ERR));
        for (const char *c = lines; *c; c++)
            count += *c == '\n';
        FUZZ_REQUIRE(count == 12); /* docs/protocol.md section 3 */
        FUZZ_REQUIRE(d.tpm != LT_DOMAIN_TPM_EMULATOR || strstr(lines, "\ntpm-version=2.0\n"));
    }
    lt_domain_free(&d);
    return 0;
}
