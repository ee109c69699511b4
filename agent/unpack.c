#include "agent/unpack.h"

#include "agent/archive.h"
#include "common/alloc.h"
#include "common/limits.h"
#include "common/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 65536
#define SHOWN 120                /* of an entry's path, in a message */
#define FREE_OF_RATIO (1u << 20) /* bytes: little things may be as dense as they like */

/* One unpacking. */
struct unpack {
    const struct lt_archive *lib;
    struct archive *from;
    size_t size; /* of the zip */
    int dirfd;
    const char *const *taken;
    unsigned entries;
    uint64_t bytes; /* written so far */
    uint8_t block[BLOCK];
};

bool lt_unpack_is_zip(struct lt_slice p)
{
    return lt_slice_begins(p, "PK\3\4") || lt_slice_begins(p, "PK\5\6");
}

/* ---- paths ---- */

static int refuse(struct lt_err *e, const char *path, const char *why)
{
    char text[SHOWN];

    lt_utf8_show(path, text, sizeof text);
    return lt_fail(e, LT_E_REFUSED, "zip: entry \"%s\": %s", text, why);
}

static int check_part(const char *path, const char *part, size_t n, struct lt_err *e)
{
    if (!n)
        return refuse(e, path, part == path ? "an absolute path" : "an empty part in its path");
    if (n > 255)
        return refuse(e, path, "a name of more than 255 characters");
    if ((n == 1 && *part == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
        return refuse(e, path, "\".\" or \"..\" in its path");
    return 0;
}

int lt_unpack_check_path(const char *path, struct lt_err *e)
{
    size_t n = strnlen(path, LT_MAX_UNPACK_PATH + 1), depth = 0;

    if (!n || n > LT_MAX_UNPACK_PATH)
        return refuse(e, path, "no path, or one that is too long");
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)path[i] < ' ' || path[i] == 0x7f || path[i] == '\\')
            return refuse(e, path, "a control character or a backslash in its path");
    if (!lt_utf8_valid((struct lt_slice){(const uint8_t *)path, n}))
        return refuse(e, path, "a path that is no UTF-8");
    for (const char *part = path;; depth++) {
        size_t k = strcspn(part, "/");
        LT_TRY(check_part(path, part, k, e));
        if (!part[k] || !part[k + 1])
            break;
        part += k + 1;
    }
    return depth < LT_MAX_UNPACK_DEPTH ? 0 : refuse(e, path, "too many folders in one another");
}

static bool is_taken(const struct unpack *u, const char *path)
{
    size_t n = strcspn(path, "/");

    for (const char *const *t = u->taken; *t; t++)
        if (strlen(*t) == n && !strncmp(*t, path, n))
            return true;
    return false;
}

/* ---- writing: the tree is ours and new, so that no part of a path can be a link ---- */

/* The folder that the last part of path lies in, made if need be; a descriptor to close. */
static int parent(const struct unpack *u, const char *path, const char **last, struct lt_err *e)
{
    int fd = fcntl(u->dirfd, F_DUPFD_CLOEXEC, 3);

    for (const char *slash; fd >= 0 && (slash = strchr(path, '/')) && slash[1]; path = slash + 1) {
        char part[256];
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        int next = mkdirat(fd, part, 0700) && errno != EEXIST
                       ? -1
                       : openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int os = errno;
        close(fd);
        errno = os;
        fd = next;
    }
    *last = path;
    return fd >= 0 ? fd : lt_fail(e, LT_E_REFUSED, "%s", strerror(errno));
}

static int put(int fd, const uint8_t *p, size_t n, struct lt_err *e)
{
    while (n) {
        ssize_t got = write(fd, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lt_fail(e, LT_E_IO, "%s", strerror(errno));
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

/* Counted as it comes, whatever the headers say. */
static int count_bytes(struct unpack *u, size_t n, struct lt_err *e)
{
    u->bytes += n;
    if (u->bytes > LT_MAX_UNPACK_BYTES)
        return lt_fail(e, LT_E_REFUSED, "the files are more than %u bytes together", LT_MAX_UNPACK_BYTES);
    if (u->bytes > FREE_OF_RATIO && u->bytes / LT_MAX_UNPACK_RATIO > u->size)
        return lt_fail(e, LT_E_REFUSED, "more than %d times the zip's %zu bytes come out of it",
                       LT_MAX_UNPACK_RATIO, u->size);
    return 0;
}

static int broken(struct unpack *u, struct lt_err *e)
{
    const char *why = u->lib->archive_error_string(u->from);

    return lt_fail(e, LT_E_MALFORMED, "%.120s", why ? why : "cannot be read");
}

static int copy(struct unpack *u, int fd, struct lt_err *e)
{
    for (;;) {
        la_ssize_t n = u->lib->archive_read_data(u->from, u->block, sizeof u->block);
        if (n < 0)
            return broken(u, e);
        if (!n)
            return 0;
        LT_TRY(count_bytes(u, (size_t)n, e));
        LT_TRY(put(fd, u->block, (size_t)n, e));
    }
}

static int write_file(struct unpack *u, int dir, const char *name, struct lt_err *e)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return lt_fail(e, errno == EEXIST ? LT_E_REFUSED : LT_E_IO, "%s",
                       errno == EEXIST ? "there twice" : strerror(errno));
    int rc = copy(u, fd, e);
    close(fd);
    return rc;
}

static int write_folder(int dir, const char *name, struct lt_err *e)
{
    char part[256];
    struct stat st;

    snprintf(part, sizeof part, "%.*s", (int)strcspn(name, "/"), name);
    if (!mkdirat(dir, part, 0700))
        return 0;
    bool folder = errno == EEXIST && !fstatat(dir, part, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
    return folder ? 0 : lt_fail(e, LT_E_REFUSED, "a folder where a file is");
}

/* ---- entries ---- */

static const char *kind_of(const struct unpack *u, struct archive_entry *x)
{
    if (u->lib->archive_entry_hardlink(x))
        return "a hard link";
    switch (u->lib->archive_entry_filetype(x)) {
    case AE_IFREG:
    case AE_IFDIR:
        return NULL;
    case AE_IFLNK:
        return "a symbolic link";
    case AE_IFCHR:
    case AE_IFBLK:
        return "a device";
    default:
        return "neither a file nor a folder";
    }
}

static int write_entry(struct unpack *u, struct archive_entry *x, const char *path, struct lt_err *e)
{
    const char *name;
    int dir = parent(u, path, &name, e);

    if (dir < 0)
        return dir;
    int rc = u->lib->archive_entry_filetype(x) == AE_IFDIR ? write_folder(dir, name, e)
                                                           : write_file(u, dir, name, e);
    close(dir);
    return rc;
}

static int entry(struct unpack *u, struct archive_entry *x, struct lt_err *e)
{
    const char *raw = u->lib->archive_entry_pathname(x),
               *path = raw ? raw : u->lib->archive_entry_pathname_utf8(x), *kind;
    char text[SHOWN];

    if (++u->entries > LT_MAX_UNPACK_ENTRIES)
        return lt_fail(e, LT_E_REFUSED, "zip: more than %d entries", LT_MAX_UNPACK_ENTRIES);
    if (!path)
        return lt_fail(e, LT_E_REFUSED, "zip: entry %u: a path that is no UTF-8", u->entries);
    LT_TRY(lt_unpack_check_path(path, e));
    if ((kind = kind_of(u, x)))
        return refuse(e, path, kind);
    if (is_taken(u, path))
        return refuse(e, path, "a name that the agent uses");
    lt_utf8_show(path, text, sizeof text);
    LT_TRY_IN(write_entry(u, x, path, e), e, "zip: entry \"%s\"", text);
    return 0;
}

/* Deflate needs 32 KiB. Of other methods the zip says how much memory they take (LZMA's dictionary:
 * gigabytes). libarchive has a word for the method in the name of the format alone, and no decoder before
 * data is read. */
static bool is_plain_method(struct unpack *u)
{
    const char *name = u->lib->archive_format_name(u->from), *method = name ? strchr(name, '(') : NULL;

    return method && (!strcmp(method, "(uncompressed)") || !strcmp(method, "(deflation)"));
}

static int entries(struct unpack *u, struct lt_err *e)
{
    struct archive_entry *x;

    for (;;) {
        int rc = u->lib->archive_read_next_header(u->from, &x);
        if (rc == ARCHIVE_EOF)
            return 0;
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return lt_fail_in(e, broken(u, e), "zip: entry %u", u->entries + 1);
        if (!is_plain_method(u))
            return lt_fail(e, LT_E_REFUSED, "zip: entry %u: compressed otherwise than by deflate",
                           u->entries + 1);
        LT_TRY(entry(u, x, e));
    }
}

static int unpack(struct unpack *u, struct lt_slice zip, struct lt_err *e)
{
    u->from = u->lib->archive_read_new();
    if (!u->from)
        return lt_fail(e, LT_E_NO_MEMORY, "zip: no memory");
    bool good = u->lib->archive_read_support_format_zip_seekable(u->from) == ARCHIVE_OK &&
                u->lib->archive_read_open_memory(u->from, zip.p, zip.n) == ARCHIVE_OK;
    int rc = good ? entries(u, e) : lt_fail_in(e, broken(u, e), "zip");
    u->lib->archive_read_free(u->from);
    return rc;
}

int lt_unpack_zip(struct lt_slice zip, int dirfd, const char *const *taken, struct lt_err *e)
{
    const struct lt_archive *lib;

    LT_TRY(lt_archive_load(&lib, e));
    LT_AUTOFREE struct unpack *u = lt_new(struct unpack);
    *u = (struct unpack){.lib = lib, .size = zip.n, .dirfd = dirfd, .taken = taken};
    return unpack(u, zip, e);
}
