/* Which log these bytes are, and which document; and what a whole IMA list gives as PCR 10. */
#include "appraisal/ima/banks.h"
#include "appraisal/policy/log_kind.h"
#include "tests/support/appraisal/imalist.h"
#include "tests/support/vectors.h"

static enum lt_log_kind kind_of(const char *name)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read(name, &n);
    return lt_log_kind((struct lt_slice){p, n});
}

static void kinds(void **state)
{
    (void)state;
    assert_int_equal(kind_of("guest-logs/ovmf/tpm0_binary_bios_measurements"), LT_LOG_KIND_BOOT);
    assert_int_equal(kind_of("guest-logs/seabios/tpm0_binary_bios_measurements"), LT_LOG_KIND_BOOT);
    assert_int_equal(kind_of("cases/boot-hcrtm.bin"), LT_LOG_KIND_BOOT);
    assert_int_equal(kind_of("cases/boot-fewer-digests.bin"), LT_LOG_KIND_BOOT);
    assert_int_equal(kind_of("guest-logs/ovmf/ima_ascii_runtime_measurements"), LT_LOG_KIND_IMA);
    assert_int_equal(kind_of("guest-logs/seabios/ima_binary_runtime_measurements"), LT_LOG_KIND_IMA_BINARY);
    assert_int_equal(kind_of("cases/ima-latin1.txt"), LT_LOG_KIND_IMA);
    assert_int_equal(kind_of("cases/ek-root.pem"), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind_of("cases/refstate-base.json"), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind_of("guest-logs/ovmf/pcrs.txt"), LT_LOG_KIND_UNKNOWN);
}

static enum lt_log_kind kind(const void *p, size_t n)
{
    return lt_log_kind((struct lt_slice){p, n});
}

static void made_kinds(void **state)
{
    static const uint8_t old[32] = {7, 0, 0, 0, 1, 0, 0, 0x80};
    LT_AUTOFREE char *base64 = NULL;

    (void)state;
    assert_int_equal(kind(NULL, 0), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind("\n", 1), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind("1:", 2), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind("10 ", 3), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind("100 00000000000000000000000000000000000000000", 44), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind("BwAAAAEAAIA=\n", 13), LT_LOG_KIND_BOOT_BASE64);
    assert_int_equal(kind("BwAAAAEA AIA=\n", 14), LT_LOG_KIND_UNKNOWN);
    assert_int_equal(kind(old, sizeof old), LT_LOG_KIND_BOOT); /* TCG 1.2: SHA-1 of whatever */
    assert_int_equal(kind(old, sizeof old - 1), LT_LOG_KIND_UNKNOWN);
}

/* Whatever the bytes, each prefix is read within its bounds. */
static int any(const uint8_t *p, size_t n, void *arg)
{
    const size_t *whole = arg;
    (void)lt_log_kind_is_runtime((struct lt_slice){p, n});
    return lt_log_kind((struct lt_slice){p, n}) != LT_LOG_KIND_UNKNOWN && n == *whole ? 0 : 1;
}

static void prefixes(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("cases/ima-newline.txt", &n);

    (void)state;
    unit_every_prefix(any, p, n, &n);
}

static bool runtime(const char *text)
{
    return lt_log_kind_is_runtime((struct lt_slice){(const uint8_t *)text, strlen(text)});
}

static void documents(void **state)
{
    (void)state;
    assert_true(runtime("{\"meta\":{\"version\":1}}"));
    assert_true(runtime(" {\"digests\":{}"));
    assert_true(runtime("{\"payload\":\"\"}"));
    assert_false(runtime("{\"scrtm_and_bios\":[]}"));
    assert_false(runtime("{\"firmware\":[]}"));
    assert_false(runtime("{}"));
    assert_false(runtime("[\"meta\"]"));
    assert_false(runtime(""));
}

static uint16_t bank_of(const struct lt_ima_replay *r, uint16_t alg)
{
    for (uint16_t b = 0; b < LT_IMA_BANKS; b++)
        if (r->bank[b].alg == alg)
            return b;
    fail();
    return 0;
}

/* Against the generator's own chain, in each bank, with each width of the column. */
static void replays(void **state)
{
    static const uint16_t algs[] = {LT_HASH_SHA1, LT_HASH_SHA256, LT_HASH_SHA384, LT_HASH_SHA512};
    struct lt_ima_replay r;
    struct imalist l;

    (void)state;
    for (int k = 0; k < 16; k++) {
        imalist_start(&l, algs[k / 4], algs[k % 4]);
        imalist_ng(&l, "/usr/bin/true");
        imalist_violation(&l, "/var/log/x");
        imalist_add(&l, "ima-buf", LT_HASH_SHA256, "x", "kexec-cmdline",
                    (struct lt_slice){(const uint8_t *)"a", 1});
        OK(lt_ima_replay(imalist_text(&l), &r, &err));
        assert_int_equal(r.entries, l.entries);
        assert_int_equal(r.violations, 1);
        assert_memory_equal(r.bank[bank_of(&r, l.bank)].value, l.pcr, lt_hash_size(l.bank));
        imalist_free(&l);
    }
}

/* Linux before 5.8; the value is evmctl's. */
static void padded(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("cases/ima-old-kernel.txt", &n);
    struct lt_ima_replay r;
    uint8_t want[LT_SHA256];

    (void)state;
    OK(lt_ima_replay((struct lt_slice){p, n}, &r, &err));
    OK(lt_unhex("17039b98819180854d5f26a760fb95fc7b34be032ac197529ac90c0b50e64b46", want, sizeof want, &err));
    assert_memory_equal(r.bank[bank_of(&r, LT_HASH_SHA256)].padded, want, sizeof want);
    assert_memory_equal(r.bank[0].padded, r.bank[0].value, LT_MAX_DIGEST); /* SHA-1: the same */
}

/* A digit turned anywhere: the entry is named. */
static void contradictions(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("guest-logs/ovmf/ima_ascii_runtime_measurements", &n);
    struct lt_ima_replay r;
    char where[32];
    unsigned entry = 0;

    (void)state;
    for (size_t i = 0; i < n; entry += p[i++] == '\n') {
        if (p[i] == '\n')
            continue;
        p[i] ^= 1;
        snprintf(where, sizeof where, "IMA entry %u ", entry);
        FAILS(LT_E_MALFORMED, lt_ima_replay((struct lt_slice){p, n}, &r, &err));
        if (strncmp(err.msg, where, strlen(where)))
            fail_msg("byte %zu: %s", i, err.msg);
        p[i] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),          cmocka_unit_test(made_kinds), cmocka_unit_test(prefixes),
        cmocka_unit_test(documents),      cmocka_unit_test(replays),    cmocka_unit_test(padded),
        cmocka_unit_test(contradictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
