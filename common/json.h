/* JSON on jansson: size cap before parsing, duplicate keys refused, depth bounded; getters that name the
 * key they miss. */
#ifndef LT_COMMON_JSON_H
#define LT_COMMON_JSON_H

#include "common/bytes.h"

#include <jansson.h>

/* New reference, or NULL with *e. Any JSON value may be the root. */
json_t *lt_json_parse(const void *p, size_t n, size_t max, struct lt_err *e) LT_MUST_CHECK;
/* Compact text, caller frees; NULL without memory. */
char *lt_json_dump(const json_t *j);
/* The same for terminals and line-wise readers: what prints as nothing or turns the line (DEL, C1,
 * bidirectional and zero-width characters, separators) stands as \uNNNN, which reads back as the same value.
 */
char *lt_json_dump_plain(const json_t *j);
/* For people: two spaces, keys in insertion order, a newline at the end. */
char *lt_json_pretty(const json_t *j);

/* Each: the key must be there and of that type. Borrowed references. */
int lt_json_object(const json_t *o, const char *key, json_t **out, struct lt_err *e) LT_MUST_CHECK;
int lt_json_array(const json_t *o, const char *key, size_t max, json_t **out, struct lt_err *e) LT_MUST_CHECK;
int lt_json_string(const json_t *o, const char *key, const char **out, struct lt_err *e) LT_MUST_CHECK;
int lt_json_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out,
                struct lt_err *e) LT_MUST_CHECK;
int lt_json_bool(const json_t *o, const char *key, bool *out, struct lt_err *e) LT_MUST_CHECK;
/* Lower- or upper-case hex of exactly n bytes. */
int lt_json_hex(const json_t *o, const char *key, void *out, size_t n, struct lt_err *e) LT_MUST_CHECK;
int lt_json_uuid(const json_t *o, const char *key, uint8_t out[16], struct lt_err *e) LT_MUST_CHECK;
/* Decoded, at most max bytes; caller frees *out. */
int lt_json_base64(const json_t *o, const char *key, size_t max, uint8_t **out, size_t *n,
                   struct lt_err *e) LT_MUST_CHECK;
/* False for a missing key and for null. */
bool lt_json_has(const json_t *o, const char *key);
/* Overwrites the text of a member that was a secret; it is as long as before. Nothing where there is none. */
void lt_json_wipe(json_t *o, const char *key);
/* Refuses keys that are not in the NULL-ended list. */
int lt_json_only(const json_t *o, const char *const *keys, struct lt_err *e) LT_MUST_CHECK;

/* New values. */
json_t *lt_json_new_hex(const void *p, size_t n);
json_t *lt_json_new_base64(const void *p, size_t n);
json_t *lt_json_new_uuid(const uint8_t uuid[16]);
/* Text from outside: what is not UTF-8 is escaped (common/utf8.h), so that a value is always made. */
json_t *lt_json_new_text(const char *s);

void lt_json_cleanup(json_t **j);
#define LT_JSON_AUTO __attribute__((cleanup(lt_json_cleanup)))

#endif
