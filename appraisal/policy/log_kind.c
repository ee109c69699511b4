#include "appraisal/policy/log_kind.h"

#include "appraisal/policy/dsse.h"
#include "common/ima_list.h"
#include "common/json_pull.h"

#include <string.h>

static uint32_t u32le(struct lt_slice s, size_t at)
{
    return s.n < at + 4 ? 0
                        : s.p[at] | (uint32_t)s.p[at + 1] << 8 | (uint32_t)s.p[at + 2] << 16 |
                              (uint32_t)s.p[at + 3] << 24;
}

static bool digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* "10 1d8d…", " 9 1d8d…": a PCR, a blank, hex. */
static bool is_ima_text(struct lt_slice s)
{
    size_t n = 0, hex = 0;

    while (n < s.n && n < 2 && (digit(s.p[n]) || (!n && s.p[n] == ' ')))
        n++;
    if (!n || n == s.n || s.p[n] != ' ')
        return false;
    while (++n < s.n && (digit(s.p[n]) || (s.p[n] >= 'a' && s.p[n] <= 'f')))
        hex++;
    return hex >= 40;
}

static bool is_ima_binary(struct lt_slice s)
{
    struct lt_ima_list_frame f;
    size_t at = 0, hash_n = 0;

    return lt_ima_list_is_binary(s) && !lt_ima_list_frame_next(s, &at, &hash_n, &f, LT_NO_ERR);
}

static bool is_base64(struct lt_slice s)
{
    size_t n = 0, text = s.n;

    while (text && (s.p[text - 1] == '\n' || s.p[text - 1] == '\r'))
        text--;
    while (n < text && (digit(s.p[n]) || (s.p[n] >= 'a' && s.p[n] <= 'z') ||
                        (s.p[n] >= 'A' && s.p[n] <= 'Z') || s.p[n] == '+' || s.p[n] == '/' || s.p[n] == '='))
        n++;
    return text && n == text;
}

enum lt_log_kind lt_log_kind(struct lt_slice bytes)
{
    if (is_ima_text(bytes))
        return LT_LOG_KIND_IMA;
    if (is_ima_binary(bytes))
        return LT_LOG_KIND_IMA_BINARY;
    if (is_base64(bytes))
        return LT_LOG_KIND_BOOT_BASE64;
    /* TCG_PCR_EVENT: the first event is of a PCR, and of a type that is small or UEFI's. */
    uint32_t type = u32le(bytes, 4);
    return bytes.n >= 32 && u32le(bytes, 0) < 24 && (type < 0x100 || type >> 12 == 0x80000)
               ? LT_LOG_KIND_BOOT
               : LT_LOG_KIND_UNKNOWN;
}

const char *lt_log_kind_name(enum lt_log_kind kind)
{
    switch (kind) {
    case LT_LOG_KIND_BOOT:
    case LT_LOG_KIND_BOOT_BASE64:
        return "boot log";
    case LT_LOG_KIND_IMA:
    case LT_LOG_KIND_IMA_BINARY:
        return "IMA list";
    case LT_LOG_KIND_UNKNOWN:
        break;
    }
    return "unknown";
}

bool lt_log_kind_is_runtime(struct lt_slice doc)
{
    static const char *const keys[] = {"meta",     "release", "digests", "excludes",
                                       "keyrings", "ima",     "ima-buf", "verification-keys"};
    LT_JSON_PULL_AUTO struct lt_json_pull in = lt_json_pull(doc.p, doc.n, "document");
    struct lt_json_pull_list l;
    struct lt_slice key;

    if (lt_dsse_is(doc.p, doc.n))
        return true;
    if (lt_json_pull_object(&in, &l, LT_NO_ERR) || lt_json_pull_key(&in, &l, 64, &key, LT_NO_ERR) || l.end)
        return false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (lt_slice_is(key, keys[i]))
            return true;
    return false;
}
