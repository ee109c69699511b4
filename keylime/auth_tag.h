/* An agent's proof that its TPM opened the registrar's challenge (keylime-api 2.4). */
#ifndef LT_KEYLIME_AUTH_TAG_H
#define LT_KEYLIME_AUTH_TAG_H

#include <stddef.h>
#include <stdint.h>

#define LT_AUTH_TAG 48

/* HMAC-SHA384(key = the text of base64(secret), message = id). Of a secret at most LT_MAX_DIGEST bytes count.
 */
void lt_auth_tag(const void *secret, size_t n, const char *id, uint8_t out[LT_AUTH_TAG]);

#endif
