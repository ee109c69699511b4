/* Domains for hosts whose user space is enforced: what passes names no TPM of the host, whatever surrounds
 * it. */
#include "vtpm/allowed.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (!lt_allowed_check((const char *)p, n, LT_NO_ERR)) {
        const char *serial = memmem(p, n, "='/dev/tpm", 10), *free_text = memmem(p, n, "<metadata", 9);
        FUZZ_REQUIRE(!serial || free_text || memmem(p, n, "<!--", 4) || memmem(p, n, "<title", 6) ||
                     memmem(p, n, "<description", 12) || memmem(p, n, "<cmdline", 8) ||
                     memmem(p, n, "<![CDATA[", 9) || memmem(p, n, "<?", 2));
    }
    return 0;
}
