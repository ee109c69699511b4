#include "vtpm/ek.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "tpm/ek_template.h"
#include "vtpm/blob.h"
#include "vtpm/child.h"
#include "vtpm/scratch.h"
#include "vtpm/seal/entry.h"
#include "vtpm/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_FILE "tpm2-00.permall"
#define CC_CLEAR 0x126u
#define CC_CLEAR_CONTROL 0x127u
#define CC_CREATE_PRIMARY 0x131u
#define CC_READ_CLOCK 0x181u
#define RH_ENDORSEMENT 0x4000000bu
#define RH_PLATFORM 0x4000000cu
#define RS_PW 0x40000009u
#define MAX_RESPONSE 4096

/* ---- the conversation ---- */

static int left_ms(uint64_t deadline)
{
    uint64_t now = lt_clock_ms();
    return now < deadline ? (int)(deadline - now) : 0;
}

static int receive(int fd, uint8_t *p, size_t n, uint64_t deadline, struct lt_err *e)
{
    while (n) {
        struct pollfd f = {.fd = fd, .events = POLLIN};
        int ready = poll(&f, 1, left_ms(deadline));
        if (!ready)
            return lt_fail(e, LT_E_TIMEOUT, "swtpm on the copy: no answer within %d ms", LT_EK_TIMEOUT_MS);
        ssize_t got = ready < 0 ? -1 : recv(fd, p, n, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return lt_fail(e, LT_E_TPM, "swtpm on the copy: %s",
                           got ? strerror(errno) : "ended (cannot load the state?)");
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

/* Sends a command whole; *r is left behind the response's header. */
static int exchange(int fd, uint32_t command, const struct lt_buf *b, uint8_t response[MAX_RESPONSE],
                    struct lt_reader *r, uint64_t deadline, struct lt_err *e)
{
    struct lt_reader head = lt_reader(response, 10, "TPM response");
    uint32_t size, code;
    uint16_t tag;

    LT_TRY(lt_buf_ok(b, e));
    if (send(fd, b->p, b->n, MSG_NOSIGNAL) != (ssize_t)b->n)
        return lt_fail(e, LT_E_TPM, "swtpm on the copy: %s", strerror(errno));
    LT_TRY(receive(fd, response, 10, deadline, e));
    LT_TRY(lt_read_u16(&head, &tag, e));
    LT_TRY(lt_read_u32(&head, &size, e));
    LT_TRY(lt_read_u32(&head, &code, e));
    if (size < 10 || size > MAX_RESPONSE)
        return lt_fail(e, LT_E_TPM, "TPM response to 0x%x: %u bytes", command, size);
    LT_TRY(receive(fd, response + 10, size - 10, deadline, e));
    if (code)
        return lt_fail(e, LT_E_TPM, "TPM command 0x%x on the copy: response code 0x%x", command, code);
    *r = lt_reader(response, size, "TPM response");
    r->at = 10;
    return 0;
}

/* Sends handle, an empty password session and parameters; *r is left at the response's parameters. */
static int transact(int fd, uint32_t command, uint32_t handle, const struct lt_buf *parameters,
                    bool returns_handle, uint8_t response[MAX_RESPONSE], struct lt_reader *r,
                    uint64_t deadline, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1024);
    uint32_t ignored;

    lt_buf_u16(&b, 0x8002); /* TPM_ST_SESSIONS */
    lt_buf_u32(&b, (uint32_t)(10 + 4 + 4 + 9 + parameters->n));
    lt_buf_u32(&b, command);
    lt_buf_u32(&b, handle);
    lt_buf_u32(&b, 9);
    lt_buf_u32(&b, RS_PW);
    lt_buf_u16(&b, 0);
    lt_buf_u8(&b, 0);
    lt_buf_u16(&b, 0);
    lt_buf_put(&b, parameters->p, parameters->n);
    LT_TRY(lt_buf_ok(parameters, e));
    LT_TRY(exchange(fd, command, &b, response, r, deadline, e));
    if (returns_handle)
        LT_TRY(lt_read_u32(r, &ignored, e));
    return lt_read_u32(r, &ignored, e); /* parameterSize */
}

/* Before clear, which sets the counts to zero. */
static int read_starts(int fd, uint64_t deadline, struct lt_vtpm_starts *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(16);
    uint8_t response[MAX_RESPONSE];
    struct lt_reader r;
    uint64_t ignored;

    lt_buf_u16(&b, 0x8001); /* TPM_ST_NO_SESSIONS */
    lt_buf_u32(&b, 10);
    lt_buf_u32(&b, CC_READ_CLOCK);
    LT_TRY(exchange(fd, CC_READ_CLOCK, &b, response, &r, deadline, e));
    LT_TRY(lt_read_u64(&r, &ignored, e)); /* time */
    LT_TRY(lt_read_u64(&r, &ignored, e)); /* clock */
    LT_TRY(lt_read_u32(&r, &out->reset, e));
    return lt_read_u32(&r, &out->restart, e);
}

static int clear(int fd, uint64_t deadline, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf no = LT_BUF(8), none = LT_BUF(8);
    uint8_t response[MAX_RESPONSE];
    struct lt_reader r;

    lt_buf_u8(&no, 0); /* TPMI_YES_NO: Clear is not disabled */
    int rc = transact(fd, CC_CLEAR_CONTROL, RH_PLATFORM, &no, false, response, &r, deadline, e);
    return rc ? rc : transact(fd, CC_CLEAR, RH_PLATFORM, &none, false, response, &r, deadline, e);
}

static int create(int fd, uint64_t deadline, struct lt_public *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1024);
    uint8_t response[MAX_RESPONSE];
    struct lt_reader r;
    uint16_t size;

    lt_buf_u16(&b, 4); /* TPM2B_SENSITIVE_CREATE: no auth, no data */
    lt_buf_u32(&b, 0);
    lt_ek_template_put(&b, LT_TPM_ALG_RSA);
    lt_buf_u16(&b, 0); /* outsideInfo */
    lt_buf_u32(&b, 0); /* creationPCR */
    LT_TRY(transact(fd, CC_CREATE_PRIMARY, RH_ENDORSEMENT, &b, true, response, &r, deadline, e));
    struct lt_reader peek = r;
    LT_TRY(lt_read_u16(&peek, &size, e));
    struct lt_slice public;
    LT_TRY(lt_read_slice(&r, 2u + size, &public, e));
    LT_TRY(lt_public_parse(public.p, public.n, out, e));
    if (out->type != LT_TPM_ALG_RSA || out->rsa_bits != 2048 || out->attributes != LT_EK_TEMPLATE_ATTRIBUTES)
        return lt_fail(e, LT_E_TPM, "EK made on the copy: not of template L-1");
    return 0;
}

/* Where the state is: what --tpmstate says, `dir=DIR` or `backend-uri=dir://DIR`. */
static int state_dir(const struct lt_procs_words *w, char out[PATH_MAX], struct lt_err *e)
{
    const char *option = lt_procs_words_option(w, "--tpmstate");

    if (option && lt_procs_option_value(option, "dir", out, PATH_MAX))
        return 0;
    if (option && lt_procs_option_value(option, "backend-uri", out, PATH_MAX) && !strncmp(out, "dir://", 6)) {
        memmove(out, out + 6, strlen(out + 6) + 1);
        return 0;
    }
    return lt_fail(e, LT_E_REFUSED, "swtpm's state is not in a directory: --tpmstate %.100s",
                   option ? option : "(none)");
}

/* A descriptor of it, or a negative code. swtpm must hold the directory's lock, or the directory is not what
 * it works on. */
static int open_state_dir(const struct lt_proc *swtpm, const char *dir, struct lt_err *e)
{
    struct stat lock;
    int at = lt_proc_open_file(swtpm, dir, O_RDONLY | O_DIRECTORY, e);

    if (at < 0)
        return at;
    if (!fstatat(at, ".lock", &lock, AT_SYMLINK_NOFOLLOW) && lt_proc_holds(swtpm, lock.st_dev, lock.st_ino))
        return at;
    close(at);
    return lt_fail(e, LT_E_REFUSED, "%s: swtpm %d does not hold its lock", dir, (int)swtpm->pid);
}

static int read_state(const struct lt_proc *swtpm, const char *dir, int at, uint8_t **out, size_t *n,
                      struct lt_err *e)
{
    struct stat st;
    char self[64];
    int rc, fd = openat(at, STATE_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return lt_fail(e, LT_E_REFUSED, "%s/" STATE_FILE ": %s", dir, strerror(errno));
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != swtpm->uid)
        rc = lt_fail(e, LT_E_REFUSED, "%s/" STATE_FILE ": not a regular file of swtpm's user", dir);
    else
        rc = lt_file_read(self, LT_MAX_VTPM_STATE, out, n, e);
    close(fd);
    return rc;
}

/* ---- the private swtpm ---- */

/* key: what --key says; NULL: nothing. key_fd: what a pwdfd= in it reads; -1: nothing. */
static int start(const struct lt_ek_conf *c, const char *dir, const char *key, int key_fd, int *fd,
                 pid_t *pid, struct lt_err *e)
{
    char state[PATH_MAX + 8];
    const char *argv[] = {c->program,
                          "socket",
                          "--tpm2",
                          "--fd",
                          "3",
                          "--flags",
                          "not-need-init,startup-clear",
                          "--tpmstate",
                          state,
                          key ? "--key" : NULL,
                          key,
                          NULL};
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return lt_fail(e, LT_E_IO, "socketpair: %s", strerror(errno));
    snprintf(state, sizeof state, "dir=%s", dir);
    const struct lt_child child = {
        .argv = argv, .fds = {ends[1], key_fd}, .log = -1, .uid = c->uid, .gid = c->gid, .dies = true};
    int rc = lt_child_start(&child, pid, e);
    close(ends[1]);
    if (rc)
        close(ends[0]);
    else
        *fd = ends[0];
    return rc;
}

static int converse(int fd, struct lt_ek_found *out, struct lt_err *e)
{
    uint64_t deadline = lt_clock_ms() + LT_EK_TIMEOUT_MS;

    LT_TRY(read_starts(fd, deadline, &out->starts, e));
    LT_TRY(clear(fd, deadline, e));
    return create(fd, deadline, &out->ek, e);
}

/* option: what --key says where the key is in a file; else NULL. piped: K_v is given. */
static int ask(const struct lt_ek_conf *c, const char *dir, const char *option, bool piped,
               struct lt_ek_found *out, struct lt_err *e)
{
    int key = piped ? lt_child_pipe(c->key, LT_SEAL_KEY, e) : -1, fd = -1;
    pid_t pid;

    if (piped && key < 0)
        return key;
    int rc = start(c, dir, piped ? "pwdfd=4,mode=aes-256-cbc" : option, key, &fd, &pid, e);
    if (key >= 0)
        close(key);
    if (rc)
        return rc;
    rc = converse(fd, out, e);
    close(fd);
    lt_child_kill(pid);
    return rc;
}

static int on_copy(const struct lt_ek_conf *c, const char *option, bool piped, struct lt_slice state,
                   struct lt_ek_found *out, struct lt_err *e)
{
    LT_SCRATCH_AUTO struct lt_scratch copy = LT_SCRATCH_NONE;
    char file[PATH_MAX + 32];

    LT_TRY(lt_scratch_make(c->scratch, &copy, e));
    snprintf(file, sizeof file, "%s/" STATE_FILE, copy.path);
    LT_TRY(lt_file_write(file, state.p, state.n, 0600, e));
    if (geteuid() == 0 && chown(file, c->uid, c->gid))
        return lt_fail(e, LT_E_IO, "%s: chown: %s", file, strerror(errno));
    LT_TRY(lt_scratch_give(&copy, c->uid, c->gid, e));
    return ask(c, copy.path, option, piped, out, e);
}

/* ---- the state ---- */

/* Sealed or not; what is sealed under another key has no EK for us. Plain state is opened without a key, also
 * beside one: whose EK it has is what counts. */
static int judge(const struct lt_ek_conf *c, struct lt_slice state, struct lt_ek_found *out, struct lt_err *e)
{
    struct lt_blob blob;

    if (!c->key || lt_blob_sealed(state.p, state.n, &blob, &out->why))
        return 0;
    LT_TRY(lt_blob_opens(&blob, c->key, LT_SEAL_KEY, e));
    out->sealed = true;
    return 0;
}

int lt_ek_of_state(const struct lt_ek_conf *c, struct lt_slice state, struct lt_ek_found *out,
                   struct lt_err *e)
{
    *out = (struct lt_ek_found){0};
    LT_TRY(judge(c, state, out, e));
    return on_copy(c, NULL, out->sealed, state, out, e);
}

static int read_living(const struct lt_ek_conf *c, const struct lt_proc *swtpm,
                       const struct lt_procs_words *w, struct lt_ek_found *out, struct lt_err *e)
{
    const char *option = lt_procs_words_option(w, "--key");
    bool in_pipe = (option && strstr(option, "fd=")) || lt_procs_words_option(w, "--pwd");
    LT_AUTOFREE uint8_t *state = NULL;
    struct lt_err more = {0};
    char dir[PATH_MAX];
    size_t n = 0;

    if (in_pipe && !c->key)
        return lt_fail(e, LT_E_REFUSED, "its state is encrypted and its key is not in the vault");
    LT_TRY(state_dir(w, dir, e));
    int at = open_state_dir(swtpm, dir, e);
    if (at < 0)
        return at;
    (void)!lt_statedir_only(at, &more);
    int rc = read_state(swtpm, dir, at, &state, &n, e);
    close(at);
    struct lt_slice s = {state, n};
    if (!rc && (in_pipe || !option))
        rc = judge(c, s, out, e);
    if (!rc)
        rc = on_copy(c, in_pipe ? NULL : option, out->sealed, s, out, e);
    if (state)
        lt_wipe(state, n);
    if (out->sealed && more.code) {
        out->sealed = false;
        out->why = more;
    }
    return rc;
}

int lt_ek_read(const struct lt_ek_conf *c, const struct lt_proc *swtpm, struct lt_ek_found *out,
               struct lt_err *e)
{
    struct lt_procs_words w = {0};
    struct lt_ek_conf own = *c;
    int rc = lt_proc_words(swtpm, &w, e);

    *out = (struct lt_ek_found){0};
    own.uid = swtpm->uid;
    own.gid = swtpm->gid;
    if (!rc)
        rc = read_living(&own, swtpm, &w, out, e);
    lt_procs_words_free(&w);
    return rc;
}
