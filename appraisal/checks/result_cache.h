/* Results that many rounds share, under a digest of all that went in: what was judged once is not judged
 * again. Set-associative, fixed size, in each set the least recently used goes first. Thread safe.
 *
 * Two are kept: host quotes whose check 5 passed (docs/protocol.md section 5, last paragraph; the key alone,
 * so 0 bytes), and what became of a host's logs under a policy (appraisal/checks/measured.h). */
#ifndef LT_APPRAISAL_CHECKS_RESULT_CACHE_H
#define LT_APPRAISAL_CHECKS_RESULT_CACHE_H

#include "common/hash.h"

struct lt_result_cache;

/* sets: at most 256; value_n: bytes of a result. */
struct lt_result_cache *lt_result_cache_new(unsigned sets, unsigned ways, size_t value_n);
void lt_result_cache_free(struct lt_result_cache *c);
/* False: not there. out: value_n bytes, or NULL where those are 0. */
bool lt_result_cache_get(struct lt_result_cache *c, const uint8_t key[LT_SHA256], void *out);
void lt_result_cache_put(struct lt_result_cache *c, const uint8_t key[LT_SHA256], const void *value);

#endif
