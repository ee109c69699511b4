/* The little DER we write and read: elements with definite lengths, unsigned integers; and whether bytes are
 * DER. */
#ifndef LT_TPM_DER_H
#define LT_TPM_DER_H

#include "common/bytes.h"

enum {
    LT_DER_BOOLEAN = 0x01,
    LT_DER_INTEGER = 0x02,
    LT_DER_BIT_STRING = 0x03,
    LT_DER_OCTET_STRING = 0x04,
    LT_DER_NULL = 0x05,
    LT_DER_OID = 0x06,
    LT_DER_ENUMERATED = 0x0a,
    LT_DER_SEQUENCE = 0x30,
    LT_DER_SET = 0x31,
};

/* tag, length, n bytes (n < 65536). */
void lt_der_put(struct lt_buf *b, uint8_t tag, const void *p, size_t n);
/* INTEGER of an unsigned big-endian number in its shortest form; no bytes, or zeros alone, are 0. */
void lt_der_uint(struct lt_buf *b, struct lt_slice v);

/* The next element: one byte of tag, a definite length in its shortest form. */
int lt_der_next(struct lt_reader *r, uint8_t *tag, struct lt_slice *value, struct lt_err *e) LT_MUST_CHECK;
/* INTEGER that is not negative: its bytes without the zero of the sign. */
int lt_der_next_uint(struct lt_reader *r, struct lt_slice *value, struct lt_err *e) LT_MUST_CHECK;
/* p is one element and nothing behind it, in the one encoding that X.690 allows as DER, down to nested
 * primitives (what lies in OCTET STRINGs and BIT STRINGs is not entered). LT_E_MALFORMED: "not DER: byte 812:
 * …". */
int lt_der_check(struct lt_slice p, struct lt_err *e) LT_MUST_CHECK;

#endif
