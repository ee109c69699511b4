/* The vault's key and counter on the TPM: the only user of it for them (docs/sealing.md sections 2 and 3).
 * Each function is one or more short jobs of the TPM's thread, behind quotes; each job can begin anew. */
#ifndef LT_AGENT_SEAL_CHIP_H
#define LT_AGENT_SEAL_CHIP_H

#include "agent/keys.h"
#include "agent/seal_ops.h"
#include "agent/tpm.h"

struct lt_agent_seal_chip {
    struct lt_tpm *tpm;           /* borrowed */
    const struct lt_agent_ek *ek; /* borrowed: the parent of every key, and what sessions are salted with */
    unsigned still_ms;            /* how long an answer waits for PCRs to stand still */
    void *saved; /* the EK's context, from a key's making to its answer: CreatePrimary takes a chip seconds */
};
/* ctx: struct lt_agent_seal_chip */
extern const struct lt_agent_seal_chip_ops lt_agent_seal_chip_ops;
void lt_agent_seal_chip_forget(struct lt_agent_seal_chip *c); /* the context, where there is one */

#endif
