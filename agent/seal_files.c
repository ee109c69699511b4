#include "agent/seal_files.h"

#include "agent/fault.h"
#include "common/alloc.h"
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void lt_agent_seal_files_init(struct lt_agent_seal_files *f, const char *dir)
{
    f->dir = lt_alloc_text(dir);
    f->vault = lt_file_path(dir, "vault");
    f->next = lt_file_path(dir, "vault.next");
    f->fd = -1;
}

static void close_next(struct lt_agent_seal_files *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

void lt_agent_seal_files_free(struct lt_agent_seal_files *f)
{
    close_next(f);
    free(f->dir);
    free(f->vault);
    free(f->next);
    *f = (struct lt_agent_seal_files){.fd = -1};
}

static int os_fail(struct lt_err *e, const char *path, const char *what)
{
    return lt_fail(e, LT_E_IO, "%s: %s: %s", path, what, strerror(errno));
}

static int read_file(void *ctx, enum lt_agent_seal_file which, uint8_t **out, size_t *n, struct lt_err *e)
{
    const struct lt_agent_seal_files *f = ctx;
    const char *path = which == LT_AGENT_SEAL_VAULT ? f->vault : f->next;
    struct stat st;

    *out = NULL;
    *n = 0;
    if (lstat(path, &st))
        return errno == ENOENT ? lt_fail(e, LT_E_NOT_FOUND, "%s: there is none", path)
                               : os_fail(e, path, "lstat");
    if (!S_ISREG(st.st_mode))
        return lt_fail(e, LT_E_VAULT_FORGED, "%s: not a regular file", path);
    int rc = lt_file_read_secret(path, LT_MAX_VAULT, out, n, e);
    return rc == LT_E_TOO_LARGE || rc == LT_E_CONFIG ? lt_fail_in(e, LT_E_VAULT_FORGED, "the vault") : rc;
}

/* What is there was never committed: a commit, or opening, renames it. It stays open for sync_next, which has
 * to hear of what the kernel could not write. */
static int write_next(void *ctx, const void *p, size_t n, struct lt_err *e)
{
    struct lt_agent_seal_files *f = ctx;
    int rc = 0;

    close_next(f);
    if (unlink(f->next) && errno != ENOENT)
        return os_fail(e, f->next, "unlink");
    f->fd = open(f->next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->fd < 0 || fchmod(f->fd, 0600))
        return os_fail(e, f->next, "create");
    for (const uint8_t *b = p; !rc && n;) {
        ssize_t put = write(f->fd, b, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            rc = os_fail(e, f->next, "write");
            break;
        }
        b += put;
        n -= (size_t)put;
    }
    LT_FAULT_AT(SEAL_NEXT_WRITTEN);
    return rc;
}

static int sync_next(void *ctx, struct lt_err *e)
{
    struct lt_agent_seal_files *f = ctx;
    int rc = f->fd < 0      ? lt_fail(e, LT_E_INTERNAL, "%s: not written", f->next)
             : fsync(f->fd) ? os_fail(e, f->next, "fsync")
                            : 0;

    close_next(f);
    LT_FAULT_AT(SEAL_NEXT_SYNCED);
    return rc;
}

static int rename_next(void *ctx, struct lt_err *e)
{
    const struct lt_agent_seal_files *f = ctx;
    int rc = rename(f->next, f->vault) ? os_fail(e, f->vault, "rename") : 0;

    LT_FAULT_AT(SEAL_RENAMED);
    return rc;
}

static int sync_dir(void *ctx, struct lt_err *e)
{
    const struct lt_agent_seal_files *f = ctx;
    int rc = lt_file_sync_dir(f->dir, e);

    LT_FAULT_AT(SEAL_DIR_SYNCED);
    return rc;
}

const struct lt_agent_seal_file_ops lt_agent_seal_files_ops = {
    .read = read_file,
    .write_next = write_next,
    .sync_next = sync_next,
    .rename = rename_next,
    .sync_dir = sync_dir,
};
