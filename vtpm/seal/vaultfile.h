/* The vault's file (docs/sealing.md section 2): what lies in the clear, what is encrypted under KM, and the
 * plaintext. Bytes alone: who has KM, and in which order files are written, is agent/seal.h.
 *
 *   VAULT = "LT1:VAULT" (padded to 16) | u16 version=1 | u16 n | host_ek_digest[32] | nv_name[34]
 *     | u64 generation | n x COMPARTMENT
 *   COMPARTMENT = u8 k | k x STATE | TPM2B_PUBLIC | TPM2B_PRIVATE | nonce[12] | u32 len | ciphertext |
 * tag[16] key = HMAC-SHA256(KM, "LT1:VAULT-KEY" (padded to 16)) AAD = VAULT before the compartments | u16
 * compartment | COMPARTMENT up to and with nonce plaintext = u32 count | count x ENTRY, ascending by uuid |
 * u16 0 */
#ifndef LT_VTPM_SEAL_VAULTFILE_H
#define LT_VTPM_SEAL_VAULTFILE_H

#include "vtpm/seal/entry.h"
#include "vtpm/seal/key.h"

#define LT_SEAL_VAULT_NONCE 12
#define LT_SEAL_VAULT_TAG 16

/* Slices are of the file's bytes. */
struct lt_seal_vault_compartment {
    struct lt_slice states;          /* u8 k | k x STATE, well-formed: lt_seal_vault_states */
    struct lt_slice public, private; /* TPM2B_PUBLIC (not judged: lt_seal_key_check), TPM2B_PRIVATE */
    struct lt_slice head;            /* COMPARTMENT up to and with nonce */
    struct lt_slice nonce, cipher, tag;
};

struct lt_seal_vault {
    uint8_t host_ek_digest[LT_SHA256];
    uint64_t generation;
    struct lt_slice head; /* VAULT before the compartments */
    unsigned count;       /* 1 to LT_MAX_COMPARTMENTS; this version writes 1 */
    struct lt_seal_vault_compartment one[LT_MAX_COMPARTMENTS];
};

/* Refuses: another version (LT_E_UNSUPPORTED), another counter's Name, a state twice in one compartment, a
 * private area above LT_SEAL_VAULT_PRIVATE, trailing bytes. Judges neither key nor host. */
#define LT_SEAL_VAULT_PRIVATE 1024
int lt_seal_vault_parse(const void *p, size_t n, struct lt_seal_vault *out, struct lt_err *e) LT_MUST_CHECK;
void lt_seal_vault_states(const struct lt_seal_vault_compartment *c, struct lt_seal_key_states *out);

/* ---- sealing and opening; km is the caller's to wipe ---- */

/* What a vault of one compartment is made of. */
struct lt_seal_vault_draft {
    uint8_t host_ek_digest[LT_SHA256];
    uint64_t generation;
    const struct lt_seal_key_states *states;
    struct lt_slice public, private; /* as the chip gave them, size fields included */
};
/* Appends the file to *out (LT_BUF(LT_MAX_VAULT)); the nonce is drawn. plain is not changed. */
int lt_seal_vault_seal(const struct lt_seal_vault_draft *d, const uint8_t km[LT_SHA256],
                       struct lt_slice plain, struct lt_buf *out, struct lt_err *e) LT_MUST_CHECK;
/* plain: the caller's, compartment i's cipher.n bytes; wiped on failure. LT_E_REFUSED: another key, or other
 * bytes than those that were sealed. */
int lt_seal_vault_open(const struct lt_seal_vault *v, unsigned i, const uint8_t km[LT_SHA256], uint8_t *plain,
                       struct lt_err *e) LT_MUST_CHECK;

/* ---- plaintext, in memory of the caller's ---- */

size_t lt_seal_vault_plain_size(const struct lt_seal_entry *entries, uint32_t count);
/* Exactly that many bytes. entries are ascending by uuid. */
void lt_seal_vault_plain_put(const struct lt_seal_entry *entries, uint32_t count, uint8_t *to);
/* How many entries it says it has: at most LT_MAX_INVENTORY, and no more than it has bytes for. */
int lt_seal_vault_plain_count(struct lt_slice plain, uint32_t *count, struct lt_err *e) LT_MUST_CHECK;
/* entries: room for that many, of the caller's; each to be freed with lt_seal_entry_free, also on failure.
 * Refuses: uuids that do not ascend, one EK twice, what a later version may put behind the entries. */
int lt_seal_vault_plain_read(struct lt_slice plain, struct lt_seal_entry *entries,
                             struct lt_err *e) LT_MUST_CHECK;

#endif
