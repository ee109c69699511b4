/* Compiled tables with damage: opened or not, asked, never read outside. */
#include "appraisal/ima/table.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const names[] = {"boot_aggregate", "/usr/bin/a", "/tmp/x", ".ima",
                                        "kexec-cmdline",  "",           "*"};
    uint8_t *aligned = malloc(n ? n : 1); /* of its own size; malloc aligns */
    uint8_t digest[64];
    struct lt_ima_table *t;

    FUZZ_REQUIRE(aligned);
    memcpy(aligned, p, n);
    memset(digest, 0xaa, sizeof digest);
    if (!lt_ima_table_open(aligned, n, &t, LT_NO_ERR)) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            struct lt_slice name = {(const uint8_t *)names[i], strlen(names[i])};
            for (int s = LT_IMA_FILES; s <= LT_IMA_BUFFERS; s++) {
                enum lt_ima_answer a;
                int rc = lt_ima_table_ask(t, s, name, (struct lt_slice){digest, 32}, &a, LT_NO_ERR);
                FUZZ_REQUIRE(!rc || a == LT_IMA_ABSENT);
                struct lt_ima_table_probe probe = lt_ima_table_probe(t, name);
                lt_ima_table_probe_closer(&probe);
                bool allows = lt_ima_table_probe_allows(&probe, name, (struct lt_slice){digest, 32});
                FUZZ_REQUIRE(s != LT_IMA_FILES || allows == (!rc && a == LT_IMA_ALLOWED));
            }
            (void)lt_ima_table_ignores_keyring(t, name);
        }
        struct lt_slice keys = lt_ima_table_keys(t);
        FUZZ_REQUIRE(keys.p >= aligned && keys.n <= n && keys.p + keys.n <= aligned + n);
        lt_ima_table_close(t);
    }
    free(aligned);
    return 0;
}
