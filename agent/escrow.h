/* Escrow copies on this host (vtpm/seal/escrow.h): state_dir/escrow/UUID, 0600. Written before the commit
 * that lists the recovery key, and served whether the vault is open or not: nothing here needs the vault.
 *
 * To put an entry with an escrow key: add lt_seal_escrow_opener to its openers, lt_agent_seal_complete_entry,
 * lt_agent_escrow_write, lt_agent_seal_put_entry. A crash in between leaves a copy of a key that opens
 * nothing. */
#ifndef LT_AGENT_ESCROW_H
#define LT_AGENT_ESCROW_H

#include "vtpm/seal/escrow.h"

/* dir: the agent's state directory. Replaces an older copy for that UUID; on the disk when it returns. */
int lt_agent_escrow_write(const char *dir, const struct lt_seal_entry *x, struct lt_slice pem,
                          struct lt_err *e) LT_MUST_CHECK;
/* *out: free. LT_E_NOT_FOUND: there is none. */
int lt_agent_escrow_read(const char *dir, const uint8_t uuid[LT_UUID], uint8_t **out, size_t *n,
                         struct lt_err *e) LT_MUST_CHECK;

#endif
