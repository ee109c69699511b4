#include "common/json_pull.h"
#include "common/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lt_json_pull lt_json_pull(const void *p, size_t n, const char *what)
{
    return (struct lt_json_pull){.p = p, .n = n, .what = what};
}

void lt_json_pull_free(struct lt_json_pull *s)
{
    free(s->scratch);
    s->scratch = NULL;
}

int lt_json_pull_fail(const struct lt_json_pull *s, struct lt_err *e, const char *fmt, ...)
{
    char text[240];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return lt_fail(e, LT_E_MALFORMED, "%s at byte %zu: %s", s->what, s->at, text);
}

char lt_json_pull_peek(struct lt_json_pull *s)
{
    while (s->at < s->n && s->p[s->at] && strchr(" \t\r\n", s->p[s->at]))
        s->at++;
    if (s->at == s->n)
        return 0;
    uint8_t c = s->p[s->at];
    if (c == '-' || (c >= '0' && c <= '9'))
        return '0';
    return c > 0 && c < 0x80 ? (char)c : '?';
}

static int expect(struct lt_json_pull *s, char c, const char *name, struct lt_err *e)
{
    if (lt_json_pull_peek(s) != c || s->at == s->n)
        return lt_json_pull_fail(s, e, "%s expected", name);
    s->at++;
    return 0;
}

int lt_json_pull_object(struct lt_json_pull *s, struct lt_json_pull_list *l, struct lt_err *e)
{
    *l = (struct lt_json_pull_list){0};
    return expect(s, '{', "an object", e);
}

int lt_json_pull_array(struct lt_json_pull *s, struct lt_json_pull_list *l, struct lt_err *e)
{
    *l = (struct lt_json_pull_list){0};
    return expect(s, '[', "an array", e);
}

/* Past the comma that must stand between two, or l->end past the closing bracket. */
static int next(struct lt_json_pull *s, struct lt_json_pull_list *l, char close, struct lt_err *e)
{
    if (lt_json_pull_peek(s) == close) {
        s->at++;
        l->end = true;
        return 0;
    }
    if (l->any)
        LT_TRY(expect(s, ',', close == '}' ? "',' or '}'" : "',' or ']'", e));
    l->any = true;
    return 0;
}

int lt_json_pull_key(struct lt_json_pull *s, struct lt_json_pull_list *l, size_t max, struct lt_slice *key,
                     struct lt_err *e)
{
    *key = (struct lt_slice){0};
    LT_TRY(next(s, l, '}', e));
    if (l->end)
        return 0;
    LT_TRY(lt_json_pull_string(s, max, key, e));
    return expect(s, ':', "':'", e);
}

int lt_json_pull_item(struct lt_json_pull *s, struct lt_json_pull_list *l, struct lt_err *e)
{
    LT_TRY(next(s, l, ']', e));
    /* "[1,]" is found where the item is pulled: ']' begins no value. */
    return 0;
}

static int hex4(struct lt_json_pull *s, uint32_t *out, struct lt_err *e)
{
    char four[5] = {0};
    uint8_t v[2];

    memcpy(four, s->p + s->at, s->n - s->at < 4 ? s->n - s->at : 4);
    if (lt_unhex(four, v, sizeof v, LT_NO_ERR))
        return lt_json_pull_fail(s, e, "four hex digits expected after \\u");
    s->at += 4;
    *out = (uint32_t)v[0] << 8 | v[1];
    return 0;
}

/* Behind the backslash; one character as UTF-8. */
static int escape(struct lt_json_pull *s, uint8_t out[4], size_t *n, struct lt_err *e)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *simple = s->at < s->n && s->p[s->at] ? strchr(from, s->p[s->at]) : NULL;
    uint32_t c = 0, low = 0;

    *n = 1;
    if (simple) {
        out[0] = (uint8_t)to[simple - from];
        s->at++;
        return 0;
    }
    if (s->at >= s->n || s->p[s->at] != 'u')
        return lt_json_pull_fail(s, e, "no such escape");
    s->at++;
    LT_TRY(hex4(s, &c, e));
    if (!c)
        return lt_json_pull_fail(s, e, "a NUL in a string");
    if (c >= 0xd800 && c <= 0xdfff) {
        if (c >= 0xdc00 || s->n - s->at < 2 || memcmp(s->p + s->at, "\\u", 2))
            return lt_json_pull_fail(s, e, "half a surrogate pair");
        s->at += 2;
        LT_TRY(hex4(s, &low, e));
        if (low < 0xdc00 || low > 0xdfff)
            return lt_json_pull_fail(s, e, "half a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = *n; i-- > 1; c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)(*n == 1 ? c : (0xf00u >> *n & 0xff) | c);
    return 0;
}

/* at stands at the first character that cannot be taken as it is; text from start on is decoded into scratch.
 */
static int decode(struct lt_json_pull *s, size_t start, size_t max, struct lt_slice *out, struct lt_err *e)
{
    size_t n = s->at - start;

    if (n)
        memcpy(s->scratch, s->p + start, n);
    while (s->at < s->n && s->p[s->at] != '"') {
        uint8_t c[4];
        size_t k = 1;
        if (s->p[s->at] == '\\') {
            s->at++;
            LT_TRY(escape(s, c, &k, e));
        } else if (s->p[s->at] < 0x20 || !(k = lt_utf8_size(s->p + s->at, s->n - s->at))) {
            return lt_json_pull_fail(s, e, "byte 0x%02x in a string", s->p[s->at]);
        } else {
            memcpy(c, s->p + s->at, k);
            s->at += k;
        }
        if (n + k > max)
            return lt_json_pull_fail(s, e, "a string of more than %zu bytes", max);
        memcpy(s->scratch + n, c, k);
        n += k;
    }
    if (s->at == s->n)
        return lt_json_pull_fail(s, e, "the text ends inside a string");
    *out = (struct lt_slice){s->scratch, n};
    s->at++;
    return 0;
}

/* For what decode will write: no more than the text that is left, and than max. */
static int reserve(struct lt_json_pull *s, size_t start, size_t max, struct lt_err *e)
{
    size_t want = s->n - start < max ? s->n - start : max;

    if (want <= s->scratch_cap)
        return 0;
    uint8_t *p = realloc(s->scratch, want);
    if (!p)
        return lt_fail(e, LT_E_NO_MEMORY, "%s at byte %zu: no memory for a string of %zu bytes", s->what,
                       s->at, want);
    s->scratch = p;
    s->scratch_cap = want;
    return 0;
}

int lt_json_pull_string(struct lt_json_pull *s, size_t max, struct lt_slice *out, struct lt_err *e)
{
    *out = (struct lt_slice){0};
    LT_TRY(expect(s, '"', "a string", e));
    size_t start = s->at;
    while (s->at < s->n && s->p[s->at] != '"' && s->p[s->at] != '\\') {
        size_t k = s->p[s->at] < 0x20 ? 0 : lt_utf8_size(s->p + s->at, s->n - s->at);
        if (!k)
            return lt_json_pull_fail(s, e, "byte 0x%02x in a string", s->p[s->at]);
        s->at += k;
        if (s->at - start > max)
            return lt_json_pull_fail(s, e, "a string of more than %zu bytes", max);
    }
    if (s->at < s->n && s->p[s->at] == '\\') {
        LT_TRY(reserve(s, start, max, e));
        return decode(s, start, max, out, e);
    }
    if (s->at == s->n)
        return lt_json_pull_fail(s, e, "the text ends inside a string");
    *out = (struct lt_slice){s->p + start, s->at - start};
    s->at++;
    return 0;
}

int lt_json_pull_int(struct lt_json_pull *s, int64_t min, int64_t max, int64_t *out, struct lt_err *e)
{
    *out = 0;
    if (lt_json_pull_peek(s) != '0')
        return lt_json_pull_fail(s, e, "an integer expected");
    bool negative = s->p[s->at] == '-';
    size_t first = s->at += negative;
    int64_t v = 0;
    for (; s->at < s->n && s->p[s->at] >= '0' && s->p[s->at] <= '9'; s->at++) {
        if (s->at - first >= 18)
            return lt_json_pull_fail(s, e, "an integer of more than 18 digits");
        v = v * 10 + (s->p[s->at] - '0');
    }
    if (s->at == first || (s->p[first] == '0' && s->at - first > 1) ||
        (s->at < s->n && s->p[s->at] && strchr(".eE", s->p[s->at])))
        return lt_json_pull_fail(s, e, "an integer expected");
    v = negative ? -v : v;
    if (v < min || v > max)
        return lt_json_pull_fail(s, e, "%lld is not from %lld to %lld", (long long)v, (long long)min,
                                 (long long)max);
    *out = v;
    return 0;
}

int lt_json_pull_null(struct lt_json_pull *s, struct lt_err *e)
{
    (void)lt_json_pull_peek(s);
    if (s->n - s->at < 4 || memcmp(s->p + s->at, "null", 4))
        return lt_json_pull_fail(s, e, "null expected");
    s->at += 4;
    return 0;
}

int lt_json_pull_end(struct lt_json_pull *s, struct lt_err *e)
{
    (void)lt_json_pull_peek(s);
    return s->at < s->n ? lt_json_pull_fail(s, e, "more text behind the document") : 0;
}
