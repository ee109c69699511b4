/* The escrow copy (docs/sealing.md section 6): an ENTRY encrypted to the tenant's recovery key, a P-256 key
 * pair whose private half no host ever sees. It lies beside the vault, and who has the private half opens the
 * vTPM's state without any host: its public half is an opener of kind 2.
 *
 * Tags are 16 bytes, zeros behind the text:
 *
 *   ESCROW = "LT1:ESCROW" | u16 version=1 | guest_uuid[16] | recovery[32] | point[65] | nonce[12]
 *     | u32 len | AES-256-GCM ciphertext of ENTRY | tag[16]
 *   recovery = H(SubjectPublicKeyInfo of the recovery key); point: of a key pair made for this copy,
 *     uncompressed (04 | x | y); Z = x of ECDH(that key, the recovery key), 32 bytes
 *   key = HKDF-SHA256(salt H(ESCROW up to and with point), Z, info "LT1:ESCROW-KEY", 32 bytes)
 *   AAD = ESCROW up to and with len
 *
 * SubjectPublicKeyInfo is DER as RFC 5480 has it: named curve, uncompressed point. */
#ifndef LT_VTPM_SEAL_ESCROW_H
#define LT_VTPM_SEAL_ESCROW_H

#include "vtpm/seal/entry.h"

#define LT_SEAL_ESCROW_PEM_MAX 8192 /* PEM text of a recovery key */

/* What a copy says before anybody opened it; nothing of it is authenticated. */
struct lt_seal_escrow_head {
    uint8_t uuid[LT_UUID], recovery[LT_SHA256];
};

/* H(SPKI) of a recovery key's public half, PEM ("BEGIN PUBLIC KEY"): what the tenant's policy names in
 * "escrow". Refuses what is no P-256 key, a compressed point, a second object. */
int lt_seal_escrow_digest(struct lt_slice pem, uint8_t out[LT_SHA256], struct lt_err *e) LT_MUST_CHECK;
/* The opener of kind 2 for that key. */
int lt_seal_escrow_opener(struct lt_slice pem, struct lt_openers_one *out, struct lt_err *e) LT_MUST_CHECK;

/* Appends the copy of *x to *out (LT_BUF(LT_MAX_ESCROW)). Refuses an entry that does not list the key as an
 * open opener: whoever may read the state is on the list before he can. */
int lt_seal_escrow_make(const struct lt_seal_entry *x, struct lt_slice pem, struct lt_buf *out,
                        struct lt_err *e) LT_MUST_CHECK;

/* The frame alone: lengths, tag, version. */
int lt_seal_escrow_head(struct lt_slice copy, struct lt_seal_escrow_head *out,
                        struct lt_err *e) LT_MUST_CHECK;
/* private_pem: the recovery key, not encrypted. LT_E_REFUSED: made for another key, or not as it was made.
 * *out: lt_seal_entry_free. */
int lt_seal_escrow_open(struct lt_slice copy, struct lt_slice private_pem, struct lt_seal_entry *out,
                        struct lt_err *e) LT_MUST_CHECK;

#endif
