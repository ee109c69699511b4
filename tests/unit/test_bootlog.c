/* The boot log: real OVMF log against the values it must replay to, and hostile ones. */
#include "appraisal/bootlog.h"
#include "common/file.h"
#include "tests/unit/forge.h"

static uint8_t *real_log(size_t *n)
{
    uint8_t *p;
    OK(lt_file_read(LT_SOURCE_DIR "/tests/lab/data/ovmf-boot-log.bin", LT_MAX_BOOT_LOG, &p, n, &err));
    return p;
}

/* Lines "N HEX" of PCR 0-9. */
static void real_pcrs(struct lt_pcrs *out)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;
    char *save = NULL;

    OK(lt_file_read(LT_SOURCE_DIR "/tests/lab/data/ovmf-boot-log.pcrs", 1 << 16, &text, &n, &err));
    memset(out, 0, sizeof *out);
    out->alg = LT_HASH_SHA256;
    for (char *line = strtok_r((char *)text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned i = (unsigned)strtoul(line, &line, 10);
        if (i >= LT_BOOT_PCRS)
            continue;
        while (*line == ' ')
            line++;
        OK(lt_unhex(line, out->value[i], 32, &err));
        out->mask |= 1u << i;
    }
    assert_int_equal(out->mask, 0x3ff);
}

static void real(void **state)
{
    LT_AUTOFREE uint8_t *log = NULL;
    struct lt_boot_replay r;
    struct lt_pcrs pcrs;
    size_t n;

    (void)state;
    log = real_log(&n);
    real_pcrs(&pcrs);
    lt_boot_replay((struct lt_slice){log, n}, &r);
    OK(lt_boot_replay_match(&r, &pcrs, &err));
    assert_int_equal(r.bank_count, 1);
    assert_true(r.events > 5);
    for (unsigned i = 0; i < LT_BOOT_PCRS; i++) {
        pcrs.value[i][31] ^= 1;
        FAILS(LT_E_REFUSED, lt_boot_replay_match(&r, &pcrs, &err));
        pcrs.mask &= ~(1u << i); /* not quoted, not compared */
        OK(lt_boot_replay_match(&r, &pcrs, &err));
        pcrs.mask |= 1u << i;
        pcrs.value[i][31] ^= 1;
    }
    pcrs.alg = LT_HASH_SHA1;
    FAILS(LT_E_REFUSED, lt_boot_replay_match(&r, &pcrs, &err));
}

/* Whatever is cut or turned: never a crash; and a cut log never replays to the right values. */
static void prefixes_and_bits(void **state)
{
    LT_AUTOFREE uint8_t *log = NULL;
    struct lt_boot_replay r;
    struct lt_pcrs pcrs;
    unsigned refused = 0;
    size_t n;

    (void)state;
    log = real_log(&n);
    real_pcrs(&pcrs);
    for (size_t k = 0; k < n; k++) {
        uint8_t *copy = malloc(k ? k : 1);
        memcpy(copy, log, k);
        lt_boot_replay((struct lt_slice){copy, k}, &r);
        free(copy);
        err.code = 0;
        if (!lt_boot_replay_match(&r, &pcrs, &err) || !err.msg[0])
            fail_msg("prefix of %zu bytes matches", k);
    }
    for (size_t bit = 0; bit < 8 * n; bit++) {
        log[bit / 8] ^= (uint8_t)(1u << bit % 8);
        lt_boot_replay((struct lt_slice){log, n}, &r);
        refused += lt_boot_replay_match(&r, &pcrs, &err) != 0;
        log[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    /* Event data and most of the types are not measured as such; digests, counts and lengths are. */
    assert_true(refused > 32 * 8 * 8);
    print_message("%u of %zu turned bits refused\n", refused, 8 * n);
}

static void replay(const struct lt_buf *log, struct lt_boot_replay *r)
{
    lt_boot_replay((struct lt_slice){log->p, log->n}, r);
}

static void locality(void **state)
{
    static const uint8_t zeros[32], data[] = "StartupLocality\0\3";
    uint8_t digest[32] = {1}, want[32] = {0};
    struct lt_boot_replay r;

    (void)state;
    LT_AUTOBUF struct lt_buf log = LT_BUF(4096);
    forge_log_begin(&log);
    forge_log_event(&log, 0, 3, zeros, data, 17);
    forge_log_event(&log, 0, 8, digest, "", 0);
    replay(&log, &r);
    assert_int_equal(r.fault.code, 0);
    want[31] = 3;
    lt_pcr_extend(LT_HASH_SHA256, want, digest);
    assert_memory_equal(r.bank[0].value[0], want, 32);
    forge_log_event(&log, 0, 3, zeros, data, 17); /* PCR 0 was extended: too late */
    replay(&log, &r);
    assert_int_equal(r.fault.code, LT_E_MALFORMED);
    assert_non_null(strstr(r.fault.msg, "event 3"));
}

static void not_extended(void **state)
{
    uint8_t digest[32] = {1}, zeros[32] = {0};
    struct lt_boot_replay r;

    (void)state;
    LT_AUTOBUF struct lt_buf log = LT_BUF(4096);
    forge_log_begin(&log);
    forge_log_event(&log, 4, 3, digest, "x", 1);  /* no action */
    forge_log_event(&log, 10, 8, digest, "x", 1); /* the operating system's */
    forge_log_event(&log, 0xffffffff, 3, digest, "x", 1);
    replay(&log, &r);
    assert_int_equal(r.fault.code, 0);
    assert_int_equal(r.events, 4);
    for (int i = 0; i < LT_BOOT_PCRS; i++)
        assert_memory_equal(r.bank[0].value[i], zeros, 32);
    forge_log_event(&log, 24, 8, digest, "x", 1);
    replay(&log, &r);
    assert_int_equal(r.fault.code, LT_E_MALFORMED);
}

static void absent_and_empty(void **state)
{
    struct lt_boot_replay r;

    (void)state;
    lt_boot_replay((struct lt_slice){0}, &r);
    assert_false(r.present);
    assert_int_equal(r.fault.code, 0);
    lt_boot_replay((struct lt_slice){(const uint8_t *)"", 0}, &r);
    assert_true(r.present);
    assert_int_equal(r.fault.code, LT_E_MALFORMED);
}

/* Lengths and counts that lie, each at its place in a good log. */
static void lies(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        const char *what;
    } cases[] = {
        {0, 1, "first event of PCR 1"},
        {4, 4, "first event of another type"},
        {28, 255, "length of the first event"},
        {56, 0, "no algorithm"},
        {56, 17, "too many algorithms"},
        {60, 4, "SHA-1 of 32 bytes"},
        {62, 20, "SHA-256 of 20 bytes"},
        {64, 200, "vendor info beyond"},
        {65 + 8, 2, "two digests"},
        {65 + 8, 0, "no digest"},
        {65 + 12, 4, "digest not announced"},
        {65 + 46, 255, "event data beyond"},
    };
    uint8_t digest[32] = {1};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LT_AUTOBUF struct lt_buf log = LT_BUF(4096);
        struct lt_boot_replay r;
        forge_log_begin(&log);
        forge_log_event(&log, 0, 8, digest, "", 0);
        replay(&log, &r);
        assert_int_equal(r.fault.code, 0);
        log.p[cases[i].at] = cases[i].value;
        replay(&log, &r);
        if (!r.fault.code || !strstr(r.fault.msg, "boot log event"))
            fail_msg("%s: %s", cases[i].what, r.fault.code ? r.fault.msg : "accepted");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real),         cmocka_unit_test(prefixes_and_bits), cmocka_unit_test(locality),
        cmocka_unit_test(not_extended), cmocka_unit_test(absent_and_empty),  cmocka_unit_test(lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
