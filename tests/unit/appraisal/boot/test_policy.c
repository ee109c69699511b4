/* Our form of boot policy: learnt, judged, everything changed; real guests' logs. */
#include "appraisal/boot/policy.h"
#include "common/limits.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/support/vectors.h"

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
    char *text;
    uint32_t covers;

    OK(lt_boot_policy_learn(l, NULL, &text, &covers, &err));
    lt_boot_log_free(l);
    return text;
}

/* Adds to list the SHA-256 of a text, for documents written by hand. */
static const char *hex(const char *what)
{
    static char out[8][65];
    static unsigned turn;
    uint8_t digest[LT_SHA256];
    char *at = out[turn++ % 8];

    lt_sha256(what, strlen(what), digest);
    lt_hex(digest, sizeof digest, at);
    return at;
}

static void learnt(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        LT_AUTOBUF struct lt_buf good = LT_BUF(1u << 20);
        boot_forge_server(&good, &(struct boot_plan){.secure_boot = on, .grub_files = true, .dbx = 3});
        LT_AUTOFREE char *policy = learn(&good), *again = learn(&good);
        const struct {
            struct boot_plan plan;
            const char *pcr;
        } bad[] = {
            {{.secure_boot = !on}, "PCR"},
            {{.secure_boot = on, .dbx = 4}, "PCR 7"},
            {{.secure_boot = on, .firmware = "evil"}, "event 2 (PCR 0"},
            {{.secure_boot = on, .shim = "evil"}, "PCR 4"},
            {{.secure_boot = on, .grub = "evil"}, "PCR 4"},
            {{.secure_boot = on, .kernel = "evil"}, on ? "PCR 4" : "PCR 9"},
            {{.secure_boot = on, .initrd = "evil"}, "PCR 9"},
            {{.secure_boot = on, .mok = "evil"}, "PCR 14"},
            {{.secure_boot = on, .cmdline = "/vmlinuz-6.1 root=/dev/vda1 rw"}, "PCR 8"},
        };
        OK(judge(policy, &good, &err));
        assert_string_equal(policy, again);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
            struct boot_plan plan = bad[i].plan;
            plan.grub_files = true;
            plan.dbx = plan.dbx ? plan.dbx : 3;
            boot_forge_server(&b, &plan);
            FAILS(LT_E_REFUSED, judge(policy, &b, &err));
            if (!strstr(err.msg, bad[i].pcr) || !strstr(err.msg, "sha256:"))
                fail_msg("case %zu: %s", i, err.msg);
        }
    }
}

/* Which PCRs are learnt: those that were quoted and replay, all where there is no quote, 11 if it has events.
 */
static void coverage(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    struct lt_pcrs pcrs;
    uint32_t covers;
    char *text;

    (void)state;
    boot_forge_server(&b, &(struct boot_plan){.dbx = 1});
    boot_forge_pcrs(&b, &pcrs);
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    OK(lt_boot_policy_learn(l, NULL, &text, &covers, &err));
    assert_int_equal(covers, 0x53ff);
    free(text);
    pcrs.mask = 0x10311; /* 0, 4, 8, 9 and 16 */
    OK(lt_boot_policy_learn(l, &pcrs, &text, &covers, &err));
    assert_int_equal(covers, 0x311);
    OK(judge_log(text, l, &pcrs, &err));
    free(text);
    pcrs.value[9][0] ^= 1; /* another boot's log */
    FAILS(LT_E_REFUSED, lt_boot_policy_learn(l, &pcrs, &text, &covers, &err));
    assert_null(text);
    pcrs.value[9][0] ^= 1;
    pcrs.mask = 0x1000; /* extended behind the log's back: nothing of it can be explained */
    pcrs.value[12][0] ^= 1;
    FAILS(LT_E_REFUSED, lt_boot_policy_learn(l, &pcrs, &text, &covers, &err));
    lt_boot_log_free(l);
    boot_forge_label(&b, 11, ".linux", ".linux");
    l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    OK(lt_boot_policy_learn(l, NULL, &text, &covers, &err));
    assert_int_equal(covers, 0x5bff);
    free(text);
    lt_boot_log_free(l);
}

/* Roles stand in order. A kernel that was started past shim and grub, which are extended later, is found out
 * by that alone: each digest is a good one. */
static void order(void **state)
{
    static const struct {
        const char *apps;
        bool good;
    } boots[] = {{"sgk", true},   {"sgkk", true},   {"sssggk", true}, {"sgsk", true},  {"ksgk", false},
                 {"kgs", false},  {"gsk", false},   {"sk", false},    {"sg", false},   {"gk", false},
                 {"sgkx", false}, {"csrgk", false}, {"rcsgk", true},  {"cosgk", true}, {"sgkc", true}};
    static const struct {
        char c;
        const char *what;
    } names[] = {{'s', "shim"},
                 {'g', "grub"},
                 {'k', "kernel"},
                 {'x', "other"},
                 {'c', "Calling EFI Application from Boot Option"},
                 {'r', "Returning from EFI Application from Boot Option"},
                 {'o', "BOOT ATTEMPTS OMITTED"}};
    char roles[400], events[400];

    (void)state;
    snprintf(roles, sizeof roles, "{\"shim\":[\"%s\"],\"grub\":[\"%s\"],\"kernel\":[\"%s\"]}", hex("shim"),
             hex("grub"), hex("kernel"));
    snprintf(events, sizeof events,
             "{\"events\":{\"4\":[\"%s\",[\"%s\",\"%s\"],\"%s\"]},\"also\":{\"4\":[\"%s\"]}}", hex("shim"),
             hex("grub"), hex("new grub"), hex("kernel"), hex("Calling EFI Application from Boot Option"));
    for (size_t i = 0; i < sizeof boots / sizeof *boots; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(65536);
        boot_forge_begin(&b);
        for (const char *c = boots[i].apps; *c; c++)
            for (size_t k = 0; k < sizeof names / sizeof *names; k++)
                if (names[k].c == *c)
                    boot_forge_label(&b, 4, "of any label", names[k].what);
        bool usual = !strpbrk(boots[i].apps, "ro"); /* a list of events names what else may stand */
        if ((judge(roles, &b, &err) == 0) != boots[i].good)
            fail_msg("%s: %s", boots[i].apps, err.msg);
        if ((judge(events, &b, &err) == 0) != (boots[i].good && usual))
            fail_msg("events, %s: %s", boots[i].apps, err.msg);
    }
    /* grub without secure boot measures the kernel as a file: PCR 4 or 9 has it, and both are closed. */
    for (int way = 0; way < 3; way++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(65536);
        boot_forge_begin(&b);
        boot_forge_label(&b, 4, "x", "shim");
        boot_forge_label(&b, 4, "x", "grub");
        boot_forge_label(&b, 9, "x", way == 1 ? "evil" : "kernel");
        if (way == 2)
            boot_forge_label(&b, 9, "/grub/grub.cfg", "evil");
        assert_int_equal(judge(roles, &b, &err), way ? LT_E_REFUSED : 0);
    }
}

/* What judges nothing closes nothing; what judges something names all of it. */
static void closed(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    char doc[600];
    struct lt_boot_policy *p;

    (void)state;
    boot_forge_server(&b, &(struct boot_plan){.secure_boot = true, .dbx = 3});
    FAILS(LT_E_REFUSED, judge("{\"secure_boot\":true}", &b, &err)); /* PK may be anybody's */
    assert_non_null(strstr(err.msg, "PCR 7"));
    FAILS(LT_E_REFUSED, judge("{\"also\":{\"12\":[],\"8\":[]}}", &b, &err));
    OK(judge("{\"also\":{\"12\":[],\"2\":[]}}", &b, &err));
    FAILS(LT_E_REFUSED, judge("{\"events\":{\"2\":[]}}", &b, &err)); /* a separator is an event, too */
    snprintf(doc, sizeof doc, "{\"firmware\":[\"%s\",\"%s\"]}", hex("crtm"), hex("firmware"));
    OK(judge(doc, &b, &err));
    snprintf(doc, sizeof doc, "{\"firmware\":[\"%s\"],\"also\":{\"0\":[\"%s\"]}}", hex("firmware"),
             hex("crtm"));
    OK(judge(doc, &b, &err));
    OK(lt_boot_policy_parse(doc, strlen(doc), &p, &err));
    assert_int_equal(lt_boot_policy_pcrs(p), 1);
    assert_int_equal(lt_boot_policy_covers(p), 1);
    lt_boot_policy_free(p);
    snprintf(doc, sizeof doc, "{\"firmware\":[\"%s\"],\"also\":{\"0\":[\"%s\"]}}", hex("other"), hex("crtm"));
    FAILS(LT_E_REFUSED, judge(doc, &b, &err));
    assert_non_null(strstr(err.msg, "event 2 (PCR 0, EV_EFI_PLATFORM_FIRMWARE_BLOB): sha256:"));
    snprintf(doc, sizeof doc, "{\"firmware\":[\"%s\"],\"also\":{\"0\":[\"%s\",\"%s\"]}}", hex("other"),
             hex("crtm"), hex("firmware"));
    FAILS(LT_E_REFUSED, judge(doc, &b, &err));
    assert_non_null(strstr(err.msg, "no firmware was measured"));
}

/* The value of SecureBoot has one digest, wherever the log hides it. */
static void secure_boot(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++)
        for (int where = 0; where < 4;
             where++) { /* before the separator, behind it, nowhere; as another type */
            LT_AUTOBUF struct lt_buf b = LT_BUF(65536);
            uint8_t value = (uint8_t)on;
            boot_forge_begin(&b);
            for (int i = 0; i < 2; i++) {
                if (where == i || (where == 3 && !i))
                    boot_forge_variable(&b,
                                        where == 3 ? LT_BOOT_EV_IPL : LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG,
                                        lt_boot_guid_global, "SecureBoot", &value, 1);
                if (!i)
                    boot_forge_event(&b, 7, where == 3 ? LT_BOOT_EV_ACTION : LT_BOOT_EV_SEPARATOR, NULL,
                                     "\0\0\0\0", 4);
            }
            bool good = where == 0 || where == 3;
            assert_int_equal(judge("{\"secure_boot\":true}", &b, &err), good && on ? 0 : LT_E_REFUSED);
            assert_int_equal(judge("{\"secure_boot\":false}", &b, &err), good && !on ? 0 : LT_E_REFUSED);
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
                boot_forge_event(&b, 9, LT_BOOT_EV_EVENT_TAG, digest, tag, 8);
            else
                boot_forge_label(&b, 8, "kernel_cmdline: q", "q");
        }
        FAILS(LT_E_REFUSED, judge("{\"cmdline\":[\"q\"]}", &b, &err));
        assert_non_null(strstr(err.msg, "more than 64"));
    }
}

static void load_options(void **state)
{
    static const char line[] = "console=ttyS0 quiet", tag[] = "\xed\x22\x3b\x8f\0\0\0\0";
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
    boot_forge_event(&b, 9, LT_BOOT_EV_EVENT_TAG, digest, tag, 8);
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
    /* systemd's stub has the text in the log, which a pattern can judge. */
    LT_AUTOBUF struct lt_buf stub = LT_BUF(65536);
    boot_forge_begin(&stub);
    boot_forge_event(&stub, 12, LT_BOOT_EV_IPL, NULL, wide.p, wide.n);
    OK(judge("{\"cmdline\":[\"console=.* quiet\"]}", &stub, &err));
    FAILS(LT_E_REFUSED, judge("{\"cmdline\":[\"console=.*\",\"x\"],\"also\":{\"8\":[]}}", &b, &err));
    /* What the kernel's stub measured may be what grub measured, where that was accepted. */
    LT_AUTOBUF struct lt_buf both = LT_BUF(65536);
    boot_forge_begin(&both);
    boot_forge_label(&both, 8, "kernel_cmdline: console=ttyS0 quiet", line);
    boot_forge_event(&both, 9, LT_BOOT_EV_EVENT_TAG, digest, tag, 8);
    OK(judge("{\"cmdline\":[\"console=.* quiet\"]}", &both, &err));
    boot_forge_label(&both, 8, "grub_cmd: linux x init=/evil", "linux x init=/evil");
    FAILS(LT_E_REFUSED, judge("{\"cmdline\":[\"console=.* quiet\"]}", &both, &err));
}

/* An initrd that is text to a pattern is an initrd all the same: 8-bit text is a command line in PCR 8
 * alone. */
static void archives(void **state)
{
    static const char line[] = "linux /vmlinuz root=/dev/vda1 ro";
    static const char archive[] = "070701evil/init root=/dev/vda1 ro";
    char policy[200];

    (void)state;
    snprintf(policy, sizeof policy, "{\"initrd\":[\"%s\"],\"cmdline\":[\".*root=/dev/vda1 ro\"]}",
             hex("initrd"));
    for (uint32_t pcr = 8; pcr <= 12; pcr++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(65536);
        boot_forge_begin(&b);
        boot_forge_label(&b, 8, "grub_cmd: linux /vmlinuz root=/dev/vda1 ro", line);
        boot_forge_label(&b, 9, "/initrd", "initrd");
        OK(judge(policy, &b, &err));
        boot_forge_event(&b, pcr, LT_BOOT_EV_IPL, NULL, archive, sizeof archive - 1);
        assert_int_equal(judge(policy, &b, &err), pcr == 9 || pcr == 12 ? LT_E_REFUSED : 0);
    }
}

/* An initrd is what its digest says, and a second one is no file of grub's. */
static void initrds(void **state)
{
    char doc[120];

    (void)state;
    snprintf(doc, sizeof doc, "{\"initrd\":[\"%s\"]}", hex("initrd"));
    for (int way = 0; way < 4; way++) {
        static const char *const labels[] = {"/initrd", "(hd0)/grub/x.lst", "Linux initrd", "x"};
        LT_AUTOBUF struct lt_buf b = LT_BUF(65536);
        boot_forge_begin(&b);
        FAILS(LT_E_REFUSED, judge(doc, &b, &err));
        boot_forge_label(&b, 9, labels[way], "initrd");
        OK(judge(doc, &b, &err));
        boot_forge_label(&b, 9, labels[3 - way], "evil");
        FAILS(LT_E_REFUSED, judge(doc, &b, &err));
        assert_non_null(strstr(err.msg, "event 2 (PCR 9, EV_IPL): sha256:"));
    }
}

#define D1 "1111111111111111111111111111111111111111111111111111111111111111"

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
        "{\"events\":[]}",
        "{\"events\":{\"0\":{}}}",
        "{\"events\":{\"0\":[[]]}}",
        "{\"events\":{\"0\":[\"00\"]}}",
        "{\"events\":{\"0\":[[\"00\"]]}}",
        "{\"events\":{\"16\":[]}}",
        "{\"events\":{\"-1\":[]}}",
        "{\"events\":{\"0x1\":[]}}",
        "{\"events\":{\"00\":[]}}",
        "{\"events\":{\"0\":[\"" D1 "\",\"" D1 "\"]}}",
        "{\"events\":{\"0\":[\"" D1 "\"]},\"also\":{\"0\":[\"" D1 "\"]}}",
        "{\"events\":{\"0\":[]},\"firmware\":[]}",
        "{\"events\":{\"9\":[]},\"kernel\":[]}",
        "{\"also\":{\"0\":[[\"" D1 "\"]]}}",
        "{\"also\":{\"24\":[]}}",
        "{\"shim\":[\"" D1 "\"],\"grub\":[\"" D1 "\"]}",
        "{\"refstate\":{}}",
        "{\"refstate\":[]}",
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
    static const char policy[] = "{\"also\":{\"2\":[]}}";
    struct lt_pcrs pcrs;
    uint32_t covers;
    char *text;
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    struct lt_boot_log *l;

    (void)state;
    boot_forge_server(&b, &(struct boot_plan){.dbx = 1});
    boot_forge_pcrs(&b, &pcrs);
    FAILS(LT_E_REFUSED, judge_log(policy, NULL, &pcrs, &err));
    l = lt_boot_log_new((struct lt_slice){0});
    FAILS(LT_E_REFUSED, judge_log(policy, l, &pcrs, &err));
    assert_int_not_equal(lt_boot_policy_learn(l, NULL, &text, &covers, &err), 0);
    lt_boot_log_free(l);
    l = lt_boot_log_new((struct lt_slice){b.p, b.n - 1});
    FAILS(LT_E_MALFORMED, judge_log(policy, l, &pcrs, &err));
    assert_int_not_equal(lt_boot_policy_learn(l, NULL, &text, &covers, &err), 0);
    lt_boot_log_free(l);
    l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    OK(judge_log(policy, l, &pcrs, &err));
    pcrs.value[2][0] ^= 1;
    FAILS(LT_E_REFUSED, judge_log(policy, l, &pcrs, &err));
    lt_boot_log_free(l);
    static const uint8_t old[32] = {0, 0, 0, 0, 8};
    l = lt_boot_log_new((struct lt_slice){old, sizeof old});
    assert_true(l->sha1_only && !l->replay.fault.code);
    assert_int_not_equal(lt_boot_policy_learn(l, NULL, &text, &covers, &err), 0);
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
    /* Each event changed in the log, PCRs following: refused by the policy itself. */
    for (unsigned i = 1; i < l->count; i++) {
        uint8_t *digest = (uint8_t *)raw + (l->event[i].digest[0].value.p - l->bytes);
        digest[5] ^= 1;
        FAILS(LT_E_REFUSED, judge(policy, &b, &err));
        digest[5] ^= 1;
        if (!strstr(err.msg, "boot log event") || !strstr(err.msg, "sha256:"))
            fail_msg("%s event %u: %s", name, i, err.msg);
    }
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
        cmocka_unit_test(learnt),    cmocka_unit_test(coverage),     cmocka_unit_test(order),
        cmocka_unit_test(closed),    cmocka_unit_test(secure_boot),  cmocka_unit_test(floods),
        cmocka_unit_test(archives),  cmocka_unit_test(load_options), cmocka_unit_test(initrds),
        cmocka_unit_test(documents), cmocka_unit_test(goldens),      cmocka_unit_test(logs),
        cmocka_unit_test(ovmf),      cmocka_unit_test(seabios),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
