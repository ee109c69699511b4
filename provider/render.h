/* The reply to POST proofs, stitched from text: the quote was rendered once, paths are hex copied in. With thousands
 * of waiters building JSON values for each would cost more than the cryptography. */
#ifndef LT_PROVIDER_RENDER_H
#define LT_PROVIDER_RENDER_H

#include "provider/batcher.h"

/* One guest of a request, answered. */
struct lt_answer {
    uint8_t uuid[16];
    struct lt_batch *batch; /* NULL: error */
    uint32_t index;         /* of the leaf in the batch */
    struct lt_item_error error;
};

/* Caller frees *out, which is not NUL-terminated. */
int lt_render_proofs(const struct lt_answer *const *answers, uint32_t count, char **out, size_t *n,
                     struct lt_err *e) LT_MUST_CHECK;

#endif
