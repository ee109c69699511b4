/* Residency records and host-quote headers: what is accepted says the same bytes again. */
#include "residency/residency.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t record[LT_RESIDENCY_RECORD], header[LT_RESIDENCY_HEADER];
    struct lt_residency_record r;
    struct lt_residency_header h;

    if (!lt_residency_record_parse(p, n, &r, LT_NO_ERR)) {
        FUZZ_REQUIRE(lt_residency_record_write(&r, record) == n && !memcmp(record, p, n));
    }
    if (!lt_residency_header_parse(p, n, &h, LT_NO_ERR)) {
        lt_residency_header_write(&h, header);
        FUZZ_REQUIRE(!memcmp(header, p, n) && h.n && h.n <= LT_MAX_BATCH && h.m <= LT_MAX_INVENTORY);
    }
    return 0;
}
