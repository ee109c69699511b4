/* The reply to POST proofs, stitched from text: the quote was rendered once, paths are hex copied in. With
 * thousands of waiters building JSON values for each would cost more than the cryptography. */
#ifndef LT_PROVIDER_RENDER_H
#define LT_PROVIDER_RENDER_H

#include "provider/batcher.h"

/* What one host said for one guest: a proof, or why not. */
struct lt_render_answer {
    uint8_t host[16];
    struct lt_batcher_batch *batch; /* NULL: error */
    uint32_t index;                 /* of the leaf in the batch */
    struct lt_batcher_item_error error;
};

/* One guest of a request: the first answer is the item's own, the others stand in its "others". */
struct lt_render_answers {
    uint8_t uuid[16];
    const uint8_t *ek; /* of the record to show; NULL, or not there: the UUID's first */
    unsigned count;    /* at least 1 */
    struct lt_render_answer answer[LT_MAX_CLAIMANTS]; /* batches are borrowed */
};

/* Caller frees *out, which is not NUL-terminated. */
int lt_render_proofs(const struct lt_render_answers *items, uint32_t count, char **out, size_t *n,
                     struct lt_err *e) LT_MUST_CHECK;

#endif
