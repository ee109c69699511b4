#include "agent/script.h"

#include "common/bytes.h"
#include "common/run/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_LINE 256 /* as Linux reads (binfmt_script) */

/* What is executed: interpreter, its one argument, file, argument. */
struct command {
    char line[FIRST_LINE];
    const char *argv[5];
};

static int read_first(const char *path, char line[FIRST_LINE], struct lt_err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return lt_fail(e, LT_E_REFUSED, "%s: %s", path, strerror(errno));
    ssize_t n = fstat(fd, &st) || !S_ISREG(st.st_mode) ? -1 : read(fd, line, FIRST_LINE - 1);
    close(fd);
    if (n < 0)
        return lt_fail(e, LT_E_REFUSED, "%s: no file that can be read", path);
    line[n] = 0;
    return 0;
}

/* "#!INTERPRETER [ARGUMENT]": the argument is the rest of the line, blanks and all, as Linux takes it. */
static int parse_first(const struct lt_script *s, struct command *c, struct lt_err *e)
{
    size_t n = 0;

    if (!strncmp(c->line, "#!", 2)) {
        size_t end = strcspn(c->line, "\n");
        if (end == FIRST_LINE - 1)
            return lt_fail(e, LT_E_REFUSED, "%s: its first line is too long", s->path);
        while (end > 2 && strchr(" \t\r", c->line[end - 1]))
            end--;
        c->line[end] = 0;
        char *word = c->line + 2 + strspn(c->line + 2, " \t");
        char *rest = word + strcspn(word, " \t");
        if (*word != '/')
            return lt_fail(e, LT_E_REFUSED, "%s: its first line names no interpreter by its path", s->path);
        c->argv[n++] = word;
        if (*rest) {
            *rest++ = 0;
            c->argv[n++] = rest + strspn(rest, " \t");
        }
    } else if (strncmp(c->line, "\177ELF", 4)) {
        return lt_fail(e, LT_E_REFUSED, "%s: no program: it has no first line \"#!\"", s->path);
    }
    c->argv[n++] = s->path;
    c->argv[n] = s->argument;
    return 0;
}

static int spawn(const struct lt_script *s, const struct command *c, pid_t *pid, struct lt_err *e)
{
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", id[128];
    char *environment[] = {path, id, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, all;

    snprintf(id, sizeof id, "AGENT_UUID=%s", s->agent_id);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawn_file_actions_addchdir_np(&files, s->dir);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    int rc = posix_spawn(pid, c->argv[0], &files, &how, (char *const *)(void *)c->argv, environment);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return rc ? lt_fail(e, LT_E_REFUSED, "%s: %s: %s", s->path, c->argv[0], strerror(rc)) : 0;
}

/* 0: it has ended. */
static int watch(const struct lt_script *s, int pidfd, struct lt_err *e)
{
    struct pollfd p[] = {{.fd = pidfd, .events = POLLIN}, {.fd = s->stop_fd, .events = POLLIN}};
    uint64_t deadline = lt_clock_ms() + (uint64_t)s->timeout_s * 1000;

    for (;;) {
        uint64_t now = lt_clock_ms();
        uint64_t left = now < deadline ? deadline - now : 0;
        int n = poll(p, 2, left > 60000 ? 60000 : (int)left);
        if (n > 0 && p[0].revents)
            return 0;
        if (n > 0)
            return lt_fail(e, LT_E_BUSY, "%s: killed, the agent is stopping", s->path);
        if (n < 0 && errno != EINTR)
            return lt_fail(e, LT_E_IO, "%s: poll: %s", s->path, strerror(errno));
        if (!left)
            return lt_fail(e, LT_E_TIMEOUT, "%s: killed after %lld s", s->path, (long long)s->timeout_s);
    }
}

static int ended(const struct lt_script *s, int status, struct lt_err *e)
{
    if (WIFSIGNALED(status))
        return lt_fail(e, LT_E_REFUSED, "%s: killed by signal %d", s->path, WTERMSIG(status));
    return WEXITSTATUS(status)
               ? lt_fail(e, LT_E_REFUSED, "%s: ended with status %d", s->path, WEXITSTATUS(status))
               : 0;
}

int lt_script_run(const struct lt_script *s, struct lt_err *e)
{
    struct command c = {0};
    int status = 0;
    pid_t pid;

    LT_TRY(read_first(s->path, c.line, e));
    LT_TRY(parse_first(s, &c, e));
    LT_TRY(spawn(s, &c, &pid, e));
    int pidfd = pidfd_open(pid, 0);
    int rc = pidfd < 0 ? lt_fail(e, LT_E_IO, "pidfd_open: %s", strerror(errno)) : watch(s, pidfd, e);
    if (rc)
        kill(-pid, SIGKILL); /* our child, not waited for yet: the number is still its own */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pidfd >= 0)
        close(pidfd);
    return rc ? rc : ended(s, status, e);
}
