/* The agent's directory: private, and locked for one process. Without a disk it is a runtime directory whose
 * name tells the TPM, so that two agents on one TPM meet there too. */
#ifndef LT_AGENT_STATE_H
#define LT_AGENT_STATE_H

#include "common/file.h"

struct lt_state {
    char *dir;
    bool lasting; /* outlives a boot */
    int lock;
};

/* state_dir "": below $XDG_RUNTIME_DIR, /run or /tmp. LT_E_CONFIG when another agent holds it. */
int lt_state_open(const char *state_dir, const char *tcti, struct lt_state *out,
                  struct lt_err *e) LT_MUST_CHECK;
void lt_state_close(struct lt_state *s);

/* The directory in memory of what must not outlive the boot (agent/secure.h). configured: as secure_dir says,
 * and an error if it is none; "": one beside the runtime directory, named after the TPM, or none (dir NULL,
 * fd -1), with a line in the log. Locked for one process. */
struct lt_state_secure {
    char *dir;
    int fd, lock;
};
int lt_state_secure_open(const char *configured, const char *tcti, struct lt_state_secure *out,
                         struct lt_err *e) LT_MUST_CHECK;
void lt_state_secure_close(struct lt_state_secure *s);

/* A self-signed P-256 server certificate with CN = id, made unless one is there that is good for another
 * month. *pem: its text (caller frees); the paths too. */
int lt_state_certificate(const struct lt_state *s, const char *id, char **cert, char **key, char **pem,
                         struct lt_err *e) LT_MUST_CHECK;

#endif
