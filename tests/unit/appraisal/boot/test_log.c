/* The boot log: real OVMF log against the values it must replay to, and hostile ones. */
#include "appraisal/boot/log.h"
#include "common/file.h"
#include "tests/support/appraisal/forge.h"
#include "tests/support/vectors.h"

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

/* Where PCR 0 starts: at the StartupLocality, at 4 if an H-CRTM came first and nothing else says, else at 0.
 * A quoted PCR 0 may have started anywhere: its value alone tells, not what the log calls its first event. */
static void starts(void **state)
{
    static const uint8_t zeros[32];
    static const struct {
        uint32_t first, second; /* types of the events of PCR 0 */
        int locality;           /* -1: no event says */
        uint8_t start;
    } cases[] = {{8, 8, -1, 0},          {0x80000010, 8, -1, 4}, {0x80000010, 0x80000010, -1, 4},
                 {8, 0x80000010, -1, 0}, {8, 8, 0, 0},           {8, 8, 3, 3},
                 {8, 8, 4, 4},           {0x80000010, 8, 3, 3},  {0x80000010, 8, 0, 0}};
    uint8_t digest[32] = {1};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t data[17] = "StartupLocality", want[32] = {0};
        LT_AUTOBUF struct lt_buf log = LT_BUF(4096);
        struct lt_pcrs quoted = {.alg = LT_HASH_SHA256, .mask = 1};
        struct lt_boot_replay r;
        forge_log_begin(&log);
        data[16] = (uint8_t)cases[i].locality;
        if (cases[i].locality >= 0)
            forge_log_event(&log, 0, 3, zeros, data, 17);
        forge_log_event(&log, 7, 0x80000010, digest, "", 0); /* of another PCR: starts nothing */
        forge_log_event(&log, 0, cases[i].first, digest, "", 0);
        forge_log_event(&log, 0, cases[i].second, digest, "", 0);
        replay(&log, &r);
        assert_int_equal(r.fault.code, 0);
        assert_int_equal(r.locality, cases[i].start);
        want[31] = cases[i].start;
        lt_pcr_extend(LT_HASH_SHA256, want, digest);
        lt_pcr_extend(LT_HASH_SHA256, want, digest);
        assert_memory_equal(lt_boot_replay_value(&r, LT_HASH_SHA256, 0), want, 32);
        for (uint8_t start = 0; start < 7; start++) {
            memset(quoted.value[0], 0, 32);
            quoted.value[0][31] = start;
            lt_pcr_extend(LT_HASH_SHA256, quoted.value[0], digest);
            lt_pcr_extend(LT_HASH_SHA256, quoted.value[0], digest);
            assert_int_equal(lt_boot_replay_match(&r, &quoted, &err) == 0, start <= 4);
        }
    }
}

static void many_digests(struct lt_buf *b, uint32_t pcr, uint32_t type, unsigned banks)
{
    static const struct {
        uint16_t alg;
        size_t n;
    } all[] = {{LT_HASH_SHA1, 20}, {LT_HASH_SHA256, 32}, {LT_HASH_SHA384, 48}};
    uint8_t digest[48] = {9}, le[12] = {(uint8_t)pcr, 0, 0, 0, (uint8_t)type, 0, 0, 0, 0, 0, 0, 0};

    for (unsigned i = 0; i < 3; i++)
        le[8] += banks >> i & 1;
    lt_buf_put(b, le, 12);
    for (unsigned i = 0; i < 3; i++)
        if (banks >> i & 1) {
            lt_buf_put(b, (uint8_t[]){(uint8_t)all[i].alg, 0}, 2);
            lt_buf_put(b, digest, all[i].n);
        }
    lt_buf_put(b, "\0\0\0\0", 4);
}

/* Windows and some firmware announce more banks than they write: what every extending event has is a bank. */
static void fewer_digests(void **state)
{
    static const uint8_t head[] = {0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0,
                                   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0},
                         algs[] = {0, 0,  0, 0,    0, 2,  0, 2,    3, 0,  0, 0, 4,
                                   0, 20, 0, 0x0b, 0, 32, 0, 0x0c, 0, 48, 0, 0};
    static const struct {
        unsigned banks[3];
        unsigned kept, fault;
    } cases[] = {{{7, 7, 7}, 7, 0}, {{3, 3, 3}, 3, 0}, {{2, 2, 2}, 2, 0}, {{7, 3, 7}, 3, 0},
                 {{7, 7, 5}, 5, 0}, {{1, 2, 4}, 0, 0}, {{7, 0, 7}, 0, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
        struct lt_boot_replay r;
        unsigned kept = 0;
        lt_buf_put(&b, head, sizeof head);
        lt_buf_put(&b, "Spec ID Event03", 16);
        lt_buf_put(&b, algs, sizeof algs);
        for (uint32_t k = 0; k < 3; k++)
            many_digests(&b, k, 8, cases[i].banks[k]);
        many_digests(&b, 0, 3, 1); /* extends nothing, spoils nothing */
        replay(&b, &r);
        if ((r.fault.code != 0) != cases[i].fault)
            fail_msg("case %zu: %s", i, r.fault.msg);
        for (unsigned k = 0; k < r.bank_count && !r.fault.code; k++)
            kept |= r.bank[k].alg == LT_HASH_SHA1 ? 1 : r.bank[k].alg == LT_HASH_SHA256 ? 2 : 4;
        assert_int_equal(kept, cases[i].kept);
        struct lt_pcrs quoted = {.alg = LT_HASH_SHA256, .mask = 0}, own;
        assert_int_equal(lt_boot_replay_match(&r, &quoted, &err) == 0, (kept & 2) != 0);
        assert_int_equal(lt_boot_replay_pcrs(&r, LT_HASH_SHA384, &own), (kept & 4) != 0);
    }
}

/* The cases of public reports. */
static void cases(void **state)
{
    static const struct {
        const char *log, *pcr0;
    } all[] = {
        {"cases/boot-hcrtm.bin", "45e1dd9bca7b42f8e5afc1f6cae9960974a93033d33b97fda9f7ace279a033e2"},
        {"cases/boot-fewer-digests.bin", "fe566898d21165776985914d6e4f7bc9167e4c9bf957be918eb88ec6b0dab25b"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t n;
        LT_AUTOFREE uint8_t *raw = lt_vector_read(all[i].log, &n);
        struct lt_boot_replay r;
        uint8_t want[32];
        lt_boot_replay((struct lt_slice){raw, n}, &r);
        assert_int_equal(r.fault.code, 0);
        OK(lt_unhex(all[i].pcr0, want, 32, &err));
        assert_memory_equal(lt_boot_replay_value(&r, LT_HASH_SHA256, 0), want, 32);
        assert_null(lt_boot_replay_value(&r, LT_HASH_SHA384, 0));
    }
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
        cmocka_unit_test(real),          cmocka_unit_test(prefixes_and_bits),
        cmocka_unit_test(locality),      cmocka_unit_test(starts),
        cmocka_unit_test(fewer_digests), cmocka_unit_test(cases),
        cmocka_unit_test(not_extended),  cmocka_unit_test(absent_and_empty),
        cmocka_unit_test(lies),          cmocka_unit_test(sha1_form),
        cmocka_unit_test(typed),         cmocka_unit_test(ceilings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
