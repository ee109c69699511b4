/* Verbs of `limetree host` about a host's vault: sealed vTPMs' keys, and the platform states they open in
 * (docs/sealing.md). hostvault.c: seal, reseal, predict; openers.c: the lists, each state named by who
 * accepts it. */
#ifndef LT_CLI_HOSTVAULT_H
#define LT_CLI_HOSTVAULT_H

#include "cli/client.h"
#include "tpm/pcr.h"

int lt_cli_hostvault_seal(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_hostvault_reseal(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_hostvault_predict(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_hostvault_openers(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;

/* "0, 2, 4, 7-9, 12, 14"; "none". */
const char *lt_cli_hostvault_list(uint32_t mask, char out[80]);
/* The states that a VAULT's key answers in, at most LT_MAX_SEAL_STATES, and the one its host is in now (mask
 * 0: not told). */
struct lt_cli_hostvault {
    unsigned count;
    struct lt_pcrs states[LT_MAX_SEAL_STATES], present;
};
int lt_cli_hostvault_read(const json_t *vault, struct lt_cli_hostvault *out, struct lt_err *e) LT_MUST_CHECK;
/* A line where a change of its openers is unfinished: what to type. */
void lt_cli_hostvault_unfinished(const char *host, const json_t *vault);
/* On stderr, each state of VAULT that the policy published for its own host does not hold: a host that boots
 * into it fails its guests' check 7. */
void lt_cli_hostvault_warn(struct lt_cli *c, const char *host, const json_t *vault);
/* A line each: its number, its PCRs, and in which the host is in another now. */
void lt_cli_hostvault_print_states(const struct lt_cli_hostvault *v);
/* All PCRs of its states; 0: it has none. */
uint32_t lt_cli_hostvault_mask(const struct lt_cli_hostvault *v);

#endif
