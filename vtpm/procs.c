#include "vtpm/procs.h"

#include "common/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int read_at(int dir, const char *name, size_t max, char **out, size_t *n, struct lt_err *e)
{
    LT_AUTOFREE char *p = NULL;
    size_t cap = 0, at = 0;
    ssize_t got = 1;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return lt_fail(e, errno == ESRCH || errno == ENOENT ? LT_E_NOT_FOUND : LT_E_IO, "/proc/PID/%s: %s",
                       name, strerror(errno));
    while (got > 0 && at <= max) {
        if (cap - at < 2) {
            cap = cap ? cap * 2 : 4096;
            char *q = realloc(p, cap);
            if (!q) {
                close(fd);
                return lt_fail(e, LT_E_NO_MEMORY, "/proc/PID/%s: no memory", name);
            }
            p = q;
        }
        got = read(fd, p + at, cap - at - 1);
        at += got > 0 ? (size_t)got : 0;
    }
    int saved = errno;
    close(fd);
    if (got < 0)
        return lt_fail(e, saved == ESRCH ? LT_E_NOT_FOUND : LT_E_IO, "/proc/PID/%s: %s", name,
                       strerror(saved));
    if (at > max)
        return lt_fail(e, LT_E_TOO_LARGE, "/proc/PID/%s: more than %zu bytes", name, max);
    p[at] = 0;
    *n = at;
    *out = lt_take(&p);
    return 0;
}

/* Field 22 of proc(5) stat; the name in parentheses may hold anything, so count from the last ')'. */
static int start_of(int dir, uint64_t *ticks, struct lt_err *e)
{
    LT_AUTOFREE char *stat = NULL;
    size_t n;

    LT_TRY(read_at(dir, "stat", 65536, &stat, &n, e));
    char *at = strrchr(stat, ')');
    for (int i = 2; at && i < 22; i++)
        at = strchr(at + 1, ' ');
    if (!at || sscanf(at, " %" SCNu64, ticks) != 1)
        return lt_fail(e, LT_E_IO, "/proc/PID/stat: no start time");
    return 0;
}

int lt_proc_open(pid_t pid, struct lt_proc *out, struct lt_err *e)
{
    struct lt_proc p = {.pid = pid, .pidfd = -1, .dir = -1};
    struct stat st;
    char path[32];

    *out = LT_PROC_NONE;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    p.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    p.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int saved = errno;
    if (p.dir < 0 || p.pidfd < 0) {
        lt_proc_close(&p);
        return lt_fail(e, LT_E_NOT_FOUND, "process %d: %s", (int)pid, strerror(saved));
    }
    /* The directory answers: its process lived after the pidfd was opened, so both are the same one. */
    int rc = start_of(p.dir, &p.start_ticks, e);
    if (!rc && fstat(p.dir, &st))
        rc = lt_fail(e, LT_E_NOT_FOUND, "process %d: %s", (int)pid, strerror(errno));
    if (rc) {
        lt_proc_close(&p);
        return rc;
    }
    p.uid = st.st_uid;
    p.gid = st.st_gid;
    *out = p;
    return 0;
}

void lt_proc_close(struct lt_proc *p)
{
    if (p->pidfd >= 0)
        close(p->pidfd);
    if (p->dir >= 0)
        close(p->dir);
    *p = LT_PROC_NONE;
}

bool lt_proc_alive(const struct lt_proc *p)
{
    struct pollfd f = {.fd = p->pidfd, .events = POLLIN};
    return p->pidfd >= 0 && poll(&f, 1, 0) == 0;
}

int64_t lt_proc_start_ns(const struct lt_proc *p)
{
    return (int64_t)p->start_ticks * (1000000000LL / sysconf(_SC_CLK_TCK));
}

int lt_proc_words(const struct lt_proc *p, struct lt_procs_words *out, struct lt_err *e)
{
    *out = (struct lt_procs_words){0};
    return read_at(p->dir, "cmdline", LT_MAX_CMDLINE, &out->p, &out->n, e);
}

void lt_procs_words_free(struct lt_procs_words *w)
{
    free(w->p);
    *w = (struct lt_procs_words){0};
}

const char *lt_procs_words_next(const struct lt_procs_words *w, const char *word)
{
    const char *next = word ? word + strlen(word) + 1 : w->p;
    return next && next < w->p + w->n ? next : NULL;
}

const char *lt_procs_words_option(const struct lt_procs_words *w, const char *option)
{
    const char *found = NULL;

    for (const char *word = lt_procs_words_next(w, NULL); word; word = lt_procs_words_next(w, word))
        if (!strcmp(word, option))
            found = lt_procs_words_next(w, word);
    return found;
}

bool lt_procs_option_value(const char *option, const char *key, char *out, size_t size)
{
    size_t key_n = strlen(key);

    for (const char *at = option; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, key, key_n) || at[key_n] != '=')
            continue;
        at += key_n + 1;
        size_t n = strcspn(at, ",");
        if (n >= size)
            return false;
        memcpy(out, at, n);
        out[n] = 0;
        return true;
    }
    return false;
}

static bool has_words(const struct lt_procs_words *w, const char *option, const char *value)
{
    for (const char *word = lt_procs_words_next(w, NULL), *next; word; word = next) {
        next = lt_procs_words_next(w, word);
        if (next && !strcmp(word, option) && (!value || !strcmp(next, value)))
            return true;
    }
    return false;
}

static int look_at(pid_t pid, uid_t uid, const char *option, const char *value, lt_proc_fn fn, void *ctx,
                   struct lt_err *e)
{
    struct lt_proc p;
    struct lt_procs_words w = {0};
    int rc = 0;

    /* A process that ends while we look, or that we may not look at, is not the one. */
    if (lt_proc_open(pid, &p, LT_NO_ERR))
        return 0;
    if ((uid == LT_PROCS_ANY_UID || p.uid == uid) && !lt_proc_words(&p, &w, LT_NO_ERR) &&
        has_words(&w, option, value))
        rc = fn(ctx, &p, &w, e);
    lt_procs_words_free(&w);
    lt_proc_close(&p);
    return rc;
}

int lt_proc_each(uid_t uid, const char *option, const char *value, lt_proc_fn fn, void *ctx, struct lt_err *e)
{
    DIR *proc = opendir("/proc");
    int rc = 0;

    if (!proc)
        return lt_fail(e, LT_E_IO, "/proc: %s", strerror(errno));
    for (struct dirent *d; !rc && (d = readdir(proc));) {
        char *end;
        long pid = strtol(d->d_name, &end, 10);
        if (!*end && pid > 0)
            rc = look_at((pid_t)pid, uid, option, value, fn, ctx, e);
    }
    closedir(proc);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static DIR *open_fds(const struct lt_proc *p)
{
    int fd = openat(p->dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !d)
        close(fd);
    return d;
}

int lt_proc_sockets(const struct lt_proc *p, uint32_t **out, size_t *count, struct lt_err *e)
{
    LT_AUTOFREE uint32_t *list = NULL;
    size_t n = 0, cap = 0;
    DIR *fds = open_fds(p);

    *out = NULL;
    *count = 0;
    if (!fds)
        return lt_fail(e, LT_E_NOT_FOUND, "/proc/%d/fd: %s", (int)p->pid, strerror(errno));
    for (struct dirent *d; (d = readdir(fds));) {
        char link[64];
        ssize_t got = readlinkat(dirfd(fds), d->d_name, link, sizeof link - 1);
        uint32_t inode;
        if (got <= 0)
            continue;
        link[got] = 0;
        if (sscanf(link, "socket:[%" SCNu32 "]", &inode) != 1)
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 32;
            uint32_t *more = cap > LT_MAX_FDS ? NULL : realloc(list, cap * sizeof *list);
            if (!more) {
                closedir(fds);
                return lt_fail(e, LT_E_TOO_LARGE, "process %d: more than %zu sockets", (int)p->pid, n);
            }
            list = more;
        }
        list[n++] = inode;
    }
    closedir(fds);
    if (n)
        qsort(list, n, sizeof *list, by_number);
    *count = n;
    *out = lt_take(&list);
    return 0;
}

bool lt_proc_holds(const struct lt_proc *p, dev_t dev, ino_t ino)
{
    DIR *fds = open_fds(p);
    bool found = false;

    for (struct dirent *d; fds && !found && (d = readdir(fds));) {
        struct stat st;
        found = !fstatat(dirfd(fds), d->d_name, &st, 0) && st.st_dev == dev && st.st_ino == ino;
    }
    if (fds)
        closedir(fds);
    return found;
}

int lt_proc_open_file(const struct lt_proc *p, const char *path, int flags, struct lt_err *e)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT};
    int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (root < 0)
        return lt_fail(e, LT_E_NOT_FOUND, "/proc/%d/root: %s", (int)p->pid, strerror(errno));
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    int saved = errno;
    close(root);
    return fd >= 0 ? fd : lt_fail(e, LT_E_IO, "%s: %s", path, strerror(saved));
}
