#include "vtpm/make.h"

#include "common/file.h"
#include "common/run/clock.h"
#include "vtpm/blob.h"
#include "vtpm/child.h"
#include "vtpm/ek.h"
#include "vtpm/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATE_FILE "tpm2-00.permall"
#define SCRATCH "/dev/shm"
#define MAX_LOG (64 << 10)
#define WORDS 200

static const char *given(const char *value, const char *fallback)
{
    return value && *value ? value : fallback;
}

/* What is made there must not reach a disk before it is judged. */
static int check_scratch(const char *path, struct lt_err *e)
{
    struct statfs fs;

    if (statfs(path, &fs))
        return lt_fail(e, LT_E_CONFIG, "%s: %s", path, strerror(errno));
    if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC)
        return lt_fail(e, LT_E_CONFIG, "%s: not a tmpfs", path);
    return 0;
}

/* What swtpm_setup complained of, lines joined, for a message: visible ASCII alone. */
static void last_words(int log, char out[WORDS])
{
    LT_AUTOFREE uint8_t *text = NULL;
    char self[64];
    size_t n = 0;

    *out = 0;
    snprintf(self, sizeof self, "/proc/self/fd/%d", log);
    if (lt_file_read(self, MAX_LOG, &text, &n, LT_NO_ERR))
        return;
    n = n < WORDS - 1 ? n : WORDS - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] == '\n' ? ';' : text[i] < 0x20 || text[i] > 0x7e ? '?' : (char)text[i];
    while (n && (out[n - 1] == ';' || out[n - 1] == ' '))
        n--;
    out[n] = 0;
}

/* ---- swtpm_setup ---- */

struct programs {
    char *setup, *swtpm;
};

static void free_programs(struct programs *p)
{
    free(p->setup);
    free(p->swtpm);
}

static int find(const struct lt_make_conf *c, struct programs *out, struct lt_err *e)
{
    const char *setup = given(c->swtpm_setup, "swtpm_setup"), *swtpm = given(c->swtpm, "swtpm");

    out->setup = lt_child_program(setup);
    out->swtpm = lt_child_program(swtpm);
    return out->setup && out->swtpm ? 0
                                    : lt_fail(e, LT_E_CONFIG, "no program %s", out->setup ? swtpm : setup);
}

/* As libvirt runs it, but for the configuration, which is named: what stands in a home is nobody's word. */
static int run(const struct lt_make_conf *c, const struct programs *p, const char *dir, const char *vmid,
               int key, int log, struct lt_err *e)
{
    LT_AUTOFREE char *tpm = NULL;
    char words[WORDS];
    pid_t pid;
    int status;

    if (asprintf(&tpm, "%s socket", p->swtpm) < 0) {
        tpm = NULL;
        return lt_fail(e, LT_E_NO_MEMORY, "vTPM: no memory");
    }
    const char *argv[] = {p->setup,
                          "--tpm2",
                          "--tpmstate",
                          dir,
                          "--tpm",
                          tpm,
                          "--config",
                          given(c->config, "/etc/swtpm_setup.conf"),
                          "--vmid",
                          vmid,
                          "--createek",
                          "--create-ek-cert",
                          "--create-platform-cert",
                          "--lock-nvram",
                          "--not-overwrite",
                          "--pwdfile-fd",
                          "3",
                          "--cipher",
                          "aes-256-cbc",
                          NULL};
    const struct lt_child child = {.argv = argv, .fds = {key, -1}, .log = log, .uid = c->uid, .gid = c->gid};
    LT_TRY(lt_child_start(&child, &pid, e));
    LT_TRY_IN(lt_child_wait(pid, lt_clock_ms() + LT_MAKE_TIMEOUT_MS, &status, e), e, "%s", p->setup);
    if (WIFEXITED(status) && !WEXITSTATUS(status))
        return 0;
    last_words(log, words);
    return lt_fail(e, LT_E_CONFIG, "%s ended with %d: %s", p->setup,
                   WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), words);
}

static int set_up(const struct lt_make_conf *c, const struct programs *p, const char *dir, const char *vmid,
                  const char key[LT_SEAL_KEY], struct lt_err *e)
{
    int log = memfd_create("swtpm_setup", MFD_CLOEXEC);
    int fd = log < 0 ? lt_fail(e, LT_E_IO, "memfd: %s", strerror(errno)) : lt_child_pipe(key, LT_SEAL_KEY, e);
    int rc = fd < 0 ? fd : run(c, p, dir, vmid, fd, log, e);

    if (fd >= 0)
        close(fd);
    if (log >= 0)
        close(log);
    return rc;
}

/* ---- what came of it ---- */

static int read_made(const struct lt_scratch *s, struct lt_make_result *out, struct lt_err *e)
{
    struct stat st;
    char self[64];
    int rc, fd = openat(s->fd, STATE_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return lt_fail(e, LT_E_CONFIG, "swtpm_setup made no " STATE_FILE ": %s", strerror(errno));
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        rc = lt_fail(e, LT_E_CONFIG, "swtpm_setup: its " STATE_FILE " is no file");
    else
        rc = lt_file_read(self, LT_MAX_VTPM_STATE, &out->state, &out->n, e);
    close(fd);
    return rc;
}

/* Nothing is believed of what others' programs made: sealed, under this key, with an EK of template L-1. */
static int judge(const struct lt_make_conf *c, const char *swtpm, const char key[LT_SEAL_KEY],
                 struct lt_make_result *out, struct lt_err *e)
{
    const struct lt_ek_conf conf = {
        .program = swtpm, .scratch = given(c->scratch, SCRATCH), .key = key, .uid = c->uid, .gid = c->gid};
    struct lt_ek_found found;

    LT_TRY(lt_ek_of_state(&conf, (struct lt_slice){out->state, out->n}, &found, e));
    if (!found.sealed)
        return lt_fail(e, LT_E_CONFIG, "swtpm_setup: what it made is not sealed (%s)", found.why.msg);
    out->ek = found.ek;
    return lt_public_ek_digest(&out->ek, out->ek_digest, e);
}

static int make(const struct lt_make_conf *c, const struct programs *p, const char *vmid,
                const char key[LT_SEAL_KEY], struct lt_make_result *out, struct lt_err *e)
{
    LT_SCRATCH_AUTO struct lt_scratch dir = LT_SCRATCH_NONE;
    const char *below = given(c->scratch, SCRATCH);

    LT_TRY(check_scratch(below, e));
    LT_TRY(lt_scratch_make(below, &dir, e));
    LT_TRY(lt_scratch_give(&dir, c->uid, c->gid, e));
    LT_TRY(set_up(c, p, dir.path, vmid, key, e));
    LT_TRY(read_made(&dir, out, e));
    return judge(c, p->swtpm, key, out, e);
}

int lt_make(const struct lt_make_conf *c, const uint8_t uuid[LT_UUID], const char *name,
            const char key[LT_SEAL_KEY], struct lt_make_result *out, struct lt_err *e)
{
    __attribute__((cleanup(free_programs))) struct programs p = {0};
    LT_AUTOFREE char *vmid = NULL;
    char id[LT_UUID_TEXT];

    *out = (struct lt_make_result){0};
    lt_uuid_format(uuid, id);
    LT_TRY(find(c, &p, e));
    if (asprintf(&vmid, "%s:%s", name, id) < 0) {
        vmid = NULL;
        return lt_fail(e, LT_E_NO_MEMORY, "vTPM: no memory");
    }
    LT_TRY_IN(make(c, &p, vmid, key, out, e), e, "vTPM of domain %s", id);
    return 0;
}

void lt_make_free(struct lt_make_result *m)
{
    if (m->state)
        lt_wipe(m->state, m->n);
    free(m->state);
    *m = (struct lt_make_result){0};
}

void lt_make_sweep(const char *scratch)
{
    lt_scratch_sweep(given(scratch, SCRATCH));
}
