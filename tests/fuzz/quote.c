/* Keylime's quote string, and with it base64 and the PCR blob: what is accepted writes back as it came. */
#include "keylime/quote.h"
#include "tests/fuzz/fuzz.h"
#include "tpm/pcr.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    LT_AUTOFREE char *s = strndup((const char *)p, n), *back = NULL;
    struct lt_quote q;
    struct lt_pcrs pcrs;

    FUZZ_REQUIRE(s);
    if (lt_quote_parse(s, &q, LT_NO_ERR) == 0) {
        FUZZ_REQUIRE(lt_quote_write(&q, &back, LT_NO_ERR) == 0 && !strcmp(back, s));
        lt_quote_free(&q);
    }
    if (lt_pcr_blob_parse(p, n, &pcrs, LT_NO_ERR) == 0) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(2048);
        FUZZ_REQUIRE(lt_pcr_blob_write(&pcrs, &b, LT_NO_ERR) == 0 && b.n == n && !memcmp(b.p, p, n));
    }
    return 0;
}
