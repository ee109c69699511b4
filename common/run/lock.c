#include "common/run/lock.h"

#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 10 /* the file may be taken away between our open and our lock, count */

#define COMM 15 /* characters of a name that the kernel keeps */

static void read_proc(long pid, const char *what, size_t max, char *out, size_t size)
{
    LT_AUTOFREE uint8_t *text = NULL;
    char path[40];
    size_t n;

    *out = 0;
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, what);
    if (!lt_file_read(path, max, &text, &n, LT_NO_ERR))
        snprintf(out, size, "%.*s", (int)strcspn((char *)text, "\n"), (const char *)text);
}

/* A name that was cut short goes on as the first word of the command line does. */
void lt_lock_process_text(long pid, char out[64])
{
    char name[COMM + 1], word[256];

    if (pid <= 0) {
        snprintf(out, 64, "unknown");
        return;
    }
    read_proc(pid, "comm", 64, name, sizeof name);
    read_proc(pid, "cmdline", 1 << 20, word, sizeof word);
    const char *slash = strrchr(word, '/'), *base = slash ? slash + 1 : word;
    bool cut = strlen(name) == COMM && !strncmp(base, name, COMM);
    snprintf(out, 64, *name ? "%ld (%.30s)" : "%ld", pid, cut ? base : name);
}

/* The kernel's word for the name, the file's for the pid: for people only. */
static void holder(int fd, char out[64])
{
    char text[16] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    lt_lock_process_text(n > 0 ? strtol(text, NULL, 10) : 0, out);
}

/* 1: the file was replaced before it was locked; another try. */
static int try_lock(const char *path, const char *what, int *fd, struct lt_err *e)
{
    struct stat ours, now;
    char who[64], pid[16];

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (*fd < 0)
        return lt_fail(e, LT_E_IO, "%s: %s", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK)
            return lt_fail(e, LT_E_IO, "%s: flock: %s", path, strerror(errno));
        holder(*fd, who);
        return lt_fail(e, LT_E_CONFLICT, "%s: %s is in use by process %s; stop that first", path, what, who);
    }
    if (fstat(*fd, &ours) || lstat(path, &now) || ours.st_dev != now.st_dev || ours.st_ino != now.st_ino)
        return 1;
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* On a full disk the lock holds all the same; then only the pid is not told. */
    if (ftruncate(*fd, 0) || pwrite(*fd, pid, (size_t)n, 0) != n)
        errno = 0;
    return 0;
}

int lt_lock_take(const char *path, const char *what, int *fd, struct lt_err *e)
{
    int rc = 1;

    *fd = -1;
    for (int i = 0; rc == 1 && i < TRIES; i++) {
        lt_lock_release(fd);
        rc = try_lock(path, what, fd, e);
    }
    if (rc == 1)
        rc = lt_fail(e, LT_E_IO, "%s: is replaced again and again", path);
    if (rc)
        lt_lock_release(fd);
    return rc;
}

int lt_lock_state(const char *dir, int *fd, struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(dir, "pid");
    return lt_lock_take(path, "the state directory", fd, e);
}

void lt_lock_release(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
