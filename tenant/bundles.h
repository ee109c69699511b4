/* The evidence bundles on disk, under one quota: UUID.json is the last round's, UUID.trusted.json the last
 * trusted one's. A guest may have at most an eighth of what is still free (common/run/budget.h), so that the
 * others' evidence finds room however much one sends: a bundle above that is to be made again without the
 * guest's logs. What no guest is left for is removed. Thread safe. */
#ifndef LT_TENANT_BUNDLES_H
#define LT_TENANT_BUNDLES_H

#include "common/file.h"
#include "common/ids.h"

struct lt_bundles;

/* dir is made if absent; limit: bytes. What is there is counted. */
int lt_bundles_open(const char *dir, size_t limit, struct lt_bundles **out, struct lt_err *e) LT_MUST_CHECK;
void lt_bundles_free(struct lt_bundles *b);

/* Whether the bundle of this guest may have n bytes. */
bool lt_bundles_room(struct lt_bundles *b, const uint8_t uuid[LT_UUID], size_t n);
/* Replaces the last round's; trusted: and the last trusted one's. Not above what lt_bundles_room allows,
 * unless it is small: LT_E_TOO_LARGE, and the last round's is removed, since it is that no more. No fsync. */
int lt_bundles_put(struct lt_bundles *b, const uint8_t uuid[LT_UUID], const char *text, size_t n,
                   bool trusted, struct lt_err *e) LT_MUST_CHECK;
/* Caller frees. LT_E_NOT_FOUND. */
int lt_bundles_get(struct lt_bundles *b, const uint8_t uuid[LT_UUID], bool trusted, uint8_t **text, size_t *n,
                   struct lt_err *e) LT_MUST_CHECK;
/* The guest is attested no longer. */
void lt_bundles_remove(struct lt_bundles *b, const uint8_t uuid[LT_UUID]);
/* Removes those of guests that `known` does not know. */
void lt_bundles_collect(struct lt_bundles *b, bool (*known)(void *arg, const uint8_t uuid[LT_UUID]),
                        void *arg);

struct lt_bundles_use {
    size_t limit, used;
};
void lt_bundles_use(struct lt_bundles *b, struct lt_bundles_use *out);

#endif
