/* IMA file signatures (header version 2) and the keys they are checked with. */
#ifndef LT_APPRAISAL_IMA_KEYS_H
#define LT_APPRAISAL_IMA_KEYS_H

#include "common/hash.h"

struct lt_ima_keys;

struct lt_ima_keys *lt_ima_keys_new(void);
void lt_ima_keys_free(struct lt_ima_keys *k);
/* Keylime's keyring: {"meta"?,"keyids":[int],"pubkeys":[b64 SPKI DER]}, also encoded as JSON text in a JSON
 * string. "" adds nothing. */
int lt_ima_keys_add_json(struct lt_ima_keys *k, struct lt_slice text, struct lt_err *e) LT_MUST_CHECK;
/* A key as the kernel loads it: DER certificate or SPKI. *added false: the bytes are neither. One that is a
 * key, but of a kind that checks no signature here (only RSA from 2048 to 8192 bits, P-256, P-384, P-521 do),
 * counts as added and is not kept. k NULL: only looks. */
int lt_ima_keys_add_der(struct lt_ima_keys *k, struct lt_slice der, bool *added,
                        struct lt_err *e) LT_MUST_CHECK;
/* What was added after the first count keys is taken out again. */
unsigned lt_ima_keys_count(const struct lt_ima_keys *k); /* NULL: 0 */
void lt_ima_keys_cut(struct lt_ima_keys *k, unsigned count);
/* sig: the blob of ima-sig (type 3 or 5, version 2, hash id, key id, length, signature) over the file digest.
 * LT_E_REFUSED: unknown key; LT_E_BAD_SIGNATURE; LT_E_MALFORMED. k may be NULL: no key is known. */
int lt_ima_signature_check(const struct lt_ima_keys *k, struct lt_slice sig, uint16_t alg,
                           struct lt_slice digest, struct lt_err *e) LT_MUST_CHECK;

#endif
