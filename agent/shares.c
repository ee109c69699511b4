#include "agent/shares.h"

#include "common/file.h"
#include "common/run/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Files: KIND-NUMBER. Numbers rise over all kinds; a payload has its U's, and is written before it.
 *   v-…  the share
 *   u-…  tag[48], 1 if there is a payload, the share
 *   p-…  the sealed payload */
#define DIGITS 16
#define U_HEAD (LT_SHARE_TAG + 1)

struct one {
    uint64_t number;
    struct lt_share share;
    uint8_t tag[LT_SHARE_TAG]; /* U's */
    bool has_payload;
};

struct list {
    struct one one[LT_MAX_SHARES]; /* oldest first */
    unsigned count;
};

struct lt_shares {
    const char *dir;
    int fd;
    uint64_t next;
    struct list u, v;
};

struct name {
    char text[2 + DIGITS + 1];
};

static struct name name_of(char kind, uint64_t number)
{
    struct name n;

    snprintf(n.text, sizeof n.text, "%c-%016" PRIx64, kind, number);
    return n;
}

/* 'u', 'v', 'p', or 0: no file of ours. */
static char parse_name(const char *s, uint64_t *number)
{
    uint8_t bytes[DIGITS / 2];

    *number = 0;
    if (strlen(s) != 2 + DIGITS || s[1] != '-' || !strchr("uvp", s[0]) ||
        !lt_unhex_lower(s + 2, DIGITS / 2, bytes))
        return 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        *number = *number << 8 | bytes[i];
    return s[0];
}

/* What a write leaves that was killed before its end (common/file.h). */
static bool is_half(const char *s)
{
    char name[2 + DIGITS + 1] = "";
    uint64_t number;

    if (strlen(s) <= 2 + DIGITS || s[2 + DIGITS] != '.')
        return false;
    memcpy(name, s, 2 + DIGITS);
    return parse_name(name, &number);
}

static void drop_files(struct lt_shares *s, uint64_t number)
{
    for (const char *kind = "uvp"; *kind; kind++)
        (void)!unlinkat(s->fd, name_of(*kind, number).text, 0);
}

static void list_clear(struct list *l)
{
    lt_wipe(l, sizeof *l);
}

/* In order of numbers; if there is no room the oldest goes, with its files. */
static void list_put(struct lt_shares *s, struct list *l, const struct one *o)
{
    if (l->count == LT_MAX_SHARES) {
        drop_files(s, l->one[0].number);
        memmove(l->one, l->one + 1, (LT_MAX_SHARES - 1) * sizeof *l->one);
        l->count--;
    }
    unsigned at = l->count++;
    for (; at && l->one[at - 1].number > o->number; at--)
        l->one[at] = l->one[at - 1];
    l->one[at] = *o;
}

/* ---- what lies there ---- */

static int parse(char kind, const uint8_t *p, size_t n, struct one *o, struct lt_err *e)
{
    size_t head = kind == 'u' ? U_HEAD : 0;

    if (n < head)
        return lt_fail(e, LT_E_MALFORMED, "%zu bytes", n);
    if (head) {
        memcpy(o->tag, p, LT_SHARE_TAG);
        o->has_payload = p[LT_SHARE_TAG];
    }
    return lt_share_from(p + head, n - head, &o->share, e);
}

static int load(struct lt_shares *s, char kind, uint64_t number, struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(s->dir, name_of(kind, number).text);
    LT_AUTOFREE uint8_t *p = NULL;
    struct one o = {.number = number};
    size_t n;

    int rc = lt_file_read_secret(path, U_HEAD + LT_SHARE_MAX, &p, &n, e);
    if (!rc)
        rc = parse(kind, p, n, &o, e);
    if (!rc)
        list_put(s, kind == 'u' ? &s->u : &s->v, &o);
    lt_wipe(&o, sizeof o);
    if (p)
        lt_wipe(p, n);
    return rc;
}

static void load_all(struct lt_shares *s)
{
    int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct lt_err why;
    uint64_t number;

    for (struct dirent *x; d && (x = readdir(d));) {
        char kind = parse_name(x->d_name, &number);
        if (is_half(x->d_name))
            (void)!unlinkat(s->fd, x->d_name, 0);
        if (kind && number >= s->next)
            s->next = number + 1;
        if ((kind == 'u' || kind == 'v') && load(s, kind, number, &why)) {
            lt_log(LT_LOG_WARNING, "key-share", "%s is dropped: %s", x->d_name, why.msg);
            drop_files(s, number);
        }
    }
    if (d)
        closedir(d);
}

struct lt_shares *lt_shares_open(const char *dir, int fd)
{
    struct lt_shares *s = lt_new(struct lt_shares);

    s->dir = dir;
    s->fd = fd;
    load_all(s);
    return s;
}

void lt_shares_close(struct lt_shares *s)
{
    if (s)
        lt_wipe(s, sizeof *s);
    free(s);
}

/* ---- what comes ---- */

static int write_file(const struct lt_shares *s, char kind, uint64_t number, const void *p, size_t n,
                      struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(s->dir, name_of(kind, number).text);

    return lt_file_replace(path, p, n, 0600, e);
}

static bool same(const struct lt_share *a, const struct lt_share *b)
{
    return a->n == b->n && lt_equal_ct(a->p, b->p, a->n);
}

int lt_shares_add_v(struct lt_shares *s, const struct lt_share *v, struct lt_err *e)
{
    struct one o = {.number = s->next, .share = *v};
    int rc = 0;

    for (unsigned i = 0; i < s->v.count; i++)
        if (same(&s->v.one[i].share, v))
            return 0;
    rc = write_file(s, 'v', o.number, v->p, v->n, e);
    if (!rc) {
        s->next++;
        list_put(s, &s->v, &o);
    }
    lt_wipe(&o, sizeof o);
    return rc;
}

static int write_u(const struct lt_shares *s, const struct one *o, struct lt_slice payload, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(U_HEAD + LT_SHARE_MAX);

    lt_buf_put(&b, o->tag, sizeof o->tag);
    lt_buf_u8(&b, o->has_payload);
    lt_buf_put(&b, o->share.p, o->share.n);
    LT_TRY(lt_buf_ok(&b, e));
    if (o->has_payload)
        LT_TRY(write_file(s, 'p', o->number, payload.p, payload.n, e));
    return write_file(s, 'u', o->number, b.p, b.n, e);
}

/* The same U again may bring another payload: the newer counts. */
static void drop_u(struct lt_shares *s, const struct lt_share *u)
{
    for (unsigned i = 0; i < s->u.count; i++)
        if (same(&s->u.one[i].share, u)) {
            drop_files(s, s->u.one[i].number);
            s->u.count--;
            memmove(s->u.one + i, s->u.one + i + 1, (s->u.count - i) * sizeof *s->u.one);
            return;
        }
}

int lt_shares_add_u(struct lt_shares *s, const struct lt_share *u, const uint8_t tag[LT_SHARE_TAG],
                    struct lt_slice payload, struct lt_err *e)
{
    struct one o = {.number = s->next, .share = *u, .has_payload = payload.p};

    memcpy(o.tag, tag, sizeof o.tag);
    int rc = write_u(s, &o, payload, e);
    if (rc) {
        drop_files(s, o.number);
    } else {
        s->next++;
        drop_u(s, u);
        list_put(s, &s->u, &o);
    }
    lt_wipe(&o, sizeof o);
    return rc;
}

/* ---- what fits ---- */

/* The newest U first: it is the one that somebody waits for. */
static bool fits(const struct lt_shares *s, const char *id, struct lt_shares_match *out)
{
    for (unsigned i = s->u.count; i--;)
        for (unsigned k = s->v.count; k--;)
            if (lt_share_join(&s->u.one[i].share, &s->v.one[k].share, &out->k) &&
                lt_share_tag_is(&out->k, id, s->u.one[i].tag)) {
                out->has_payload = s->u.one[i].has_payload;
                out->payload = s->u.one[i].number;
                return true;
            }
    return false;
}

bool lt_shares_take(struct lt_shares *s, const char *id, struct lt_shares_match *out)
{
    *out = (struct lt_shares_match){0};
    if (!fits(s, id, out)) {
        lt_share_wipe(&out->k);
        return false;
    }
    out->last = s->next - 1;
    list_clear(&s->u);
    list_clear(&s->v);
    return true;
}

int lt_shares_payload(const struct lt_shares *s, const struct lt_shares_match *m, uint8_t **out, size_t *n,
                      struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(s->dir, name_of('p', m->payload).text);

    return lt_file_read_secret(path, LT_MAX_PAYLOAD, out, n, e);
}

void lt_shares_forget(struct lt_shares *s, uint64_t last)
{
    int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    uint64_t number;

    for (struct dirent *x; d && (x = readdir(d));)
        if (parse_name(x->d_name, &number) && number <= last)
            (void)!unlinkat(s->fd, x->d_name, 0);
    if (d)
        closedir(d);
}
