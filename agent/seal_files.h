/* The vault's two files in the agent's directory: `vault`, and `vault.next`, which becomes it. 0600, durable
 * step by step: what a commit has to survive is the order of these. */
#ifndef LT_AGENT_SEAL_FILES_H
#define LT_AGENT_SEAL_FILES_H

#include "agent/seal_ops.h"

struct lt_agent_seal_files {
    char *vault, *next, *dir; /* owned */
    int fd;                   /* next, between its being written and synced; -1 */
};
void lt_agent_seal_files_init(struct lt_agent_seal_files *f, const char *dir);
void lt_agent_seal_files_free(struct lt_agent_seal_files *f);
/* ctx: struct lt_agent_seal_files */
extern const struct lt_agent_seal_file_ops lt_agent_seal_files_ops;

#endif
