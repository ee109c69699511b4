/* Digests with the algorithm fetched once per process and a context reused per thread. */
#ifndef LT_COMMON_HASH_H
#define LT_COMMON_HASH_H

#include "common/bytes.h"

#define LT_SHA256 32
#define LT_SHA384 48

/* TPM algorithm identifiers of hashes (TCG Algorithm Registry). */
enum lt_hash_alg {
    LT_HASH_SHA1 = 0x0004,
    LT_HASH_SHA256 = 0x000b,
    LT_HASH_SHA384 = 0x000c,
    LT_HASH_SHA512 = 0x000d,
};

size_t lt_hash_size(uint16_t alg);       /* 0: unknown */
const char *lt_hash_name(uint16_t alg);  /* "sha256"; NULL: unknown */
uint16_t lt_hash_by_name(const char *s); /* 0: unknown */

/* H(p0|n0 | p1|n1 | …). Cannot fail for a known algorithm but for lack of memory, which aborts:
 * a verifier without a hash must not go on. */
void lt_hash(uint16_t alg, const struct lt_slice *parts, size_t count, uint8_t *out);
void lt_sha256(const void *p, size_t n, uint8_t out[LT_SHA256]);
void lt_sha256_2(const void *a, size_t an, const void *b, size_t bn, uint8_t out[LT_SHA256]);

/* Streaming, for files. */
struct lt_hasher;
struct lt_hasher *lt_hasher_new(uint16_t alg);
void lt_hasher_add(struct lt_hasher *h, const void *p, size_t n);
void lt_hasher_end(struct lt_hasher *h, uint8_t *out); /* frees h */

void lt_hmac(uint16_t alg, const void *key, size_t key_n, const void *p, size_t n, uint8_t *out);

/* From the OS; aborts if there is none. */
void lt_random(void *p, size_t n);
/* n characters of [A-Za-z0-9] and a NUL, unbiased: nonces of protocol.md section 3. */
void lt_random_alnum(char *out, size_t n);

#endif
