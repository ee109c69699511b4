#include "vtpm/child.h"

#include "common/alloc.h"
#include "common/bytes.h"
#include "common/run/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- between fork and exec: system calls only ---- */

/* Raw: libc's would speak to threads that this process has not. */
static bool drop(const struct lt_child *c, uid_t self)
{
    if (self != 0 || c->uid == 0)
        return true;
    return !syscall(SYS_setgroups, 0, NULL) && !syscall(SYS_setresgid, c->gid, c->gid, c->gid) &&
           !syscall(SYS_setresuid, c->uid, c->uid, c->uid);
}

/* Behind drop, which forgets it. */
static bool tie(const struct lt_child *c, pid_t parent)
{
    return !c->dies || (!prctl(PR_SET_PDEATHSIG, SIGKILL) && getppid() == parent);
}

static _Noreturn void become(const struct lt_child *c, uid_t self, pid_t parent, const sigset_t *none)
{
    char *empty[] = {NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), high[LT_CHILD_FDS];
    int log = fcntl(c->log < 0 ? null : c->log, F_DUPFD_CLOEXEC, LT_CHILD_FD + LT_CHILD_FDS);

    for (int i = 0; i < LT_CHILD_FDS; i++) /* out of the way of one another first */
        high[i] = c->fds[i] < 0 ? -1 : fcntl(c->fds[i], F_DUPFD_CLOEXEC, LT_CHILD_FD + LT_CHILD_FDS);
    bool ok = null >= 0 && log >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(log, 2) == 2;
    for (int i = 0; i < LT_CHILD_FDS; i++)
        ok = ok && (c->fds[i] < 0 || dup2(high[i], LT_CHILD_FD + i) == LT_CHILD_FD + i);
    ok = ok && !setpgid(0, 0) && !chdir("/") && drop(c, self) && tie(c, parent);
    (void)syscall(SYS_close_range, LT_CHILD_FD + LT_CHILD_FDS, ~0U,
                  0); /* and who does not know it? exec does */
    signal(SIGPIPE, SIG_DFL);
    if (ok && !sigprocmask(SIG_SETMASK, none, NULL))
        execve(c->argv[0], (char *const *)(void *)(uintptr_t)c->argv, empty);
    _exit(127);
}

/* ---- the parent ---- */

int lt_child_start(const struct lt_child *c, pid_t *pid, struct lt_err *e)
{
    sigset_t all, old, none;
    uid_t self = geteuid();
    pid_t parent = getpid();

    sigfillset(&all);
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* no handler of ours runs in the child */
    *pid = fork();
    int saved = errno;
    if (*pid == 0)
        become(c, self, parent, &none);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (*pid < 0)
        return lt_fail(e, LT_E_IO, "%s: %s", c->argv[0], strerror(saved));
    setpgid(*pid, *pid); /* whoever comes first */
    return 0;
}

static int reap(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

void lt_child_kill(pid_t pid)
{
    kill(-pid, SIGKILL); /* our child, not waited for yet: the number is still its own, and its group's */
    kill(pid, SIGKILL);
    (void)reap(pid);
}

int lt_child_wait(pid_t pid, uint64_t deadline_ms, int *status, struct lt_err *e)
{
    struct pollfd f = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    int ready = -1;

    *status = 0;
    while (f.fd >= 0) {
        uint64_t now = lt_clock_ms();
        ready = now < deadline_ms ? poll(&f, 1, (int)(deadline_ms - now)) : 0;
        if (ready >= 0 || errno != EINTR)
            break;
    }
    if (f.fd >= 0)
        close(f.fd);
    if (ready > 0) {
        kill(-pid, SIGKILL); /* what it left: nobody else would end it */
        *status = reap(pid);
        return 0;
    }
    lt_child_kill(pid);
    return lt_fail(e, LT_E_TIMEOUT, "process %d did not end in time", (int)pid);
}

int lt_child_pipe(const void *p, size_t n, struct lt_err *e)
{
    int ends[2];

    if (n > PIPE_BUF || pipe2(ends, O_CLOEXEC))
        return lt_fail(e, LT_E_IO, "pipe: %s", n > PIPE_BUF ? "too much for one" : strerror(errno));
    ssize_t put = write(ends[1], p, n); /* fits: does not block */
    close(ends[1]);
    if (put == (ssize_t)n)
        return ends[0];
    close(ends[0]);
    return lt_fail(e, LT_E_IO, "pipe: %s", strerror(errno));
}

char *lt_child_program(const char *name)
{
    const char *given = getenv("PATH");
    LT_AUTOFREE char *dirs = lt_alloc_text(given ? given : "/usr/bin:/bin");
    char *rest = NULL;

    if (strchr(name, '/'))
        return *name == '/' && !access(name, X_OK) ? lt_alloc_text(name) : NULL;
    for (char *dir = strtok_r(dirs, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
        char *path = NULL;
        if (*dir == '/' && asprintf(&path, "%s/%s", dir, name) > 0 && !access(path, X_OK))
            return path;
        free(path);
    }
    return NULL;
}
