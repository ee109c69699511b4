/* A program of others that we run on a vTPM's state: nothing in its environment, no descriptor but those it
 * is given, a process group of its own, and not our user where we are root. */
#ifndef LT_VTPM_CHILD_H
#define LT_VTPM_CHILD_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LT_CHILD_FD 3 /* in the child: the first one given */
#define LT_CHILD_FDS 2

struct lt_child {
    const char *const *argv; /* [0] absolute; NULL behind the last */
    int fds[LT_CHILD_FDS];   /* 3 and 4 in the child; -1: none */
    int log;                 /* 2 in the child; -1: /dev/null, as 0 and 1 */
    uid_t uid;               /* of root: dropped to, with no other group than gid */
    gid_t gid;
    bool dies; /* with us, at once: what does not end by itself. Not what has children of its own to end. The
                * thread that started it must live as long */
};

int lt_child_start(const struct lt_child *c, pid_t *pid, struct lt_err *e) LT_MUST_CHECK;
/* Until it has ended by itself: *status as waitpid's. LT_E_TIMEOUT: it had not by then, and was killed. What
 * it started and left goes with it. */
int lt_child_wait(pid_t pid, uint64_t deadline_ms, int *status, struct lt_err *e) LT_MUST_CHECK;
/* At once, with what it started. */
void lt_child_kill(pid_t pid);
/* An absolute path of the program, from PATH if it is a name; caller frees. NULL: there is none. */
char *lt_child_program(const char *name);
/* The end to read from of a pipe that holds those bytes and then ends: a key for a child. A descriptor, or a
 * negative code. At most PIPE_BUF bytes. */
int lt_child_pipe(const void *p, size_t n, struct lt_err *e) LT_MUST_CHECK;

#endif
