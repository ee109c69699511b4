#include "common/utf8.h"

#include <stdio.h>
#include <string.h>

size_t lt_utf8_size(const uint8_t *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;

    if (n < 2)
        return n;
    if (n > left)
        return 0;
    uint32_t c = *p & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

/* Eight at a time while they are ASCII, which names mostly are. */
bool lt_utf8_valid(struct lt_slice s)
{
    uint64_t eight;

    for (size_t at = 0, n; at < s.n; at += n) {
        n = 8;
        if (s.n - at >= 8) {
            memcpy(&eight, s.p + at, 8);
            if (!(eight & 0x8080808080808080))
                continue;
        }
        if (!(n = lt_utf8_size(s.p + at, s.n - at)))
            return false;
    }
    return true;
}

size_t lt_utf8_escape(struct lt_slice s, char *out)
{
    bool whole = lt_utf8_valid(s);
    size_t at = 0;

    for (size_t i = 0, n; i < s.n; i += n ? n : 1) {
        n = lt_utf8_size(s.p + i, s.n - i);
        if (n && (whole || s.p[i] != '\\')) {
            memcpy(out + at, s.p + i, n);
            at += n;
        } else {
            at += (size_t)snprintf(out + at, 5, "\\x%02x", s.p[i]);
        }
    }
    out[at] = 0;
    return at;
}

bool lt_utf8_hidden(uint32_t c)
{
    static const struct {
        uint32_t from, to;
    } hidden[] = {{0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},      {0x61c, 0x61c},
                  {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},  {0x2060, 0x206f},
                  {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};

    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (c >= hidden[i].from && c <= hidden[i].to)
            return true;
    return false;
}

size_t lt_utf8_next(const uint8_t *p, size_t left, uint32_t *c)
{
    size_t n = lt_utf8_size(p, left);

    *c = n == 1 ? p[0] : n ? p[0] & (0xffu >> (n + 1)) : 0xfffd;
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | (p[i] & 0x3f);
    return n ? n : 1;
}

void lt_utf8_show(const char *s, char *out, size_t size)
{
    size_t left = strlen(s), at = 0;
    uint32_t c;

    for (const uint8_t *p = (const uint8_t *)s; left && at + 12 < size;) {
        size_t n = lt_utf8_next(p, left, &c);
        bool broken = n == 1 && *p >= 0x80;
        if (broken || (lt_utf8_hidden(c) && c < 0x80))
            at += (size_t)snprintf(out + at, size - at, "\\x%02x", *p);
        else if (lt_utf8_hidden(c))
            at += (size_t)snprintf(out + at, size - at, "\\u{%x}", c);
        else
            memcpy(out + at, p, n), at += n;
        p += n;
        left -= n;
    }
    out[at] = 0;
}
