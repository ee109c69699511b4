/* Who keeps the vault's entries, as the inventory and whoever starts domains see him: a table of functions,
 * so that vtpm/ knows no TPM. The host agent's is agent/seal.h. All may be called from any thread, and block
 * for no more than a lock. */
#ifndef LT_VTPM_SEAL_KEEPER_H
#define LT_VTPM_SEAL_KEEPER_H

#include "vtpm/seal/entry.h"

struct lt_seal_keeper {
    /* The committed entry of that domain; LT_E_NOT_FOUND: it has none, or there is no vault; LT_E_VAULT_BUSY:
     * the vault is being opened; LT_E_VAULT_LOCKED and its like (with what to do): it is not open. *out:
     * lt_seal_entry_free. */
    int (*entry)(void *ctx, const uint8_t uuid[LT_UUID], struct lt_seal_entry *out, struct lt_err *e);
    /* The domain whose entry has this EK; LT_E_NOT_FOUND: none. A state with it under another UUID is a copy.
     */
    int (*of_ek)(void *ctx, const uint8_t ek_digest[LT_SHA256], uint8_t uuid[LT_UUID], struct lt_err *e);
    /* NULL, or why no vTPM of this host may be called sealed now (host-leaks): a static slug. */
    const char *(*leak)(void *ctx);
    void *ctx;
};

#endif
