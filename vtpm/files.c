#include "vtpm/files.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE 256 /* files; one more takes the place of the oldest */

struct lt_files {
    struct {
        struct statx st;
        uint8_t digest[32];
    } list[CACHE];
    size_t count, next;
    struct lt_wall wall;
};

struct lt_files *lt_files_new(void)
{
    struct lt_files *f = lt_new(struct lt_files);
    lt_wall_look(&f->wall);
    return f;
}

void lt_files_look(struct lt_files *f)
{
    lt_wall_look(&f->wall);
}

void lt_files_free(struct lt_files *f)
{
    free(f);
}

static int look(int fd, const char *path, struct statx *st, struct lt_err *e)
{
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, st))
        return lt_fail(e, LT_E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st->stx_mode))
        return lt_fail(e, LT_E_REFUSED, "%s: not a regular file", path);
    return 0;
}

static bool same(const struct statx *a, const struct statx *b)
{
    return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor &&
           a->stx_ino == b->stx_ino && a->stx_size == b->stx_size &&
           a->stx_ctime.tv_sec == b->stx_ctime.tv_sec && a->stx_ctime.tv_nsec == b->stx_ctime.tv_nsec;
}

static int64_t ns(const struct statx_timestamp *t)
{
    return t->tv_sec * 1000000000LL + t->tv_nsec;
}

static int hash(struct lt_files *f, int fd, const char *path, const struct statx *before, uint8_t out[32],
                struct lt_err *e)
{
    struct statx after;
    char self[64];

    for (size_t i = 0; i < f->count; i++)
        if (same(&f->list[i].st, before)) {
            memcpy(out, f->list[i].digest, 32);
            return 0;
        }
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    LT_TRY(lt_file_sha256(self, out, e));
    LT_TRY(look(fd, path, &after, e));
    if (!same(before, &after))
        return lt_fail(e, LT_E_REFUSED, "%s: changed while it was read", path);
    f->list[f->next].st = *before;
    memcpy(f->list[f->next].digest, out, 32);
    f->next = (f->next + 1) % CACHE;
    f->count += f->count < CACHE;
    return 0;
}

static int digest_fd(struct lt_files *f, int fd, const struct lt_proc *p, const char *path, uint8_t out[32],
                     struct lt_err *e)
{
    struct statx st;
    int64_t start = lt_proc_start_ns(p);

    LT_TRY(look(fd, path, &st, e));
    /* Not ctime: libvirt changes owner and labels of kernel and initrd at each start of a domain. A file put
     * in the place of another has a birth time of its own. */
    lt_wall_look(&f->wall);
    if (lt_wall_after(&f->wall, ns(&st.stx_mtime), start) ||
        ((st.stx_mask & STATX_BTIME) && lt_wall_after(&f->wall, ns(&st.stx_btime), start)))
        return lt_fail(e, LT_E_REFUSED, "%s: written after process %d started", path, (int)p->pid);
    return hash(f, fd, path, &st, out, e);
}

int lt_files_digest(struct lt_files *f, const struct lt_proc *p, const char *path, uint8_t out[32],
                    struct lt_err *e)
{
    int fd = lt_proc_open_file(p, path, O_RDONLY | O_NONBLOCK, e);

    if (fd < 0)
        return fd;
    int rc = digest_fd(f, fd, p, path, out, e);
    close(fd);
    return rc;
}

static const char *const debian[] = {"/usr/share/qemu", "/usr/share/seabios", NULL};

static int search(struct lt_files *f, const struct lt_proc *qemu, const struct lt_procs_words *w,
                  const char *name, uint8_t out[32], struct lt_err *e)
{
    const char *const *dir = debian;
    char path[PATH_MAX];

    for (const char *word = lt_procs_words_next(w, NULL); word; word = lt_procs_words_next(w, word)) {
        const char *given = strcmp(word, "-L") ? NULL : lt_procs_words_next(w, word);
        if (given)
            return lt_fail(e, LT_E_REFUSED, "QEMU searches its firmware in %.200s (-L): name it as <loader>",
                           given);
    }
    for (; *dir; dir++) {
        snprintf(path, sizeof path, "%s/%s", *dir, name);
        int fd = lt_proc_open_file(qemu, path, O_RDONLY | O_NONBLOCK, LT_NO_ERR);
        if (fd < 0)
            continue;
        int rc = digest_fd(f, fd, qemu, path, out, e);
        close(fd);
        return rc;
    }
    return lt_fail(e, LT_E_REFUSED, "firmware %s is in none of QEMU's directories", name);
}

static bool begins(const char *s, const char *with)
{
    return s && !strncmp(s, with, strlen(with));
}

/* QEMU's own default for that machine; NULL: not known. */
static const char *default_firmware(const struct lt_domain *d)
{
    bool pc = d->arch && (!strcmp(d->arch, "x86_64") || !strcmp(d->arch, "i686"));

    return pc && (begins(d->machine, "pc-q35-") || begins(d->machine, "pc-i440fx-")) ? "bios-256k.bin" : NULL;
}

static int unknown_firmware(const struct lt_domain *d, struct lt_err *e)
{
    return lt_fail(e, LT_E_REFUSED, "no known firmware image for arch %s, machine %s",
                   d->arch ? d->arch : "-", d->machine ? d->machine : "-");
}

int lt_files_firmware(struct lt_files *f, const struct lt_proc *qemu, const struct lt_domain *d,
                      uint8_t out[32], struct lt_err *e)
{
    struct lt_procs_words w = {0};
    int rc = lt_proc_words(qemu, &w, e);
    const char *bios = rc ? NULL : lt_procs_words_option(&w, "-bios");

    if (!rc && bios && *bios == '/')
        rc = lt_files_digest(f, qemu, bios, out, e);
    else if (!rc && bios)
        rc = search(f, qemu, &w, bios, out, e);
    else if (!rc && d->loader)
        rc = lt_files_digest(f, qemu, d->loader, out, e);
    else if (!rc && default_firmware(d))
        rc = search(f, qemu, &w, default_firmware(d), out, e);
    else if (!rc)
        rc = unknown_firmware(d, e);
    lt_procs_words_free(&w);
    return rc;
}

int lt_files_digest_at_rest(struct lt_files *f, const char *path, uint8_t out[32], struct lt_err *e)
{
    struct statx st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return lt_fail(e, LT_E_IO, "%s: %s", path, strerror(errno));
    int rc = look(fd, path, &st, e);
    if (!rc)
        rc = hash(f, fd, path, &st, out, e);
    close(fd);
    return rc;
}

int lt_files_firmware_at_rest(struct lt_files *f, const struct lt_domain *d, uint8_t out[32],
                              struct lt_err *e)
{
    const char *name = default_firmware(d);
    char path[PATH_MAX];

    if (d->loader)
        return lt_files_digest_at_rest(f, d->loader, out, e);
    if (!name)
        return unknown_firmware(d, e);
    for (const char *const *dir = debian; *dir; dir++) {
        snprintf(path, sizeof path, "%s/%s", *dir, name);
        if (!access(path, R_OK))
            return lt_files_digest_at_rest(f, path, out, e);
    }
    return lt_fail(e, LT_E_REFUSED, "firmware %s is in none of QEMU's directories", name);
}
