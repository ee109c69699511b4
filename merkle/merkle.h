/* The Merkle tree of RFC 9162 section 2.1 over SHA-256: leaf = H(00 | data), node = H(01 | left | right).
 * Sizes are counts of leaves. Depends on nothing but a hash. */
#ifndef LT_MERKLE_MERKLE_H
#define LT_MERKLE_MERKLE_H

#include "common/hash.h"
#include "common/limits.h"

#define LT_MERKLE_NODE LT_SHA256

struct lt_merkle_path {
    uint32_t index; /* of the leaf, 0-based */
    unsigned count; /* nodes, leaf to root */
    uint8_t nodes[LT_MAX_PATH][LT_MERKLE_NODE];
};

void lt_merkle_leaf(const void *data, size_t n, uint8_t out[LT_MERKLE_NODE]);

/* A tree with all its levels kept, so that a path costs copies and no hashes. */
struct lt_merkle;
/* Takes count leaf hashes (copied), 0 <= count <= LT_MAX_BATCH. An empty tree's root is H(""). */
int lt_merkle_new(const uint8_t (*leaves)[LT_MERKLE_NODE], uint32_t count, struct lt_merkle **out,
                  struct lt_err *e) LT_MUST_CHECK;
void lt_merkle_free(struct lt_merkle *t);
uint32_t lt_merkle_size(const struct lt_merkle *t);
const uint8_t *lt_merkle_root(const struct lt_merkle *t);
int lt_merkle_path(const struct lt_merkle *t, uint32_t index, struct lt_merkle_path *out,
                   struct lt_err *e) LT_MUST_CHECK;

/* How many nodes the path of leaf index in a tree of size leaves has (RFC 9162 section 2.1.3). */
unsigned lt_merkle_path_length(uint32_t index, uint32_t size);
/* index < size, path exactly as long as it must be, root equal: 0; else LT_E_REFUSED with the reason. */
int lt_merkle_verify(const uint8_t leaf[LT_MERKLE_NODE], const struct lt_merkle_path *path, uint32_t size,
                     const uint8_t root[LT_MERKLE_NODE], struct lt_err *e) LT_MUST_CHECK;

#endif
