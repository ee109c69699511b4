/* Keylime's reference state: a real server's, and forged ones with each thing changed. */
#include "appraisal/boot/policy.h"
#include "appraisal/boot/rules.h"
#include "common/limits.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/support/vectors.h"

#include <time.h>

static struct lt_boot_log *log_of(const struct lt_buf *b)
{
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b->p, b->n});
    assert_non_null(l);
    return l;
}

static int judge(const char *policy, const struct lt_buf *b, struct lt_err *e)
{
    struct lt_boot_policy *p;
    struct lt_boot_log *l = log_of(b);
    struct lt_pcrs pcrs;

    boot_forge_pcrs(b, &pcrs);
    int rc = lt_boot_policy_parse(policy, strlen(policy), &p, e);
    if (!rc)
        rc = lt_boot_policy_judge(p, l, &pcrs, e);
    lt_boot_policy_free(p);
    lt_boot_log_free(l);
    return rc;
}

static int judge_plan(const struct boot_plan *plan, const char *policy, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    boot_forge_server(&b, plan);
    return judge(policy, &b, e);
}

/* Each kind of thing measured differently: refused with event, PCR, value. */
static void forged(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        struct boot_plan good = {.secure_boot = on, .dbx = 40};
        LT_AUTOFREE char *policy = boot_forge_refstate(&good);
        const struct {
            struct boot_plan plan;
            const char *says[2];
        } bad[] = {
            {{.secure_boot = !on, .dbx = 40}, {"PCR 7", "secure boot"}},
            {{.secure_boot = on, .dbx = 39}, {"PCR 7", "dbx lacks"}},
            {{.secure_boot = on, .dbx = 40, .firmware = "evil"}, {"PCR 0", "platform_firmware[0]"}},
            {{.secure_boot = on, .dbx = 40, .shim = "evil"}, {"PCR 4", "shim of kernels[0]"}},
            {{.secure_boot = on, .dbx = 40, .grub = "evil"}, {"PCR 4", "grub of kernels[0]"}},
            {{.secure_boot = on, .dbx = 40, .kernel = "evil"}, {on ? "PCR 4" : "PCR 9", "of kernels[0]"}},
            {{.secure_boot = on, .dbx = 40, .initrd = "evil"},
             {"PCR 9", "neither initrd nor vmlinuz of kernels[0]"}},
            {{.secure_boot = on, .dbx = 40, .mok = "evil"}, {"PCR 14", "mokdig"}},
            {{.secure_boot = on, .dbx = 40, .cmdline = "/vmlinuz-6.1 root=/dev/vda1 ro init=/bin/sh"},
             {"PCR 8", "init=/bin/sh"}},
        };
        OK(judge_plan(&good, policy, &err));
        good.dbx = 50; /* a superset is good */
        OK(judge_plan(&good, policy, &err));
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            FAILS(LT_E_REFUSED, judge_plan(&bad[i].plan, policy, &err));
            if (!strstr(err.msg, bad[i].says[0]) || !strstr(err.msg, bad[i].says[1]))
                fail_msg("case %zu: %s", i, err.msg);
        }
    }
}

/* Labels and types are nobody's word: changed, the judgement stays. Text that a digest must prove is another
 * thing. */
static void relabelled(void **state)
{
    static const struct {
        const char *from, *to;
        bool good;
    } labels[] = {
        {"/vmlinuz-6.1\0", "/vmlinux-6.1\0", true},
        {"/initrd.img-6.1", "/EFI/xyz.img-6.1", true},
        {"MokListTrusted", "MokListXrusted", true},
        {"kernel_cmdline: /v", "kernel_cmdlinf: /v", true},
        {"grub_cmd: [ xy", "grub_xmd: [ xy", true},
        {"Calling EFI", "Calling XXX", true},
        {"kernel_cmdline: /v", "grub_cmd: line /v", false},
        {"kernel_cmdline: /vm", "kernel_cmdline: /vn", false},
        {"grub_cmd: [ xy", "grub_cmd: [ xz", false},
    };
    struct boot_plan plan = {.secure_boot = true, .dbx = 4};
    LT_AUTOFREE char *policy = boot_forge_refstate(&plan);
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);

    (void)state;
    boot_forge_server(&b, &plan);
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        uint8_t *at = memmem(b.p, b.n, labels[i].from, strlen(labels[i].from));
        assert_non_null(at);
        memcpy(at, labels[i].to, strlen(labels[i].from));
        if ((judge(policy, &b, &err) == 0) != labels[i].good)
            fail_msg("%s: %s", labels[i].to, err.msg);
        memcpy(at, labels[i].from, strlen(labels[i].from));
    }
    OK(judge(policy, &b, &err));
    /* The value of SecureBoot, said to be on with the digest of off. */
    LT_AUTOBUF struct lt_buf off = LT_BUF(1u << 20);
    plan.secure_boot = false;
    boot_forge_server(&off, &plan);
    uint8_t *at = memmem(off.p, off.n, "B\0o\0o\0t\0", 8);
    assert_non_null(at);
    assert_int_equal(at[8], 0);
    at[8] = 1;
    FAILS(LT_E_REFUSED, judge(policy, &off, &err));
    assert_non_null(strstr(err.msg, "secure boot is off, only on is accepted"));
    /* What was wanted, extended behind the separator. */
    LT_AUTOBUF struct lt_buf late = LT_BUF(1u << 20);
    uint8_t on = 1;
    boot_forge_server(&late, &(struct boot_plan){.secure_boot = true, .dbx = 4});
    boot_forge_variable(&late, LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG, lt_boot_guid_global, "SecureBoot", &on,
                        1);
    FAILS(LT_E_REFUSED, judge(policy, &late, &err));
    assert_non_null(strstr(err.msg, "behind the separator"));
}

/* Commands that grub measured: those that start nothing unmeasured, with the text beside them; what hands a
 * kernel its command line only with an accepted one. */
static void commands(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } more[] = {
        {"set default=0", true},
        {"initrd /initrd.img", true},
        {"linux /vmlinuz-6.1 root=/dev/vda1 ro", true},
        {"linuxefi /vmlinuz-6.1 root=/dev/vda1 ro", true},
        {"linux /vmlinuz-6.1 root=/dev/vda1 ro init=/evil", false},
        {"linux16 /vmlinuz-6.1 root=/dev/vda1 ro", false},
        {"linux", false},
        {"chainloader /vmlinuz-6.1 init=/evil", false},
        {"write_dword 0 1", false},
        {"/vmlinuz-6.1 root=/dev/vda1 ro", true},
        {"/vmlinuz-6.1 root=/dev/vda1 ro ima=off", false},
        {"ima=off init=/evil", false},
        {"settle x", false},
        {"", false},
    };
    struct boot_plan plan = {.secure_boot = true, .dbx = 1};
    LT_AUTOFREE char *policy = boot_forge_refstate(&plan);

    (void)state;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20), label = LT_BUF(4096);
        uint8_t digest[32];
        boot_forge_server(&b, &plan);
        lt_buf_printf(&label, "grub_cmd: %s", more[i].text);
        lt_sha256(more[i].text, strlen(more[i].text), digest);
        boot_forge_event(&b, 8, LT_BOOT_EV_IPL, digest, label.p, label.n);
        if ((judge(policy, &b, &err) == 0) != more[i].good)
            fail_msg("%s: %s", more[i].text, err.msg);
        boot_forge_event(&b, 8, LT_BOOT_EV_IPL, digest, "grub_cmd: set x=y", 17); /* not its text */
        FAILS(LT_E_REFUSED, judge(policy, &b, &err));
        if (more[i].good)
            assert_non_null(strstr(err.msg, "not the digest of the text beside it"));
    }
}

/* A boot policy of ours carries a reference state and names what that has no words for. */
static void carried(void **state)
{
    static const struct {
        const char *also;
        uint32_t covers;
        bool good; /* two events of PCR 0 and one of PCR 9 besides */
    } docs[] = {
        {"", 0x4195, false},
        {",\"also\":{\"0\":[\"@1\",\"@2\"],\"9\":[\"@3\",\"@4\"]}", 0x4395, true},
        {",\"also\":{\"0\":[\"@1\",\"@2\"],\"9\":[\"@3\",\"@4\"],\"12\":[]}", 0x5395, true},
        {",\"also\":{\"0\":[\"@1\",\"@2\"],\"9\":[\"@3\",\"@4\"]},\"events\":{\"11\":[]}", 0x4b95, true},
        {",\"also\":{\"0\":[\"@1\",\"@2\"],\"9\":[\"@3\"]}", 0x4395, false},
        {",\"also\":{\"0\":[\"@1\",\"@2\"],\"9\":[]}", 0x4395, false},
        {",\"also\":{\"0\":[\"@1\"],\"9\":[\"@3\",\"@4\"]}", 0x4395, false},
        {",\"also\":{\"1\":[\"@1\",\"@2\"],\"9\":[\"@3\",\"@4\"]}", 0x4397, false},
    };
    static const char *const names[] = {"acpi 1", "acpi 2", "grub.cfg", "vmlinuz"};
    struct boot_plan plan = {.secure_boot = true, .grub_files = true, .dbx = 1};
    LT_AUTOFREE char *refstate = boot_forge_refstate(&plan);
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    char hex[4][65];
    uint8_t digest[32];

    (void)state;
    boot_forge_server(&b, &plan);
    for (int i = 0; i < 4; i++) {
        lt_sha256(names[i], strlen(names[i]), digest);
        lt_hex(digest, 32, hex[i]);
        if (i < 2)
            boot_forge_event(&b, 0, LT_BOOT_EV_POST_CODE, digest, "ACPI DATA", 9);
    }
    for (size_t i = 0; i < sizeof docs / sizeof *docs; i++) {
        LT_AUTOBUF struct lt_buf doc = LT_BUF(1u << 20);
        struct lt_boot_policy *p;
        lt_buf_printf(&doc, "{\"refstate\":%s", refstate);
        for (const char *c = docs[i].also; *c; c++) /* @N: digest N */
            if (*c == '@')
                lt_buf_str(&doc, hex[*++c - '1']);
            else
                lt_buf_u8(&doc, (uint8_t)*c);
        lt_buf_put(&doc, "}", 2);
        OK(lt_boot_policy_parse(doc.p, doc.n - 1, &p, &err));
        assert_int_equal(lt_boot_policy_covers(p), docs[i].covers);
        lt_boot_policy_free(p);
        if ((judge((char *)doc.p, &b, &err) == 0) != docs[i].good)
            fail_msg("document %zu: %s", i, err.msg);
    }
    static const char *const bad[] = {",\"events\":{\"0\":[]}", ",\"secure_boot\":true", ",\"initrd\":[]",
                                      ",\"cmdline\":[\".*\"]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        LT_AUTOBUF struct lt_buf doc = LT_BUF(1u << 20);
        struct lt_boot_policy *p;
        lt_buf_printf(&doc, "{\"refstate\":%s%s}", refstate, bad[i]);
        FAILS(LT_E_MALFORMED, lt_boot_policy_parse(doc.p, doc.n, &p, &err));
    }
}

/* Anything more than was expected. */
static void additions(void **state)
{
    static const struct {
        uint32_t pcr, type;
        const char *data;
    } more[] = {
        {0, LT_BOOT_EV_EFI_PLATFORM_FIRMWARE_BLOB, "x"},
        {0, LT_BOOT_EV_S_CRTM_VERSION, "x"},
        {0, LT_BOOT_EV_IPL, "x"},
        {2, LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION, "x"},
        {4, LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION, "x"},
        {4, LT_BOOT_EV_EFI_ACTION, "x"},
        {4, LT_BOOT_EV_EFI_BOOT_SERVICES_DRIVER, "x"},
        {4, LT_BOOT_EV_SEPARATOR, "\1\0\0"},
        {7, LT_BOOT_EV_SEPARATOR, "\0\0\0"},
        {7, LT_BOOT_EV_EFI_ACTION, "UEFI Debug Mode"},
        {8, LT_BOOT_EV_IPL, "kernel_cmdline: x"},
        {9, LT_BOOT_EV_IPL, "/initrd2"},
        {9, LT_BOOT_EV_IPL, "/vmlinuz2"},
        {9, LT_BOOT_EV_IPL, "/other"},
        {9, LT_BOOT_EV_ACTION, "/grub"},
        {14, LT_BOOT_EV_IPL, "MokList"},
        {14, LT_BOOT_EV_IPL, "MokListTrusted"},
        {14, LT_BOOT_EV_EVENT_TAG, "x"},
    };
    struct boot_plan plan = {.secure_boot = true, .dbx = 1};
    LT_AUTOFREE char *policy = boot_forge_refstate(&plan);

    (void)state;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
        boot_forge_server(&b, &plan);
        boot_forge_event(&b, more[i].pcr, more[i].type, NULL, more[i].data,
                         more[i].type == LT_BOOT_EV_SEPARATOR ? 4 : strlen(more[i].data));
        if (judge(policy, &b, &err) != LT_E_REFUSED)
            fail_msg("case %zu: PCR %u type 0x%x passes", i, more[i].pcr, more[i].type);
    }
}

/* What shim verified grub with, and variables that are measured twice or are none. */
static void variables(void **state)
{
    static const uint8_t owner[16] = {0xbd, 0x9a, 0xfa, 0x77, 0x59, 0x03, 0x32, 0x4d,
                                      0xbd, 0x60, 0x28, 0xf4, 0xe7, 0x8f, 0x78, 0x4b};
    struct boot_plan plan = {.secure_boot = true, .dbx = 2};
    LT_AUTOFREE char *plain = boot_forge_refstate(&plan);
    LT_JSON_AUTO json_t *o = lt_json_parse(plain, strlen(plain), 1 << 20, &err);
    uint8_t one[16 + 8] = {0};

    (void)state;
    json_object_set_new(o, "vendor_db",
                        json_pack("[{s:s, s:s}]", "SignatureOwner", "77fa9abd-0359-4d32-bd60-28f4e78f784b",
                                  "SignatureData", "0x0102030405060708"));
    LT_AUTOFREE char *policy = lt_json_dump(o);
    memcpy(one, owner, 16);
    for (uint8_t i = 0; i < 8; i++)
        one[16 + i] = (uint8_t)(i + 1);
    for (int way = 0; way < 8; way++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20), keys = LT_BUF(1024);
        boot_forge_server(&b, &plan);
        one[23] = way == 1 || way == 7 ? 9 : 8;
        if (way < 2 ||
            way > 5) { /* the one signature, known and not; shim 15.8 has it under the other GUID */
            boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY,
                                way < 2 ? lt_guid_shim : lt_guid_security, "vendor_db", one, sizeof one);
        } else if (way == 2) { /* a list of unknown ones */
            boot_forge_keys(&keys, lt_boot_guid_x509, 1, 40, 1);
            boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY, lt_guid_shim, "vendor_db", keys.p,
                                keys.n);
        } else if (way == 3) { /* cut in its signature */
            boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY, lt_guid_shim, "vendor_db", one, 12);
        } else if (way == 4) { /* by another vendor's name */
            boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY, lt_boot_guid_global, "vendor_db", one,
                                sizeof one);
        } else { /* known, but its digest is another's */
            boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY, lt_guid_shim, "vendor_db", one,
                                sizeof one);
            b.p[b.n - 1] = 9;
            one[23] = 9;
        }
        int rc = judge(policy, &b, &err);
        if ((rc != 0) != (way != 0 && way != 6))
            fail_msg("way %d: %d %s", way, rc, err.msg);
        FAILS(LT_E_REFUSED, judge(plain, &b, &err)); /* which has no words for it */
    }
    /* PK twice, a stranger, a list that is cut, a key of digests where certificates are. */
    static const char *const says[] = {"measured before", "'stranger'", "EFI signature list", "not in pk"};
    for (int way = 0; way < 4; way++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20), keys = LT_BUF(65536);
        uint8_t on = 1, digest[32];
        boot_forge_begin(&b);
        lt_sha256("crtm", 4, digest);
        boot_forge_event(&b, 0, LT_BOOT_EV_S_CRTM_VERSION, digest, "v", 1);
        lt_sha256("firmware", 8, digest);
        boot_forge_event(&b, 0, LT_BOOT_EV_EFI_PLATFORM_FIRMWARE_BLOB2, digest, "v", 1);
        boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG, lt_boot_guid_global, "SecureBoot", &on,
                            1);
        boot_forge_keys(&keys, way == 3 ? lt_guid_sha256 : lt_boot_guid_x509, 1, 1200, 1);
        for (int i = 0; i < 2; i++)
            boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG, lt_boot_guid_global,
                                way == 1 ? "stranger" : "PK", keys.p, keys.n - (way == 2));
        for (uint32_t i = 0; i < 8; i++)
            boot_forge_event(&b, i, LT_BOOT_EV_SEPARATOR, NULL, "\0\0\0\0", 4);
        FAILS(LT_E_REFUSED, judge(plain, &b, &err));
        if (!strstr(err.msg, says[way]))
            fail_msg("way %d: %s", way, err.msg);
    }
}

/* shim up to 15 logs more bytes than its variable has, and measures all but the last of them; twice. */
static void old_shim(void **state)
{
    struct boot_plan plan = {.secure_boot = true, .dbx = 2};
    LT_AUTOFREE char *policy = boot_forge_refstate(&plan);

    (void)state;
    for (int way = 0; way < 7; way++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20), v = LT_BUF(4096);
        const char *name = way == 4 ? "Stranger" : "Shim";
        uint8_t digest[32];
        size_t tail = way == 5 ? 1 : 6;
        boot_forge_server(&b, &plan);
        lt_buf_put(&v, lt_guid_shim, 16);
        for (int i = 0; i < 16; i++)
            lt_buf_u8(&v, (uint8_t)(i == 0 ? strlen(name) : i == 8 ? 9 : 0));
        for (const char *c = name; *c; c++) {
            lt_buf_u8(&v, (uint8_t)*c);
            lt_buf_u8(&v, 0);
        }
        lt_buf_put(&v, "its 9 key\1\2\3\4\5\6", 9 + tail);
        lt_sha256(v.p, v.n - (way == 2 ? 2 : way != 1), digest); /* 1: all of it, 2: not as shim does */
        if (way == 3)
            v.p[v.n - 8] ^= 1;
        if (way == 6) { /* before the separator */
            uint8_t *separator = memmem(b.p, b.n, "\7\0\0\0\4\0\0\0", 8);
            LT_AUTOBUF struct lt_buf front = LT_BUF(1u << 20);
            assert_non_null(separator);
            lt_buf_put(&front, b.p, (size_t)(separator - b.p));
            boot_forge_event(&front, 7, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY, digest, v.p, v.n);
            lt_buf_put(&front, separator, b.n - (size_t)(separator - b.p));
            FAILS(LT_E_REFUSED, judge(policy, &front, &err));
            continue;
        }
        for (int i = 0; i < 2; i++)
            boot_forge_event(&b, 7, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY, digest, v.p, v.n);
        if ((judge(policy, &b, &err) == 0) != (way < 2 || way == 5))
            fail_msg("way %d: %s", way, err.msg);
    }
}

/* Both byte orders of an owner; vendor_db; and documents that are none. */
static void documents(void **state)
{
    static const char *const drop[] = {"kernels", "scrtm_and_bios", "pk",     "kek", "db",
                                       "dbx",     "mokdig",         "mokxdig"};
    struct boot_plan plan = {.dbx = 2};
    LT_AUTOFREE char *policy = boot_forge_refstate(&plan);
    struct lt_boot_policy *p;

    (void)state;
    char *owner = policy;
    while ((owner = strstr(owner, "77fa9abd-0359-4d32")))
        memcpy(owner, "bd9afa77-5903-324d", 18);
    OK(judge_plan(&plan, policy, &err));
    owner = strstr(policy, "bd9afa77");
    owner[0] = 'a';
    FAILS(LT_E_REFUSED, judge_plan(&plan, policy, &err));
    owner[0] = 'b';
    OK(lt_boot_policy_parse(policy, strlen(policy), &p, &err));
    assert_int_equal(lt_boot_policy_pcrs(p), 0x43ff);
    lt_boot_policy_free(p);
    for (size_t i = 0; i < sizeof drop / sizeof *drop; i++) {
        LT_JSON_AUTO json_t *o = lt_json_parse(policy, strlen(policy), 1 << 20, &err);
        json_object_del(o, drop[i]);
        LT_AUTOFREE char *less = lt_json_dump(o);
        FAILS(LT_E_MALFORMED, lt_boot_policy_parse(less, strlen(less), &p, &err));
        assert_non_null(strstr(err.msg, drop[i]));
        json_object_set_new(o, drop[i], json_array());
        LT_AUTOFREE char *empty = lt_json_dump(o);
        int rc = judge_plan(&plan, empty, &err); /* secure boot off and no keys: those are not judged */
        assert_int_equal(rc, i >= 2 && i <= 5 ? 0 : LT_E_REFUSED);
    }
    char *hex = strstr(policy, "\"0x");
    hex[2] = 'X';
    FAILS(LT_E_MALFORMED, lt_boot_policy_parse(policy, strlen(policy), &p, &err));
    hex[2] = 'x';
    hex[3] = 'A';
    FAILS(LT_E_MALFORMED, lt_boot_policy_parse(policy, strlen(policy), &p, &err));
}

/* The cases of public reports, each under what is learnt from it or from another, and under a reference
 * state. */
static void cases(void **state)
{
    static const struct {
        const char *log, *learnt, *refstate;
        bool good[2];
    } all[] = {
        {"boot-base.bin", "boot-base.bin", "refstate-base.json", {true, true}},
        {"boot-evil-post-code.bin", "boot-base.bin", "refstate-base.json", {false, false}},
        {"boot-el8.bin", "boot-el8.bin", "refstate-base.json", {true, true}},
        {"boot-el8-cmdline.bin", "boot-el8.bin", "refstate-base.json", {false, false}},
        {"boot-sdboot.bin", "boot-sdboot.bin", NULL, {true, true}},
        {"boot-sdboot-cmdline.bin", "boot-sdboot.bin", NULL, {false, false}},
        {"boot-old-shim.bin", "boot-old-shim.bin", "refstate-base.json", {true, true}},
        {"boot-vendor-db.bin", "boot-vendor-db.bin", "refstate-vendor-db.json", {true, true}},
        {"boot-vendor-db.bin", "boot-base.bin", "refstate-base.json", {false, false}},
        {"boot-hcrtm.bin", "boot-hcrtm.bin", "refstate-base.json", {true, false}},
        {"boot-fewer-digests.bin", "boot-base.bin", "refstate-base.json", {true, true}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[3][80];
        size_t n[3];
        uint32_t covers;
        char *text;
        snprintf(name[0], sizeof name[0], "cases/%s", all[i].log);
        snprintf(name[1], sizeof name[1], "cases/%s", all[i].learnt);
        snprintf(name[2], sizeof name[2], "cases/%s",
                 all[i].refstate ? all[i].refstate : "refstate-base.json");
        LT_AUTOFREE uint8_t *log = lt_vector_read(name[0], &n[0]), *from = lt_vector_read(name[1], &n[1]),
                            *refstate = lt_vector_read(name[2], &n[2]);
        struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){from, n[1]});
        OK(lt_boot_policy_learn(l, NULL, &text, &covers, &err));
        lt_boot_log_free(l);
        struct lt_buf b = {.p = log, .n = n[0]};
        bool learnt = !judge(text, &b, &err),
             state_is = !all[i].refstate || !judge((char *)refstate, &b, &err);
        free(text);
        if (learnt != all[i].good[0] || (all[i].refstate && state_is != all[i].good[1]))
            fail_msg("%s: %d %d: %s", all[i].log, learnt, state_is, err.msg);
    }
}

/* ---- the real one ---- */

/* Changes the digit behind the n-th "0x" from at; NULL: there are no more. */
static char *next_hex(char *at)
{
    at = strstr(at, "\"0x");
    return at ? at + 3 : NULL;
}

/* The events of this log that its reference state has no words for: ACPI tables in PCR 0, option ROMs in PCR
 * 2, three commands of grub, and the files that grub read for itself. */
static void carry(const struct lt_boot_log *l, const char *refstate, struct lt_buf *doc)
{
    static const unsigned more[] = {11, 12, 13, 14, 16, 19, 88, 92, 119, 68, 72, 73, 74, 75, 77, 79, 117};
    uint32_t pcr = 99;
    char hex[65];

    lt_buf_printf(doc, "{\"refstate\":");
    lt_buf_str(doc, refstate);
    lt_buf_str(doc, ",\"also\":{");
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        const struct lt_boot_event *ev = &l->event[more[i]];
        lt_hex(lt_boot_digest(ev, LT_HASH_SHA256), 32, hex);
        if (ev->pcr != pcr)
            lt_buf_printf(doc, "%s\"%u\":[\"%s\"", i ? "]," : "", ev->pcr, hex);
        else
            lt_buf_printf(doc, ",\"%s\"", hex);
        pcr = ev->pcr;
    }
    lt_buf_str(doc, "]}}");
    lt_buf_u8(doc, 0);
}

static void real(void **state)
{
    const char *log_path = vector_third_party("hpe/uefi_log.txt"),
               *state_path = vector_third_party("hpe/uefi_refstate.json");
    size_t n, policy_n, changed = 0;
    LT_AUTOFREE uint8_t *text = NULL, *policy = NULL, *raw = NULL;
    uint8_t aggregate[2][LT_MAX_DIGEST], ima[32];
    struct lt_pcrs pcrs;
    struct lt_boot_policy *p;

    (void)state;
    OK(lt_file_read(log_path, VECTOR_MAX, &text, &n, &err));
    OK(lt_file_read(state_path, VECTOR_MAX, &policy, &policy_n, &err));
    while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    size_t raw_n;
    OK(lt_unbase64((char *)text, n, LT_MAX_BOOT_LOG, &raw, &raw_n, &err));
    struct lt_buf b = {.p = raw, .n = raw_n};
    boot_forge_pcrs(&b, &pcrs);
    struct lt_boot_log *l = log_of(&b);
    assert_int_equal(l->count, 153);
    assert_int_equal(l->event[0].digest_count, 1);
    assert_int_equal(l->event[152].digest_count, 2);
    /* The server's own kernel computed this from its PCRs: hpe/ima_log.txt, line 1. */
    OK(lt_unhex("93138abe41fbbfb38443973142644c6a1439fb9277afa0203b1b06ce6d07422f", ima, 32, &err));
    assert_int_equal(lt_boot_aggregate(&l->replay, LT_HASH_SHA256, aggregate), 2);
    assert_memory_equal(aggregate[1], ima, 32);
    assert_int_equal(lt_boot_aggregate(&l->replay, LT_HASH_SHA1, aggregate), 0);
    /* By itself it has no words for two events of PCR 0, and some of 2, 8 and 9: a policy names them. */
    OK(lt_boot_policy_parse(policy, policy_n, &p, &err));
    FAILS(LT_E_REFUSED, lt_boot_policy_judge(p, l, &pcrs, &err));
    assert_non_null(strstr(err.msg, "event 11 (PCR 0, EV_POST_CODE): sha256:b2b68168be057b85"));
    lt_boot_policy_free(p);
    LT_AUTOBUF struct lt_buf doc = LT_BUF(LT_MAX_BOOT_POLICY);
    carry(l, (char *)policy, &doc);
    OK(lt_boot_policy_parse(doc.p, doc.n - 1, &p, &err));
    OK(lt_boot_policy_judge(p, l, &pcrs, &err));
    for (unsigned i = 0; i < 15; i++) { /* each judged PCR missing, and of another value */
        int want = i < 10 || i == 14 ? LT_E_REFUSED : 0;
        pcrs.mask ^= 1u << i;
        assert_int_equal(lt_boot_policy_judge(p, l, &pcrs, &err), want);
        pcrs.mask ^= 1u << i;
        pcrs.value[i][0] ^= 1;
        assert_int_equal(lt_boot_policy_judge(p, l, &pcrs, &err), want);
        pcrs.value[i][0] ^= 1;
    }
    lt_boot_policy_free(p);
    /* Every digest and key of the reference state changed, one after the other. Keys: their last digit. */
    for (char *at = (char *)doc.p; (at = next_hex(at)); changed++) {
        char *digit = strchr(at, '"') - 1, old = *digit;
        *digit = old == '0' ? '1' : '0';
        OK(lt_boot_policy_parse(doc.p, doc.n - 1, &p, &err));
        FAILS(LT_E_REFUSED, lt_boot_policy_judge(p, l, &pcrs, &err));
        if (!strstr(err.msg, "boot log event") || !strstr(err.msg, "PCR"))
            fail_msg("hex %zu: %s", changed, err.msg);
        if (changed < 4 || changed > 608)
            print_message("%s\n", err.msg);
        lt_boot_policy_free(p);
        *digit = old;
    }
    assert_true(changed > 600);
    print_message("%zu digests and keys changed, each refused\n", changed);
    lt_boot_log_free(l);
}

/* As many kernels as a reference state may have; of the last, nothing fits. */
static char *many_kernels(const struct boot_plan *plan)
{
    LT_AUTOFREE char *one = boot_forge_refstate(plan);
    LT_JSON_AUTO json_t *o = json_loads(one, 0, NULL);
    json_t *kernels = json_object_get(o, "kernels"), *kernel = json_array_get(kernels, 0);
    char none[67] = "0x";

    memset(none + 2, '0', 64);
    json_object_set_new(kernel, "initrd_plain_sha256", json_string(none));
    while (json_array_size(kernels) < LT_MAX_BOOT_CHOICES)
        json_array_append(kernels, kernel);
    return lt_json_dump(o);
}

static void long_line(struct lt_buf *b, int i, uint8_t options[LT_SHA256])
{
    LT_AUTOBUF struct lt_buf label = LT_BUF(65536), wide = LT_BUF(65536);
    char line[8000];
    size_t n = (size_t)snprintf(line, sizeof line, "/vmlinuz-6.1 root=%07000d ro", i);

    lt_buf_printf(&label, "kernel_cmdline: %s", line);
    lt_buf_u8(&label, 0);
    boot_forge_label(b, 8, (const char *)label.p, line);
    for (size_t k = 0; k < n; k++) {
        lt_buf_u8(&wide, (uint8_t)line[k]);
        lt_buf_u8(&wide, 0);
    }
    lt_sha256(wide.p, wide.n, options);
}

/* What a log's lines cost is paid once, not for each kernel and each file again. */
static void floods(void **state)
{
    const struct boot_plan plan = {.dbx = 1};
    LT_AUTOFREE char *policy = many_kernels(&plan);
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    uint8_t options[LT_SHA256];

    (void)state;
    boot_forge_server(&b, &(struct boot_plan){.dbx = 1, .initrd = "kernel"}); /* no initrd is found */
    for (int i = 0; i < 29; i++)
        long_line(&b, i, options);
    for (int i = 0; i < 29; i++)
        boot_forge_event(&b, 9, LT_BOOT_EV_EVENT_TAG, options, "options", 7);
    clock_t before = clock();
    FAILS(LT_E_REFUSED, judge(policy, &b, &err));
    assert_non_null(strstr(err.msg, "no initrd was measured"));
    double s = (double)(clock() - before) / CLOCKS_PER_SEC;
    print_message("%d kernels, %zu bytes of log: %.2f s\n", LT_MAX_BOOT_CHOICES, b.n, s);
    assert_true(s < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forged),    cmocka_unit_test(relabelled), cmocka_unit_test(additions),
        cmocka_unit_test(documents), cmocka_unit_test(commands),   cmocka_unit_test(carried),
        cmocka_unit_test(variables), cmocka_unit_test(old_shim),   cmocka_unit_test(cases),
        cmocka_unit_test(floods),    cmocka_unit_test(real)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
