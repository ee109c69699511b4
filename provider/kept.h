/* Lists of openers that tenants asked for, by their digest. What has that digest is the list, whoever sent
 * it: nothing in here ever gets old, and the least recently used goes first. Thread safe. */
#ifndef LT_PROVIDER_KEPT_H
#define LT_PROVIDER_KEPT_H

#include "common/hash.h"
#include "common/http/server.h"

struct lt_kept;

/* max: bytes of all lists together, each counted with LT_KEPT_MORE for its place here. */
#define LT_KEPT_MORE 256
struct lt_kept *lt_kept_new(size_t max);
void lt_kept_free(struct lt_kept *c); /* NULL is fine */
/* A new reference, or NULL: it is not here. */
struct lt_http_shared *lt_kept_get(struct lt_kept *c, const uint8_t digest[LT_SHA256]);
/* Holds a reference of its own. The caller has checked that the bytes have that digest. */
void lt_kept_put(struct lt_kept *c, const uint8_t digest[LT_SHA256], struct lt_http_shared *s);
size_t lt_kept_bytes(struct lt_kept *c);

#endif
