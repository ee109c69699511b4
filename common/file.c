#include "common/file.h"

#include "common/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int os_fail(struct lt_err *e, const char *path, const char *what)
{
    return lt_fail(e, LT_E_IO, "%s: %s: %s", path, what, strerror(errno));
}

static void close_fd(int *fd)
{
    if (*fd > 2)
        close(*fd);
}
#define AUTOCLOSE __attribute__((cleanup(close_fd)))

static int slurp(int fd, const char *path, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t cap = 0, at = 0;

    for (;;) {
        if (cap - at < 2) {
            size_t more = cap ? cap * 2 : 4096;
            uint8_t *q = realloc(p, more);
            if (!q)
                return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory for %zu bytes", path, more);
            p = q;
            cap = more;
        }
        ssize_t got = read(fd, p + at, cap - at - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return os_fail(e, path, "read");
        if (!got)
            break;
        at += (size_t)got;
        if (at > max)
            return lt_fail(e, LT_E_TOO_LARGE, "%s: more than %zu bytes", path, max);
    }
    p[at] = 0;
    *n = at;
    *out = lt_take(&p);
    return 0;
}

static int read_it(const char *path, bool secret, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    struct stat st;

    *out = NULL;
    *n = 0;
    AUTOCLOSE int fd = !secret && !strcmp(path, "-") ? 0 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return os_fail(e, path, "open");
    if (fstat(fd, &st))
        return os_fail(e, path, "fstat");
    if (S_ISDIR(st.st_mode))
        return lt_fail(e, LT_E_IO, "%s: is a directory", path);
    if (secret && (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 077)))
        return lt_fail(e, LT_E_CONFIG,
                       "%s: a secret must be a regular file of uid %u with mode 0600 (is uid %u, mode %04o); "
                       "%s it",
                       path, (unsigned)geteuid(), (unsigned)st.st_uid, (unsigned)(st.st_mode & 07777),
                       st.st_mode & 077 ? "chmod 600" : "chown");
    return slurp(fd, path, max, out, n, e);
}

int lt_file_read(const char *path, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    return read_it(path, false, max, out, n, e);
}

int lt_file_read_secret(const char *path, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    return read_it(path, true, max, out, n, e);
}

/* A name beside path that nobody has. */
static int beside(const char *path, char tmp[4096], struct lt_err *e)
{
    char suffix[13];

    lt_random_alnum(suffix, 12);
    return snprintf(tmp, 4096, "%s.%s", path, suffix) < 4096 ? 0
                                                             : lt_fail(e, LT_E_IO, "%s: path too long", path);
}

static int write_it(const char *path, const void *p, size_t n, mode_t mode, bool sync, struct lt_err *e)
{
    char tmp[4096];

    LT_TRY(beside(path, tmp, e));
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return os_fail(e, tmp, "create");
    int rc = fchmod(fd, mode) ? os_fail(e, tmp, "fchmod") : 0;
    for (const uint8_t *b = p; !rc && n;) {
        ssize_t put = write(fd, b, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            rc = os_fail(e, tmp, "write");
            break;
        }
        b += put;
        n -= (size_t)put;
    }
    if (!rc && sync && fsync(fd))
        rc = os_fail(e, tmp, "fsync");
    if (close(fd) && !rc)
        rc = os_fail(e, tmp, "close");
    if (!rc && rename(tmp, path))
        rc = os_fail(e, path, "rename");
    if (rc)
        unlink(tmp);
    return rc;
}

int lt_file_write(const char *path, const void *p, size_t n, mode_t mode, struct lt_err *e)
{
    return write_it(path, p, n, mode, true, e);
}

int lt_file_replace(const char *path, const void *p, size_t n, mode_t mode, struct lt_err *e)
{
    return write_it(path, p, n, mode, false, e);
}

int lt_file_sync_dir(const char *path, struct lt_err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return os_fail(e, path, "open");
    int rc = fsync(fd) ? os_fail(e, path, "fsync") : 0;
    close(fd);
    return rc;
}

int lt_file_link(const char *path, const char *as, struct lt_err *e)
{
    char tmp[4096];

    LT_TRY(beside(as, tmp, e));
    int rc = link(path, tmp) ? os_fail(e, path, "link") : 0;
    if (!rc && rename(tmp, as))
        rc = os_fail(e, as, "rename");
    unlink(tmp); /* rename leaves it when both were the same file already */
    return rc;
}

int lt_file_dir_private(const char *path, struct lt_err *e)
{
    struct stat st;

    if (mkdir(path, 0700) && errno != EEXIST)
        return os_fail(e, path, "mkdir");
    if (lstat(path, &st))
        return os_fail(e, path, "stat");
    if (!S_ISDIR(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
        return lt_fail(e, LT_E_CONFIG, "%s: not a directory of uid %u that others cannot write to", path,
                       (unsigned)geteuid());
    return 0;
}

int lt_file_sha256(const char *path, uint8_t out[32], struct lt_err *e)
{
    uint8_t block[65536];
    ssize_t got;

    memset(out, 0, 32);
    AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return os_fail(e, path, "open");
    struct lt_hasher *h = lt_hasher_new(LT_HASH_SHA256);
    while ((got = read(fd, block, sizeof block)) > 0)
        lt_hasher_add(h, block, (size_t)got);
    lt_hasher_end(h, out);
    if (got < 0) {
        memset(out, 0, 32);
        return os_fail(e, path, "read");
    }
    return 0;
}

char *lt_file_path(const char *dir, const char *name)
{
    char *s;
    if (asprintf(&s, "%s/%s", dir, name) < 0)
        abort();
    return s;
}
