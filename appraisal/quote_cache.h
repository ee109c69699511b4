/* Host quotes whose check 5 passed (docs/protocol.md section 5, last paragraph): many guests share one quote.
 * Only successes are kept, only check 5 is spared. Thread safe, fixed size, least recently used goes first.
 */
#ifndef LT_APPRAISAL_QUOTE_CACHE_H
#define LT_APPRAISAL_QUOTE_CACHE_H

#include "residency/proof.h"

struct lt_quote_cache;
struct lt_quote_cache *lt_quote_cache_new(void); /* NULL without memory */
void lt_quote_cache_free(struct lt_quote_cache *c);

/* H over the length-prefixed header, attest, signature, PCR values and AK Name. */
void lt_quote_cache_key(const struct lt_host_quote *q, const uint8_t ak_name[LT_NAME],
                        uint8_t out[LT_SHA256]);
bool lt_quote_cache_has(struct lt_quote_cache *c, const uint8_t key[LT_SHA256]);
void lt_quote_cache_put(struct lt_quote_cache *c, const uint8_t key[LT_SHA256]);

#endif
