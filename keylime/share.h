/* The key of a guest's payload, in two halves (keylime-api 3.6): K = U xor V. U comes from whoever drew K, V
 * from the verifier, each wrapped for the agent's transport key; who holds one half alone knows nothing of K.
 * No I/O. Whoever holds a share wipes it: LT_SHARE_AUTO. */
#ifndef LT_KEYLIME_SHARE_H
#define LT_KEYLIME_SHARE_H

#include "common/bytes.h"
#include "common/limits.h"
#include "common/openssl.h"

#define LT_SHARE_MAX 32      /* bytes of a share: 32, and 16 are taken too */
#define LT_SHARE_TAG 48      /* HMAC-SHA384 */
#define LT_SHARE_WRAPPED 512 /* bytes of a wrapped share, at most: RSA-4096 */
#define LT_SHARE_OVERHEAD 32 /* what sealing adds: IV[16], tag[16] */

/* K, U or V. */
struct lt_share {
    uint8_t p[LT_SHARE_MAX];
    size_t n; /* 16 or 32; 0: none */
};

void lt_share_wipe(struct lt_share *s);
#define LT_SHARE_AUTO __attribute__((cleanup(lt_share_wipe)))

/* LT_E_MALFORMED unless 16 or 32 bytes. */
int lt_share_from(const void *p, size_t n, struct lt_share *out, struct lt_err *e) LT_MUST_CHECK;
/* K of 32 bytes and V drawn, U = K xor V. */
void lt_share_draw(struct lt_share *k, struct lt_share *u, struct lt_share *v);
/* out = a xor b: K of U and V. False: they are of different lengths. */
bool lt_share_join(const struct lt_share *a, const struct lt_share *b, struct lt_share *out) LT_MUST_CHECK;

/* RSA-OAEP (SHA-1, MGF1-SHA-1, no label) to the transport key as a quote told it: PEM SPKI, RSA of 2048 to
 * 4096 bits. LT_E_MALFORMED, LT_E_UNSUPPORTED: it is none. */
int lt_share_wrap(const struct lt_share *s, const char *pem, uint8_t out[LT_SHARE_WRAPPED], size_t *n,
                  struct lt_err *e) LT_MUST_CHECK;
/* LT_E_REFUSED for whatever does not open, in the same words: a peer learns nothing of why. */
int lt_share_unwrap(EVP_PKEY *key, struct lt_slice wrapped, struct lt_share *out,
                    struct lt_err *e) LT_MUST_CHECK;

/* HMAC-SHA384(K, text). text = the agent's id: auth_tag of POST keys/ukey, which tells when a U and a V fit;
 * = the challenge: the answer of GET keys/verify. */
void lt_share_tag(const struct lt_share *k, const char *text, uint8_t out[LT_SHARE_TAG]);
/* The same, compared in constant time. */
bool lt_share_tag_is(const struct lt_share *k, const char *text, const uint8_t tag[LT_SHARE_TAG]);

/* IV[16] | AES-GCM(K, plain) | tag[16], no AAD, the IV drawn anew. *out: n + LT_SHARE_OVERHEAD bytes, caller
 * frees. LT_E_TOO_LARGE above LT_MAX_PAYLOAD. */
int lt_share_seal(const struct lt_share *k, struct lt_slice plain, uint8_t **out, size_t *n,
                  struct lt_err *e) LT_MUST_CHECK;
/* Caller wipes and frees *out, which has a NUL behind. LT_E_REFUSED: not sealed with K, or altered since;
 * nothing of it is told then. */
int lt_share_open(const struct lt_share *k, struct lt_slice sealed, uint8_t **out, size_t *n,
                  struct lt_err *e) LT_MUST_CHECK;

#endif
