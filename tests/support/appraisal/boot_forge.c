#include "tests/support/appraisal/boot_forge.h"

#include "common/json.h"

#include <stdlib.h>
#include <string.h>

#define CMDLINE "/vmlinuz-6.1 root=/dev/vda1 ro"

static void le(struct lt_buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        lt_buf_u8(b, (uint8_t)(v >> 8 * i));
}

static void zeros(struct lt_buf *b, size_t n)
{
    while (n--)
        lt_buf_u8(b, 0);
}

void boot_forge_begin(struct lt_buf *b)
{
    le(b, 0, 4);
    le(b, 3, 4);
    zeros(b, 20);
    le(b, 33, 4);
    lt_buf_put(b, "Spec ID Event03", 16);
    lt_buf_put(b, "\0\0\0\0\0\2\0\2", 8);
    le(b, 1, 4);
    le(b, LT_HASH_SHA256, 2);
    le(b, 32, 2);
    lt_buf_u8(b, 0);
}

void boot_forge_event(struct lt_buf *b, uint32_t pcr, uint32_t type, const uint8_t *digest, const void *data,
                      size_t n)
{
    uint8_t own[LT_SHA256];

    lt_sha256(data, n, own);
    le(b, pcr, 4);
    le(b, type, 4);
    le(b, 1, 4);
    le(b, LT_HASH_SHA256, 2);
    lt_buf_put(b, digest ? digest : own, sizeof own);
    le(b, n, 4);
    lt_buf_put(b, data, n);
}

static void digest_of(const char *what, uint8_t out[LT_SHA256])
{
    lt_sha256(*what ? what : "\1", *what ? strlen(what) : 1, out);
}

static void measured(struct lt_buf *b, uint32_t pcr, uint32_t type, const char *what, const void *data,
                     size_t n)
{
    uint8_t digest[LT_SHA256];
    digest_of(what, digest);
    boot_forge_event(b, pcr, type, digest, data, n);
}

void boot_forge_label(struct lt_buf *b, uint32_t pcr, const char *label, const char *what)
{
    measured(b, pcr, LT_BOOT_EV_IPL, what, label, strlen(label) + 1);
}

static void variable(struct lt_buf *b, uint32_t pcr, uint32_t type, const uint8_t guid[16], const char *name,
                     const void *data, size_t n)
{
    LT_AUTOBUF struct lt_buf v = LT_BUF(1u << 20);

    lt_buf_put(&v, guid, 16);
    le(&v, strlen(name), 8);
    le(&v, n, 8);
    for (const char *c = name; *c; c++)
        le(&v, (uint8_t)*c, 2);
    lt_buf_put(&v, data, n);
    boot_forge_event(b, pcr, type, NULL, v.p, v.n);
}

void boot_forge_variable(struct lt_buf *b, uint32_t type, const uint8_t guid[16], const char *name,
                         const void *data, size_t n)
{
    variable(b, 7, type, guid, name, data, n);
}

static const uint8_t owner[16] = {0xbd, 0x9a, 0xfa, 0x77, 0x59, 0x03, 0x32, 0x4d,
                                  0xbd, 0x60, 0x28, 0xf4, 0xe7, 0x8f, 0x78, 0x4b};

static void key(struct lt_buf *b, unsigned i, size_t n, uint8_t seed)
{
    lt_buf_u8(b, (uint8_t)(seed + i));
    lt_buf_u8(b, (uint8_t)(i >> 8));
    zeros(b, n - 2);
}

void boot_forge_keys(struct lt_buf *b, const uint8_t type[16], unsigned count, size_t n, uint8_t seed)
{
    lt_buf_put(b, type, 16);
    le(b, 28 + (uint64_t)count * (16 + n), 4);
    le(b, 0, 4);
    le(b, 16 + n, 4);
    for (unsigned i = 0; i < count; i++) {
        lt_buf_put(b, owner, sizeof owner);
        key(b, i, n, seed);
    }
}

static const char * or (const char *given, const char *usual)
{
    return given ? given : usual;
}

static const struct {
    const char *name;
    const uint8_t *guid, *type;
    unsigned count;
    size_t n;
    uint8_t seed;
} variables[] = {{"PK", lt_boot_guid_global, lt_boot_guid_x509, 1, 1200, 1},
                 {"KEK", lt_boot_guid_global, lt_boot_guid_x509, 2, 1300, 10},
                 {"db", lt_guid_security, lt_boot_guid_x509, 4, 1400, 20},
                 {"dbx", lt_guid_security, lt_guid_sha256, 0, 32, 30}};

static void loader(struct lt_buf *b, const struct boot_plan *plan)
{
    static const uint8_t tags[2][8] = {{0xed, 0x22, 0x3b, 0x8f, 4, 0, 0, 0},
                                       {0xec, 0x22, 0x3b, 0x8f, 0, 0, 0, 0}};
    const char *cmdline = or (plan->cmdline, CMDLINE);
    LT_AUTOBUF struct lt_buf label = LT_BUF(65536), wide = LT_BUF(65536);
    uint8_t digest[LT_SHA256];

    if (plan->grub_files)
        boot_forge_label(b, 9, "(hd0,gpt1)/EFI/debian/grub.cfg", "grub.cfg");
    for (int i = 0; i < 60; i++)
        boot_forge_label(b, 8, "grub_cmd: [ xy = xy ]", "[ xy = xy ]");
    /* PCR 4 has its Authenticode digest then. */
    boot_forge_label(b, 9, "/vmlinuz-6.1", plan->secure_boot ? "vmlinuz" : or (plan->kernel, "kernel"));
    lt_buf_str(&label, "kernel_cmdline: ");
    lt_buf_put(&label, cmdline, strlen(cmdline) + 1);
    boot_forge_label(b, 8, (const char *)label.p, cmdline);
    boot_forge_label(b, 9, "/initrd.img-6.1", or (plan->initrd, "initrd"));
    for (const char *c = cmdline; *c; c++)
        le(&wide, (uint8_t)*c, 2);
    lt_sha256(wide.p, wide.n, digest);
    boot_forge_event(b, 9, LT_BOOT_EV_EVENT_TAG, digest, "\xed\x22\x3b\x8f\x04\0\0\0Load", 12);
    measured(b, 9, LT_BOOT_EV_EVENT_TAG, or (plan->initrd, "initrd"), tags[1], 8);
}

void boot_forge_server(struct lt_buf *b, const struct boot_plan *plan)
{
    static const uint8_t image[32];
    uint8_t on = plan->secure_boot;

    boot_forge_begin(b);
    measured(b, 0, LT_BOOT_EV_S_CRTM_VERSION, "crtm", "v\0001", 4);
    measured(b, 0, LT_BOOT_EV_EFI_PLATFORM_FIRMWARE_BLOB, or (plan->firmware, "firmware"), image, 16);
    boot_forge_variable(b, LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG, lt_boot_guid_global, "SecureBoot", &on, 1);
    for (size_t i = 0; i < 4; i++) {
        LT_AUTOBUF struct lt_buf keys = LT_BUF(1u << 20);
        boot_forge_keys(&keys, variables[i].type, i == 3 ? plan->dbx : variables[i].count, variables[i].n,
                        variables[i].seed);
        boot_forge_variable(b, LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG, variables[i].guid, variables[i].name,
                            keys.p, keys.n);
    }
    boot_forge_event(b, 7, LT_BOOT_EV_SEPARATOR, NULL, "\0\0\0\0", 4);
    for (int i = 0; i < 30; i++)
        variable(b, 1, 0x80000002, lt_boot_guid_global, "Boot0001", "a boot entry of some length, as it is",
                 36);
    boot_forge_event(b, 4, LT_BOOT_EV_EFI_ACTION, NULL, "Calling EFI Application from Boot Option", 40);
    for (uint32_t i = 0; i < 7; i++)
        boot_forge_event(b, i, LT_BOOT_EV_SEPARATOR, NULL, "\0\0\0\0", 4);
    measured(b, 4, LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION, or (plan->shim, "shim"), image, 32);
    boot_forge_label(b, 14, "MokList", or (plan->mok, "mok"));
    boot_forge_label(b, 14, "MokListX", "mokx");
    boot_forge_variable(b, LT_BOOT_EV_EFI_VARIABLE_AUTHORITY, lt_guid_shim, "SbatLevel", "sbat,1", 6);
    boot_forge_label(b, 14, "MokListTrusted", "");
    measured(b, 4, LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION, or (plan->grub, "grub"), image, 32);
    if (plan->secure_boot)
        measured(b, 4, LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION, or (plan->kernel, "kernel"), image, 32);
    loader(b, plan);
    boot_forge_event(b, 5, LT_BOOT_EV_EFI_ACTION, NULL, "Exit Boot Services Invocation", 29);
}

static json_t *hex0x(const char *what)
{
    uint8_t d[LT_SHA256];
    char s[3 + 2 * LT_SHA256] = "0x";

    digest_of(what, d);
    lt_hex(d, sizeof d, s + 2);
    return json_string(s);
}

char *boot_forge_refstate(const struct boot_plan *plan)
{
    static const char *const names[] = {"pk", "kek", "db", "dbx"};
    LT_JSON_AUTO json_t *o = json_pack(
        "{s:b, s:[{s:{s:o}, s:[{s:o}]}], s:[{s:o}], s:[{s:o}]}", "has_secureboot", plan->secure_boot,
        "scrtm_and_bios", "scrtm", "sha256", hex0x("crtm"), "platform_firmware", "sha256", hex0x("firmware"),
        "mokdig", "sha256", hex0x("mok"), "mokxdig", "sha256", hex0x("mokx"));

    for (size_t i = 0; i < 4; i++) {
        json_t *list = json_array();
        for (unsigned k = 0; k < (i == 3 ? plan->dbx : variables[i].count); k++) {
            LT_AUTOBUF struct lt_buf raw = LT_BUF(4096);
            char hex[2 * 4096 + 3] = "0x";
            key(&raw, k, variables[i].n, variables[i].seed);
            lt_hex(raw.p, raw.n, hex + 2);
            json_array_append_new(list,
                                  json_pack("{s:s, s:s}", "SignatureOwner",
                                            "77fa9abd-0359-4d32-bd60-28f4e78f784b", "SignatureData", hex));
        }
        json_object_set_new(o, names[i], list);
    }
    json_object_set_new(o, "kernels",
                        json_pack("[{s:o, s:o, s:o, s:o, s:s}]", "shim_authcode_sha256", hex0x("shim"),
                                  "grub_authcode_sha256", hex0x("grub"),
                                  plan->secure_boot ? "kernel_authcode_sha256" : "vmlinuz_plain_sha256",
                                  hex0x("kernel"), "initrd_plain_sha256", hex0x("initrd"), "kernel_cmdline",
                                  "/vmlinuz-[0-9.]+ root=\\S+ ro"));
    return lt_json_dump(o);
}

void boot_forge_pcrs(const struct lt_buf *b, struct lt_pcrs *out)
{
    struct lt_boot_replay r;

    lt_boot_replay((struct lt_slice){b->p, b->n}, &r);
    *out = (struct lt_pcrs){.alg = LT_HASH_SHA256, .mask = 0xffff};
    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        memcpy(out->value[i], lt_boot_replay_value(&r, LT_HASH_SHA256, i), LT_SHA256);
}
