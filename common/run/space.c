#include "common/run/space.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "common/run/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOOK_MS 1000
#define PART 10 /* reserve and min_free are this part of the file system at most */

struct lt_space {
    struct lt_space_conf conf;
    char *dir, *file;
    pthread_mutex_t lock; /* guards state and fd */
    struct lt_space_state state;
    int fd;           /* the reserve; -1: could not be opened yet */
    bool told;        /* that it is low */
    uint64_t look_ms; /* the last one */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Under the lock. A file system that cannot be asked has no room. */
static void ask(struct lt_space *s)
{
    struct lt_space_state *t = &s->state;
    struct statvfs fs;
    struct stat st;
    bool known = !statvfs(s->dir, &fs);

    t->free = known ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
    t->total = known ? (uint64_t)fs.f_blocks * fs.f_frsize : 0;
    t->min_free = least(s->conf.min_free, t->total / PART);
    t->reserve = least(s->conf.reserve, t->total / PART) & ~UINT64_C(4095);
    t->held =
        s->fd >= 0 && !fstat(s->fd, &st) ? least((uint64_t)st.st_blocks * 512, (uint64_t)st.st_size) : 0;
    t->low = t->free < t->min_free || t->held < t->reserve;
}

/* Also one that somebody took away, or cut. Under the lock; writes no more than there is room for above
 * min_free. */
static void make_whole(struct lt_space *s)
{
    struct lt_space_state *t = &s->state;
    struct stat st, at;

    if (s->fd >= 0 && (fstat(s->fd, &st) || lstat(s->file, &at) || st.st_ino != at.st_ino)) {
        close(s->fd);
        s->fd = -1;
    }
    if (!t->reserve || (s->fd >= 0 && t->held >= t->reserve) || t->free + t->held < t->reserve + t->min_free)
        return;
    if (s->fd < 0)
        s->fd = open(s->file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd >= 0 && posix_fallocate(s->fd, 0, (off_t)t->reserve))
        (void)!ftruncate(s->fd, 0); /* all or nothing: a part of it would only make the disk fuller */
}

static void tell(struct lt_space *s, const struct lt_space_state *t)
{
    if (t->low && !s->told)
        lt_log(LT_LOG_ERROR, "space-low",
               "%s: %llu MiB free, %llu wanted, reserve %llu of %llu MiB: documents, bundles and strangers' "
               "registrations are not kept until there is more",
               s->dir, (unsigned long long)t->free >> 20, (unsigned long long)t->min_free >> 20,
               (unsigned long long)t->held >> 20, (unsigned long long)t->reserve >> 20);
    else if (!t->low && s->told)
        lt_log(LT_LOG_INFO, "space-ok", "%s: %llu MiB free, the reserve is whole", s->dir,
               (unsigned long long)t->free >> 20);
    s->told = t->low;
}

void lt_space_look(struct lt_space *s)
{
    struct lt_space_state now;
    uint64_t at = lt_clock_ms();

    if (!s || (s->look_ms && at - s->look_ms < LOOK_MS))
        return;
    s->look_ms = at;
    pthread_mutex_lock(&s->lock);
    ask(s);
    make_whole(s);
    ask(s);
    now = s->state;
    pthread_mutex_unlock(&s->lock);
    tell(s, &now);
}

struct lt_space *lt_space_open(const char *dir, const struct lt_space_conf *c)
{
    struct lt_space *s = lt_new(struct lt_space);

    s->dir = lt_alloc_text(dir);
    s->conf = *c;
    s->file = lt_file_path(dir, "reserve");
    s->fd = open(s->file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    pthread_mutex_init(&s->lock, NULL);
    lt_space_look(s);
    return s;
}

void lt_space_close(struct lt_space *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    pthread_mutex_destroy(&s->lock);
    free(s->file);
    free(s->dir);
    free(s);
}

bool lt_space_release(struct lt_space *s)
{
    bool some;

    if (!s)
        return false;
    pthread_mutex_lock(&s->lock);
    ask(s);
    some = s->state.held && !ftruncate(s->fd, 0);
    ask(s);
    pthread_mutex_unlock(&s->lock);
    if (some)
        lt_log(LT_LOG_ERROR, "space-reserve",
               "%s: no room for what must not be lost: the reserve is used now", s->dir);
    return some;
}

bool lt_space_fits(struct lt_space *s, uint64_t n)
{
    if (!s)
        return true;
    pthread_mutex_lock(&s->lock);
    ask(s);
    bool fits = !s->state.low && n <= s->state.free - s->state.min_free;
    pthread_mutex_unlock(&s->lock);
    return fits;
}

void lt_space_state(struct lt_space *s, struct lt_space_state *out)
{
    *out = (struct lt_space_state){0};
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    ask(s);
    *out = s->state;
    pthread_mutex_unlock(&s->lock);
}
