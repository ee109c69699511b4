#include "tpm/der.h"

static void head(struct lt_buf *b, uint8_t tag, size_t n)
{
    lt_buf_u8(b, tag);
    if (n >= 0x100) {
        lt_buf_u8(b, 0x82);
        lt_buf_u16(b, (uint16_t)n);
    } else {
        if (n >= 0x80)
            lt_buf_u8(b, 0x81);
        lt_buf_u8(b, (uint8_t)n);
    }
}

void lt_der_put(struct lt_buf *b, uint8_t tag, const void *p, size_t n)
{
    head(b, tag, n);
    lt_buf_put(b, p, n);
}

void lt_der_uint(struct lt_buf *b, struct lt_slice v)
{
    for (; v.n && !*v.p; v.p++)
        v.n--;
    bool zero_first = !v.n || *v.p & 0x80; /* X.690 8.3: the first bit is the sign */
    head(b, LT_DER_INTEGER, v.n + zero_first);
    if (zero_first)
        lt_buf_u8(b, 0);
    lt_buf_put(b, v.p, v.n);
}
