/* What the vault holds of one vTPM (docs/sealing.md section 2, ENTRY). The key in it opens the vTPM's state:
 * whoever has a struct lt_seal_entry wipes it with lt_seal_entry_free. */
#ifndef LT_VTPM_SEAL_ENTRY_H
#define LT_VTPM_SEAL_ENTRY_H

#include "common/ids.h"
#include "residency/openers.h"

#define LT_SEAL_KEY 44 /* K_v: base64 of 32 random bytes, no newline, no NUL */

enum lt_seal_origin { LT_SEAL_MADE = 1, LT_SEAL_IMPORTED = 2 };

struct lt_seal_entry {
    uint8_t uuid[LT_UUID];
    uint8_t ek_digest[LT_SHA256];
    char key[LT_SEAL_KEY];
    enum lt_seal_origin origin;
    uint8_t authority[LT_SHA256];                   /* zeros: none */
    uint8_t firmware[LT_SHA256], domain[LT_SHA256]; /* pins: digests a start must have; zeros: not pinned */
    struct lt_openers openers;
};

/* S of docs/sealing.md section 1: the UUID of the libvirt secret of that domain. */
void lt_seal_secret_uuid(const uint8_t domain[LT_UUID], uint8_t out[LT_UUID]);
/* A fresh K_v from the OS random source. */
void lt_seal_key_new(char out[LT_SEAL_KEY]);
/* ENTRY = uuid[16] | ek_digest[32] | key[44] | u8 origin | authority[32] | firmware[32] | domain[32] | u32
 * len | OPENERS */
size_t lt_seal_entry_size(const struct lt_seal_entry *x);
/* Exactly that many bytes, into the caller's memory (which may be locked, since the key is in it). */
void lt_seal_entry_put(const struct lt_seal_entry *x, uint8_t *to);
void lt_seal_entry_write(const struct lt_seal_entry *x, struct lt_buf *b);
/* Refuses a key that is not base64 of 32 bytes, an origin that is not known, a list that is none. *out:
 * lt_seal_entry_free, also on failure. */
int lt_seal_entry_read(struct lt_reader *r, struct lt_seal_entry *out, struct lt_err *e) LT_MUST_CHECK;
int lt_seal_entry_copy(const struct lt_seal_entry *in, struct lt_seal_entry *out,
                       struct lt_err *e) LT_MUST_CHECK;
void lt_seal_entry_free(struct lt_seal_entry *x); /* wipes */

#endif
