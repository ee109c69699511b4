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

/* A self-signed P-256 server certificate with CN = id, made unless one is there that is good for another
 * month. *pem: its text (caller frees); the paths too. */
int lt_state_certificate(const struct lt_state *s, const char *id, char **cert, char **key, char **pem,
                         struct lt_err *e) LT_MUST_CHECK;

#endif
