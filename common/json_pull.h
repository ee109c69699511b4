/* A strict JSON reader that makes no tree (RFC 8259): the caller pulls one value after the other, and memory
 * stays what the caller keeps. For documents too large for jansson, where "[],[],…" costs forty times its own
 * size. Every error says "WHAT at byte N". Strings are UTF-8 without NULs. Nesting is what the caller walks,
 * so it is bounded by it. */
#ifndef LT_COMMON_JSON_PULL_H
#define LT_COMMON_JSON_PULL_H

#include "common/bytes.h"

struct lt_json_pull {
    const uint8_t *p;
    size_t n, at;
    const char *what; /* static; names the document in messages */
    uint8_t *scratch; /* of a string with escapes; owned */
    size_t scratch_cap;
};

struct lt_json_pull lt_json_pull(const void *p, size_t n, const char *what);
void lt_json_pull_free(struct lt_json_pull *s);
#define LT_JSON_PULL_AUTO __attribute__((cleanup(lt_json_pull_free)))

/* An object or array that is being walked. */
struct lt_json_pull_list {
    bool any, end;
};

/* The next value's first character, '0' for any number; 0 at the end of the text. Consumes only blanks. */
char lt_json_pull_peek(struct lt_json_pull *s);
int lt_json_pull_object(struct lt_json_pull *s, struct lt_json_pull_list *l, struct lt_err *e) LT_MUST_CHECK;
int lt_json_pull_array(struct lt_json_pull *s, struct lt_json_pull_list *l, struct lt_err *e) LT_MUST_CHECK;
/* The next key (its value must be pulled next), or l->end. The key stands until the next string is pulled. */
int lt_json_pull_key(struct lt_json_pull *s, struct lt_json_pull_list *l, size_t max, struct lt_slice *key,
                     struct lt_err *e) LT_MUST_CHECK;
/* There is another item (it must be pulled next), or l->end. */
int lt_json_pull_item(struct lt_json_pull *s, struct lt_json_pull_list *l, struct lt_err *e) LT_MUST_CHECK;
/* Decoded, at most max bytes: points into the text, or into scratch until the next string with escapes. */
int lt_json_pull_string(struct lt_json_pull *s, size_t max, struct lt_slice *out,
                        struct lt_err *e) LT_MUST_CHECK;
/* No fraction, no exponent. */
int lt_json_pull_int(struct lt_json_pull *s, int64_t min, int64_t max, int64_t *out,
                     struct lt_err *e) LT_MUST_CHECK;
int lt_json_pull_null(struct lt_json_pull *s, struct lt_err *e) LT_MUST_CHECK;
/* Nothing but blanks is left. */
int lt_json_pull_end(struct lt_json_pull *s, struct lt_err *e) LT_MUST_CHECK;

/* LT_E_MALFORMED "WHAT at byte N: …". */
int lt_json_pull_fail(const struct lt_json_pull *s, struct lt_err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
