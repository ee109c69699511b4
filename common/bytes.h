/* Bounded bytes: a reader whose every length is read with its ceiling, a growing writer with a hard
 * maximum, hex and base64. Integers are big-endian unless the name says le. */
#ifndef LT_COMMON_BYTES_H
#define LT_COMMON_BYTES_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed run of bytes. Never owns. */
struct lt_slice {
    const uint8_t *p;
    size_t n;
};

bool lt_slice_eq(struct lt_slice a, struct lt_slice b); /* not constant time */
bool lt_slice_is(struct lt_slice s, const char *text);
bool lt_slice_begins(struct lt_slice s, const char *text);
bool lt_slice_holds(struct lt_slice s, const char *text); /* somewhere in it; an empty one holds nothing */

/* ---- reader: a failure leaves the cursor where it was and out-parameters zeroed ---- */
struct lt_reader {
    const uint8_t *p;
    size_t n, at;
    const char *what; /* names the object in errors: "TPMS_ATTEST" */
};

struct lt_reader lt_reader(const void *p, size_t n, const char *what);
int lt_read_u8(struct lt_reader *r, uint8_t *out, struct lt_err *e) LT_MUST_CHECK;
int lt_read_u16(struct lt_reader *r, uint16_t *out, struct lt_err *e) LT_MUST_CHECK;
int lt_read_u32(struct lt_reader *r, uint32_t *out, struct lt_err *e) LT_MUST_CHECK;
int lt_read_u64(struct lt_reader *r, uint64_t *out, struct lt_err *e) LT_MUST_CHECK;
int lt_read_u16le(struct lt_reader *r, uint16_t *out, struct lt_err *e) LT_MUST_CHECK;
int lt_read_u32le(struct lt_reader *r, uint32_t *out, struct lt_err *e) LT_MUST_CHECK;
int lt_read_copy(struct lt_reader *r, void *out, size_t n, struct lt_err *e) LT_MUST_CHECK;
int lt_read_slice(struct lt_reader *r, size_t n, struct lt_slice *out, struct lt_err *e) LT_MUST_CHECK;
/* u16 length, refused above max, then that many bytes. */
int lt_read_slice16(struct lt_reader *r, size_t max, struct lt_slice *out, struct lt_err *e) LT_MUST_CHECK;
/* The next n bytes must be exactly these. */
int lt_read_expect(struct lt_reader *r, const void *bytes, size_t n, struct lt_err *e) LT_MUST_CHECK;
size_t lt_reader_left(const struct lt_reader *r);
/* Refuses trailing bytes. */
int lt_reader_end(const struct lt_reader *r, struct lt_err *e) LT_MUST_CHECK;

/* ---- writer: errors stick; ask once with lt_buf_ok() ---- */
struct lt_buf {
    uint8_t *p;
    size_t n, cap, max;
    bool failed;
};

#define LT_BUF(maximum) ((struct lt_buf){.max = (maximum)})
void lt_buf_free(struct lt_buf *b); /* wipes */
void lt_buf_u8(struct lt_buf *b, uint8_t v);
void lt_buf_u16(struct lt_buf *b, uint16_t v);
void lt_buf_u32(struct lt_buf *b, uint32_t v);
void lt_buf_u64(struct lt_buf *b, uint64_t v);
void lt_buf_put(struct lt_buf *b, const void *p, size_t n);
void lt_buf_put16(struct lt_buf *b, const void *p, size_t n); /* u16 length, bytes */
void lt_buf_str(struct lt_buf *b, const char *s);             /* without its NUL */
void lt_buf_printf(struct lt_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int lt_buf_ok(const struct lt_buf *b, struct lt_err *e) LT_MUST_CHECK;
/* NUL-terminated text, owned by the caller (free); *b is empty afterwards. NULL if it failed. */
char *lt_buf_take_str(struct lt_buf *b);

/* Fixed encoders for callers with their own storage. */
void lt_put_u16(uint8_t *p, uint16_t v);
void lt_put_u32(uint8_t *p, uint32_t v);
void lt_put_u64(uint8_t *p, uint64_t v);

/* ---- hex (lower case out, either case in) and base64 (standard alphabet, padded, strict) ---- */
void lt_hex(const void *p, size_t n, char *out); /* out holds 2n+1 */
/* Exactly n bytes. */
int lt_unhex(const char *s, void *out, size_t n, struct lt_err *e) LT_MUST_CHECK;
/* Lower case alone, 2n digits that need no NUL; out holds n and is of no use where it is false. */
bool lt_unhex_lower(const void *digits, size_t n, uint8_t *out) LT_MUST_CHECK;
size_t lt_base64_size(size_t n); /* characters, with the NUL */
void lt_base64(const void *p, size_t n, char *out);
char *lt_base64_dup(const void *p, size_t n); /* caller frees; NULL without memory */
/* Decodes len characters of s into *out (caller frees), at most max bytes. Refuses what is not canonical. */
int lt_unbase64(const char *s, size_t len, size_t max, uint8_t **out, size_t *n,
                struct lt_err *e) LT_MUST_CHECK;

/* ---- memory ---- */
void lt_wipe(void *p, size_t n);
bool lt_equal_ct(const void *a, const void *b, size_t n); /* constant time */
/* Cleanup attributes and explicit hand-over: return lt_take(&p). */
void lt_cleanup_free(void *pp);
#define LT_AUTOFREE __attribute__((cleanup(lt_cleanup_free)))
#define LT_AUTOBUF __attribute__((cleanup(lt_buf_free)))
#define lt_take(pp)                                                                                          \
    __extension__({                                                                                          \
        __typeof__(*(pp)) taken_ = *(pp);                                                                    \
        *(pp) = NULL;                                                                                        \
        taken_;                                                                                              \
    })

#endif
