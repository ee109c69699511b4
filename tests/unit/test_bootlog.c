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

/* TCG 1.2 form: SHA-1 only, no announcement. */
static void sha1_form(void **state)
{
    static const uint8_t zeros[20];
    uint8_t digest[20] = {7}, want[20] = {0};
    LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
    struct lt_pcrs pcrs = {.alg = LT_HASH_SHA1, .mask = 0xff};

    (void)state;
    for (int i = 0; i < 4; i++) { /* a no-action event in front, as TPM 1.2 firmware has it */
        uint8_t head[8] = {0, 0, 0, 0, i ? 8 : 3}, size[4] = {4};
        head[0] = (uint8_t)i;
        lt_buf_put(&b, head, 8);
        lt_buf_put(&b, i ? digest : zeros, 20);
        lt_buf_put(&b, size, 4);
        lt_buf_put(&b, "data", 4);
    }
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    assert_int_equal(l->replay.fault.code, 0);
    assert_true(l->sha1_only);
    assert_int_equal(l->count, 4);
    assert_int_equal(l->event[2].pcr, 2);
    assert_memory_equal(l->event[2].digest[0].value.p, digest, 20);
    assert_memory_equal(l->event[2].data.p, "data", 4);
    lt_pcr_extend(LT_HASH_SHA1, want, digest);
    for (int i = 1; i < 4; i++)
        memcpy(pcrs.value[i], want, 20);
    OK(lt_boot_replay_match(&l->replay, &pcrs, &err));
    lt_boot_log_free(l);
    for (size_t k = 0; k < b.n; k++) {
        l = lt_boot_log_new((struct lt_slice){b.p, k});
        assert_int_equal(l->replay.fault.code != 0, k % 36 != 0 || !k);
        assert_true(l->count == k / 36); /* those before the fault are there */
        lt_boot_log_free(l);
    }
    b.p[0] = 24; /* the first may be of any PCR if it does not extend */
    b.p[36] = 24;
    l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    assert_int_equal(l->replay.fault.code, LT_E_MALFORMED);
    assert_non_null(strstr(l->replay.fault.msg, "event 1"));
    lt_boot_log_free(l);
}

/* The typed part agrees with the replay, event for event. */
static void typed(void **state)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    uint8_t run[LT_BOOT_REPLAYED][LT_MAX_DIGEST] = {{0}}, aggregate[2][LT_MAX_DIGEST];
    size_t n, end = 65;

    (void)state;
    bytes = real_log(&n);
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){bytes, n});
    memset(bytes, 0xff, n); /* the log has its own copy */
    assert_int_equal(l->replay.fault.code, 0);
    assert_int_equal(l->count, l->replay.events);
    for (unsigned i = 1; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        assert_int_equal(ev->number, i);
        assert_int_equal(ev->offset, end);
        assert_int_equal(ev->digest_count, 1);
        assert_ptr_equal(ev->digest[0].value.p, l->bytes + ev->offset + 14);
        assert_ptr_equal(ev->data.p, l->bytes + ev->offset + 50);
        end = ev->offset + 50 + ev->data.n;
        lt_pcr_extend(LT_HASH_SHA256, run[ev->pcr], ev->digest[0].value.p);
    }
    assert_int_equal(end, l->n);
    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        assert_memory_equal(run[i], lt_boot_replay_value(&l->replay, LT_HASH_SHA256, i), 32);
    assert_null(lt_boot_replay_value(&l->replay, LT_HASH_SHA256, LT_BOOT_REPLAYED));
    assert_null(lt_boot_replay_value(&l->replay, LT_HASH_SHA1, 0));
    assert_int_equal(lt_boot_aggregate(&l->replay, LT_HASH_SHA256, aggregate), 2);
    LT_AUTOBUF struct lt_buf all = LT_BUF(4096);
    for (unsigned i = 0; i < LT_BOOT_PCRS; i++)
        lt_buf_put(&all, run[i], 32);
    uint8_t want[32];
    lt_sha256(all.p, 8 * 32, want);
    assert_memory_equal(aggregate[0], want, 32);
    lt_sha256(all.p, 10 * 32, want);
    assert_memory_equal(aggregate[1], want, 32);
    lt_boot_log_free(l);
    lt_boot_log_free(NULL);
}

/* Ceilings of bytes and events. */
static void ceilings(void **state)
{
    LT_AUTOBUF struct lt_buf log = LT_BUF(16u << 20);
    uint8_t digest[32] = {1};

    (void)state;
    forge_log_begin(&log);
    for (unsigned i = 1; i < LT_MAX_BOOT_EVENTS; i++)
        forge_log_event(&log, 5, 8, digest, "", 0);
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){log.p, log.n});
    assert_int_equal(l->replay.fault.code, 0);
    assert_int_equal(l->count, LT_MAX_BOOT_EVENTS);
    lt_boot_log_free(l);
    forge_log_event(&log, 5, 8, digest, "", 0);
    l = lt_boot_log_new((struct lt_slice){log.p, log.n});
    assert_int_equal(l->replay.fault.code, LT_E_TOO_LARGE);
    assert_int_equal(l->count, LT_MAX_BOOT_EVENTS);
    lt_boot_log_free(l);
    l = lt_boot_log_new((struct lt_slice){log.p, LT_MAX_BOOT_LOG + 1u}); /* never read, never copied */
    assert_int_equal(l->replay.fault.code, LT_E_TOO_LARGE);
    assert_null(l->bytes);
    lt_boot_log_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real),
        cmocka_unit_test(prefixes_and_bits),
        cmocka_unit_test(locality),
        cmocka_unit_test(not_extended),
        cmocka_unit_test(absent_and_empty),
        cmocka_unit_test(lies),
        cmocka_unit_test(sha1_form),
        cmocka_unit_test(typed),
        cmocka_unit_test(ceilings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
