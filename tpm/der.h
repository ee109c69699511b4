/* The little DER we write: elements with definite lengths, unsigned integers. */
#ifndef LT_TPM_DER_H
#define LT_TPM_DER_H

#include "common/bytes.h"

enum { LT_DER_INTEGER = 0x02, LT_DER_BIT_STRING = 0x03, LT_DER_SEQUENCE = 0x30 };

/* tag, length, n bytes (n < 65536). */
void lt_der_put(struct lt_buf *b, uint8_t tag, const void *p, size_t n);
/* INTEGER of an unsigned big-endian number in its shortest form; no bytes, or zeros alone, are 0. */
void lt_der_uint(struct lt_buf *b, struct lt_slice v);

#endif
