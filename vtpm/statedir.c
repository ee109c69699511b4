#include "vtpm/statedir.h"

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

#define SYSTEM_BASE "/var/lib/libvirt/swtpm"
#define SESSION_BASE "/libvirt/qemu/swtpm"
#define TPM2 "tpm2"
#define STATE "tpm2-00.permall"
#define LOCK ".lock"
#define HALF "TMP2-00.permall"
#define OURS ".limetree-" /* and the UUID, beside libvirt's: what is being made or taken away */
#define OURS_MAX (sizeof OURS - 1 + LT_UUID_TEXT)

/* Descriptors that a function opened: closed at the end of the block. */
static void close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define AUTOFD __attribute__((cleanup(close_fd)))

/* ---- where it is ---- */

/* The path of a URI: "qemu+unix:///session?socket=…" is session. */
static bool is_session(const char *uri)
{
    const char *path = strstr(uri, "://");

    path = path ? strchr(path + 3, '/') : NULL;
    return path && !strncmp(path, "/session", 8) && (!path[8] || path[8] == '?' || path[8] == '#');
}

int lt_statedir_base(const char *uri, char **out, struct lt_err *e)
{
    const char *conf = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    bool session = uri && *uri ? is_session(uri) : geteuid() != 0;
    int n;

    *out = NULL;
    if (!session)
        n = asprintf(out, "%s", SYSTEM_BASE);
    else if (conf && *conf == '/')
        n = asprintf(out, "%s" SESSION_BASE, conf);
    else if (home && *home == '/')
        n = asprintf(out, "%s/.config" SESSION_BASE, home);
    else
        return lt_fail(e, LT_E_CONFIG, "libvirt's vTPMs: neither XDG_CONFIG_HOME nor HOME is set");
    if (n > 0)
        return 0;
    *out = NULL;
    return lt_fail(e, LT_E_NO_MEMORY, "libvirt's vTPMs: no memory");
}

/* ---- opening ---- */

/* Nobody but root, us and that user can put anything into it. */
static int judge_dir(int fd, uid_t owner, const char *name, struct lt_err *e)
{
    struct stat st;

    if (fstat(fd, &st))
        return lt_fail(e, LT_E_IO, "%s: %s", name, strerror(errno));
    if ((st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != owner) || (st.st_mode & 022))
        return lt_fail(e, LT_E_REFUSED, "%s: of uid %u, mode %03o: others can write to it", name,
                       (unsigned)st.st_uid, (unsigned)(st.st_mode & 0777));
    return 0;
}

static int open_base(const struct lt_statedir *d, struct lt_err *e)
{
    int fd = open(d->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return lt_fail(e, errno == ENOENT ? LT_E_NOT_FOUND : LT_E_IO, "%s: %s", d->base, strerror(errno));
    int rc = judge_dir(fd, geteuid(), d->base, e);
    if (rc)
        close(fd);
    return rc ? rc : fd;
}

/* LT_E_NOT_FOUND: it is not there. */
static int open_dir(const struct lt_statedir *d, int at, const char *name, struct lt_err *e)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return lt_fail(e, errno == ENOENT ? LT_E_NOT_FOUND : LT_E_REFUSED, "%s: %s", name, strerror(errno));
    int rc = judge_dir(fd, d->uid, name, e);
    if (rc)
        close(fd);
    return rc ? rc : fd;
}

/* ---- what lies in it ---- */

/* Calls fn with each name but "." and "..", until it returns nonzero, which is passed on. */
static int each(int dir, int (*fn)(int dir, const char *name, struct lt_err *e), struct lt_err *e)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *list = copy < 0 ? NULL : fdopendir(copy);

    if (!list) {
        close_fd(&copy);
        return lt_fail(e, LT_E_IO, "libvirt's directory of a vTPM: %s", strerror(errno));
    }
    for (struct dirent *x; !rc && (x = readdir(list));)
        if (strcmp(x->d_name, ".") && strcmp(x->d_name, ".."))
            rc = fn(dir, x->d_name, e);
    closedir(list);
    return rc;
}

/* swtpm writes HALF and renames it: one that was killed leaves it, and none ever reads it. */
static int known(int dir, const char *name, struct lt_err *e)
{
    (void)dir;
    if (!strcmp(name, LOCK) || !strcmp(name, STATE) || !strcmp(name, HALF))
        return 0;
    return lt_fail(e, LT_E_STATE_VOLATILE,
                   "state-volatile: the vTPM's directory holds %.80s, which swtpm may load: take it away",
                   name);
}

int lt_statedir_only(int dir, struct lt_err *e)
{
    return each(dir, known, e);
}

static int read_file(const struct lt_statedir *d, int dir, uint8_t **out, size_t *n, struct lt_err *e)
{
    struct stat st;
    char self[64];
    AUTOFD int fd = openat(dir, STATE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return lt_fail(e, errno == ENOENT ? LT_E_NOT_FOUND : LT_E_REFUSED, STATE ": %s", strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != d->uid || st.st_nlink != 1)
        return lt_fail(e, LT_E_REFUSED, STATE ": not a regular file of swtpm's user (uid %u) with one name",
                       (unsigned)d->uid);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return lt_file_read(self, LT_MAX_VTPM_STATE, out, n, e);
}

int lt_statedir_read(const struct lt_statedir *d, const uint8_t uuid[LT_UUID], uint8_t **out, size_t *n,
                     struct lt_err *e)
{
    char id[LT_UUID_TEXT];
    AUTOFD int base = -1, domain = -1, tpm = -1;

    *out = NULL;
    *n = 0;
    lt_uuid_format(uuid, id);
    base = open_base(d, e);
    domain = base < 0 ? base : open_dir(d, base, id, e);
    tpm = domain < 0 ? domain : open_dir(d, domain, TPM2, e);
    int rc = tpm < 0 ? tpm : lt_statedir_only(tpm, e);
    if (!rc)
        rc = read_file(d, tpm, out, n, e);
    return rc ? lt_fail_in(e, rc, "vTPM of domain %s", id) : 0;
}

/* ---- taking away ---- */

static int swtpms(int dir, const char *name, struct lt_err *e)
{
    static const char *const names[] = {LOCK, STATE, HALF, "tpm2-00.volatilestate"};
    struct stat st;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]) && !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
            return 0;
    return lt_fail(e, LT_E_REFUSED, "it holds %.80s, which is no file of swtpm's: look at it yourself", name);
}

static int remove_one(int dir, const char *name, struct lt_err *e)
{
    return unlinkat(dir, name, 0) ? lt_fail(e, LT_E_IO, "%.80s: %s", name, strerror(errno)) : 0;
}

static int only_tpm2(int dir, const char *name, struct lt_err *e)
{
    (void)dir;
    return strcmp(name, TPM2) ? lt_fail(e, LT_E_REFUSED, "it holds %.80s beside " TPM2, name) : 0;
}

/* at/name with tpm2 in it, whose files are swtpm's. judge: see that it is so; else remove it. */
static int walk(const struct lt_statedir *d, int at, const char *name, bool judge, struct lt_err *e)
{
    AUTOFD int domain = open_dir(d, at, name, e), tpm = -1;

    if (domain < 0)
        return domain;
    LT_TRY(each(domain, only_tpm2, e));
    tpm = open_dir(d, domain, TPM2, e);
    if (tpm < 0 && tpm != LT_E_NOT_FOUND)
        return tpm;
    if (tpm >= 0)
        LT_TRY(each(tpm, judge ? swtpms : remove_one, e));
    if (judge)
        return 0;
    if ((tpm >= 0 && unlinkat(domain, TPM2, AT_REMOVEDIR)) || unlinkat(at, name, AT_REMOVEDIR))
        return lt_fail(e, LT_E_IO, "%.80s: %s", name, strerror(errno));
    return 0;
}

static void our_name(const uint8_t uuid[LT_UUID], char out[OURS_MAX])
{
    memcpy(out, OURS, sizeof OURS - 1);
    lt_uuid_format(uuid, out + sizeof OURS - 1);
}

/* What is ours is made by us alone, but it may be half of it. */
static int clean(const struct lt_statedir *d, int base, const char *ours, struct lt_err *e)
{
    int rc = walk(d, base, ours, false, e);
    return rc == LT_E_NOT_FOUND ? 0 : rc;
}

static int take_away(const struct lt_statedir *d, int base, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    char id[LT_UUID_TEXT], ours[OURS_MAX];

    lt_uuid_format(uuid, id);
    our_name(uuid, ours);
    LT_TRY(clean(d, base, ours, e));
    LT_TRY(walk(d, base, id, true, e));
    if (renameat(base, id, base, ours) || fsync(base)) /* gone from libvirt's eyes at once */
        return lt_fail(e, LT_E_IO, "%s: %s", id, strerror(errno));
    return clean(d, base, ours, e);
}

int lt_statedir_remove(const struct lt_statedir *d, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    char id[LT_UUID_TEXT];
    AUTOFD int base = open_base(d, e);
    int rc = base < 0 ? base : take_away(d, base, uuid, e);

    lt_uuid_format(uuid, id);
    return rc && rc != LT_E_NOT_FOUND ? lt_fail_in(e, rc, "vTPM of domain %s", id) : 0;
}

/* ---- installing ---- */

static int make_base(const char *base, struct lt_err *e)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/", base) >= (int)sizeof path || *base != '/')
        return lt_fail(e, LT_E_CONFIG, "%.100s: not an absolute path", base);
    for (char *at = path + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        if (mkdir(path, 0711) && errno != EEXIST)
            return lt_fail(e, LT_E_IO, "%s: %s", path, strerror(errno));
        *at = '/';
    }
    return 0;
}

/* Of root: handed over to swtpm's user. */
static int hand_over(const struct lt_statedir *d, int fd, mode_t mode, struct lt_err *e)
{
    if ((geteuid() == 0 && fchown(fd, d->uid, d->gid)) || fchmod(fd, mode) || fsync(fd))
        return lt_fail(e, LT_E_IO, "cannot make it swtpm's: %s", strerror(errno));
    return 0;
}

static int put_file(const struct lt_statedir *d, int dir, const uint8_t *p, size_t n, struct lt_err *e)
{
    AUTOFD int fd = openat(dir, STATE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return lt_fail(e, LT_E_IO, STATE ": %s", strerror(errno));
    for (size_t at = 0; at < n;) {
        ssize_t put = write(fd, p + at, n - at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return lt_fail(e, LT_E_IO, STATE ": %s", strerror(errno));
        at += (size_t)put;
    }
    return hand_over(d, fd, 0600, e);
}

static int new_dir(int at, const char *name, struct lt_err *e)
{
    int fd = mkdirat(at, name, 0700) ? -1 : openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? lt_fail(e, LT_E_IO, "%s: %s", name, strerror(errno)) : fd;
}

static int build(const struct lt_statedir *d, int base, const char *ours, const void *state, size_t n,
                 struct lt_err *e)
{
    AUTOFD int domain = new_dir(base, ours, e), tpm = domain < 0 ? domain : new_dir(domain, TPM2, e);

    if (tpm < 0)
        return tpm;
    LT_TRY(put_file(d, tpm, state, n, e));
    LT_TRY(hand_over(d, tpm, 0700, e));
    if (fchmod(domain, 0711) || fsync(domain)) /* as libvirt makes it */
        return lt_fail(e, LT_E_IO, "%s: %s", ours, strerror(errno));
    return 0;
}

static int install(const struct lt_statedir *d, const uint8_t uuid[LT_UUID], const char *id,
                   const void *state, size_t n, struct lt_err *e)
{
    char ours[OURS_MAX];
    struct stat st;
    AUTOFD int base = -1;

    LT_TRY(make_base(d->base, e));
    base = open_base(d, e);
    if (base < 0)
        return base;
    our_name(uuid, ours);
    LT_TRY(clean(d, base, ours, e));
    if (!fstatat(base, id, &st, AT_SYMLINK_NOFOLLOW))
        return lt_fail(
            e, LT_E_CONFLICT,
            "%s/%s is there already, without a vTPM's state in it: take it away, or let --convert do "
            "so",
            d->base, id);
    int rc = build(d, base, ours, state, n, e);
    if (!rc && renameat2(base, ours, base, id, RENAME_NOREPLACE))
        rc = lt_fail(e, errno == EEXIST ? LT_E_CONFLICT : LT_E_IO, "%s/%s: %s", d->base, id, strerror(errno));
    if (rc)
        (void)!clean(d, base, ours, LT_NO_ERR);
    else if (fsync(base))
        rc = lt_fail(e, LT_E_IO, "%s: %s", d->base, strerror(errno));
    return rc;
}

int lt_statedir_install(const struct lt_statedir *d, const uint8_t uuid[LT_UUID], const void *state, size_t n,
                        struct lt_err *e)
{
    char id[LT_UUID_TEXT];

    lt_uuid_format(uuid, id);
    int rc = install(d, uuid, id, state, n, e);
    return rc ? lt_fail_in(e, rc, "vTPM of domain %s", id) : 0;
}
