/* Lists of openers that records of one host's guests named until lately: a reseal may come between the quote
 * that a tenant judges and its question for the list which that quote names. Bounded by guest, time and host;
 * the newest stay. Not thread safe: under the host's lock. */
#ifndef LT_PROVIDER_NAMED_H
#define LT_PROVIDER_NAMED_H

#include "common/hash.h"
#include "provider/residents.h"

#define LT_NAMED_PER_GUEST 4 /* a reseal replaces two: the one before it, and the one before it closes */

struct lt_named {
    struct lt_named_one *one; /* ascending by digest */
    size_t count;
};
void lt_named_free(struct lt_named *n);

/* now takes the place of was (NULL: nothing did before): what the latter's records named and the same guests'
 * in the former do not. now_ms: of lt_clock_ms. */
void lt_named_note(struct lt_named *n, const struct lt_residents *was, const struct lt_residents *now,
                   uint64_t now_ms);
/* A guest for which is() says yes had that list, LT_PROVIDER_NAMED_MS ago or less. */
bool lt_named_find(const struct lt_named *n, const uint8_t digest[LT_SHA256], uint64_t now_ms,
                   bool (*is)(void *arg, const uint8_t uuid[16]), void *arg);

#endif
