/* What the vault needs of the chip and of the disk: tables, so that its order of operations can be recorded
 * and cut off at every step (tests/unit/agent/test_seal_commit.c). A failure that is none of those named says
 * nothing of the vault: trouble of the chip's or the disk's. */
#ifndef LT_AGENT_SEAL_OPS_H
#define LT_AGENT_SEAL_OPS_H

#include "vtpm/seal/key.h"

/* The vault's key as a question to the chip. */
struct lt_agent_seal_question {
    enum lt_seal_key_kind kind;
    struct lt_slice public, private;         /* TPM2B_PUBLIC, TPM2B_PRIVATE */
    const struct lt_seal_key_states *states; /* that it answers in */
    unsigned present;                        /* the one of them that the chip is in */
    uint64_t generation;
    uint16_t compartment;
};

struct lt_agent_seal_chip_ops {
    /* Bit 1 << kind: the chip's command list has what such a key needs. */
    int (*kinds)(void *ctx, unsigned *out, struct lt_err *e);
    /* The counter's value. LT_E_NOT_FOUND: it is not there, or was never incremented; LT_E_COUNTER_LOST: what
     * is there is another's. */
    int (*counter)(void *ctx, uint64_t *out, struct lt_err *e);
    /* Makes it, or goes on with that; it has a value then. LT_E_COUNTER_LOST as above. */
    int (*counter_define)(void *ctx, struct lt_err *e);
    /* From `from` to from + 1, or it is there already (an answer was lost). LT_E_VAULT_STALE: it is at
     * neither. */
    int (*increment)(void *ctx, uint64_t from, struct lt_err *e);
    int (*present)(void *ctx, uint32_t mask, struct lt_pcrs *out, struct lt_err *e);
    /* A new key; public and private are emptied first. LT_E_TPM_NO_HMAC: the chip refuses that kind. */
    int (*make)(void *ctx, enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256], struct lt_buf *public,
                struct lt_buf *private, struct lt_err *e);
    /* KM. LT_E_VAULT_LOCKED: the chip is in none of the states; LT_E_VAULT_STALE: the counter is above
     * generation; LT_E_VAULT_FORGED: the key is not this TPM's; LT_E_TPM_NO_HMAC: the chip has not, or
     * refuses, the command; LT_E_VAULT_BUSY: PCRs never stood still. */
    int (*answer)(void *ctx, const struct lt_agent_seal_question *q, uint8_t km[LT_SHA256], struct lt_err *e);
};

/* Two files in one directory. */
enum lt_agent_seal_file { LT_AGENT_SEAL_VAULT, LT_AGENT_SEAL_NEXT };
struct lt_agent_seal_file_ops {
    /* LT_E_NOT_FOUND; LT_E_VAULT_FORGED: not a regular file of ours with mode 0600, or too large. *out:
     * free(). */
    int (*read)(void *ctx, enum lt_agent_seal_file f, uint8_t **out, size_t *n, struct lt_err *e);
    int (*write_next)(void *ctx, const void *p, size_t n, struct lt_err *e);
    int (*sync_next)(void *ctx, struct lt_err *e);
    int (*rename)(void *ctx, struct lt_err *e); /* next becomes the vault */
    int (*sync_dir)(void *ctx, struct lt_err *e);
};

struct lt_agent_seal_ops {
    const struct lt_agent_seal_chip_ops *chip;
    const struct lt_agent_seal_file_ops *file;
    void *chip_ctx, *file_ctx;
    void (*did)(void *ctx,
                const char *step); /* NULL, or told of the steps between these, for a test's record */
};

#endif
