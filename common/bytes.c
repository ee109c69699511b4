#include "common/bytes.h"

#include <endian.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool lt_slice_eq(struct lt_slice a, struct lt_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool lt_slice_is(struct lt_slice s, const char *text)
{
    return s.n == strlen(text) && lt_slice_begins(s, text);
}

bool lt_slice_begins(struct lt_slice s, const char *text)
{
    size_t n = strlen(text);
    return s.n >= n && !memcmp(s.p ? s.p : (const uint8_t *)"", text, n);
}

bool lt_slice_holds(struct lt_slice s, const char *text)
{
    return s.n && memmem(s.p, s.n, text, strlen(text));
}

struct lt_reader lt_reader(const void *p, size_t n, const char *what)
{
    return (struct lt_reader){.p = p, .n = n, .what = what};
}

size_t lt_reader_left(const struct lt_reader *r)
{
    return r->n - r->at;
}

static int need(const struct lt_reader *r, size_t n, struct lt_err *e)
{
    if (n > r->n - r->at)
        return lt_fail(e, LT_E_MALFORMED, "%s at byte %zu: %zu bytes wanted, %zu left", r->what, r->at, n,
                       r->n - r->at);
    return 0;
}

static int integer(struct lt_reader *r, size_t n, bool le, uint64_t *out, struct lt_err *e)
{
    *out = 0;
    LT_TRY(need(r, n, e));
    for (size_t i = 0; i < n; i++)
        *out = *out << 8 | r->p[r->at + (le ? n - 1 - i : i)];
    r->at += n;
    return 0;
}

#define READ_INTEGER(bits, order, little)                                                                    \
    int lt_read_u##bits##order(struct lt_reader *r, uint##bits##_t *out, struct lt_err *e)                   \
    {                                                                                                        \
        uint64_t v;                                                                                          \
        int rc = integer(r, sizeof *out, little, &v, e);                                                     \
        *out = (uint##bits##_t)v;                                                                            \
        return rc;                                                                                           \
    }
READ_INTEGER(8, , false)
READ_INTEGER(16, , false)
READ_INTEGER(32, , false)
READ_INTEGER(64, , false)
READ_INTEGER(16, le, true)
READ_INTEGER(32, le, true)

int lt_read_slice(struct lt_reader *r, size_t n, struct lt_slice *out, struct lt_err *e)
{
    *out = (struct lt_slice){0};
    LT_TRY(need(r, n, e));
    *out = (struct lt_slice){r->p + r->at, n};
    r->at += n;
    return 0;
}

int lt_read_copy(struct lt_reader *r, void *out, size_t n, struct lt_err *e)
{
    struct lt_slice s;
    int rc = lt_read_slice(r, n, &s, e);
    if (rc)
        memset(out, 0, n);
    else if (n)
        memcpy(out, s.p, n);
    return rc;
}

int lt_read_slice16(struct lt_reader *r, size_t max, struct lt_slice *out, struct lt_err *e)
{
    size_t start = r->at;
    uint16_t n;

    *out = (struct lt_slice){0};
    LT_TRY(lt_read_u16(r, &n, e));
    int rc;
    if (n > max)
        rc = lt_fail(e, LT_E_MALFORMED, "%s at byte %zu: length %u > %zu", r->what, start, n, max);
    else
        rc = lt_read_slice(r, n, out, e);
    if (rc)
        r->at = start;
    return rc;
}

int lt_read_expect(struct lt_reader *r, const void *bytes, size_t n, struct lt_err *e)
{
    size_t start = r->at;
    struct lt_slice s;
    LT_TRY(lt_read_slice(r, n, &s, e));
    if (n && memcmp(s.p, bytes, n)) {
        r->at = start;
        return lt_fail(e, LT_E_MALFORMED, "%s at byte %zu: not the expected %zu bytes", r->what, start, n);
    }
    return 0;
}

int lt_reader_end(const struct lt_reader *r, struct lt_err *e)
{
    if (r->at != r->n)
        return lt_fail(e, LT_E_MALFORMED, "%s at byte %zu: %zu trailing bytes", r->what, r->at, r->n - r->at);
    return 0;
}

/* ---- writer ---- */

void lt_buf_free(struct lt_buf *b)
{
    if (b->p)
        OPENSSL_cleanse(b->p, b->cap);
    free(b->p);
    *b = LT_BUF(b->max);
}

static uint8_t *grow(struct lt_buf *b, size_t n)
{
    if (b->failed || n > b->max || b->n > b->max - n) {
        b->failed = true;
        return NULL;
    }
    /* One byte more than asked for, so that text can always be ended. */
    if (b->n + n + 1 > b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        while (cap < b->n + n + 1)
            cap *= 2;
        uint8_t *p = malloc(cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        if (b->p) {
            memcpy(p, b->p, b->n);
            OPENSSL_cleanse(b->p, b->cap);
            free(b->p);
        }
        b->p = p;
        b->cap = cap;
    }
    uint8_t *at = b->p + b->n;
    b->n += n;
    return at;
}

void lt_buf_put(struct lt_buf *b, const void *p, size_t n)
{
    uint8_t *at = grow(b, n);
    if (at && n)
        memcpy(at, p, n);
}

void lt_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void lt_put_u32(uint8_t *p, uint32_t v)
{
    lt_put_u16(p, (uint16_t)(v >> 16));
    lt_put_u16(p + 2, (uint16_t)v);
}

void lt_put_u64(uint8_t *p, uint64_t v)
{
    lt_put_u32(p, (uint32_t)(v >> 32));
    lt_put_u32(p + 4, (uint32_t)v);
}

void lt_buf_u8(struct lt_buf *b, uint8_t v)
{
    lt_buf_put(b, &v, 1);
}

#define PUT_INTEGER(bits)                                                                                    \
    void lt_buf_u##bits(struct lt_buf *b, uint##bits##_t v)                                                  \
    {                                                                                                        \
        uint8_t *at = grow(b, (bits) / 8);                                                                   \
        if (at)                                                                                              \
            lt_put_u##bits(at, v);                                                                           \
    }
PUT_INTEGER(16)
PUT_INTEGER(32)
PUT_INTEGER(64)

void lt_buf_put16(struct lt_buf *b, const void *p, size_t n)
{
    if (n > UINT16_MAX) {
        b->failed = true;
        return;
    }
    lt_buf_u16(b, (uint16_t)n);
    lt_buf_put(b, p, n);
}

void lt_buf_str(struct lt_buf *b, const char *s)
{
    lt_buf_put(b, s, strlen(s));
}

void lt_buf_printf(struct lt_buf *b, const char *fmt, ...)
{
    va_list ap, again;

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    uint8_t *at = n < 0 ? NULL : grow(b, (size_t)n);
    if (at)
        vsnprintf((char *)at, (size_t)n + 1, fmt, again);
    else
        b->failed = true;
    va_end(again);
}

int lt_buf_ok(const struct lt_buf *b, struct lt_err *e)
{
    if (b->failed)
        return lt_fail(e, LT_E_TOO_LARGE, "output: more than %zu bytes, or no memory", b->max);
    return 0;
}

char *lt_buf_take_str(struct lt_buf *b)
{
    if (!grow(b, 0)) {
        lt_buf_free(b);
        return NULL;
    }
    b->p[b->n] = 0;
    char *s = (char *)b->p;
    *b = LT_BUF(b->max);
    return s;
}

/* ---- hex, base64 ---- */

void lt_hex(const void *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = p;

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[b[i] >> 4];
        out[2 * i + 1] = digits[b[i] & 15];
    }
    out[2 * n] = 0;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int lt_unhex(const char *s, void *out, size_t n, struct lt_err *e)
{
    uint8_t *b = out;

    memset(out, 0, n);
    if (!s || strnlen(s, 2 * n + 1) != 2 * n)
        return lt_fail(e, LT_E_MALFORMED, "hex: not %zu digits", 2 * n);
    for (size_t i = 0; i < n; i++) {
        int hi = nibble(s[2 * i]), lo = nibble(s[2 * i + 1]);
        if (hi < 0 || lo < 0) {
            memset(out, 0, n);
            return lt_fail(e, LT_E_MALFORMED, "hex: no digit at character %zu", 2 * i + (hi >= 0));
        }
        b[i] = (uint8_t)(hi << 4 | lo);
    }
    return 0;
}

typedef uint8_t bytes8 __attribute__((vector_size(8)));
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t pairs8 __attribute__((vector_size(16)));

#ifdef LT_ANALYZE /* it takes a vector's shift for one of the enumeration of its kinds */
#pragma GCC diagnostic ignored "-Wanalyzer-shift-count-overflow"
#endif

/* Sixteen digits at once: a third of a list is hex. What is neither digit nor letter leaves bits in bad. */
static inline void unhex16(const uint8_t *s, uint8_t *out, bytes16 *bad)
{
    bytes16 x;

    memcpy(&x, s, sizeof x);
    const bytes16 digit = x - '0', letter = x - 'a';
    const bytes16 is_digit = (bytes16)(digit < 10), is_letter = (bytes16)(letter < 6);
    const pairs8 v = (pairs8)((digit & is_digit) | ((letter + 10) & is_letter));
    *bad |= ~(is_digit | is_letter);
    const pairs8 both = (__BYTE_ORDER == __LITTLE_ENDIAN ? v << 4 | v >> 8 : v >> 4 | v) & 0xff;
    const bytes8 eight = __builtin_convertvector(both, bytes8);
    memcpy(out, &eight, sizeof eight);
}

bool lt_unhex_lower(const void *digits, size_t n, uint8_t *out)
{
    const uint8_t *s = digits;
    bytes16 bad = {0};
    uint64_t any[2];
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        unhex16(s + 2 * i, out + i, &bad);
    if (i < n && n >= 8) { /* the last ones, some of them again */
        unhex16(s + 2 * (n - 8), out + n - 8, &bad);
    } else if (n < 8) {
        uint8_t text[16], bytes[8];
        memset(text, '0', sizeof text);
        memcpy(text, s, 2 * n);
        unhex16(text, bytes, &bad);
        memcpy(out, bytes, n);
    }
    memcpy(any, &bad, sizeof any);
    return !(any[0] | any[1]);
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t lt_base64_size(size_t n)
{
    return (n + 2) / 3 * 4 + 1;
}

void lt_base64(const void *p, size_t n, char *out)
{
    const uint8_t *b = p;

    for (; n >= 3; n -= 3, b += 3) {
        uint32_t v = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
        for (int i = 0; i < 4; i++)
            *out++ = alphabet[v >> (18 - 6 * i) & 63];
    }
    if (n) {
        uint32_t v = (uint32_t)b[0] << 16 | (n == 2 ? (uint32_t)b[1] << 8 : 0);
        *out++ = alphabet[v >> 18 & 63];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = n == 2 ? alphabet[v >> 6 & 63] : '=';
        *out++ = '=';
    }
    *out = 0;
}

char *lt_base64_dup(const void *p, size_t n)
{
    char *s = malloc(lt_base64_size(n));
    if (s)
        lt_base64(p, n, s);
    return s;
}

/* Values of the alphabet's characters plus one; 0: not in it. */
static const uint8_t sextets[256] = {
    ['A'] = 1, 2,  3,  4,  5,          6,  7,  8,  9,  10, 11,         12, 13, 14, 15,         16,
    17,        18, 19, 20, 21,         22, 23, 24, 25, 26, ['a'] = 27, 28, 29, 30, 31,         32,
    33,        34, 35, 36, 37,         38, 39, 40, 41, 42, 43,         44, 45, 46, 47,         48,
    49,        50, 51, 52, ['0'] = 53, 54, 55, 56, 57, 58, 59,         60, 61, 62, ['+'] = 63, ['/'] = 64,
};

static int sextet(char c)
{
    return sextets[(uint8_t)c] - 1;
}

int lt_unbase64(const char *s, size_t len, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    *out = NULL;
    *n = 0;
    if (len % 4)
        return lt_fail(e, LT_E_MALFORMED, "base64: %zu characters, not a multiple of 4", len);
    size_t pad = len && s[len - 1] == '=' ? 1 + (s[len - 2] == '=') : 0;
    size_t size = len / 4 * 3 - pad;
    if (size > max)
        return lt_fail(e, LT_E_TOO_LARGE, "base64: %zu bytes > %zu", size, max);
    LT_AUTOFREE uint8_t *b = malloc(size + 3);
    if (!b)
        return lt_fail(e, LT_E_NO_MEMORY, "base64: no memory for %zu bytes", size);
    uint8_t *to = b;
    size_t i = 0;
    for (; i + 4 < len; i += 4) { /* all but the last four, which may be padded */
        int w = sextet(s[i]), x = sextet(s[i + 1]), y = sextet(s[i + 2]), z = sextet(s[i + 3]);
        if ((w | x | y | z) < 0)
            break; /* told below */
        uint32_t v = (uint32_t)w << 18 | (uint32_t)x << 12 | (uint32_t)y << 6 | (uint32_t)z;
        *to++ = (uint8_t)(v >> 16);
        *to++ = (uint8_t)(v >> 8);
        *to++ = (uint8_t)v;
    }
    for (; i < len; i += 4) {
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            int x = i + k >= len - pad ? 0 : sextet(s[i + k]);
            if (x < 0)
                return lt_fail(e, LT_E_MALFORMED, "base64: bad character at %zu", i + k);
            v = v << 6 | (uint32_t)x;
        }
        if (i + 4 == len && pad && (v & (pad == 2 ? 0xffff : 0xff)))
            return lt_fail(e, LT_E_MALFORMED, "base64: set bits in the padding");
        *to++ = (uint8_t)(v >> 16);
        *to++ = (uint8_t)(v >> 8);
        *to++ = (uint8_t)v;
    }
    *n = size;
    *out = lt_take(&b);
    return 0;
}

void lt_wipe(void *p, size_t n)
{
    OPENSSL_cleanse(p, n);
}

bool lt_equal_ct(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

void lt_cleanup_free(void *pp)
{
    free(*(void **)pp);
}
