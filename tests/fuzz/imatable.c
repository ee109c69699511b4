/* Runtime policy documents: what compiles opens, holds what it says, and compiles again to the same bytes. */
#include "appraisal/ima/table.h"

#include "tests/fuzz/fuzz.h"

static void ask(const struct lt_ima_table *t, const uint8_t *p, size_t n)
{
    struct lt_slice name = {p, n < 64 ? n : 64}, digest = {p, n < 32 ? n : 32};

    for (int s = LT_IMA_FILES; s <= LT_IMA_BUFFERS; s++) {
        enum lt_ima_answer a;
        if (!lt_ima_table_ask(t, s, name, digest, &a, LT_NO_ERR))
            FUZZ_REQUIRE(a == LT_IMA_ABSENT || a == LT_IMA_EXCLUDED || a == LT_IMA_OTHER ||
                         a == LT_IMA_ALLOWED);
    }
    (void)lt_ima_table_ignores_keyring(t, name);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    LT_AUTOBUF struct lt_buf b, again;
    struct lt_ima_table *t;

    if (lt_ima_table_compile(p, n, NULL, &b, LT_NO_ERR)) {
        FUZZ_REQUIRE(!b.p);
        again = LT_BUF(0);
        return 0;
    }
    FUZZ_REQUIRE(!lt_ima_table_compile(p, n, NULL, &again, LT_NO_ERR));
    FUZZ_REQUIRE(again.n == b.n && !memcmp(again.p, b.p, b.n));
    FUZZ_REQUIRE(!lt_ima_table_open(b.p, b.n, &t, LT_NO_ERR));
    ask(t, p, n);
    ask(t, (const uint8_t *)"/usr/bin/a", 10);
    lt_ima_table_close(t);
    return 0;
}
