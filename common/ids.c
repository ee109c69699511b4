#include "common/ids.h"

#include "common/hash.h"

#include <stdio.h>
#include <string.h>

int lt_uuid_parse(const char *s, uint8_t out[LT_UUID], struct lt_err *e)
{
    char hex[2 * LT_UUID + 1];
    size_t n = 0;

    memset(out, 0, LT_UUID);
    for (size_t i = 0; s && i < LT_UUID_TEXT - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (!s[i] || (s[i] == '-') != dash)
            return lt_fail(e, LT_E_MALFORMED, "uuid: not of the form 8-4-4-4-12");
        if (!dash)
            hex[n++] = s[i];
    }
    hex[n] = 0;
    if (!s || s[LT_UUID_TEXT - 1])
        return lt_fail(e, LT_E_MALFORMED, "uuid: not of the form 8-4-4-4-12");
    return lt_unhex(hex, out, LT_UUID, e);
}

void lt_uuid_format(const uint8_t u[LT_UUID], char out[LT_UUID_TEXT])
{
    char h[2 * LT_UUID + 1];
    lt_hex(u, LT_UUID, h);
    snprintf(out, LT_UUID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", h, h + 8, h + 12, h + 16, h + 20);
}

void lt_uuid_random(uint8_t out[LT_UUID])
{
    lt_random(out, LT_UUID);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

void lt_uuid_of_id(const char *id, uint8_t out[LT_UUID])
{
    static const char tag[] = "LT1:AGENT-ID";
    uint8_t digest[LT_SHA256];

    if (!lt_uuid_parse(id, out, LT_NO_ERR))
        return;
    lt_sha256_2(tag, sizeof tag - 1, id, strlen(id), digest);
    memcpy(out, digest, LT_UUID);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x80);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

bool lt_id_ok(const char *s)
{
    size_t n = s ? strnlen(s, LT_ID_MAX + 1) : 0;
    return n && n <= LT_ID_MAX &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n &&
           strcmp(s, ".") && strcmp(s, "..");
}
