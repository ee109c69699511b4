#include "appraisal/imaline.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_PLAIN 255 /* IMA_EVENT_NAME_LEN_MAX: template ima pads the name to one more */
#define ALG_MAX 16         /* "streebog512" is the kernel's longest */

/* Fields behind the digest, right to left, and how many of them are hex. */
static const struct template
{
    const char *name;
    size_t n;
    enum lt_ima_kind kind;
    bool typed, modsig;
}
templates[] = {
    {"ima-ng", 6, LT_IMA_FILE, false, false},       {"ima-sig", 7, LT_IMA_SIGNED, false, false},
    {"ima-buf", 7, LT_IMA_BUFFER, false, false},    {"ima", 3, LT_IMA_FILE, false, false},
    {"ima-ngv2", 8, LT_IMA_FILE, true, false},      {"ima-sigv2", 9, LT_IMA_SIGNED, true, false},
    {"ima-modsig", 10, LT_IMA_SIGNED, false, true},
};

/* Values of hex digits in lower case; 0x80 marks what is none. */
#define X8 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80
static const uint8_t nibble[256] = {
    X8,   X8,   X8,   X8,   X8, X8, 0,  1,  2,    3,  4,  5,  6,  7,  8,  9,    0x80, 0x80,
    0x80, 0x80, 0x80, 0x80, X8, X8, X8, X8, 0x80, 10, 11, 12, 13, 14, 15, 0x80, X8,   X8,
    X8,   X8,   X8,   X8,   X8, X8, X8, X8, X8,   X8, X8, X8, X8, X8, X8, X8,   X8,
};

/* Eight digits at once: a third of a list is hex. v are the nibbles; turned back into digits they must be
 * what stood there, and none may be above 15 ('g' would be 16). */
static uint64_t unhex8(const uint8_t *s, uint64_t *bad)
{
    const uint64_t ones = 0x0101010101010101;
    uint64_t x, v;

    memcpy(&x, s, sizeof x);
    x = le64toh(x);
    v = (x & 0x0f * ones) + (x >> 6 & ones) * 9;
    *bad |= (v + 0x30 * ones + ((v + 6 * ones) >> 4 & ones) * 39) ^ x;
    *bad |= v & 0x10 * ones;
    v = (v << 4 | v >> 8) & 0x00ff00ff00ff00ff;
    v = (v | v >> 8) & 0x0000ffff0000ffff;
    return (v | v >> 16) & 0xffffffff;
}

bool lt_ima_line_unhex(const uint8_t *s, size_t n, uint8_t *out)
{
    uint64_t bad = 0;
    uint8_t wrong = 0;
    size_t i = 0;

    for (; i + 4 <= n; i += 4) {
        uint32_t four = htole32((uint32_t)unhex8(s + 2 * i, &bad));
        memcpy(out + i, &four, sizeof four);
    }
    for (; i < n; i++) {
        uint8_t high = nibble[s[2 * i]], low = nibble[s[2 * i + 1]];
        wrong |= high | low;
        out[i] = (uint8_t)(high << 4 | (low & 15));
    }
    return !bad && !(wrong & 0x80);
}

static bool is_zeros(struct lt_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0')
            return false;
    return true;
}

static uint16_t alg_of(struct lt_slice name)
{
    static const uint16_t known[] = {LT_HASH_SHA256, LT_HASH_SHA1, LT_HASH_SHA512, LT_HASH_SHA384};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *text = lt_hash_name(known[i]);
        if (strlen(text) == name.n && !memcmp(text, name.p, name.n))
            return known[i];
    }
    return 0;
}

bool lt_ima_line_next(struct lt_slice text, size_t *at, struct lt_slice *line)
{
    if (*at >= text.n)
        return false;
    const uint8_t *p = text.p + *at, *end = memchr(p, '\n', text.n - *at);
    *line = (struct lt_slice){p, end ? (size_t)(end - p) : text.n - *at};
    *at += line->n + (end ? 1 : 0);
    return true;
}

/* Up to the first space, which is skipped. */
static int word(struct lt_slice *rest, const char *what, struct lt_slice *out, struct lt_err *e)
{
    const uint8_t *space = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;

    if (!space)
        return lt_fail(e, LT_E_MALFORMED, "nothing follows the %s", what);
    *out = (struct lt_slice){rest->p, (size_t)(space - rest->p)};
    *rest = (struct lt_slice){space + 1, rest->n - out->n - 1};
    return 0;
}

/* Behind the last space, which is cut off with it. */
static int last_word(struct lt_slice *rest, const char *what, struct lt_slice *out, struct lt_err *e)
{
    const uint8_t *space = rest->n ? memrchr(rest->p, ' ', rest->n) : NULL;

    if (!space)
        return lt_fail(e, LT_E_MALFORMED, "no %s behind the path", what);
    *out = (struct lt_slice){space + 1, (size_t)(rest->p + rest->n - space - 1)};
    rest->n -= out->n + 1;
    return 0;
}

/* ---- template data ---- never beyond data: every byte put comes from a character of a line within its
 * ceiling, but for four of length a field and the padding, for which there are 512 more. */

static void put(struct lt_ima_line *l, const void *p, size_t n)
{
    memcpy(l->data + l->data_n, p, n);
    l->data_n += n;
}

static void put_size(struct lt_ima_line *l, size_t n)
{
    put(l, (uint8_t[]){(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)}, 4);
}

static int put_hex(struct lt_ima_line *l, struct lt_slice hex, const char *what, struct lt_slice *out,
                   struct lt_err *e)
{
    if (hex.n % 2 || !lt_ima_line_unhex(hex.p, hex.n / 2, l->data + l->data_n))
        return lt_fail(e, LT_E_MALFORMED, "%s is not lower-case hex", what);
    *out = (struct lt_slice){l->data + l->data_n, hex.n / 2};
    l->data_n += out->n;
    return 0;
}

static int prefix(struct lt_slice field, size_t from, const char *what, struct lt_slice *out,
                  struct lt_err *e)
{
    size_t n = field.n - from < ALG_MAX + 1 ? field.n - from : ALG_MAX + 1;
    const uint8_t *p = field.p + from, *colon = n ? memchr(p, ':', n) : NULL;

    if (!colon || colon == p)
        return lt_fail(e, LT_E_MALFORMED, "the digest has no %s", what);
    *out = (struct lt_slice){p, (size_t)(colon - p)};
    for (size_t i = 0; i < out->n; i++)
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9') || p[i] == '-'))
            return lt_fail(e, LT_E_MALFORMED, "the digest's %s has byte 0x%02x", what, p[i]);
    return 0;
}

static int check_size(uint16_t alg, size_t n, struct lt_err *e)
{
    if (!n || n > LT_MAX_DIGEST || (alg && n != lt_hash_size(alg)))
        return lt_fail(e, LT_E_MALFORMED, "%s digest of %zu bytes", alg ? lt_hash_name(alg) : "a", n);
    return 0;
}

/* d-ng: "sha256:" NUL digest. d-ngv2: "verity:sha256:" NUL digest. */
static int put_digest(struct lt_ima_line *l, struct lt_slice field, bool typed, struct lt_slice *name,
                      uint16_t *alg, struct lt_slice *digest, struct lt_err *e)
{
    struct lt_slice type = {NULL, 0}, hex;
    size_t at = 0;

    l->verity = false;
    if (typed) {
        LT_TRY(prefix(field, 0, "type", &type, e));
        l->verity = type.n == 6 && !memcmp(type.p, "verity", 6);
        if (!l->verity && !(type.n == 3 && !memcmp(type.p, "ima", 3)))
            return lt_fail(e, LT_E_MALFORMED, "digest type '%.*s', only ima and verity are known",
                           (int)type.n, (const char *)type.p);
        at = type.n + 1;
    }
    LT_TRY(prefix(field, at, "algorithm", name, e));
    at += name->n + 1;
    *alg = alg_of(*name);
    hex = (struct lt_slice){field.p + at, field.n - at};
    LT_TRY(check_size(*alg, hex.n / 2, e));
    put_size(l, at + 1 + hex.n / 2);
    put(l, field.p, at);
    l->data[l->data_n++] = 0;
    return put_hex(l, hex, "the digest", digest, e);
}

/* Template ima: 20 bytes and the name padded to 256, without lengths. */
static int plain(struct lt_ima_line *l, struct lt_slice field, struct lt_err *e)
{
    LT_TRY(check_size(LT_HASH_SHA1, field.n / 2, e));
    if (l->path.n > NAME_MAX_PLAIN)
        return lt_fail(e, LT_E_MALFORMED, "path of %zu bytes, template ima has at most %d", l->path.n,
                       NAME_MAX_PLAIN);
    l->alg = LT_HASH_SHA1;
    l->alg_name = (struct lt_slice){(const uint8_t *)"sha1", 4};
    l->verity = false;
    LT_TRY(put_hex(l, field, "the digest", &l->digest, e));
    put(l, l->path.p, l->path.n);
    memset(l->data + l->data_n, 0, NAME_MAX_PLAIN + 1 - l->path.n);
    l->data_n += NAME_MAX_PLAIN + 1 - l->path.n;
    return 0;
}

struct fields {
    struct lt_slice digest, signature, mod_digest, mod_signature;
};

/* The template data, from what the line shows. */
static int compose(struct lt_ima_line *l, const struct template *t, const struct fields *f, struct lt_err *e)
{
    struct lt_slice name, digest;
    uint16_t alg;

    if (t->n == 3)
        return plain(l, f->digest, e);
    LT_TRY(put_digest(l, f->digest, t->typed, &l->alg_name, &l->alg, &l->digest, e));
    put_size(l, l->path.n + 1);
    put(l, l->path.p, l->path.n);
    l->data[l->data_n++] = 0;
    if (t->kind == LT_IMA_FILE)
        return 0;
    put_size(l, f->signature.n / 2);
    LT_TRY(put_hex(l, f->signature, t->kind == LT_IMA_BUFFER ? "the buffer" : "the signature", &l->extra, e));
    if (!t->modsig)
        return 0;
    if (!f->mod_digest.n) /* a file without an appended signature: both fields are empty */
        put_size(l, 0);
    else
        LT_TRY(put_digest(l, f->mod_digest, false, &name, &alg, &digest, e));
    put_size(l, f->mod_signature.n / 2);
    return put_hex(l, f->mod_signature, "the appended signature", &digest, e);
}

/* "%2u ", then the column: its content is the caller's to compare. */
static int head(struct lt_slice *rest, struct lt_ima_line *l, struct lt_err *e)
{
    const uint8_t *p = rest->p;

    if (rest->n < 3 || !((p[0] >= '1' && p[0] <= '9') || p[0] == ' ') || p[1] < '0' || p[1] > '9' ||
        p[2] != ' ')
        return lt_fail(e, LT_E_MALFORMED, "no PCR number");
    l->pcr = (p[0] == ' ' ? 0 : (unsigned)(p[0] - '0') * 10) + (unsigned)(p[1] - '0');
    *rest = (struct lt_slice){p + 3, rest->n - 3};
    LT_TRY(word(rest, "template hash", &l->column, e));
    if (l->column.n != 40 && l->column.n != 64 && l->column.n != 96 && l->column.n != 128)
        return lt_fail(e, LT_E_MALFORMED, "template hash of %zu characters", l->column.n);
    l->violation = l->column.p[0] == '0' && is_zeros(l->column);
    return 0;
}

int lt_ima_line_parse(struct lt_slice line, struct lt_ima_line *l, struct lt_err *e)
{
    struct lt_slice rest = line, name;
    struct fields f = {0};
    const struct template *t = NULL;

    if (line.n > LT_MAX_IMA_LINE)
        return lt_fail(e, LT_E_MALFORMED, "line of %zu bytes, at most %u are read", line.n, LT_MAX_IMA_LINE);
    LT_TRY(head(&rest, l, e));
    LT_TRY(word(&rest, "template's name", &name, e));
    for (size_t i = 0; i < sizeof templates / sizeof *templates && !t; i++)
        if (templates[i].n == name.n && !memcmp(templates[i].name, name.p, name.n))
            t = &templates[i];
    if (!t) {
        char shown[33];
        lt_ima_line_show(name, shown, sizeof shown - 1);
        return lt_fail(e, LT_E_MALFORMED, "template '%s' is not known", shown);
    }
    LT_TRY(word(&rest, "digest", &f.digest, e));
    /* From the right, since kernels before 3.13 left spaces in paths as they were. */
    if (t->modsig) {
        LT_TRY(last_word(&rest, "appended signature", &f.mod_signature, e));
        LT_TRY(last_word(&rest, "digest without it", &f.mod_digest, e));
    }
    if (t->kind != LT_IMA_FILE)
        LT_TRY(last_word(&rest, t->kind == LT_IMA_BUFFER ? "buffer" : "signature", &f.signature, e));
    if (!rest.n || rest.n > LT_MAX_IMA_NAME) /* PATH_MAX */
        return lt_fail(e, LT_E_MALFORMED, "path of %zu bytes, it has 1 to %u", rest.n, LT_MAX_IMA_NAME);
    if (memchr(rest.p, 0, rest.n))
        return lt_fail(e, LT_E_MALFORMED, "NUL in the path");
    l->kind = t->kind;
    l->path = rest;
    l->data_n = 0;
    l->extra = l->digest = l->alg_name = (struct lt_slice){NULL, 0};
    l->alg = 0;
    return l->violation ? 0 : compose(l, t, &f, e); /* what a violation shows is not what was hashed */
}

static size_t shown_size(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '\\' ? 1 : 4;
}

static size_t show(const uint8_t *p, size_t n, char *out)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        if (shown_size(p[i]) == 1)
            out[at++] = (char)p[i];
        else
            at += (size_t)snprintf(out + at, 5, "\\x%02x", p[i]);
    }
    out[at] = 0;
    return at;
}

void lt_ima_line_show(struct lt_slice path, char *out, size_t max)
{
    size_t total = 0, head = 0, tail = path.n, used = 0;

    for (size_t i = 0; i < path.n && total <= max; i++)
        total += shown_size(path.p[i]);
    if (total <= max) {
        show(path.p, path.n, out);
        return;
    }
    /* The end of a path tells more than its middle. */
    while (used + shown_size(path.p[head]) <= max / 3)
        used += shown_size(path.p[head++]);
    for (used += 3; used + shown_size(path.p[tail - 1]) <= max; tail--)
        used += shown_size(path.p[tail - 1]);
    size_t at = show(path.p, head, out);
    memcpy(out + at, "...", 3);
    show(path.p + tail, path.n - tail, out + at + 3);
}
