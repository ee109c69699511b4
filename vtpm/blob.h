/* swtpm's state file (tpm2-00.permall): a header, then tagged values. Only one form of it is sealed
 * (docs/sealing.md section 4): version 2, flags exactly 0009, made with a key of 256 bits and authenticated.
 * Pure bytes.
 *
 *   u8 version | u8 min_version | u16 header size | u16 flags | u32 length of the file
 *   ( u16 tag | u32 n | n bytes ) …      2 ciphertext, 3 HMAC-SHA256 over ciphertext and IV, 6 IV */
#ifndef LT_VTPM_BLOB_H
#define LT_VTPM_BLOB_H

#include "common/bytes.h"

#define LT_BLOB_HEADER 10
#define LT_BLOB_VERSION 2     /* version 1 is CBC that nothing authenticates */
#define LT_BLOB_FLAGS 0x0009u /* encrypted, with a 256-bit key; nothing of a migration's */

struct lt_blob {
    uint8_t version, min_version;
    uint16_t header, flags;
    uint32_t length;
    struct lt_slice data, hmac, iv; /* of a sealed one: into what was parsed */
};

/* The header alone, and that it is consistent: LT_E_MALFORMED. */
int lt_blob_header(const void *p, size_t n, struct lt_blob *out, struct lt_err *e) LT_MUST_CHECK;
/* The header and, of a sealed one, its values. LT_E_STATE_PLAIN (state-plain): anything but the sealed form,
 * also what is no state file at all. */
int lt_blob_sealed(const void *p, size_t n, struct lt_blob *out, struct lt_err *e) LT_MUST_CHECK;
/* It was encrypted under that passphrase: LT_E_STATE_FOREIGN_KEY (state-foreign-key) if not. Two
 * milliseconds. */
int lt_blob_opens(const struct lt_blob *b, const void *key, size_t key_n, struct lt_err *e) LT_MUST_CHECK;

#endif
