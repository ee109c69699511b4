/* Verbs of `limetree host` about a host's vault: sealed vTPMs' keys, and the platform states they open in
 * (docs/sealing.md). vault.c: seal, reseal, predict; openers.c: the lists, each state named by who accepts
 * it. */
#ifndef LT_CLI_VAULT_H
#define LT_CLI_VAULT_H

#include "cli/client.h"
#include "tpm/pcr.h"

int lt_cli_vault_seal(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_vault_reseal(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_vault_predict(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_vault_openers(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;

/* "0, 2, 4, 7-9, 12, 14"; "none". */
const char *lt_cli_vault_list(uint32_t mask, char out[80]);
/* The states that a VAULT's key answers in, at most LT_MAX_SEAL_STATES, and the one its host is in now (mask
 * 0: not told). */
struct lt_cli_vault {
    unsigned count;
    struct lt_pcrs states[LT_MAX_SEAL_STATES], present;
};
int lt_cli_vault_read(const json_t *vault, struct lt_cli_vault *out, struct lt_err *e) LT_MUST_CHECK;
/* All PCRs of its states; 0: it has none. */
uint32_t lt_cli_vault_mask(const struct lt_cli_vault *v);

#endif
