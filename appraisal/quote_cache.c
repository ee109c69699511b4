#include "appraisal/quote_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Set-associative: the key is a digest, so its first bytes choose the set evenly. */
#define SETS 128
#define WAYS 8

struct lt_quote_cache {
    pthread_mutex_t lock;
    uint64_t now; /* counts uses */
    struct {
        uint64_t used; /* 0: empty */
        uint8_t key[LT_SHA256];
    } slot[SETS][WAYS];
};

struct lt_quote_cache *lt_quote_cache_new(void)
{
    struct lt_quote_cache *c = calloc(1, sizeof *c);

    if (c && pthread_mutex_init(&c->lock, NULL)) {
        free(c);
        c = NULL;
    }
    return c;
}

void lt_quote_cache_free(struct lt_quote_cache *c)
{
    if (c)
        pthread_mutex_destroy(&c->lock);
    free(c);
}

void lt_quote_cache_key(const struct lt_host_quote *q, const uint8_t ak_name[LT_NAME], uint8_t out[LT_SHA256])
{
    uint8_t pcrs[8 + LT_MAX_PCRS * LT_MAX_DIGEST] = {0}, length[5][4];
    size_t n = 8, size = lt_hash_size(q->pcrs.alg);

    lt_put_u32(pcrs, q->pcrs.alg);
    lt_put_u32(pcrs + 4, q->pcrs.mask);
    for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
        if (q->pcrs.mask >> i & 1) {
            memcpy(pcrs + n, q->pcrs.value[i], size);
            n += size;
        }
    }
    const struct lt_slice items[5] = {
        {q->header, LT_HEADER}, {q->attest, q->attest_n}, {q->signature, q->signature_n}, {pcrs, n},
        {ak_name, LT_NAME},
    };
    struct lt_slice parts[10];
    for (unsigned i = 0; i < 5; i++) {
        lt_put_u32(length[i], (uint32_t)items[i].n);
        parts[2 * i] = (struct lt_slice){length[i], sizeof length[i]};
        parts[2 * i + 1] = items[i];
    }
    lt_hash(LT_HASH_SHA256, parts, 10, out);
}

static unsigned set_of(const uint8_t key[LT_SHA256])
{
    return key[0] % SETS;
}

/* The slot that holds the key; else the one to give up. */
static unsigned way_of(const struct lt_quote_cache *c, unsigned set, const uint8_t key[LT_SHA256],
                       bool *found)
{
    unsigned oldest = 0;

    *found = false;
    for (unsigned w = 0; w < WAYS; w++) {
        if (c->slot[set][w].used && !memcmp(c->slot[set][w].key, key, LT_SHA256)) {
            *found = true;
            return w;
        }
        if (c->slot[set][w].used < c->slot[set][oldest].used)
            oldest = w;
    }
    return oldest;
}

bool lt_quote_cache_has(struct lt_quote_cache *c, const uint8_t key[LT_SHA256])
{
    unsigned set = set_of(key);
    bool found;

    pthread_mutex_lock(&c->lock);
    unsigned w = way_of(c, set, key, &found);
    if (found)
        c->slot[set][w].used = ++c->now;
    pthread_mutex_unlock(&c->lock);
    return found;
}

void lt_quote_cache_put(struct lt_quote_cache *c, const uint8_t key[LT_SHA256])
{
    unsigned set = set_of(key);
    bool found;

    pthread_mutex_lock(&c->lock);
    unsigned w = way_of(c, set, key, &found);
    c->slot[set][w].used = ++c->now;
    memcpy(c->slot[set][w].key, key, LT_SHA256);
    pthread_mutex_unlock(&c->lock);
}
