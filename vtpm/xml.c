#include "vtpm/xml.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    const char *p, *end, *start;
    unsigned elements, depth;
};

static int bad(const struct parser *s, struct lt_err *e, const char *what)
{
    return lt_fail(e, LT_E_MALFORMED, "XML at byte %zu: %s", (size_t)(s->p - s->start), what);
}

static bool at(const struct parser *s, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(s->end - s->p) >= n && !memcmp(s->p, text, n);
}

/* Behind the next occurrence of text; false if there is none. */
static bool skip_past(struct parser *s, const char *text)
{
    const char *found = memmem(s->p, (size_t)(s->end - s->p), text, strlen(text));
    if (found)
        s->p = found + strlen(text);
    return found;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool skip_space(struct parser *s)
{
    const char *from = s->p;
    while (s->p < s->end && is_space(*s->p))
        s->p++;
    return s->p != from;
}

static bool is_name(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (unsigned char)c >= 0x80 || (!first && ((c >= '0' && c <= '9') || c == '-' || c == '.'));
}

static struct lt_slice name(struct parser *s)
{
    const char *from = s->p;
    while (s->p < s->end && is_name(*s->p, s->p == from))
        s->p++;
    return (struct lt_slice){(const uint8_t *)from, (size_t)(s->p - from)};
}

/* name = "value" at the cursor. */
static int attribute(struct parser *s, struct lt_slice *key, struct lt_slice *value, struct lt_err *e)
{
    *key = name(s);
    if (!key->n)
        return bad(s, e, "no attribute name");
    skip_space(s);
    if (!at(s, "="))
        return bad(s, e, "an attribute without a value");
    s->p++;
    skip_space(s);
    if (!at(s, "'") && !at(s, "\""))
        return bad(s, e, "an attribute without quotes");
    char quote = *s->p++;
    const char *from = s->p;
    while (s->p < s->end && *s->p != quote && *s->p != '<')
        s->p++;
    if (s->p == s->end || *s->p != quote)
        return bad(s, e, "an attribute that does not end");
    *value = (struct lt_slice){(const uint8_t *)from, (size_t)(s->p - from)};
    s->p++;
    return 0;
}

/* Up to '>' or "/>". */
static int attributes(struct parser *s, struct lt_slice *out, struct lt_err *e)
{
    struct lt_slice keys[LT_MAX_XML_ATTRIBUTES], value;
    const char *from = s->p;
    unsigned n = 0;

    while (skip_space(s) && s->p < s->end && *s->p != '>' && *s->p != '/') {
        if (n == LT_MAX_XML_ATTRIBUTES)
            return bad(s, e, "too many attributes");
        int rc = attribute(s, &keys[n], &value, e);
        if (rc)
            return rc;
        for (unsigned i = 0; i < n; i++)
            if (lt_slice_eq(keys[i], keys[n]))
                return bad(s, e, "an attribute twice");
        n++;
    }
    *out = (struct lt_slice){(const uint8_t *)from, (size_t)(s->p - from)};
    return 0;
}

/* A comment, CDATA or processing instruction at the cursor: 1 if skipped, 0 if there is none. */
static int skip_other(struct parser *s, struct lt_err *e)
{
    static const char *const others[][2] = {{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}};

    for (size_t i = 0; i < 3; i++)
        if (at(s, others[i][0])) {
            s->p += strlen(others[i][0]);
            return skip_past(s, others[i][1]) ? 1 : bad(s, e, "a comment or the like that does not end");
        }
    return at(s, "<!") ? bad(s, e, "a declaration") : 0;
}

static int element(struct parser *s, struct lt_xml **out, struct lt_err *e);

/* What lies between the tags, and the end tag. */
static int content(struct parser *s, struct lt_xml *x, struct lt_err *e)
{
    struct lt_xml **tail = &x->first;
    const char *from = s->p;

    for (;;) {
        const char *open = memchr(s->p, '<', (size_t)(s->end - s->p));
        if (!open)
            return bad(s, e, "an element that does not end");
        s->p = open;
        if (at(s, "</")) {
            x->inner = (struct lt_slice){(const uint8_t *)from, (size_t)(s->p - from)};
            s->p += 2;
            if (!lt_slice_eq(name(s), x->name))
                return bad(s, e, "an end tag of another name");
            skip_space(s);
            if (!at(s, ">"))
                return bad(s, e, "an end tag that does not end");
            s->p++;
            return 0;
        }
        int rc = skip_other(s, e);
        if (rc < 0 || (!rc && (rc = element(s, tail, e))))
            return rc;
        if (*tail)
            tail = &(*tail)->next;
    }
}

/* *out holds what was read also on failure. */
static int element(struct parser *s, struct lt_xml **out, struct lt_err *e)
{
    if (!at(s, "<"))
        return bad(s, e, "no element");
    s->p++;
    if (++s->elements > LT_MAX_XML_ELEMENTS || s->depth >= LT_MAX_XML_DEPTH)
        return lt_fail(e, LT_E_TOO_LARGE, "XML: more than %u elements, or deeper than %d",
                       LT_MAX_XML_ELEMENTS, LT_MAX_XML_DEPTH);
    struct lt_xml *x = *out = calloc(1, sizeof *x);
    if (!x)
        return lt_fail(e, LT_E_NO_MEMORY, "XML: no memory");
    x->name = name(s);
    if (!x->name.n)
        return bad(s, e, "no element name");
    int rc = attributes(s, &x->attributes, e);
    if (rc)
        return rc;
    if (at(s, "/>")) {
        s->p += 2;
        return 0;
    }
    if (!at(s, ">"))
        return bad(s, e, "a tag that does not end");
    s->p++;
    s->depth++;
    rc = content(s, x, e);
    s->depth--;
    return rc;
}

static int misc(struct parser *s, struct lt_err *e)
{
    int rc;
    do
        skip_space(s);
    while ((rc = skip_other(s, e)) == 1);
    return rc;
}

int lt_xml_parse(const void *text, size_t n, struct lt_xml **out, struct lt_err *e)
{
    struct parser s = {.p = text, .start = text, .end = (const char *)text + n};
    int rc;

    *out = NULL;
    if (memchr(text, 0, n))
        return bad(&s, e, "a NUL byte");
    if (!(rc = misc(&s, e)) && !(rc = element(&s, out, e)) && !(rc = misc(&s, e)) && s.p != s.end)
        rc = bad(&s, e, "something behind the root element");
    if (rc) {
        lt_xml_free(*out);
        *out = NULL;
    }
    return rc;
}

void lt_xml_free(struct lt_xml *x)
{
    while (x) {
        struct lt_xml *next = x->next;
        lt_xml_free(x->first);
        free(x);
        x = next;
    }
}

static bool equals(struct lt_slice s, const char *text)
{
    return s.n == strlen(text) && !memcmp(s.p, text, s.n);
}

bool lt_xml_is(const struct lt_xml *x, const char *wanted)
{
    return equals(x->name, wanted);
}

int lt_xml_child(const struct lt_xml *parent, const char *wanted, struct lt_xml **out, struct lt_err *e)
{
    *out = NULL;
    for (struct lt_xml *x = parent ? parent->first : NULL; x; x = x->next) {
        if (!lt_xml_is(x, wanted))
            continue;
        if (*out)
            return lt_fail(e, LT_E_MALFORMED, "XML: a second <%s>", wanted);
        *out = x;
    }
    return 0;
}

/* &#N; or &#xN; between digits and semicolon; 0 is no character. */
static uint32_t reference(const char *p, size_t n)
{
    unsigned base = n && *p == 'x' ? 16 : 10;
    uint32_t c = 0;

    for (size_t i = base == 16; i < n; i++) {
        int d = p[i] >= '0' && p[i] <= '9'                               ? p[i] - '0'
                : base == 16 && (p[i] | 32) >= 'a' && (p[i] | 32) <= 'f' ? (p[i] | 32) - 'a' + 10
                                                                         : -1;
        if (d < 0 || c > 0x10ffff)
            return 0;
        c = c * base + (uint32_t)d;
    }
    return c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : c;
}

static size_t utf8(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

/* The character behind '&'; *p moves behind its semicolon. 0: none that we know. */
static uint32_t entity(const char **p, const char *end)
{
    static const struct {
        const char *name;
        char c;
    } list[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
    size_t room = (size_t)(end - *p);
    const char *semicolon = memchr(*p, ';', room < 12 ? room : 12);

    if (!semicolon)
        return 0;
    struct lt_slice s = {(const uint8_t *)*p, (size_t)(semicolon - *p)};
    *p = semicolon + 1;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (equals(s, list[i].name))
            return (unsigned char)list[i].c;
    return s.n > 1 && *s.p == '#' ? reference((const char *)s.p + 1, s.n - 1) : 0;
}

static int decode(struct lt_slice raw, size_t max, char **out, struct lt_err *e)
{
    const char *p = (const char *)raw.p, *end = p + raw.n;
    size_t n = 0;

    *out = NULL;
    if (raw.n > max * 12) /* no character is written with more bytes than &#x0010ffff; */
        return lt_fail(e, LT_E_TOO_LARGE, "XML: a value of %zu bytes", raw.n);
    LT_AUTOFREE char *text = malloc(raw.n + 1);
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "XML: no memory");
    while (p < end) {
        char c = *p++;
        if (c == '<' || ((unsigned char)c < 0x20 && c != '\t' && c != '\n'))
            return lt_fail(e, LT_E_MALFORMED, "XML: a value with byte 0x%02x", (unsigned char)c);
        if (c != '&') {
            text[n++] = c;
            continue;
        }
        uint32_t known = entity(&p, end);
        if (!known)
            return lt_fail(e, LT_E_MALFORMED, "XML: an entity that is not known");
        n += utf8(known, text + n);
    }
    if (n > max)
        return lt_fail(e, LT_E_TOO_LARGE, "XML: a value of %zu bytes > %zu", n, max);
    text[n] = 0;
    *out = lt_take(&text);
    return 0;
}

static bool find(const struct lt_xml *x, const char *wanted, struct lt_slice *value)
{
    struct parser s = {.p = (const char *)x->attributes.p, .start = (const char *)x->attributes.p};
    struct lt_slice key;

    s.end = s.p + x->attributes.n;
    while (skip_space(&s) && s.p < s.end && !attribute(&s, &key, value, NULL))
        if (equals(key, wanted))
            return true;
    return false;
}

int lt_xml_attribute(const struct lt_xml *x, const char *wanted, size_t max, char **out, struct lt_err *e)
{
    struct lt_slice value;

    *out = NULL;
    if (!x || !find(x, wanted, &value))
        return 0;
    return decode(value, max, out, e)
               ? lt_fail_in(e, "<%.*s %s=…>", (int)x->name.n, (const char *)x->name.p, wanted)
               : 0;
}

int lt_xml_text(const struct lt_xml *x, size_t max, char **out, struct lt_err *e)
{
    *out = NULL;
    if (!x)
        return 0;
    return decode(x->inner, max, out, e) ? lt_fail_in(e, "<%.*s>", (int)x->name.n, (const char *)x->name.p)
                                         : 0;
}

bool lt_xml_declares(const struct lt_xml *x, const char *namespace)
{
    for (; x; x = x->next) {
        struct parser s = {.p = (const char *)x->attributes.p,
                           .end = (const char *)x->attributes.p + x->attributes.n};
        struct lt_slice key, value;
        while (s.p && skip_space(&s) && s.p < s.end && !attribute(&s, &key, &value, NULL))
            if (key.n >= 5 && !memcmp(key.p, "xmlns", 5) && equals(value, namespace))
                return true;
        if (lt_xml_declares(x->first, namespace))
            return true;
    }
    return false;
}
