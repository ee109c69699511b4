#include "appraisal/ima/line.h"

#include "common/ima_list.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_PLAIN 255 /* IMA_EVENT_NAME_LEN_MAX: template ima pads the name to one more */
#define ALG_MAX 16         /* "streebog512" is the kernel's longest */
#define DIGEST_PLAIN 20    /* of fields without an algorithm's name */
#define MIN_DIGEST_TEXT 32 /* MD5, in hex */
#define AHEAD 1024         /* bytes of a list, to be fetched before they are read */
#define MAX_HEAD 512       /* bytes of an entry of text in front of its name, and more */

/* Fields behind the digest, right to left, and how many of them are hex. An administrator's own format
 * (ima_template_fmt=) is shown by its fields; those of the kernel's own templates are known by these too. */
static const struct template
{
    const char *name;
    size_t n;
    enum lt_ima_kind kind;
    enum { SIZED, PLAIN, NG, NGV2 } digest; /* d with a length; without, as of "ima"; d-ng; d-ngv2 */
    bool modsig;
}
templates[] = {
    {"ima-ng", 6, LT_IMA_FILE, NG, false},
    {"ima-sig", 7, LT_IMA_SIGNED, NG, false},
    {"ima-buf", 7, LT_IMA_BUFFER, NG, false},
    {"ima", 3, LT_IMA_FILE, PLAIN, false},
    {"ima-ngv2", 8, LT_IMA_FILE, NGV2, false},
    {"ima-sigv2", 9, LT_IMA_SIGNED, NGV2, false},
    {"ima-modsig", 10, LT_IMA_SIGNED, NG, true},
    {"d|n", 3, LT_IMA_FILE, SIZED, false},
    {"d-ng|n-ng", 9, LT_IMA_FILE, NG, false},
    {"d-ng|n-ng|sig", 13, LT_IMA_SIGNED, NG, false},
    {"d-ng|n-ng|buf", 13, LT_IMA_BUFFER, NG, false},
    {"d-ngv2|n-ng", 11, LT_IMA_FILE, NGV2, false},
    {"d-ngv2|n-ng|sig", 15, LT_IMA_SIGNED, NGV2, false},
    {"d-ng|n-ng|sig|d-modsig|modsig", 29, LT_IMA_SIGNED, NG, true},
};

static bool is_zeros(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static const struct template *template_of(struct lt_slice name)
{
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++)
        if (templates[i].n == name.n && !memcmp(templates[i].name, name.p, name.n))
            return &templates[i];
    return NULL;
}

/* Hashes of ours, as a digest names them, the most frequent first. */
static const struct {
    const char *text;
    size_t n;
    uint16_t alg;
} algs[] = {
    {"sha256:", 7, LT_HASH_SHA256},
    {"sha1:", 5, LT_HASH_SHA1},
    {"sha512:", 7, LT_HASH_SHA512},
    {"sha384:", 7, LT_HASH_SHA384},
};

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

/* ---- template data, made ---- never beyond made: every byte put comes from a character of a line within its
 * ceiling, but for four of length a field and the padding, for which there are 512 more. */

static void put(struct lt_ima_line *l, const void *p, size_t n)
{
    memcpy(l->made + l->made_n, p, n);
    l->made_n += n;
}

static void put_size(struct lt_ima_line *l, size_t n)
{
    put(l, (uint8_t[]){(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)}, 4);
}

static int put_hex(struct lt_ima_line *l, struct lt_slice hex, const char *what, struct lt_slice *out,
                   struct lt_err *e)
{
    if (hex.n % 2 || !lt_unhex_lower(hex.p, hex.n / 2, l->made + l->made_n))
        return lt_fail(e, LT_E_MALFORMED, "%s is not lower-case hex", what);
    *out = (struct lt_slice){l->made + l->made_n, hex.n / 2};
    l->made_n += out->n;
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

/* "sha256:" at from. *alg 0: none of ours, which may be. */
static int algorithm(struct lt_slice field, size_t from, struct lt_slice *name, uint16_t *alg,
                     struct lt_err *e)
{
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++) {
        if (field.n - from >= algs[i].n && !memcmp(field.p + from, algs[i].text, algs[i].n)) {
            *name = (struct lt_slice){field.p + from, algs[i].n - 1};
            *alg = algs[i].alg;
            return 0;
        }
    }
    *alg = 0;
    return prefix(field, from, "algorithm", name, e);
}

/* "sha256:", of d-ngv2 "verity:sha256:". *at: behind it. */
static int digest_name(struct lt_ima_line *l, struct lt_slice field, bool typed, struct lt_slice *name,
                       uint16_t *alg, size_t *at, struct lt_err *e)
{
    struct lt_slice type = {NULL, 0};

    *at = 0;
    l->verity = false;
    if (typed) {
        LT_TRY(prefix(field, 0, "type", &type, e));
        l->verity = lt_slice_is(type, "verity");
        if (!l->verity && !lt_slice_is(type, "ima"))
            return lt_fail(e, LT_E_MALFORMED, "digest type '%.*s', only ima and verity are known",
                           (int)type.n, (const char *)type.p);
        *at = type.n + 1;
    }
    LT_TRY(algorithm(field, *at, name, alg, e));
    *at += name->n + 1;
    return 0;
}

/* d-ng: "sha256:" NUL digest. d-ngv2: "verity:sha256:" NUL digest. */
static int put_digest(struct lt_ima_line *l, struct lt_slice field, bool typed, struct lt_slice *name,
                      uint16_t *alg, struct lt_slice *digest, struct lt_err *e)
{
    struct lt_slice hex;
    size_t at;

    LT_TRY(digest_name(l, field, typed, name, alg, &at, e));
    hex = (struct lt_slice){field.p + at, field.n - at};
    LT_TRY(check_size(*alg, hex.n / 2, e));
    put_size(l, at + 1 + hex.n / 2);
    put(l, field.p, at);
    l->made[l->made_n++] = 0;
    return put_hex(l, hex, "the digest", digest, e);
}

/* ---- names whose bytes came as \xNN ---- */

/* The next byte of a name; how many characters it takes. */
static size_t unescape(const uint8_t *p, size_t left, uint8_t *out)
{
    if (left >= 4 && p[0] == '\\' && p[1] == 'x' && lt_unhex_lower(p + 2, 1, out))
        return 4;
    *out = *p;
    return 1;
}

static size_t unescaped_size(struct lt_slice name)
{
    size_t n = 0;
    uint8_t byte;

    for (size_t i = 0; i < name.n; n++)
        i += unescape(name.p + i, name.n - i, &byte);
    return n;
}

/* raw: as it stands. Else l->path is what was put. */
static void put_name(struct lt_ima_line *l, bool raw)
{
    const struct lt_slice name = l->path;
    size_t from = l->made_n;

    if (raw) {
        put(l, name.p, name.n);
        return;
    }
    for (size_t i = 0; i < name.n; l->made_n++)
        i += unescape(name.p + i, name.n - i, &l->made[l->made_n]);
    l->path = (struct lt_slice){l->made + from, l->made_n - from};
}

/* Digest without an algorithm's name. Template ima: and the name padded to 256, without lengths. */
static int plain(struct lt_ima_line *l, struct lt_slice field, bool sized, bool raw, struct lt_err *e)
{
    size_t n = raw ? l->path.n : unescaped_size(l->path);

    LT_TRY(check_size(LT_HASH_SHA1, field.n / 2, e));
    l->alg = LT_HASH_SHA1;
    l->alg_name = (struct lt_slice){(const uint8_t *)"sha1", 4};
    l->verity = false;
    if (sized)
        put_size(l, DIGEST_PLAIN);
    LT_TRY(put_hex(l, field, "the digest", &l->digest, e));
    if (sized)
        return 0;
    if (n > NAME_MAX_PLAIN)
        return lt_fail(e, LT_E_MALFORMED, "path of %zu bytes, template ima has at most %d", n,
                       NAME_MAX_PLAIN);
    put_name(l, raw);
    memset(l->made + l->made_n, 0, NAME_MAX_PLAIN + 1 - n);
    l->made_n += NAME_MAX_PLAIN + 1 - n;
    return 0;
}

/* ---- text ---- */

/* Where an entry begins. */
struct head {
    unsigned pcr;
    uint16_t log_hash;
    bool violation;
    uint8_t column[LT_MAX_DIGEST];
    const struct template *t;
};

struct fields {
    struct lt_slice digest, signature, mod_digest, mod_signature;
};

/* The template data, from what the line shows. */
static int compose(struct lt_ima_line *l, const struct template *t, const struct fields *f, bool raw,
                   struct lt_err *e)
{
    struct lt_slice name, digest;
    uint16_t alg;

    if (t->digest == PLAIN)
        return plain(l, f->digest, false, raw, e);
    if (t->digest == SIZED)
        LT_TRY(plain(l, f->digest, true, raw, e));
    else
        LT_TRY(put_digest(l, f->digest, t->digest == NGV2, &l->alg_name, &l->alg, &l->digest, e));
    put_size(l, (raw ? l->path.n : unescaped_size(l->path)) + 1);
    put_name(l, raw);
    l->made[l->made_n++] = 0;
    if (t->kind == LT_IMA_FILE)
        return 0;
    put_size(l, f->signature.n / 2);
    LT_TRY(put_hex(l, f->signature, t->kind == LT_IMA_BUFFER ? "the buffer" : "the signature", &l->extra, e));
    if (!t->modsig)
        return 0;
    bool verity = l->verity;
    if (!f->mod_digest.n) /* a file without an appended signature: both fields are empty */
        put_size(l, 0);
    else
        LT_TRY(put_digest(l, f->mod_digest, false, &name, &alg, &digest, e));
    l->verity = verity;
    put_size(l, f->mod_signature.n / 2);
    return put_hex(l, f->mod_signature, "the appended signature", &digest, e);
}

/* By the width of the column: digits, or bytes. 0: no hash has it. */
static uint16_t log_hash_of(size_t n)
{
    return n == 20   ? LT_HASH_SHA1
           : n == 32 ? LT_HASH_SHA256
           : n == 48 ? LT_HASH_SHA384
           : n == 64 ? LT_HASH_SHA512
                     : 0;
}

/* "%2u ", the column, the template's name and the digest, which is not looked into. */
static int head(struct lt_slice *rest, struct head *h, struct lt_slice *digest, struct lt_err *e)
{
    const uint8_t *p = rest->p;
    struct lt_slice column, name;

    if (rest->n < 3 || !((p[0] >= '1' && p[0] <= '9') || p[0] == ' ') || p[1] < '0' || p[1] > '9' ||
        p[2] != ' ')
        return lt_fail(e, LT_E_MALFORMED, "no PCR number");
    h->pcr = (p[0] == ' ' ? 0 : (unsigned)(p[0] - '0') * 10) + (unsigned)(p[1] - '0');
    *rest = (struct lt_slice){p + 3, rest->n - 3};
    LT_TRY(word(rest, "template hash", &column, e));
    h->log_hash = column.n % 2 ? 0 : log_hash_of(column.n / 2);
    if (!h->log_hash)
        return lt_fail(e, LT_E_MALFORMED, "template hash of %zu characters", column.n);
    if (!lt_unhex_lower(column.p, column.n / 2, h->column))
        return lt_fail(e, LT_E_MALFORMED, "the template hash is not lower-case hex");
    /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Branch): log_hash_of is 0 of less than 20 bytes */
    h->violation = !h->column[0] && is_zeros(h->column, column.n / 2);
    LT_TRY(word(rest, "template's name", &name, e));
    if (!(h->t = template_of(name))) {
        char shown[33];
        lt_ima_line_show(name, shown, sizeof shown - 1);
        return lt_fail(e, LT_E_MALFORMED, "template '%s' is not known", shown);
    }
    return word(rest, "digest", digest, e);
}

static int check_name(struct lt_slice name, struct lt_err *e)
{
    if (name.n > LT_MAX_IMA_NAME) /* PATH_MAX */
        return lt_fail(e, LT_E_MALFORMED, "path of %zu bytes, it has at most %u", name.n, LT_MAX_IMA_NAME);
    if (name.n && memchr(name.p, 0, name.n))
        return lt_fail(e, LT_E_MALFORMED, "NUL in the path");
    return 0;
}

static void begin(struct lt_ima_line *l, const struct head *h)
{
    l->pcr = h->pcr;
    l->log_hash = h->log_hash;
    memcpy(l->column, h->column, lt_hash_size(h->log_hash));
    l->violation = h->violation;
    l->proved = false;
    l->kind = h->t->kind;
    l->verity = false;
    l->alg = 0;
    l->made_n = 0;
    l->data = l->extra = l->digest = l->alg_name = (struct lt_slice){NULL, 0};
}

static int parse(struct lt_slice line, bool raw, struct lt_ima_line *l, struct lt_err *e)
{
    struct lt_slice rest = line;
    struct fields f = {0};
    struct head h;

    if (line.n > LT_MAX_IMA_LINE)
        return lt_fail(e, LT_E_MALFORMED, "line of %zu bytes, at most %u are read", line.n, LT_MAX_IMA_LINE);
    LT_TRY(head(&rest, &h, &f.digest, e));
    begin(l, &h);
    /* From the right, since kernels before 3.13 left spaces in paths as they were. */
    if (h.t->modsig) {
        LT_TRY(last_word(&rest, "appended signature", &f.mod_signature, e));
        LT_TRY(last_word(&rest, "digest without it", &f.mod_digest, e));
    }
    if (h.t->kind != LT_IMA_FILE)
        LT_TRY(last_word(&rest, h.t->kind == LT_IMA_BUFFER ? "buffer" : "signature", &f.signature, e));
    LT_TRY(check_name(rest, e));
    l->path = rest;
    if (l->violation) /* what a violation shows is not what was hashed */
        return 0;
    LT_TRY(compose(l, h.t, &f, raw, e));
    l->data = (struct lt_slice){l->made, l->made_n};
    return 0;
}

int lt_ima_line_parse(struct lt_slice line, struct lt_ima_line *l, struct lt_err *e)
{
    return parse(line, true, l, e);
}

bool lt_ima_line_is_aggregate(const struct lt_ima_line *l)
{
    static const char name[] = "boot_aggregate";
    return l->kind != LT_IMA_BUFFER && !l->violation &&
           lt_slice_eq(l->path, (struct lt_slice){(const uint8_t *)name, sizeof name - 1});
}

static bool prove(struct lt_ima_line *l)
{
    lt_hash(l->log_hash, &l->data, 1, l->hash);
    l->proved = !memcmp(l->hash, l->column, lt_hash_size(l->log_hash));
    return l->proved;
}

/* No digest of the kernel's is shorter: what a name must hold to look like that is not short either. */
static bool begins(struct lt_slice text)
{
    struct lt_slice line, digest;
    struct head h;
    size_t at = 0;

    return lt_ima_line_next(text, &at, &line) && !head(&line, &h, &digest, LT_NO_ERR) &&
           digest.n >= MIN_DIGEST_TEXT;
}

/* As it stands, or with its \xNN for bytes. */
static bool fits(struct lt_ima_walk *w, struct lt_slice text, struct lt_ima_line *l)
{
    if (parse(text, true, l, LT_NO_ERR))
        return false;
    if (l->violation)
        return true;
    w->tried += l->data.n;
    if (prove(l))
        return true;
    if (!memmem(l->path.p, l->path.n, "\\x", 2) || parse(text, false, l, LT_NO_ERR) ||
        check_name(l->path, LT_NO_ERR))
        return false;
    w->tried += l->data.n;
    return prove(l);
}

/* Ends of the entry at w->at from *end on, which is behind a line's newline, one after the other. */
static bool search(struct lt_ima_walk *w, size_t *end, struct lt_ima_line *l)
{
    const struct lt_slice all = w->list;
    struct lt_slice line;

    if (w->lost >= LT_IMA_LOST)
        return false;
    for (size_t at = *end; at - w->at <= LT_MAX_IMA_LINE + 1;) {
        const struct lt_slice behind = {all.p + at, all.n - at};
        const struct lt_slice text = {all.p + w->at, at - w->at - (all.p[at - 1] == '\n')};
        if ((!behind.n || begins(behind)) && fits(w, text, l)) {
            *end = at;
            return true;
        }
        /* A newline can only be in the name. */
        if (at - w->at > LT_MAX_IMA_NAME + MAX_HEAD || !lt_ima_line_next(all, &at, &line))
            break;
    }
    w->lost++;
    return false;
}

/* Lists are long, and each page of them is new to the processor: this far ahead it begins to fetch. */
static void look_ahead(struct lt_slice list, size_t at)
{
    for (size_t ahead = AHEAD; ahead < AHEAD + 256 && list.n - at > ahead; ahead += 64)
        __builtin_prefetch(list.p + at + ahead);
}

static int next_text(struct lt_ima_walk *w, struct lt_ima_line *l, bool *more, struct lt_err *e)
{
    const struct lt_slice all = w->list;
    struct lt_slice line;
    size_t end = w->at;

    *more = lt_ima_line_next(all, &end, &line);
    if (!*more)
        return 0;
    look_ahead(all, end);
    struct lt_err unread; /* LT_NO_ERR would be cleared for each entry */
    bool good = !parse(line, true, l, &unread);
    if (good && l->violation)
        good = end == all.n || begins((struct lt_slice){all.p + end, all.n - end});
    else if (good)
        good = prove(l);
    if (!good && !(begins(line) && search(w, &end, l))) {
        LT_TRY(parse(line, true, l, e));
        if (!l->violation)
            (void)prove(l);
    }
    w->at = end;
    return 0;
}

/* ---- binary ---- */

static int field(struct lt_slice *rest, bool big_endian, const char *what, struct lt_slice *out,
                 struct lt_err *e)
{
    uint32_t n;

    if (rest->n < 4)
        return lt_fail(e, LT_E_MALFORMED, "the template data ends before the %s", what);
    memcpy(&n, rest->p, sizeof n);
    n = big_endian ? be32toh(n) : le32toh(n);
    if (n > rest->n - 4)
        return lt_fail(e, LT_E_MALFORMED, "%s of %u bytes, %zu are left", what, n, rest->n - 4);
    *out = (struct lt_slice){rest->p + 4, n};
    *rest = (struct lt_slice){rest->p + 4 + n, rest->n - 4 - n};
    return 0;
}

static int read_digest(struct lt_ima_line *l, struct lt_slice from, bool typed, struct lt_slice *name,
                       uint16_t *alg, struct lt_slice *digest, struct lt_err *e)
{
    size_t at;

    LT_TRY(digest_name(l, from, typed, name, alg, &at, e));
    if (at == from.n || from.p[at])
        return lt_fail(e, LT_E_MALFORMED, "no NUL behind the digest's algorithm");
    *digest = (struct lt_slice){from.p + at + 1, from.n - at - 1};
    return check_size(*alg, digest->n, e);
}

static int read_sized_digest(struct lt_ima_line *l, struct lt_slice from, struct lt_err *e)
{
    l->alg = LT_HASH_SHA1;
    l->alg_name = (struct lt_slice){(const uint8_t *)"sha1", 4};
    l->digest = from;
    return check_size(LT_HASH_SHA1, from.n, e);
}

/* The kernel ends names with NUL. */
static int read_name(struct lt_ima_line *l, struct lt_slice from, struct lt_err *e)
{
    if (!from.n || from.p[from.n - 1])
        return lt_fail(e, LT_E_MALFORMED, "no NUL behind the path");
    l->path = (struct lt_slice){from.p, from.n - 1};
    return check_name(l->path, e);
}

/* 20 bytes, length, name: what is hashed is made of it. */
static int read_ima(struct lt_ima_line *l, const struct lt_ima_list_frame *f, struct lt_err *e)
{
    struct lt_slice rest = {f->data.p + DIGEST_PLAIN, f->data.n - DIGEST_PLAIN};

    LT_TRY(field(&rest, f->big_endian, "path", &l->path, e));
    LT_TRY(check_name(l->path, e));
    if (l->path.n > NAME_MAX_PLAIN)
        return lt_fail(e, LT_E_MALFORMED, "path of %zu bytes, template ima has at most %d", l->path.n,
                       NAME_MAX_PLAIN);
    LT_TRY(read_sized_digest(l, (struct lt_slice){f->data.p, DIGEST_PLAIN}, e));
    put(l, f->data.p, DIGEST_PLAIN);
    put(l, l->path.p, l->path.n);
    memset(l->made + l->made_n, 0, NAME_MAX_PLAIN + 1 - l->path.n);
    l->made_n += NAME_MAX_PLAIN + 1 - l->path.n;
    l->data = (struct lt_slice){l->made, l->made_n};
    return 0;
}

static int read_fields(struct lt_ima_line *l, const struct template *t, const struct lt_ima_list_frame *f,
                       struct lt_err *e)
{
    struct lt_slice rest = f->data, one, name, digest;
    uint16_t alg;

    LT_TRY(field(&rest, f->big_endian, "digest", &one, e));
    if (l->violation) /* older kernels name no algorithm then, and it was not hashed */
        ;
    else if (t->digest == SIZED)
        LT_TRY(read_sized_digest(l, one, e));
    else
        LT_TRY(read_digest(l, one, t->digest == NGV2, &l->alg_name, &l->alg, &l->digest, e));
    LT_TRY(field(&rest, f->big_endian, "path", &one, e));
    LT_TRY(read_name(l, one, e));
    if (t->kind != LT_IMA_FILE)
        LT_TRY(field(&rest, f->big_endian, t->kind == LT_IMA_BUFFER ? "buffer" : "signature", &l->extra, e));
    if (t->modsig) {
        bool verity = l->verity;
        LT_TRY(field(&rest, f->big_endian, "digest without it", &one, e));
        if (one.n)
            LT_TRY(read_digest(l, one, false, &name, &alg, &digest, e));
        l->verity = verity;
        LT_TRY(field(&rest, f->big_endian, "appended signature", &one, e));
    }
    return rest.n ? lt_fail(e, LT_E_MALFORMED, "%zu bytes behind the template data's fields", rest.n) : 0;
}

static int next_binary(struct lt_ima_walk *w, struct lt_ima_line *l, bool *more, struct lt_err *e)
{
    struct lt_ima_list_frame f;
    struct head h = {0};
    size_t end = w->at;

    *more = w->at < w->list.n;
    if (!*more)
        return 0;
    LT_TRY(lt_ima_list_frame_next(w->list, &end, &w->hash_n, &f, e));
    h.pcr = f.pcr;
    h.log_hash = log_hash_of(f.hash.n);
    memcpy(h.column, f.hash.p, f.hash.n);
    h.violation = is_zeros(f.hash.p, f.hash.n);
    if (!(h.t = template_of(f.name)))
        return lt_fail(e, LT_E_MALFORMED, "template '%.*s' is not known", (int)f.name.n, f.name.p);
    begin(l, &h);
    l->data = f.data;
    LT_TRY(h.t->digest == PLAIN ? read_ima(l, &f, e) : read_fields(l, h.t, &f, e));
    if (!l->violation)
        (void)prove(l);
    w->at = end;
    return 0;
}

struct lt_ima_walk lt_ima_walk(struct lt_slice list)
{
    return (struct lt_ima_walk){.list = list};
}

int lt_ima_walk_next(struct lt_ima_walk *w, struct lt_ima_line *out, bool *more, struct lt_err *e)
{
    return lt_ima_list_is_binary(w->list) ? next_binary(w, out, more, e) : next_text(w, out, more, e);
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
