#include "verifier/documents.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/run/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct open_document {
    struct open_document *next;
    uint8_t digest[LT_SHA256];
    bool boot;
    struct lt_ref *ref;
};

struct lt_documents {
    struct lt_documents_conf conf;
    pthread_mutex_t lock;      /* of the list */
    pthread_mutex_t compiling; /* one at a time: memory is bounded by one document; and of fetched/ */
    struct open_document *open;
    unsigned count;
};

/* ---- what was fetched ---- */

#define TABLE ".table"
enum { COLLECT = 1 }; /* 0: only what is none */

static void forget(struct open_document *o)
{
    lt_ref_put(o->ref);
    free(o);
}

/* Closes it, unless somebody uses it: false. */
static bool close_unused(struct lt_documents *d, const uint8_t digest[LT_SHA256])
{
    bool unused = true;

    pthread_mutex_lock(&d->lock);
    for (struct open_document **at = &d->open, *o; (o = *at);) {
        bool is = !memcmp(o->digest, digest, LT_SHA256), used = is && lt_ref_shared(o->ref);
        unused = unused && !used;
        if (!is || used) {
            at = &o->next;
        } else {
            *at = o->next;
            forget(o);
            d->count--;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return unused;
}

/* DIGEST or DIGEST.table; anything else is what a crash left of one that was being written. */
static bool garbage(struct lt_documents *d, const char *name, int what)
{
    char hex[2 * LT_SHA256 + 1];
    uint8_t digest[LT_SHA256];
    size_t n = strlen(name);

    if (n < sizeof hex - 1 || (name[sizeof hex - 1] && strcmp(name + sizeof hex - 1, TABLE)))
        return true;
    memcpy(hex, name, sizeof hex - 1);
    hex[sizeof hex - 1] = 0;
    if (lt_unhex(hex, digest, sizeof digest, LT_NO_ERR))
        return true;
    return what == COLLECT && close_unused(d, digest);
}

/* Removes garbage and counts what stays, in bytes. Under d->compiling. */
static size_t collect(struct lt_documents *d, int what)
{
    DIR *dir = opendir(d->conf.fetched);
    size_t used = 0;
    struct stat st;

    for (const struct dirent *x; dir && (x = readdir(dir));) {
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, ".."))
            continue;
        if (garbage(d, x->d_name, what))
            (void)!unlinkat(dirfd(dir), x->d_name, 0);
        else if (!fstatat(dirfd(dir), x->d_name, &st, AT_SYMLINK_NOFOLLOW))
            used += (size_t)st.st_size;
    }
    if (dir)
        closedir(dir);
    return used;
}

void lt_documents_collect(struct lt_documents *d)
{
    pthread_mutex_lock(&d->compiling);
    (void)collect(d, COLLECT);
    pthread_mutex_unlock(&d->compiling);
}

size_t lt_documents_fetched(struct lt_documents *d)
{
    pthread_mutex_lock(&d->compiling);
    size_t used = collect(d, 0);
    pthread_mutex_unlock(&d->compiling);
    return used;
}

/* ---- one table ---- */

struct table {
    struct lt_ima_table *t;
    void *map;
    size_t n;
};

static void table_free(void *p)
{
    struct table *t = p;
    lt_ima_table_close(t->t);
    munmap(t->map, t->n);
    free(t);
}

static void boot_free(void *p)
{
    lt_boot_policy_free(p);
}

static char *table_path(const struct lt_documents *d, const uint8_t digest[LT_SHA256], bool fetched)
{
    char hex[2 * LT_SHA256 + 1], name[2 * LT_SHA256 + sizeof TABLE];

    lt_hex(digest, LT_SHA256, hex);
    snprintf(name, sizeof name, "%s%s", hex, fetched ? TABLE : "");
    return lt_file_path(fetched ? d->conf.fetched : d->conf.tables, name);
}

static char *fetched_path(const struct lt_documents *d, const uint8_t digest[LT_SHA256])
{
    char name[2 * LT_SHA256 + 1];

    lt_hex(digest, LT_SHA256, name);
    return lt_file_path(d->conf.fetched, name);
}

/* The operator's, or else one that was fetched. */
static int read_document(const struct lt_documents *d, const uint8_t digest[LT_SHA256], uint8_t **p,
                         size_t *n, bool *fetched, struct lt_err *e)
{
    LT_AUTOFREE char *path = fetched_path(d, digest);
    uint8_t is[LT_SHA256];
    int rc = lt_store_policy_get(d->conf.store, digest, p, n, e);

    *fetched = rc == LT_E_NOT_FOUND && !lt_file_read(path, LT_MAX_POLICY, p, n, LT_NO_ERR);
    if (!*fetched)
        return rc;
    lt_sha256(*p, *n, is);
    if (!memcmp(is, digest, LT_SHA256))
        return 0;
    free(lt_take(p));
    (void)!unlink(path);
    return rc;
}

/* LT_E_NOT_FOUND: there is no such file, or one that this version does not read. */
static int map_table(const struct lt_documents *d, const uint8_t digest[LT_SHA256], bool fetched,
                     struct lt_ref **out, struct lt_err *e)
{
    LT_AUTOFREE char *path = table_path(d, digest, fetched);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) || st.st_size <= 0) {
        if (fd >= 0)
            close(fd);
        return lt_fail(e, LT_E_NOT_FOUND, "document: not compiled");
    }
    struct table *t = lt_new(struct table);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED) {
        free(t);
        return lt_fail(e, LT_E_NO_MEMORY, "document: no memory");
    }
    t->map = map;
    t->n = (size_t)st.st_size;
    if (lt_ima_table_open(map, t->n, &t->t, e) || memcmp(lt_ima_table_digest(t->t), digest, LT_SHA256)) {
        table_free(t);
        return lt_fail(e, LT_E_NOT_FOUND, "document: compiled by another version");
    }
    *out = lt_ref_new(t, table_free);
    return 0;
}

/* Under d->compiling. Those of others that nobody uses make room first. */
static int fetched_room(struct lt_documents *d, size_t n, struct lt_err *e)
{
    size_t used = collect(d, 0);

    if (n <= d->conf.max_fetched && used > d->conf.max_fetched - n)
        used = collect(d, COLLECT);
    if (n <= d->conf.max_fetched && used <= d->conf.max_fetched - n)
        return 0;
    return lt_fail(e, LT_E_TOO_LARGE,
                   "document: %zu bytes beside %zu of fetched documents in use, %zu are allowed"
                   " (document_limit_mib)",
                   n, used, d->conf.max_fetched);
}

/* beside: bytes that will be written with it. */
static int compile_table(struct lt_documents *d, const void *p, size_t n, const uint8_t digest[LT_SHA256],
                         bool fetched, size_t beside, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf table = LT_BUF(LT_MAX_IMA_TABLE);
    LT_AUTOFREE char *path = table_path(d, digest, fetched);

    pthread_mutex_lock(&d->compiling);
    int rc = lt_ima_table_compile(p, n, d->conf.key, &table, e);
    if (!rc && fetched)
        rc = fetched_room(d, table.n + beside, e);
    if (!rc && lt_file_write(path, table.p, table.n, 0600, e))
        rc = lt_fail(e, LT_E_IO, "document: its table could not be written");
    pthread_mutex_unlock(&d->compiling);
    return rc;
}

/* ---- all ---- */

int lt_documents_new(const struct lt_documents_conf *c, struct lt_documents **out, struct lt_err *e)
{
    struct lt_documents *d;

    *out = NULL;
    LT_TRY(lt_file_dir_private(c->tables, e));
    LT_TRY(lt_file_dir_private(c->fetched, e));
    d = lt_new(struct lt_documents);
    d->conf = *c;
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->compiling, NULL);
    *out = d;
    return 0;
}

void lt_documents_free(struct lt_documents *d)
{
    if (!d)
        return;
    for (struct open_document *o = d->open, *next; o; o = next) {
        next = o->next;
        forget(o);
    }
    pthread_mutex_destroy(&d->compiling);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* A new reference, or NULL. What is asked for goes to the front. */
static struct lt_ref *find(struct lt_documents *d, const uint8_t digest[LT_SHA256], bool boot)
{
    struct lt_ref *found = NULL;

    pthread_mutex_lock(&d->lock);
    for (struct open_document **at = &d->open; *at; at = &(*at)->next) {
        struct open_document *o = *at;
        if (o->boot != boot || memcmp(o->digest, digest, LT_SHA256))
            continue;
        *at = o->next;
        o->next = d->open;
        d->open = o;
        found = lt_ref_get(o->ref);
        break;
    }
    pthread_mutex_unlock(&d->lock);
    return found;
}

static void keep(struct lt_documents *d, const uint8_t digest[LT_SHA256], bool boot, struct lt_ref *ref)
{
    struct open_document *o = lt_new(struct open_document), **last;

    memcpy(o->digest, digest, LT_SHA256);
    o->boot = boot;
    o->ref = lt_ref_get(ref);
    pthread_mutex_lock(&d->lock);
    o->next = d->open;
    d->open = o;
    if (++d->count > LT_DOCUMENTS_OPEN) {
        for (last = &d->open; (*last)->next; last = &(*last)->next)
            ;
        forget(lt_take(last));
        d->count--;
    }
    pthread_mutex_unlock(&d->lock);
}

static int open_boot(struct lt_documents *d, const uint8_t digest[LT_SHA256], struct lt_ref **out,
                     struct lt_err *e)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    struct lt_boot_policy *p;
    bool fetched;
    size_t n;

    if ((*out = find(d, digest, true)))
        return 0;
    LT_TRY(read_document(d, digest, &bytes, &n, &fetched, e));
    LT_TRY(lt_boot_policy_parse(bytes, n, &p, e));
    *out = lt_ref_new(p, boot_free);
    keep(d, digest, true, *out);
    return 0;
}

/* Tables that are gone, or of another version, are compiled again: the document is in the store. */
static int open_layer(struct lt_documents *d, const uint8_t digest[LT_SHA256], struct lt_ref **out,
                      struct lt_err *e)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    bool fetched;
    size_t n;

    if ((*out = find(d, digest, false)))
        return 0;
    if (map_table(d, digest, false, out, e) && map_table(d, digest, true, out, e)) {
        LT_TRY(read_document(d, digest, &bytes, &n, &fetched, e));
        LT_TRY(compile_table(d, bytes, n, digest, fetched, 0, e));
        LT_TRY(map_table(d, digest, fetched, out, e));
    }
    keep(d, digest, false, *out);
    return 0;
}

/* Of either kind; a table is compiled at once. For one that was fetched there is room afterwards. */
static int check(struct lt_documents *d, const void *p, size_t n, const uint8_t digest[LT_SHA256],
                 bool fetched, struct lt_err *e)
{
    struct lt_boot_policy *boot = NULL;
    struct lt_err why = {0};

    if (!lt_store_fits(d->conf.store, n))
        return lt_fail(e, LT_E_BUSY, "document of %zu bytes: the disk of the state directory is almost full",
                       n);
    if (n > LT_MAX_BOOT_POLICY || lt_boot_policy_parse(p, n, &boot, &why)) {
        if (compile_table(d, p, n, digest, fetched, n, e))
            return why.code && e->code == LT_E_MALFORMED
                       ? lt_fail_in(e, e->code, "neither a boot policy (%.100s) nor a runtime policy",
                                    why.msg)
                       : e->code;
        return 0;
    }
    lt_boot_policy_free(boot);
    pthread_mutex_lock(&d->compiling);
    int rc = fetched ? fetched_room(d, n, e) : 0;
    pthread_mutex_unlock(&d->compiling);
    return rc;
}

int lt_documents_put(struct lt_documents *d, const void *p, size_t n, uint8_t digest[LT_SHA256],
                     struct lt_err *e)
{
    lt_sha256(p, n, digest);
    LT_TRY(check(d, p, n, digest, false, e));
    return lt_store_policy_put(d->conf.store, p, n, digest, e);
}

int lt_documents_put_fetched(struct lt_documents *d, const void *p, size_t n, uint8_t digest[LT_SHA256],
                             struct lt_err *e)
{
    lt_sha256(p, n, digest);
    LT_AUTOFREE char *path = fetched_path(d, digest);
    LT_TRY(check(d, p, n, digest, true, e));
    pthread_mutex_lock(&d->compiling);
    int rc =
        lt_file_write(path, p, n, 0600, e) ? lt_fail(e, LT_E_IO, "document: it could not be written") : 0;
    pthread_mutex_unlock(&d->compiling);
    return rc;
}

/* Both kinds that this digest may be open as. */
static void close_document(struct lt_documents *d, const uint8_t digest[LT_SHA256])
{
    pthread_mutex_lock(&d->lock);
    for (struct open_document **at = &d->open; *at;) {
        struct open_document *o = *at;
        if (memcmp(o->digest, digest, LT_SHA256)) {
            at = &o->next;
            continue;
        }
        *at = o->next;
        forget(o);
        d->count--;
    }
    pthread_mutex_unlock(&d->lock);
}

int lt_documents_drop(struct lt_documents *d, const uint8_t digest[LT_SHA256], struct lt_err *e)
{
    LT_AUTOFREE char *path = table_path(d, digest, false);

    LT_TRY(lt_store_policy_drop(d->conf.store, digest, e));
    close_document(d, digest);
    if (unlink(path) && errno != ENOENT)
        lt_log(LT_LOG_WARNING, "document", "%s: %s", path, strerror(errno));
    return 0;
}

static int missing(const char *what, const uint8_t digest[LT_SHA256], const struct lt_err *why,
                   struct lt_err *e)
{
    char name[2 * LT_SHA256 + 1];

    lt_hex(digest, LT_SHA256, name);
    return lt_fail(e, LT_E_NOT_FOUND, "%s: document %s is not at hand: %.120s", what, name, why->msg);
}

int lt_documents_open(struct lt_documents *d, const struct lt_policy_measured *p,
                      struct lt_documents_document_set *out, struct lt_err *e)
{
    struct lt_err why = {0};
    char what[80];
    int rc = 0;

    memset(out, 0, sizeof *out);
    if (p->has_boot && open_boot(d, p->boot, &out->boot, &why))
        rc = missing("boot", p->boot, &why, e);
    for (unsigned i = 0; i < p->layer_count; i++) {
        if (open_layer(d, p->layer[i].policy, &out->layer[i], &why) && !rc) {
            snprintf(what, sizeof what, "layer %s", p->layer[i].name);
            rc = missing(what, p->layer[i].policy, &why, e);
        }
        const struct table *t = lt_ref_value(out->layer[i]);
        out->view.layer[i] = t ? t->t : NULL;
    }
    out->view.boot = lt_ref_value(out->boot);
    if (out->boot)
        memcpy(out->view.boot_digest, p->boot, LT_SHA256);
    out->complete = !rc;
    return rc;
}

void lt_documents_document_set_free(struct lt_documents_document_set *s)
{
    lt_ref_put(s->boot);
    for (unsigned i = 0; i < LT_MAX_LAYERS; i++)
        lt_ref_put(s->layer[i]);
    memset(s, 0, sizeof *s);
}

int lt_documents_bytes(struct lt_documents *d, const uint8_t digest[LT_SHA256], uint8_t **p, size_t *n,
                       struct lt_err *e)
{
    bool fetched;

    LT_TRY(read_document(d, digest, p, n, &fetched, e));
    if (*n <= LT_DOCUMENTS_BUNDLED_DOCUMENT)
        return 0;
    free(lt_take(p));
    return lt_fail(e, LT_E_TOO_LARGE, "document: %zu bytes", *n);
}
