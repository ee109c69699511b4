#include "vtpm/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "limetree-vtpm-"
#define RANDOM "XXXXXX"

/* A sweeper may have come between making and locking: it is gone then. */
static int lock(struct lt_scratch *s, struct lt_err *e)
{
    struct stat st;

    s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->fd >= 0 && !flock(s->fd, LOCK_EX | LOCK_NB) && !fstat(s->fd, &st) && st.st_nlink)
        return 0;
    int saved = errno;
    if (s->fd >= 0)
        close(s->fd);
    rmdir(s->path);
    *s = LT_SCRATCH_NONE;
    return lt_fail(e, LT_E_IO, "a private directory: %s", strerror(saved));
}

int lt_scratch_make(const char *below, struct lt_scratch *out, struct lt_err *e)
{
    *out = LT_SCRATCH_NONE;
    if (snprintf(out->path, sizeof out->path, "%s/" NAME RANDOM, below) >= (int)sizeof out->path ||
        !mkdtemp(out->path))
        return lt_fail(e, LT_E_IO, "%s: cannot make a directory: %s", below, strerror(errno));
    return lock(out, e);
}

int lt_scratch_give(const struct lt_scratch *s, uid_t uid, gid_t gid, struct lt_err *e)
{
    if (geteuid() == 0 && fchown(s->fd, uid, gid))
        return lt_fail(e, LT_E_IO, "%s: chown: %s", s->path, strerror(errno));
    return 0;
}

static void wipe_file(int dir, const char *name)
{
    static const uint8_t zeros[65536];
    struct stat st;
    int file = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (file >= 0 && !fstat(file, &st) && S_ISREG(st.st_mode) && st.st_nlink == 1)
        for (off_t at = 0; at < st.st_size;) {
            size_t n = st.st_size - at < (off_t)sizeof zeros ? (size_t)(st.st_size - at) : sizeof zeros;
            ssize_t put = write(file, zeros, n);
            if (put <= 0)
                break;
            at += put;
        }
    if (file >= 0)
        close(file);
    unlinkat(dir, name, 0);
}

void lt_scratch_wipe(struct lt_scratch *s)
{
    DIR *d = s->fd < 0 ? NULL : fdopendir(s->fd);

    for (struct dirent *x; d && (x = readdir(d));)
        if (strcmp(x->d_name, ".") && strcmp(x->d_name, ".."))
            wipe_file(dirfd(d), x->d_name);
    if (s->fd >= 0)
        rmdir(s->path); /* of a link: nothing */
    if (d)
        closedir(d);
    else if (s->fd >= 0)
        close(s->fd);
    *s = LT_SCRATCH_NONE;
}

static void sweep_one(const char *below, const char *name)
{
    struct lt_scratch s = LT_SCRATCH_NONE;
    struct stat st;

    if (snprintf(s.path, sizeof s.path, "%s/%s", below, name) >= (int)sizeof s.path)
        return;
    s.fd = open(s.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s.fd < 0)
        return;
    if (!fstat(s.fd, &st) && (geteuid() == 0 || st.st_uid == geteuid()) && !flock(s.fd, LOCK_EX | LOCK_NB))
        lt_scratch_wipe(&s);
    else
        close(s.fd);
}

void lt_scratch_sweep(const char *below)
{
    DIR *d = opendir(below);

    for (struct dirent *x; d && (x = readdir(d));)
        if (!strncmp(x->d_name, NAME, sizeof NAME - 1) && strlen(x->d_name) == sizeof NAME RANDOM - 1)
            sweep_one(below, x->d_name);
    if (d)
        closedir(d);
}
