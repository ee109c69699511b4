/* Verdict tokens: a signed attestation result for those who guard secrets elsewhere (RFC 9711 EAT as a JWT,
 * claims named by draft-ietf-rats-ear; docs/tokens.md has each claim and says which are ours). ES256 and
 * nothing else, and a type of its own (RFC 8725 3.1, 3.11). No I/O, no clock. */
#ifndef LT_VERIFIER_TOKEN_TOKEN_H
#define LT_VERIFIER_TOKEN_TOKEN_H

#include "common/json.h"

#define LT_TOKEN_TYPE "eat+jwt"
#define LT_TOKEN_PROFILE "tag:github.com,2023:veraison/ear"
#define LT_TOKEN_NONCE_MIN 8 /* bytes of a nonce: RFC 9711 4.1 */
#define LT_TOKEN_NONCE_MAX 64
#define LT_TOKEN_AUDIENCE_MAX 256
#define LT_TOKEN_SKEW_S 60 /* that the clocks of two machines may differ by */

/* LT_E_MALFORMED: missing, too short or long, or a character that is blank or no ASCII. */
int lt_token_check_nonce(const char *nonce, struct lt_err *e) LT_MUST_CHECK;
int lt_token_check_audience(const char *aud, struct lt_err *e) LT_MUST_CHECK;

/* A new P-256 key: private JWK with "kid" (RFC 7638 thumbprint), "alg" and "use". NULL and *e. Free it with
 * lt_token_key_free, which wipes. */
json_t *lt_token_key_new(struct lt_err *e) LT_MUST_CHECK;
/* The public half, as it stands in a JWKS. */
json_t *lt_token_key_public(const json_t *key);
void lt_token_key_free(json_t *key);

/* The claims as a JWT, caller frees. */
int lt_token_sign(const json_t *key, const json_t *claims, char **out, struct lt_err *e) LT_MUST_CHECK;

struct lt_token_expected {
    const char *aud, *nonce; /* both must be so */
    const char *issuer;      /* NULL: any whose key it is */
    int64_t now;             /* wall */
};
/* The claims of a good token, a new reference; NULL and *e: LT_E_MALFORMED, LT_E_UNSUPPORTED (another
 * algorithm, type or profile), LT_E_BAD_SIGNATURE (a key that is not in jwks, or not its signature),
 * LT_E_REFUSED (for others, out of date, not affirmed). jwks: {"keys": […]}; keys that are not P-256 for
 * ES256 are none. */
json_t *lt_token_verify(const char *token, size_t n, const json_t *jwks, const struct lt_token_expected *x,
                        struct lt_err *e) LT_MUST_CHECK;

/* Base64url without padding, caller frees; NULL without memory. */
char *lt_token_base64url(const void *p, size_t n);

#endif
