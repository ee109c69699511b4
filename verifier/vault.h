/* Small secrets at rest: AES-256-GCM (NIST SP 800-38D, 96-bit random IV) under a key that lies beside the
 * store in a file of its own, so that a copy of the database alone opens nothing.
 *
 * What is sealed names what it is for and whose it is: opened under another purpose or for another guest it
 * is LT_E_BAD_SIGNATURE, as is every byte that was turned.
 *
 *   u8 version (1) | IV[12] | ciphertext | tag[16]        AAD: "LT1:VAULT" 00 | purpose 00 | uuid[16]
 *
 * Safe from any thread. */
#ifndef LT_VERIFIER_VAULT_H
#define LT_VERIFIER_VAULT_H

#include "common/bytes.h"
#include "common/ids.h"
#include "common/limits.h"

#define LT_VAULT_MORE 29 /* what sealing adds, bytes */

struct lt_vault;

/* key_file: 32 bytes, 0600, made at the first start. LT_E_CONFIG: others can read it, or it is no such key.
 * A key that was replaced opens nothing that was sealed before. */
int lt_vault_open(const char *key_file, struct lt_vault **out, struct lt_err *e) LT_MUST_CHECK;
void lt_vault_free(struct lt_vault *v); /* wipes; NULL is fine */
/* For --check-config: as open, but nothing is made. */
int lt_vault_check(const char *key_file, struct lt_err *e) LT_MUST_CHECK;

/* *out: LT_BUF, freed (and wiped) by the caller. secret: 1 to LT_MAX_SECRET bytes, else LT_E_MALFORMED. */
int lt_vault_seal(const struct lt_vault *v, const char *purpose, const uint8_t uuid[LT_UUID],
                  struct lt_slice secret, struct lt_buf *out, struct lt_err *e) LT_MUST_CHECK;
int lt_vault_unseal(const struct lt_vault *v, const char *purpose, const uint8_t uuid[LT_UUID],
                    struct lt_slice sealed, struct lt_buf *out, struct lt_err *e) LT_MUST_CHECK;

#endif
