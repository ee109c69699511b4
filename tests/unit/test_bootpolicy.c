/* Our form of boot policy: learnt, judged, everything changed; real guests' logs. */
#include "appraisal/bootpolicy.h"
#include "common/limits.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/unit/vectors.h"

static int judge_log(const char *policy, const struct lt_boot_log *l, const struct lt_pcrs *pcrs,
                     struct lt_err *e)
{
    struct lt_boot_policy *p;
    int rc = lt_boot_policy_parse(policy, strlen(policy), &p, e);
    if (!rc)
        rc = lt_boot_policy_judge(p, l, pcrs, e);
    lt_boot_policy_free(p);
    return rc;
}

static int judge(const char *policy, const struct lt_buf *b, struct lt_err *e)
{
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b->p, b->n});
    struct lt_pcrs pcrs;

    assert_non_null(l);
    boot_forge_pcrs(b, &pcrs);
    int rc = judge_log(policy, l, &pcrs, e);
    lt_boot_log_free(l);
    return rc;
}

static char *learn(const struct lt_buf *b)
{
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b->p, b->n});
    LT_AUTOJSON json_t *o = lt_boot_policy_learn(l, &err);
    lt_boot_log_free(l);
    if (!o)
        fail_msg("%s", err.msg);
    return lt_json_dump(o);
}

static void learnt(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        LT_AUTOBUF struct lt_buf good = LT_BUF(1u << 20);
        boot_forge_server(&good, &(struct boot_plan){.secure_boot = on, .dbx = 3});
        LT_AUTOFREE char *policy = learn(&good);
        const struct {
            struct boot_plan plan;
            const char *says[2];
        } bad[] = {
            {{.secure_boot = !on}, {"PCR 7", "secure boot"}},
            {{.secure_boot = on, .firmware = "evil"}, {"event 2 (PCR 0", "firmware sha256:"}},
            {{.secure_boot = on, .shim = "evil"}, {"PCR 4", "shim sha256:"}},
            {{.secure_boot = on, .grub = "evil"}, {"PCR 4", "grub sha256:"}},
            {{.secure_boot = on, .kernel = "evil"}, {on ? "PCR 4" : "PCR 9", "kernel sha256:"}},
            {{.secure_boot = on, .initrd = "evil"}, {"PCR 9", "initrd sha256:"}},
            {{.secure_boot = on, .cmdline = "/vmlinuz-6.1 root=/dev/vda1 rw"},
             {"PCR 8", "root=/dev/vda1 rw"}},
        };
        OK(judge(policy, &good, &err));
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
            boot_forge_server(&b, &bad[i].plan);
            FAILS(LT_E_REFUSED, judge(policy, &b, &err));
            if (!strstr(err.msg, bad[i].says[0]) || !strstr(err.msg, bad[i].says[1]))
                fail_msg("case %zu: %s", i, err.msg);
        }
        /* What is absent is not judged. */
        LT_AUTOBUF struct lt_buf other = LT_BUF(1u << 20);
        boot_forge_server(&other, &(struct boot_plan){.secure_boot = on, .mok = "another", .dbx = 9});
        OK(judge(policy, &other, &err));
    }
}

/* A type or a label is not measured: in PCR 0, 4 and 9 nothing hides behind one. */
static void hidden(void **state)
{
    static const struct {
        uint32_t pcr, type;
        const char *data, *says;
    } more[] = {
        {0, LT_EV_POST_CODE, "evil", "firmware"},
        {0, LT_EV_SEPARATOR, "evil", "firmware"},
        {4, LT_EV_EFI_ACTION, "evil", "neither"},
        {4, LT_EV_IPL, "evil", "neither"},
        {4, LT_EV_EFI_BOOT_SERVICES_APPLICATION, "evil", "kernel"},
        {7, LT_EV_EFI_VARIABLE_DRIVER_CONFIG, "evil", "behind"},
        {8, LT_EV_IPL, "kernel_cmdline: evil", "matches none"},
        {9, LT_EV_EVENT_TAG, "evil", "without grub"},
        {9, LT_EV_IPL, "evil", NULL}, /* grub reads files of any name */
        {9, LT_EV_IPL, "/initrd", "initrd"},
    };
    LT_AUTOBUF struct lt_buf good = LT_BUF(1u << 20);
    (void)state;
    boot_forge_server(&good, &(struct boot_plan){.secure_boot = true, .dbx = 3});
    LT_AUTOFREE char *policy = learn(&good);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
        boot_forge_server(&b, &(struct boot_plan){.secure_boot = true, .dbx = 3});
        boot_forge_event(&b, more[i].pcr, more[i].type, NULL, more[i].data, strlen(more[i].data));
        int rc = judge(policy, &b, &err);
        if ((rc != 0) != (more[i].says != NULL) || (rc && !strstr(err.msg, more[i].says)))
            fail_msg("case %zu: %d %s", i, rc, err.msg);
    }
}

/* A log may hold 65,536 events; what costs a pattern or a list each time is bounded. */
static void floods(void **state)
{
    static const char tag[] = "\xed\x22\x3b\x8f\0\0\0\0";
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
        boot_forge_begin(&b);
        for (int i = 0; i <= LT_MAX_BOOT_CMDLINES; i++) {
            uint8_t digest[32];
            lt_sha256("q\0", 2, digest); /* load options "q" */
            if (kind)
                boot_forge_event(&b, 9, LT_EV_EVENT_TAG, digest, tag, 8);
            else
                boot_forge_label(&b, 8, "kernel_cmdline: q", "q");
        }
        FAILS(LT_E_REFUSED, judge("{\"cmdline\":[\"q\"]}", &b, &err));
        assert_non_null(strstr(err.msg, "more than 64"));
    }
}

static void load_options(void **state)
{
    static const char line[] = "console=ttyS0 quiet", tag[] = "\xed\x22\x3b\x8f\0\0\0\0",
                      other[] = "\xec\x22\x3b\x8f\0\0\0\0";
    LT_AUTOBUF struct lt_buf b = LT_BUF(65536), wide = LT_BUF(65536);
    uint8_t digest[32];
    char text[120] = "{\"cmdline\":[\"sha256:";

    (void)state;
    for (size_t i = 0; i < sizeof line; i++) { /* with its NUL */
        lt_buf_u8(&wide, (uint8_t)line[i]);
        lt_buf_u8(&wide, 0);
    }
    lt_sha256(wide.p, wide.n, digest);
    boot_forge_begin(&b);
    FAILS(LT_E_REFUSED, judge("{\"cmdline\":[\".*\"]}", &b, &err));
    assert_non_null(strstr(err.msg, "no command line was measured"));
    boot_forge_event(&b, 9, LT_EV_EVENT_TAG, digest, tag, 8);
    boot_forge_event(&b, 9, LT_EV_EVENT_TAG, NULL, other, 8);
    OK(judge("{\"cmdline\":[\"console=ttyS0 quiet\"]}", &b, &err));
    OK(judge("{\"cmdline\":[\"x\",\"console\\\\=ttyS0 quiet\"]}", &b, &err));
    FAILS(LT_E_REFUSED,
          judge("{\"cmdline\":[\"console=.* quiet\"]}", &b, &err)); /* a digest fits no pattern */
    FAILS(LT_E_REFUSED, judge("{\"cmdline\":[\"console=ttyS0 quiet \"]}", &b, &err));
    FAILS(LT_E_REFUSED, judge("{\"cmdline\":[]}", &b, &err));
    lt_hex(digest, 32, text + strlen(text));
    memcpy(text + strlen(text), "\"]}", 4);
    OK(judge(text, &b, &err));
    text[30] ^= 1;
    int rc = judge(text, &b, &err);
    assert_true(rc == LT_E_REFUSED || rc == LT_E_MALFORMED);
}

static void documents(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"secure_boot\":1}",
        "{\"secureboot\":true}",
        "{\"kernel\":{}}",
        "{\"kernel\":[\"00\"]}",
        "{\"kernel\":[7]}",
        "{\"cmdline\":[\"(\"]}",
        "{\"cmdline\":[\"sha256:00\"]}",
        "{\"cmdline\":[1]}",
        "{\"golden\":{}}",
        "{\"golden\":{\"a\":{}}}",
        "{\"golden\":{\"\":{\"0\":\"00\"}}}",
        "{\"golden\":{\"a\":{\"24\":\"0000000000000000000000000000000000000000000000000000000000000000\"}}}",
        "{\"golden\":{\"a\":{\"01\":\"0000000000000000000000000000000000000000000000000000000000000000\"}}}",
        "{\"golden\":{\"a\":{\"+1\":\"0000000000000000000000000000000000000000000000000000000000000000\"}}}",
        "{\"golden\":{\"a\":{\"1\":\"0x\"}}}",
        "{\"kernels\":[]}",
        "{\"secure_boot\":true,\"secure_boot\":false}",
    };
    struct lt_boot_policy *p;
    struct lt_pcrs none = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(LT_E_MALFORMED, lt_boot_policy_parse(bad[i], strlen(bad[i]), &p, &err));
        assert_null(p);
        assert_non_null(strstr(err.msg, "boot policy: "));
    }
    LT_AUTOFREE char *large = calloc(1, LT_MAX_BOOT_POLICY + 1);
    FAILS(LT_E_TOO_LARGE, lt_boot_policy_parse(large, LT_MAX_BOOT_POLICY + 1, &p, &err));
    /* What judges nothing says so by its PCRs. */
    OK(lt_boot_policy_parse("{}", 2, &p, &err));
    assert_int_equal(lt_boot_policy_pcrs(p), 0);
    OK(lt_boot_policy_judge(p, NULL, &none, &err));
    lt_boot_policy_free(p);
    lt_boot_policy_free(NULL);
}

static void goldens(void **state)
{
    static const char policy[] =
        "{\"golden\":{\"old\":{\"0\":\"1111111111111111111111111111111111111111111111111111111111111111\"},"
        "\"new\":{\"0\":\"2222222222222222222222222222222222222222222222222222222222222222\","
        "\"11\":\"3333333333333333333333333333333333333333333333333333333333333333\"}}}";
    struct lt_pcrs pcrs = {.alg = LT_HASH_SHA256, .mask = 0x801};

    (void)state;
    memset(pcrs.value[0], 0x11, 32);
    OK(judge_log(policy, NULL, &pcrs, &err));
    memset(pcrs.value[0], 0x22, 32);
    FAILS(LT_E_REFUSED, judge_log(policy, NULL, &pcrs, &err));
    assert_non_null(strstr(err.msg, "PCR 11 is 0000"));
    assert_non_null(strstr(err.msg, "golden 'new'"));
    memset(pcrs.value[11], 0x33, 32);
    OK(judge_log(policy, NULL, &pcrs, &err));
    pcrs.mask = 1;
    FAILS(LT_E_REFUSED, judge_log(policy, NULL, &pcrs, &err));
    assert_non_null(strstr(err.msg, "PCR 11, which is not quoted"));
    pcrs.mask = 0x801;
    pcrs.alg = LT_HASH_SHA384;
    FAILS(LT_E_REFUSED, judge_log(policy, NULL, &pcrs, &err));
}

/* No log, a broken one, one that does not match, one without SHA-256. */
static void logs(void **state)
{
    static const char policy[] = "{\"secure_boot\":false}";
    struct lt_pcrs pcrs;
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    struct lt_boot_log *l;

    (void)state;
    boot_forge_server(&b, &(struct boot_plan){.dbx = 1});
    boot_forge_pcrs(&b, &pcrs);
    FAILS(LT_E_REFUSED, judge_log(policy, NULL, &pcrs, &err));
    l = lt_boot_log_new((struct lt_slice){0});
    FAILS(LT_E_REFUSED, judge_log(policy, l, &pcrs, &err));
    assert_null(lt_boot_policy_learn(l, &err));
    lt_boot_log_free(l);
    l = lt_boot_log_new((struct lt_slice){b.p, b.n - 1});
    FAILS(LT_E_MALFORMED, judge_log(policy, l, &pcrs, &err));
    assert_null(lt_boot_policy_learn(l, &err));
    lt_boot_log_free(l);
    l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    OK(judge_log(policy, l, &pcrs, &err));
    pcrs.value[7][0] ^= 1;
    FAILS(LT_E_REFUSED, judge_log(policy, l, &pcrs, &err));
    lt_boot_log_free(l);
    static const uint8_t old[32] = {0, 0, 0, 0, 8};
    l = lt_boot_log_new((struct lt_slice){old, sizeof old});
    assert_true(l->sha1_only && !l->replay.fault.code);
    assert_null(lt_boot_policy_learn(l, &err));
    FAILS(LT_E_REFUSED, judge_log(policy, l, &pcrs, &err));
    lt_boot_log_free(l);
}

/* ---- real guests ---- */

static char *guests_file(const char *guest, const char *name, size_t *n)
{
    char path[128];
    snprintf(path, sizeof path, "guest-logs/%s/%s", guest, name);
    return (char *)lt_vector_read(path, n);
}

static void guest(const char *name, unsigned events)
{
    size_t n, text_n;
    LT_AUTOFREE char *raw = guests_file(name, "tpm0_binary_bios_measurements", &n),
                     *text = guests_file(name, "pcrs.txt", &text_n);
    struct lt_pcrs pcrs = {.alg = LT_HASH_SHA256};
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned i = (unsigned)strtoul(line, &line, 10);
        OK(lt_unhex(line + 1, pcrs.value[i], 32, &err));
        pcrs.mask |= 1u << i;
    }
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){(uint8_t *)raw, n});
    OK(lt_boot_replay_match(&l->replay, &pcrs, &err));
    assert_int_equal(l->count, events);
    struct lt_buf b = {.p = (uint8_t *)raw, .n = n};
    LT_AUTOFREE char *policy = learn(&b);
    OK(judge_log(policy, l, &pcrs, &err));
    /* Each event of a judged PCR changed in the log, PCRs following: refused by the policy itself. */
    unsigned judged = 0;
    for (unsigned i = 1; i < l->count; i++) {
        uint8_t *digest = (uint8_t *)raw + (l->event[i].digest[0].value.p - l->bytes);
        bool all = strstr(policy, "golden") != NULL;
        digest[5] ^= 1;
        int rc = judge(policy, &b, &err);
        digest[5] ^= 1;
        uint32_t pcr = l->event[i].pcr;
        if (all || pcr == 0 || pcr == 4 || pcr == 7 || pcr == 9) {
            judged++;
            if (rc != LT_E_REFUSED ||
                (!all && (!strstr(err.msg, "boot log event") || !strstr(err.msg, "sha256:"))))
                fail_msg("%s event %u: %d %s", name, i, rc, err.msg);
        } else {
            assert_int_equal(rc, 0);
        }
    }
    print_message("%s: %u of %u events are judged\n", name, judged, l->count);
    lt_boot_log_free(l);
}

static void ovmf(void **state)
{
    (void)state;
    guest("ovmf", 25);
}

static void seabios(void **state)
{
    (void)state;
    guest("seabios", 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learnt),       cmocka_unit_test(hidden),    cmocka_unit_test(floods),
        cmocka_unit_test(load_options), cmocka_unit_test(documents), cmocka_unit_test(goldens),
        cmocka_unit_test(logs),         cmocka_unit_test(ovmf),      cmocka_unit_test(seabios),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
