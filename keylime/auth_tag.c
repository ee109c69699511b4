#include "keylime/auth_tag.h"

#include "common/bytes.h"
#include "common/hash.h"
#include "common/limits.h"

#include <string.h>

void lt_auth_tag(const void *secret, size_t n, const char *id, uint8_t out[LT_AUTH_TAG])
{
    char key[(LT_MAX_DIGEST + 2) / 3 * 4 + 1];

    lt_base64(secret, n < LT_MAX_DIGEST ? n : LT_MAX_DIGEST, key);
    lt_hmac(LT_HASH_SHA384, key, strlen(key), id, strlen(id), out);
    lt_wipe(key, sizeof key);
}
