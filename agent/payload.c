#include "agent/payload.h"

#include "agent/secure.h"
#include "agent/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGING LT_AGENT_PAYLOAD_DIR ".new"
#define KEY_FILE "derived_tci_key"
#define PLAIN_FILE "decrypted_payload"

static int write_file(int dir, const char *name, struct lt_slice s, struct lt_err *e)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool good = fd >= 0;

    while (good && s.n) {
        ssize_t put = write(fd, s.p, s.n);
        good = put >= 0 || errno == EINTR;
        s.p += put > 0 ? put : 0;
        s.n -= put > 0 ? (size_t)put : 0;
    }
    int os = errno;
    if (fd >= 0)
        close(fd);
    return good ? 0 : lt_fail(e, LT_E_IO, "%s: %s", name, strerror(os));
}

static int write_plain(int dir, const struct lt_share *k, struct lt_slice sealed, struct lt_err *e)
{
    static const char *const taken[] = {KEY_FILE, PLAIN_FILE, NULL};
    uint8_t *plain;
    size_t n;

    LT_TRY(lt_share_open(k, sealed, &plain, &n, e));
    const struct lt_slice s = {plain, n};
    int rc = write_file(dir, PLAIN_FILE, s, e);
    if (!rc && lt_unpack_is_zip(s))
        rc = lt_unpack_zip(s, dir, taken, e);
    lt_wipe(plain, n);
    free(plain);
    return rc;
}

static int fill(int dir, const struct lt_share *k, struct lt_slice sealed, struct lt_err *e)
{
    LT_TRY(write_file(dir, KEY_FILE, (struct lt_slice){k->p, k->n}, e));
    return sealed.p ? write_plain(dir, k, sealed, e) : 0;
}

static int stage(int fd, const struct lt_share *k, struct lt_slice sealed, struct lt_err *e)
{
    LT_TRY(lt_secure_remove(fd, STAGING, e));
    int dir = mkdirat(fd, STAGING, 0700) ? -1 : openat(fd, STAGING, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return lt_fail(e, LT_E_IO, STAGING ": %s", strerror(errno));
    int rc = fill(dir, k, sealed, e);
    close(dir);
    return rc;
}

static int swap(int fd, struct lt_err *e)
{
    bool done = !renameat2(fd, STAGING, fd, LT_AGENT_PAYLOAD_DIR, RENAME_EXCHANGE) ||
                (errno == ENOENT && !renameat(fd, STAGING, fd, LT_AGENT_PAYLOAD_DIR));

    return done ? 0 : lt_fail(e, LT_E_IO, LT_AGENT_PAYLOAD_DIR ": %s", strerror(errno));
}

int lt_agent_payload_install(int fd, const struct lt_share *k, struct lt_slice sealed, struct lt_err *e)
{
    int rc = stage(fd, k, sealed, e);

    if (!rc)
        rc = swap(fd, e);
    lt_agent_payload_tidy(fd); /* the earlier one, or what was refused */
    return rc;
}

void lt_agent_payload_tidy(int fd)
{
    (void)!lt_secure_remove(fd, STAGING, LT_NO_ERR);
}

bool lt_agent_payload_program(int fd, const char *name)
{
    int dir = openat(fd, LT_AGENT_PAYLOAD_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    bool there = dir >= 0 && !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
                 !fchmodat(dir, name, 0700, 0);

    if (dir >= 0)
        close(dir);
    return there;
}
