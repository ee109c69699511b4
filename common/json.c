#include "common/json.h"

#include "common/ids.h"
#include "common/limits.h"
#include "common/utf8.h"

#include <stdlib.h>
#include <string.h>

/* jansson recurses as deep as its own limit of 2048, and a small text can become a tree of gigabytes: we
 * refuse what is too deep or has too many values before it starts. What stands inside strings does not count.
 */
static int check_shape(const char *s, size_t n, struct lt_err *e)
{
    size_t containers = 0, values = 0;
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > LT_MAX_JSON_DEPTH)
                return lt_fail(e, LT_E_MALFORMED, "JSON at byte %zu: nested deeper than %d", i,
                               LT_MAX_JSON_DEPTH);
            if (++containers > LT_MAX_JSON_CONTAINERS)
                return lt_fail(e, LT_E_TOO_LARGE, "JSON at byte %zu: more than %u objects and arrays", i,
                               LT_MAX_JSON_CONTAINERS);
        } else if (c == ',') {
            if (++values > LT_MAX_JSON_VALUES)
                return lt_fail(e, LT_E_TOO_LARGE, "JSON at byte %zu: more than %u values", i,
                               LT_MAX_JSON_VALUES);
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return 0;
}

json_t *lt_json_parse(const void *p, size_t n, size_t max, struct lt_err *e)
{
    json_error_t je;

    if (n > max) {
        (void)lt_fail(e, LT_E_TOO_LARGE, "JSON: %zu bytes > %zu", n, max);
        return NULL;
    }
    if (n && memchr(p, 0, n)) { /* jansson skips one behind a number */
        (void)lt_fail(e, LT_E_MALFORMED, "JSON: holds a NUL");
        return NULL;
    }
    if (check_shape(p, n, e))
        return NULL;
    json_t *j = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!j)
        (void)lt_fail(e, LT_E_MALFORMED, "JSON at line %d, byte %d: %s", je.line, je.position, je.text);
    return j;
}

char *lt_json_dump(const json_t *j)
{
    return json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* What jansson leaves as it is, and a terminal does not: only in strings can it stand. NULL stays NULL. */
static char *plain(char *text)
{
    LT_AUTOFREE char *s = text;
    size_t left = s ? strlen(s) : 0;
    uint32_t c;
    bool any = false;

    for (const char *p = s, *end = s + left; s && p < end;)
        p += lt_utf8_next((const uint8_t *)p, (size_t)(end - p), &c), any |= c >= 0x7f && lt_utf8_hidden(c);
    if (!any)
        return lt_take(&s);
    struct lt_buf out = LT_BUF(6 * left + 1);
    for (const uint8_t *p = (const uint8_t *)s; left;) {
        size_t n = lt_utf8_next(p, left, &c);
        if (c < 0x7f || !lt_utf8_hidden(c))
            lt_buf_put(&out, p, n);
        else if (c < 0x10000)
            lt_buf_printf(&out, "\\u%04X", c);
        else
            lt_buf_printf(&out, "\\u%04X\\u%04X", 0xd7c0 + (c >> 10), 0xdc00 | (c & 0x3ff));
        p += n;
        left -= n;
    }
    return lt_buf_take_str(&out);
}

char *lt_json_dump_plain(const json_t *j)
{
    return plain(lt_json_dump(j));
}

char *lt_json_pretty(const json_t *j)
{
    LT_AUTOFREE char *s = plain(json_dumps(j, JSON_INDENT(2) | JSON_ENCODE_ANY));
    size_t n = s ? strlen(s) : 0;
    char *out = s ? realloc(s, n + 2) : NULL;
    if (out) {
        s = NULL;
        memcpy(out + n, "\n", 2);
    }
    return out;
}

static int get(const json_t *o, const char *key, json_type type, const char *name, json_t **out,
               struct lt_err *e)
{
    *out = NULL;
    if (!json_is_object(o))
        return lt_fail(e, LT_E_MALFORMED, "JSON: no object where \"%s\" should be", key);
    json_t *v = json_object_get(o, key);
    if (!v)
        return lt_fail(e, LT_E_MALFORMED, "JSON: \"%s\" is missing", key);
    if (json_typeof(v) != type)
        return lt_fail(e, LT_E_MALFORMED, "JSON: \"%s\" is not %s", key, name);
    *out = v;
    return 0;
}

int lt_json_object(const json_t *o, const char *key, json_t **out, struct lt_err *e)
{
    return get(o, key, JSON_OBJECT, "an object", out, e);
}

int lt_json_array(const json_t *o, const char *key, size_t max, json_t **out, struct lt_err *e)
{
    int rc = get(o, key, JSON_ARRAY, "an array", out, e);
    if (!rc && json_array_size(*out) > max) {
        size_t n = json_array_size(*out);
        *out = NULL;
        rc = lt_fail(e, LT_E_TOO_LARGE, "JSON: \"%s\" has %zu elements > %zu", key, n, max);
    }
    return rc;
}

int lt_json_string(const json_t *o, const char *key, const char **out, struct lt_err *e)
{
    json_t *v;
    int rc = get(o, key, JSON_STRING, "a string", &v, e);
    *out = rc ? NULL : json_string_value(v);
    if (!rc && strlen(*out) != json_string_length(v)) {
        *out = NULL;
        rc = lt_fail(e, LT_E_MALFORMED, "JSON: \"%s\" holds a NUL", key);
    }
    return rc;
}

int lt_json_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out, struct lt_err *e)
{
    json_t *v;
    int rc = get(o, key, JSON_INTEGER, "an integer", &v, e);
    *out = rc ? 0 : json_integer_value(v);
    if (!rc && (*out < min || *out > max)) {
        rc = lt_fail(e, LT_E_MALFORMED, "JSON: \"%s\" is %lld, not %lld to %lld", key, (long long)*out,
                     (long long)min, (long long)max);
        *out = 0;
    }
    return rc;
}

int lt_json_bool(const json_t *o, const char *key, bool *out, struct lt_err *e)
{
    *out = false;
    json_t *v = json_is_object(o) ? json_object_get(o, key) : NULL;
    if (!json_is_boolean(v))
        return lt_fail(e, LT_E_MALFORMED, "JSON: \"%s\" is missing or not true or false", key);
    *out = json_is_true(v);
    return 0;
}

int lt_json_hex(const json_t *o, const char *key, void *out, size_t n, struct lt_err *e)
{
    const char *s;
    memset(out, 0, n);
    int rc = lt_json_string(o, key, &s, e);
    if (!rc && lt_unhex(s, out, n, e))
        rc = lt_fail_in(e, e->code, "JSON \"%s\"", key);
    return rc;
}

int lt_json_uuid(const json_t *o, const char *key, uint8_t out[16], struct lt_err *e)
{
    const char *s;
    memset(out, 0, 16);
    int rc = lt_json_string(o, key, &s, e);
    if (!rc && lt_uuid_parse(s, out, e))
        rc = lt_fail_in(e, e->code, "JSON \"%s\"", key);
    return rc;
}

int lt_json_base64(const json_t *o, const char *key, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    const char *s;
    *out = NULL;
    *n = 0;
    int rc = lt_json_string(o, key, &s, e);
    if (!rc && lt_unbase64(s, strlen(s), max, out, n, e))
        rc = lt_fail_in(e, e->code, "JSON \"%s\"", key);
    return rc;
}

bool lt_json_has(const json_t *o, const char *key)
{
    const json_t *v = json_is_object(o) ? json_object_get(o, key) : NULL;
    return v && !json_is_null(v);
}

void lt_json_wipe(json_t *o, const char *key)
{
    json_t *j = json_object_get(o, key);
    if (json_is_string(j))
        lt_wipe((char *)json_string_value(j), json_string_length(j));
}

int lt_json_only(const json_t *o, const char *const *keys, struct lt_err *e)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v)
    {
        const char *const *k = keys;
        while (*k && strcmp(*k, key))
            k++;
        if (!*k)
            return lt_fail(e, LT_E_MALFORMED, "JSON: unknown key \"%.60s\"", key);
    }
    return 0;
}

json_t *lt_json_new_hex(const void *p, size_t n)
{
    LT_AUTOFREE char *s = malloc(2 * n + 1);
    if (!s)
        return NULL;
    lt_hex(p, n, s);
    return json_string(s);
}

json_t *lt_json_new_base64(const void *p, size_t n)
{
    LT_AUTOFREE char *s = lt_base64_dup(p, n);
    return s ? json_string(s) : NULL;
}

json_t *lt_json_new_uuid(const uint8_t uuid[16])
{
    char s[LT_UUID_TEXT];
    lt_uuid_format(uuid, s);
    return json_string(s);
}

json_t *lt_json_new_text(const char *s)
{
    const struct lt_slice all = {(const uint8_t *)s, strlen(s)};

    if (lt_utf8_valid(all))
        return json_string(s);
    LT_AUTOFREE char *escaped = malloc(LT_UTF8_ESCAPED(all.n));
    if (!escaped)
        return NULL;
    lt_utf8_escape(all, escaped);
    return json_string(escaped);
}

void lt_json_cleanup(json_t **j)
{
    json_decref(*j);
}
