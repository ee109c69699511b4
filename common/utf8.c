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
