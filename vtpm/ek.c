#include "vtpm/ek.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "tpm/ek_template.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* ---- the copy ---- */

/* Overwritten and removed with all that is in it; fd, the directory itself, is closed. Its path is no more
 * than where it was: swtpm's user, who owns it by now, may have put a link into its place, or links into it.
 */
static void wipe_dir(const char *dir, int fd)
{
    static const uint8_t zeros[65536];
    DIR *d = fdopendir(fd);

    for (struct dirent *x; d && (x = readdir(d));) {
        if (x->d_name[0] == '.' && (!x->d_name[1] || !strcmp(x->d_name, "..")))
            continue;
        struct stat st;
        int file = openat(dirfd(d), x->d_name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (file >= 0 && !fstat(file, &st) && S_ISREG(st.st_mode) && st.st_nlink == 1)
            for (off_t at = 0; at < st.st_size;) {
                size_t n = st.st_size - at < (off_t)sizeof zeros ? (size_t)(st.st_size - at) : sizeof zeros;
                ssize_t put = write(file, zeros, n);
                if (put <= 0)
                    break;
                at += put;
            }
        if (file >= 0)
            close(file);
        unlinkat(dirfd(d), x->d_name, 0);
    }
    if (d)
        closedir(d);
    else
        close(fd);
    rmdir(dir); /* of a link: nothing */
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

/* The file's bytes. swtpm must hold the directory's lock, or the directory is not what it works on. */
static int read_state(const struct lt_proc *swtpm, const char *dir, uint8_t **out, size_t *n,
                      struct lt_err *e)
{
    struct stat st, lock;
    char self[64];

    int at = lt_proc_open_file(swtpm, dir, O_PATH | O_DIRECTORY, e);
    if (at < 0)
        return at;
    bool locked =
        !fstatat(at, ".lock", &lock, AT_SYMLINK_NOFOLLOW) && lt_proc_holds(swtpm, lock.st_dev, lock.st_ino);
    int fd = openat(at, STATE_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int saved = errno;
    close(at);
    if (fd < 0)
        return lt_fail(e, LT_E_REFUSED, "%s/" STATE_FILE ": %s", dir, strerror(saved));
    int rc = 0;
    if (!locked)
        rc = lt_fail(e, LT_E_REFUSED, "%s: swtpm %d does not hold its lock", dir, (int)swtpm->pid);
    else if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != swtpm->uid)
        rc = lt_fail(e, LT_E_REFUSED, "%s/" STATE_FILE ": not a regular file of swtpm's user", dir);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (!rc)
        rc = lt_file_read(self, LT_MAX_VTPM_STATE, out, n, e);
    close(fd);
    return rc;
}

static int make_copy(const char *scratch, const uint8_t *state, size_t n, uid_t uid, char dir[PATH_MAX],
                     int *fd, struct lt_err *e)
{
    char file[PATH_MAX + 32];
    bool drop = geteuid() == 0 && uid != 0;

    if (snprintf(dir, PATH_MAX, "%s/limetree-XXXXXX", scratch) >= PATH_MAX || !mkdtemp(dir))
        return lt_fail(e, LT_E_IO, "%s: cannot make a directory: %s", scratch, strerror(errno));
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0) {
        rmdir(dir);
        return lt_fail(e, LT_E_IO, "%s: %s", dir, strerror(errno));
    }
    snprintf(file, sizeof file, "%s/" STATE_FILE, dir);
    int rc = lt_file_write(file, state, n, 0600, e);
    if (!rc && drop && (chown(file, uid, (gid_t)-1) || chown(dir, uid, (gid_t)-1)))
        rc = lt_fail(e, LT_E_IO, "%s: chown: %s", dir, strerror(errno));
    if (rc)
        wipe_dir(dir, *fd);
    return rc;
}

/* ---- the private swtpm ---- */

static int spawn(const char *program, const char *dir, const char *key, uid_t uid, int *fd, pid_t *pid,
                 struct lt_err *e)
{
    char state[PATH_MAX + 8], user[16];
    char *empty[] = {NULL};
    const char *argv[16];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int ends[2], n = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return lt_fail(e, LT_E_IO, "socketpair: %s", strerror(errno));
    snprintf(state, sizeof state, "dir=%s", dir);
    snprintf(user, sizeof user, "%u", (unsigned)uid);
    const char *fixed[] = {
        program,      "socket", "--tpm2", "--fd", "3", "--flags", "not-need-init,startup-clear",
        "--tpmstate", state};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        argv[n++] = fixed[i];
    if (key) {
        argv[n++] = "--key";
        argv[n++] = key;
    }
    if (geteuid() == 0 && uid != 0) {
        argv[n++] = "--runas";
        argv[n++] = user;
    }
    argv[n] = NULL;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 3); /* dup2 onto itself clears close-on-exec, too */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(pid, program, &actions, &attributes, (char *const *)(void *)argv, empty);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (rc) {
        close(ends[0]);
        return lt_fail(e, LT_E_IO, "%s: %s", program, strerror(rc));
    }
    *fd = ends[0];
    return 0;
}

static void end(pid_t pid, int fd)
{
    close(fd);
    kill(pid, SIGKILL); /* our child, not waited for yet: the number is still its own */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int lt_ek_read(const struct lt_proc *swtpm, const char *program, const char *scratch, struct lt_public *out,
               struct lt_vtpm_starts *starts, struct lt_err *e)
{
    char dir[PATH_MAX];
    LT_AUTOFREE uint8_t *state = NULL;
    struct lt_procs_words w = {0};
    size_t n = 0;
    pid_t pid;
    int fd, copy, rc = lt_proc_words(swtpm, &w, e);

    const char *key = rc ? NULL : lt_procs_words_option(&w, "--key");
    if (!rc && ((key && strstr(key, "fd=")) || lt_procs_words_option(&w, "--pwd")))
        rc = lt_fail(e, LT_E_REFUSED, "swtpm's state is encrypted and its key is not in a file");
    if (!rc)
        rc = state_dir(&w, dir, e);
    if (!rc)
        rc = read_state(swtpm, dir, &state, &n, e);
    if (!rc && !(rc = make_copy(scratch, state, n, swtpm->uid, dir, &copy, e))) {
        uint64_t deadline = lt_clock_ms() + LT_EK_TIMEOUT_MS;
        rc = spawn(program, dir, key, swtpm->uid, &fd, &pid, e);
        if (!rc) {
            rc = read_starts(fd, deadline, starts, e);
            if (!rc)
                rc = clear(fd, deadline, e);
            if (!rc)
                rc = create(fd, deadline, out, e);
            end(pid, fd);
        }
        wipe_dir(dir, copy);
    }
    if (state)
        lt_wipe(state, n);
    lt_procs_words_free(&w);
    return rc;
}
