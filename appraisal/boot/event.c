#include "appraisal/boot/event.h"

#include <stdio.h>
#include <string.h>

static const struct {
    uint32_t type;
    const char *name;
} names[] = {
    {0, "EV_PREBOOT_CERT"},
    {1, "EV_POST_CODE"},
    {2, "EV_UNUSED"},
    {3, "EV_NO_ACTION"},
    {4, "EV_SEPARATOR"},
    {5, "EV_ACTION"},
    {6, "EV_EVENT_TAG"},
    {7, "EV_S_CRTM_CONTENTS"},
    {8, "EV_S_CRTM_VERSION"},
    {9, "EV_CPU_MICROCODE"},
    {10, "EV_PLATFORM_CONFIG_FLAGS"},
    {11, "EV_TABLE_OF_DEVICES"},
    {12, "EV_COMPACT_HASH"},
    {13, "EV_IPL"},
    {14, "EV_IPL_PARTITION_DATA"},
    {15, "EV_NONHOST_CODE"},
    {16, "EV_NONHOST_CONFIG"},
    {17, "EV_NONHOST_INFO"},
    {18, "EV_OMIT_BOOT_DEVICE_EVENTS"},
    {19, "EV_POST_CODE2"},
    {0x80000000, "EV_EFI_EVENT_BASE"},
    {0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG"},
    {0x80000002, "EV_EFI_VARIABLE_BOOT"},
    {0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION"},
    {0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER"},
    {0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER"},
    {0x80000006, "EV_EFI_GPT_EVENT"},
    {0x80000007, "EV_EFI_ACTION"},
    {0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"},
    {0x80000009, "EV_EFI_HANDOFF_TABLES"},
    {0x8000000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"},
    {0x8000000b, "EV_EFI_HANDOFF_TABLES2"},
    {0x8000000c, "EV_EFI_VARIABLE_BOOT2"},
    {0x80000010, "EV_EFI_HCRTM_EVENT"},
    {0x800000e0, "EV_EFI_VARIABLE_AUTHORITY"},
    {0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB"},
    {0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"},
};

/* Bytes of EFI_GUIDs as they stand in memory: first three fields little-endian. */
const uint8_t lt_boot_guid_global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                         0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
const uint8_t lt_guid_security[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                      0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};
const uint8_t lt_guid_shim[16] = {0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43,
                                  0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23};
const uint8_t lt_boot_guid_x509[16] = {0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                       0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72};
const uint8_t lt_guid_sha256[16] = {0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                    0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28};

const char *lt_boot_type_name(uint32_t type, char buf[16])
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].type == type)
            return names[i].name;
    snprintf(buf, 16, "type 0x%x", type);
    return buf;
}

const uint8_t *lt_boot_digest(const struct lt_boot_event *ev, uint16_t alg)
{
    for (unsigned i = 0; i < ev->digest_count; i++)
        if (ev->digest[i].alg == alg)
            return ev->digest[i].value.p;
    return NULL;
}

bool lt_boot_measures(const struct lt_boot_event *ev, uint16_t alg, struct lt_slice bytes)
{
    const uint8_t *is = lt_boot_digest(ev, alg);
    uint8_t want[LT_MAX_DIGEST];

    if (!is)
        return false;
    lt_hash(alg, &bytes, 1, want);
    return !memcmp(is, want, lt_hash_size(alg));
}

static int u64le(struct lt_reader *r, uint64_t *out, struct lt_err *e)
{
    uint32_t low, high;
    LT_TRY(lt_read_u32le(r, &low, e));
    LT_TRY(lt_read_u32le(r, &high, e));
    *out = (uint64_t)high << 32 | low;
    return 0;
}

/* A length of 64 bits is compared as such before it becomes a size_t. */
static int slice64(struct lt_reader *r, uint64_t n, uint64_t unit, struct lt_slice *out, struct lt_err *e)
{
    if (n > lt_reader_left(r) / unit)
        return lt_fail(e, LT_E_MALFORMED, "%s at byte %zu: %llu x %llu bytes wanted, %zu left", r->what,
                       r->at, (unsigned long long)n, (unsigned long long)unit, lt_reader_left(r));
    return lt_read_slice(r, (size_t)(n * unit), out, e);
}

static int variable(struct lt_reader *r, struct lt_boot_variable *out, struct lt_err *e)
{
    uint64_t name_n, data_n;

    *out = (struct lt_boot_variable){0};
    LT_TRY(lt_read_copy(r, out->guid, sizeof out->guid, e));
    LT_TRY(u64le(r, &name_n, e));
    LT_TRY(u64le(r, &data_n, e));
    LT_TRY(slice64(r, name_n, 2, &out->utf16, e));
    return slice64(r, data_n, 1, &out->data, e);
}

int lt_boot_variable(const struct lt_boot_event *ev, struct lt_boot_variable *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(ev->data.p, ev->data.n, "UEFI variable");

    LT_TRY(variable(&r, out, e));
    return lt_reader_end(&r, e);
}

int lt_boot_variable_front(struct lt_slice bytes, struct lt_boot_variable *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(bytes.p, bytes.n, "UEFI variable");

    return variable(&r, out, e);
}

bool lt_boot_variable_is(const struct lt_boot_variable *v, const uint8_t guid[16], const char *ascii)
{
    size_t n = strlen(ascii);
    if (memcmp(v->guid, guid, 16) || v->utf16.n != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (v->utf16.p[2 * i] != (uint8_t)ascii[i] || v->utf16.p[2 * i + 1])
            return false;
    return true;
}

const char *lt_boot_variable_name(const struct lt_boot_variable *v, char buf[64])
{
    uint8_t narrow[61];
    size_t n = v->utf16.n / 2 < sizeof narrow ? v->utf16.n / 2 : sizeof narrow;
    for (size_t i = 0; i < n; i++)
        narrow[i] = v->utf16.p[2 * i + 1] ? 0 : v->utf16.p[2 * i];
    return lt_boot_shown((struct lt_slice){narrow, n}, buf);
}

int lt_boot_signatures(struct lt_slice lists, lt_boot_signature_fn fn, void *arg, struct lt_err *e)
{
    struct lt_reader r = lt_reader(lists.p, lists.n, "EFI signature list");

    while (lt_reader_left(&r)) {
        uint32_t list_n, header_n, each_n;
        struct lt_slice type, body, one;
        size_t at = r.at;
        LT_TRY(lt_read_slice(&r, 16, &type, e));
        LT_TRY(lt_read_u32le(&r, &list_n, e));
        LT_TRY(lt_read_u32le(&r, &header_n, e));
        LT_TRY(lt_read_u32le(&r, &each_n, e));
        if (list_n < 28 || header_n > list_n - 28 || each_n <= 16 || (list_n - 28 - header_n) % each_n)
            return lt_fail(e, LT_E_MALFORMED,
                           "EFI signature list at byte %zu: %u bytes, header %u, signatures of %u", at,
                           list_n, header_n, each_n);
        LT_TRY(lt_read_slice(&r, list_n - 28, &body, e));
        struct lt_reader b = lt_reader(body.p, body.n, "EFI signature list");
        LT_TRY(lt_read_slice(&b, header_n, &one, e));
        while (lt_reader_left(&b)) {
            LT_TRY(lt_read_slice(&b, each_n, &one, e));
            LT_TRY(fn(arg, type.p, one.p, (struct lt_slice){one.p + 16, one.n - 16}, e));
        }
    }
    return 0;
}

int lt_boot_image(const struct lt_boot_event *ev, struct lt_boot_image *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(ev->data.p, ev->data.n, "image load event");
    uint64_t n;

    *out = (struct lt_boot_image){0};
    LT_TRY(u64le(&r, &out->address, e));
    LT_TRY(u64le(&r, &out->length, e));
    LT_TRY(u64le(&r, &out->link_address, e));
    LT_TRY(u64le(&r, &n, e));
    LT_TRY(slice64(&r, n, 1, &out->device_path, e));
    return lt_reader_end(&r, e);
}

int lt_boot_tag(const struct lt_boot_event *ev, uint32_t *id, struct lt_slice *data, struct lt_err *e)
{
    struct lt_reader r = lt_reader(ev->data.p, ev->data.n, "tagged event");
    uint32_t n;

    *data = (struct lt_slice){0};
    LT_TRY(lt_read_u32le(&r, id, e));
    LT_TRY(lt_read_u32le(&r, &n, e));
    LT_TRY(lt_read_slice(&r, n, data, e));
    return lt_reader_end(&r, e);
}

struct lt_slice lt_boot_text(const struct lt_boot_event *ev)
{
    struct lt_slice s = ev->data;
    while (s.n && !s.p[s.n - 1])
        s.n--;
    return s;
}

const char *lt_boot_shown(struct lt_slice s, char buf[64])
{
    size_t i, n = s.n > 60 ? 57 : s.n;
    for (i = 0; i < n; i++)
        buf[i] = s.p[i] >= ' ' && s.p[i] < 127 ? (char)s.p[i] : '?';
    memcpy(buf + i, s.n > 60 ? "..." : "", s.n > 60 ? 4 : 1);
    return buf;
}

/* Little-endian UTF-16 that is ASCII, with or without a NUL at its end. */
static bool narrow(struct lt_slice wide, uint8_t buf[LT_MAX_SUBJECT], struct lt_slice *text)
{
    size_t n = wide.n / 2;

    if (!n || wide.n % 2 || n > LT_MAX_SUBJECT)
        return false;
    n -= !wide.p[wide.n - 2] && !wide.p[wide.n - 1];
    for (size_t i = 0; i < n; i++) {
        if (!wide.p[2 * i] || wide.p[2 * i] > 127 || wide.p[2 * i + 1])
            return false;
        buf[i] = wide.p[2 * i];
    }
    *text = (struct lt_slice){buf, n};
    return true;
}

/* Where a label may end: nowhere, behind its ": ", behind its first blank. */
static size_t label_end(struct lt_slice s, int way)
{
    size_t near = s.n < 64 ? s.n : 64;
    const uint8_t *at = way == 0 || !near ? NULL : memmem(s.p, near, way == 1 ? ": " : " ", way == 1 ? 2 : 1);

    return at ? (size_t)(at - s.p) + (way == 1 ? 2 : 1) : 0;
}

bool lt_boot_proved_text(const struct lt_boot_event *ev, uint16_t alg, uint8_t buf[LT_MAX_SUBJECT],
                         struct lt_slice *text)
{
    struct lt_slice plain = lt_boot_text(ev);
    /* Without NULs, with one (which may be half of a last character in UTF-16), with all. */
    const size_t ends[] = {plain.n, plain.n + 1, ev->data.n};

    for (int way = 0; way < 3 && plain.n; way++) {
        size_t from = label_end(plain, way);
        for (int i = 0; i < 3 && (from || !way); i++) {
            struct lt_slice is = {ev->data.p + from, ends[i] - from};
            if (ends[i] > ev->data.n || !lt_boot_measures(ev, alg, is))
                continue;
            if (!narrow(is, buf, text))
                *text = (struct lt_slice){plain.p + from, plain.n - from};
            return true;
        }
    }
    return false;
}
