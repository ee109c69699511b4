#include "tenant/bundles.h"

#include "common/alloc.h"
#include "common/limits.h"
#include "common/run/budget.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL LT_SMALL_BUNDLE /* up to here only the quota counts */
#define BUCKETS 1024

enum { LAST, TRUSTED, FILES };
static const char *const suffix[FILES] = {".json", ".trusted.json"};

struct entry {
    struct entry *next;
    uint8_t uuid[LT_UUID];
    size_t n[FILES]; /* bytes on disk; of one file that has both names, as LAST */
    bool same;
};

struct lt_bundles {
    char *dir;
    size_t limit, used;
    pthread_mutex_t lock;
    struct entry *bucket[BUCKETS];
};

static char *path_of(const struct lt_bundles *b, const uint8_t uuid[LT_UUID], int which)
{
    char id[LT_UUID_TEXT], name[LT_UUID_TEXT + 16];

    lt_uuid_format(uuid, id);
    snprintf(name, sizeof name, "%s%s", id, suffix[which]);
    return lt_file_path(b->dir, name);
}

static struct entry **place(struct lt_bundles *b, const uint8_t uuid[LT_UUID])
{
    struct entry **at = &b->bucket[(uuid[0] << 8 | uuid[15]) % BUCKETS];

    while (*at && memcmp((*at)->uuid, uuid, LT_UUID))
        at = &(*at)->next;
    return at;
}

static struct entry *entry(struct lt_bundles *b, const uint8_t uuid[LT_UUID])
{
    struct entry **at = place(b, uuid);

    if (!*at) {
        *at = lt_new(struct entry);
        memcpy((*at)->uuid, uuid, LT_UUID);
    }
    return *at;
}

static size_t of_entry(const struct entry *x)
{
    return x->n[LAST] + (x->same ? 0 : x->n[TRUSTED]);
}

/* What the file system says, after each change: a crash or a hand in between does not make the count wrong.
 */
static void look(struct lt_bundles *b, struct entry *x)
{
    struct stat st[FILES];
    bool is[FILES];

    b->used -= of_entry(x);
    for (int i = 0; i < FILES; i++) {
        LT_AUTOFREE char *path = path_of(b, x->uuid, i);
        is[i] = !lstat(path, &st[i]);
        x->n[i] = is[i] && st[i].st_size > 0 ? (size_t)st[i].st_size : 0;
    }
    x->same = is[LAST] && is[TRUSTED] && st[LAST].st_ino == st[TRUSTED].st_ino;
    b->used += of_entry(x);
}

/* UUID.json or UUID.trusted.json; anything else is what a crash left of one that was being written. */
static bool parse_name(const char *name, uint8_t uuid[LT_UUID])
{
    char text[LT_UUID_TEXT];

    if (strlen(name) < LT_UUID_TEXT)
        return false;
    memcpy(text, name, LT_UUID_TEXT - 1);
    text[LT_UUID_TEXT - 1] = 0;
    const char *rest = name + LT_UUID_TEXT - 1;
    return !lt_uuid_parse(text, uuid, LT_NO_ERR) &&
           (!strcmp(rest, suffix[LAST]) || !strcmp(rest, suffix[TRUSTED]));
}

static int scan(struct lt_bundles *b, struct lt_err *e)
{
    DIR *d = opendir(b->dir);
    uint8_t uuid[LT_UUID];

    if (!d)
        return lt_fail(e, LT_E_IO, "%s: %s", b->dir, strerror(errno));
    for (const struct dirent *x; (x = readdir(d));) {
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, ".."))
            continue;
        if (parse_name(x->d_name, uuid))
            look(b, entry(b, uuid));
        else
            (void)!unlinkat(dirfd(d), x->d_name, 0);
    }
    closedir(d);
    return 0;
}

int lt_bundles_open(const char *dir, size_t limit, struct lt_bundles **out, struct lt_err *e)
{
    struct lt_bundles *b;

    *out = NULL;
    LT_TRY(lt_file_dir_private(dir, e));
    b = lt_new(struct lt_bundles);
    b->dir = lt_alloc_text(dir);
    b->limit = limit;
    pthread_mutex_init(&b->lock, NULL);
    int rc = scan(b, e);
    if (rc)
        lt_bundles_free(b);
    else
        *out = b;
    return rc;
}

void lt_bundles_free(struct lt_bundles *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *x = b->bucket[i], *next; x; x = next) {
            next = x->next;
            free(x);
        }
    pthread_mutex_destroy(&b->lock);
    free(b->dir);
    free(b);
}

/* Under the lock. What replaces the last round's may leave it behind as the last trusted one's. */
static bool room(struct lt_bundles *b, const struct entry *x, size_t n)
{
    size_t goes = x && !x->same ? x->n[LAST] : 0, stays = x ? of_entry(x) - goes : 0, others = b->used - goes;

    if (others > b->limit || n > b->limit - others)
        return false;
    return n <= SMALL || lt_budget_allows(b->limit, others, stays, stays + n);
}

bool lt_bundles_room(struct lt_bundles *b, const uint8_t uuid[LT_UUID], size_t n)
{
    pthread_mutex_lock(&b->lock);
    bool fits = room(b, *place(b, uuid), n);
    pthread_mutex_unlock(&b->lock);
    return fits;
}

int lt_bundles_put(struct lt_bundles *b, const uint8_t uuid[LT_UUID], const char *text, size_t n,
                   bool trusted, struct lt_err *e)
{
    LT_AUTOFREE char *last = path_of(b, uuid, LAST), *as = path_of(b, uuid, TRUSTED);
    int rc;

    pthread_mutex_lock(&b->lock);
    struct entry *x = entry(b, uuid);
    if (!room(b, x, n)) {
        (void)!unlink(last);
        rc = lt_fail(e, LT_E_TOO_LARGE, "bundle of %zu bytes: no room for it in %zu, of which %zu are used",
                     n, b->limit, b->used);
    } else {
        rc = lt_file_replace(last, text, n, 0600, e);
        if (!rc && trusted)
            rc = lt_file_link(last, as, e);
    }
    look(b, x);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

int lt_bundles_get(struct lt_bundles *b, const uint8_t uuid[LT_UUID], bool trusted, uint8_t **text, size_t *n,
                   struct lt_err *e)
{
    LT_AUTOFREE char *path = path_of(b, uuid, trusted ? TRUSTED : LAST);
    char name[LT_UUID_TEXT];

    lt_uuid_format(uuid, name);
    return lt_file_read(path, LT_MAX_BUNDLE, text, n, e)
               ? lt_fail(e, LT_E_NOT_FOUND, "guest %s: no such bundle yet", name)
               : 0;
}

static void remove_files(struct lt_bundles *b, struct entry *x)
{
    for (int i = 0; i < FILES; i++) {
        LT_AUTOFREE char *path = path_of(b, x->uuid, i);
        (void)!unlink(path);
    }
    look(b, x);
}

/* One that could not be removed stays counted: false. */
static bool drop(struct lt_bundles *b, struct entry **at)
{
    struct entry *x = *at;

    remove_files(b, x);
    if (of_entry(x))
        return false;
    *at = x->next;
    free(x);
    return true;
}

void lt_bundles_remove(struct lt_bundles *b, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&b->lock);
    struct entry **at = place(b, uuid);
    if (*at)
        (void)drop(b, at);
    pthread_mutex_unlock(&b->lock);
}

void lt_bundles_collect(struct lt_bundles *b, bool (*known)(void *arg, const uint8_t uuid[LT_UUID]),
                        void *arg)
{
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry **at = &b->bucket[i], *x; (x = *at);) {
            if (known(arg, x->uuid) || !drop(b, at))
                at = &x->next;
        }
    pthread_mutex_unlock(&b->lock);
}

void lt_bundles_use(struct lt_bundles *b, struct lt_bundles_use *out)
{
    pthread_mutex_lock(&b->lock);
    *out = (struct lt_bundles_use){b->limit, b->used};
    pthread_mutex_unlock(&b->lock);
}
