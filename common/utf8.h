/* UTF-8 (RFC 3629), and what is done with names that are none: JSON cannot hold them. */
#ifndef LT_COMMON_UTF8_H
#define LT_COMMON_UTF8_H

#include "common/bytes.h"

/* Length of the sequence at p (shortest form, no surrogates), of which left > 0 bytes are there; 0: none. */
size_t lt_utf8_size(const uint8_t *p, size_t left);
bool lt_utf8_valid(struct lt_slice s);
/* Text that is UTF-8 as it is. Else each byte that is none as \xNN and each backslash as \x5c, so that no two
 * texts look the same among those. out holds LT_UTF8_ESCAPED(s.n); the length without the NUL. */
#define LT_UTF8_ESCAPED(n) (4 * (n) + 1)
size_t lt_utf8_escape(struct lt_slice s, char *out);

/* Characters that a terminal obeys or does not show: C0, DEL, C1 (U+0080-9F), bidirectional controls,
 * zero-width ones, line separators, tags, soft hyphen. */
bool lt_utf8_hidden(uint32_t c);
/* For people at a terminal: hidden characters as \xNN and \u{NNNN}, bytes that are no UTF-8 as \xNN. As much
 * as fits; always ended. */
void lt_utf8_show(const char *s, char *out, size_t size);
/* The character at p, of which left > 0 bytes are there, and its length; U+FFFD and 1 for what is no UTF-8.
 */
size_t lt_utf8_next(const uint8_t *p, size_t left, uint32_t *c);

#endif
