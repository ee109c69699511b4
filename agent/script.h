/* Runs a program that came from outside: a payload's autorun.sh, an action on a revocation. No shell: the
 * file itself, or the interpreter that its first line names ("#!"; a directory in memory is often mounted
 * noexec, and who configured that a payload runs meant it). A session of its own, nothing of ours open, input
 * and output /dev/null, and of the environment PATH and AGENT_UUID alone. */
#ifndef LT_AGENT_SCRIPT_H
#define LT_AGENT_SCRIPT_H

#include "common/err.h"

#include <stdint.h>

struct lt_script {
    const char *path;
    const char *argument; /* its only one; NULL: none */
    const char *dir;      /* where it runs */
    const char *agent_id;
    int64_t timeout_s;
    int stop_fd; /* readable: stop it; -1: never */
};

/* Waits for it. LT_E_REFUSED: it ended otherwise than with status 0, or was no program; LT_E_TIMEOUT: it was
 * killed, with all of its session's first process group; LT_E_BUSY: killed since the agent stops. */
int lt_script_run(const struct lt_script *s, struct lt_err *e) LT_MUST_CHECK;

#endif
