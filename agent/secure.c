#include "agent/secure.h"

#include "common/file.h"
#include "common/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNTINFO "/proc/self/mountinfo"
#define FIELDS_BEFORE_DASH                                                                                   \
    6 /* proc(5): id, parent, device, root, mount point, options, then optional ones                         \
       */

/* The next field of a line; fields hold no blanks (those in a path stand as \040). */
static struct lt_slice field(struct lt_slice *line)
{
    const uint8_t *end = line->n ? memchr(line->p, ' ', line->n) : NULL;
    struct lt_slice f = {line->p, end ? (size_t)(end - line->p) : line->n};
    size_t used = f.n + (end ? 1 : 0);

    line->p += used;
    line->n -= used;
    return f;
}

static bool is_id(struct lt_slice s, uint64_t id)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    return lt_slice_is(s, text);
}

/* The type stands behind the first field "-" after the mount's options. */
static struct lt_slice type_of(struct lt_slice line)
{
    for (unsigned i = 1; i < FIELDS_BEFORE_DASH; i++)
        field(&line);
    while (line.n)
        if (lt_slice_is(field(&line), "-"))
            return field(&line);
    return (struct lt_slice){0};
}

int lt_secure_mount(const char *mountinfo, uint64_t mount, struct lt_err *e)
{
    for (const char *at = mountinfo, *end; (end = strchr(at, '\n')); at = end + 1) { /* whole lines alone */
        struct lt_slice line = {(const uint8_t *)at, (size_t)(end - at)};
        if (!is_id(field(&line), mount))
            continue;
        struct lt_slice type = type_of(line);
        if (lt_slice_is(type, "tmpfs") || lt_slice_is(type, "ramfs"))
            return 0;
        return lt_fail(e, LT_E_CONFIG, "lies on a file system of type %.*s, not in memory (tmpfs)",
                       (int)(type.n < 32 ? type.n : 32), (const char *)type.p);
    }
    return lt_fail(e, LT_E_IO, "mount %llu is not in " MOUNTINFO, (unsigned long long)mount);
}

static int look_at_mount(const struct statx *st, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    if (!(st->stx_mask & STATX_MNT_ID))
        return lt_fail(e, LT_E_CONFIG, "this kernel does not tell which mount it is on (Linux 5.8 does)");
    LT_TRY(lt_file_read(MOUNTINFO, LT_MAX_MOUNTINFO, &text, &n, e));
    return lt_secure_mount((const char *)text, st->stx_mnt_id, e);
}

static int ask(int dirfd, const char *path, int flags, struct statx *st)
{
    return statx(dirfd, path, flags, STATX_TYPE | STATX_MODE | STATX_UID | STATX_MNT_ID, st);
}

static int look(const struct statx *st, struct lt_err *e)
{
    if (!S_ISDIR(st->stx_mode) || st->stx_uid != geteuid() || (st->stx_mode & 077))
        return lt_fail(e, LT_E_CONFIG, "not a directory of uid %u with mode 0700 (is uid %u, mode %04o)",
                       (unsigned)geteuid(), (unsigned)st->stx_uid, (unsigned)(st->stx_mode & 07777));
    return look_at_mount(st, e);
}

int lt_secure_check(const char *dir, struct lt_err *e)
{
    LT_AUTOFREE char *above = lt_file_path(dir, "..");
    const char *end = strrchr(dir, '/');
    struct statx st;
    int rc;

    if (!ask(AT_FDCWD, dir, AT_SYMLINK_NOFOLLOW, &st)) {
        rc = look(&st, e);
    } else {
        snprintf(above, strlen(above), "%.*s", end ? (int)(end - dir) + 1 : 1, end ? dir : ".");
        rc = ask(AT_FDCWD, above, 0, &st) ? lt_fail(e, LT_E_CONFIG, "%s", strerror(errno))
                                          : look_at_mount(&st, e);
    }
    return rc ? lt_fail_in(e, rc, "%s", dir) : 0;
}

int lt_secure_open(const char *dir, int *fd, struct lt_err *e)
{
    *fd = -1;
    LT_TRY(lt_file_dir_private(dir, e));
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0)
        return lt_fail(e, LT_E_IO, "%s: %s", dir, strerror(errno));
    struct statx st;
    int rc =
        ask(*fd, "", AT_EMPTY_PATH, &st) ? lt_fail(e, LT_E_IO, "statx: %s", strerror(errno)) : look(&st, e);
    if (!rc)
        return 0;
    close(*fd);
    *fd = -1;
    return lt_fail_in(e, rc, "%s", dir);
}

/* ---- removing ---- */

static int remove_at(int dirfd, const char *name, unsigned depth, struct lt_err *e);

static int empty_dir(int fd, unsigned depth, struct lt_err *e)
{
    DIR *d = fdopendir(fd);
    int rc = 0;

    if (!d) {
        close(fd);
        return lt_fail(e, LT_E_IO, "fdopendir: %s", strerror(errno));
    }
    for (struct dirent *x; !rc && (x = readdir(d));)
        if (strcmp(x->d_name, ".") && strcmp(x->d_name, ".."))
            rc = remove_at(dirfd(d), x->d_name, depth + 1, e);
    closedir(d);
    return rc;
}

static int remove_at(int dirfd, const char *name, unsigned depth, struct lt_err *e)
{
    if (depth > 2 * LT_MAX_UNPACK_DEPTH)
        return lt_fail(e, LT_E_IO, "%s: deeper than anything of ours", name);
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        LT_TRY(empty_dir(fd, depth, e));
    if (unlinkat(dirfd, name, fd >= 0 ? AT_REMOVEDIR : 0) && errno != ENOENT)
        return lt_fail(e, LT_E_IO, "%s: %s", name, strerror(errno));
    return 0;
}

int lt_secure_remove(int dirfd, const char *name, struct lt_err *e)
{
    return remove_at(dirfd, name, 0, e);
}
