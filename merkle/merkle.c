#include "merkle/merkle.h"

#include <stdlib.h>
#include <string.h>

/* RFC 9162's split at the largest power of two below n is the same tree as pairing neighbours level by level
 * and letting a last node without a neighbour rise unchanged; so levels are plain arrays and a path reads one
 * node of each. Level 0 has n nodes, level k ceil(n / 2^k). */
#define LEVELS (LT_MAX_PATH + 1)

struct lt_merkle {
    uint32_t size;
    unsigned levels;
    uint32_t count[LEVELS];                   /* nodes of a level */
    uint8_t (*level[LEVELS])[LT_MERKLE_NODE]; /* into nodes */
    uint8_t nodes[][LT_MERKLE_NODE];
};

void lt_merkle_leaf(const void *data, size_t n, uint8_t out[LT_MERKLE_NODE])
{
    lt_sha256_2("\x00", 1, data, n, out);
}

/* pair: left and right, as they lie in a level. */
static void node(const uint8_t *pair, uint8_t out[LT_MERKLE_NODE])
{
    uint8_t in[1 + 2 * LT_MERKLE_NODE] = {1};
    memcpy(in + 1, pair, sizeof in - 1);
    lt_sha256(in, sizeof in, out);
}

int lt_merkle_new(const uint8_t (*leaves)[LT_MERKLE_NODE], uint32_t count, struct lt_merkle **out,
                  struct lt_err *e)
{
    uint32_t n[LEVELS] = {count};
    size_t total = count;
    unsigned levels = 1;

    *out = NULL;
    if (count > LT_MAX_BATCH)
        return lt_fail(e, LT_E_TOO_LARGE, "Merkle tree: %u leaves > %u", count, LT_MAX_BATCH);
    for (; n[levels - 1] > 1; levels++) {
        n[levels] = (n[levels - 1] + 1) / 2;
        total += n[levels];
    }
    struct lt_merkle *t = malloc(sizeof *t + (total ? total : 1) * LT_MERKLE_NODE);
    if (!t)
        return lt_fail(e, LT_E_NO_MEMORY, "Merkle tree: no memory for %zu nodes", total);
    t->size = count;
    t->levels = levels;
    memcpy(t->count, n, sizeof n);
    t->level[0] = t->nodes;
    if (count)
        memcpy(t->nodes, leaves, (size_t)count * LT_MERKLE_NODE);
    else
        lt_sha256("", 0, t->nodes[0]);
    for (unsigned k = 1; k < levels; k++) {
        const uint8_t(*below)[LT_MERKLE_NODE] = t->level[k - 1];
        uint8_t(*here)[LT_MERKLE_NODE] = t->level[k] = t->level[k - 1] + n[k - 1];
        for (uint32_t i = 0; i < n[k - 1] / 2; i++)
            node(below[2 * i], here[i]);
        if (n[k - 1] % 2)
            memcpy(here[n[k] - 1], below[n[k - 1] - 1], LT_MERKLE_NODE);
    }
    *out = t;
    return 0;
}

void lt_merkle_free(struct lt_merkle *t)
{
    free(t);
}

uint32_t lt_merkle_size(const struct lt_merkle *t)
{
    return t->size;
}

const uint8_t *lt_merkle_root(const struct lt_merkle *t)
{
    return t->level[t->levels - 1][0];
}

int lt_merkle_path(const struct lt_merkle *t, uint32_t index, struct lt_merkle_path *out, struct lt_err *e)
{
    *out = (struct lt_merkle_path){0};
    if (index >= t->size)
        return lt_fail(e, LT_E_REFUSED, "Merkle tree: leaf %u of %u", index, t->size);
    out->index = index;
    for (unsigned k = 0; k + 1 < t->levels; k++, index /= 2)
        if ((index ^ 1) < t->count[k])
            memcpy(out->nodes[out->count++], t->level[k][index ^ 1], LT_MERKLE_NODE);
    return 0;
}

unsigned lt_merkle_path_length(uint32_t index, uint32_t size)
{
    unsigned count = 0;

    if (index >= size)
        return 0;
    for (uint32_t last = size - 1; last; last /= 2, index /= 2)
        count += (index ^ 1) <= last;
    return count;
}

/* RFC 9162 section 2.1.3.2, fn and sn by its names. */
int lt_merkle_verify(const uint8_t leaf[LT_MERKLE_NODE], const struct lt_merkle_path *path, uint32_t size,
                     const uint8_t root[LT_MERKLE_NODE], struct lt_err *e)
{
    uint8_t r[LT_MERKLE_NODE], pair[2 * LT_MERKLE_NODE];

    if (!size || size > LT_MAX_BATCH || path->index >= size)
        return lt_fail(e, LT_E_REFUSED, "inclusion proof: leaf %u of %u (at most %u)", path->index, size,
                       LT_MAX_BATCH);
    unsigned want = lt_merkle_path_length(path->index, size);
    if (path->count != want)
        return lt_fail(e, LT_E_REFUSED, "inclusion proof of leaf %u of %u: %u nodes, must be %u", path->index,
                       size, path->count, want);
    memcpy(r, leaf, LT_MERKLE_NODE);
    uint32_t fn = path->index, sn = size - 1;
    for (unsigned i = 0; i < path->count; i++, fn /= 2, sn /= 2) {
        bool right = fn % 2 || fn == sn;
        memcpy(pair, right ? path->nodes[i] : r, LT_MERKLE_NODE);
        memcpy(pair + LT_MERKLE_NODE, right ? r : path->nodes[i], LT_MERKLE_NODE);
        node(pair, r);
        while (right && fn && fn % 2 == 0) { /* levels where this node rose unchanged */
            fn /= 2;
            sn /= 2;
        }
    }
    if (sn || memcmp(r, root, LT_MERKLE_NODE))
        return lt_fail(e, LT_E_REFUSED, "inclusion proof of leaf %u of %u: another root", path->index, size);
    return 0;
}
