#include "appraisal/checks/result_cache.h"

#include "common/alloc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint64_t used; /* 0: empty */
    uint8_t key[LT_SHA256];
};

struct lt_result_cache {
    pthread_mutex_t lock; /* innermost; guards what follows */
    uint64_t now;         /* counts uses */
    unsigned sets, ways;
    size_t value_n;
    uint8_t *values;
    struct entry entry[]; /* sets * ways; its value has the same index */
};

struct lt_result_cache *lt_result_cache_new(unsigned sets, unsigned ways, size_t value_n)
{
    size_t count = (size_t)sets * ways;
    struct lt_result_cache *c = lt_alloc(1, sizeof *c + count * sizeof *c->entry);

    c->values = value_n ? lt_alloc(count, value_n) : NULL;
    pthread_mutex_init(&c->lock, NULL);
    c->sets = sets;
    c->ways = ways;
    c->value_n = value_n;
    return c;
}

void lt_result_cache_free(struct lt_result_cache *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c->values);
    free(c);
}

/* The entry that holds the key; else the one to give up. A key is a digest: its first byte chooses evenly. */
static size_t place(const struct lt_result_cache *c, const uint8_t key[LT_SHA256], bool *found)
{
    size_t first = (size_t)(key[0] % c->sets) * c->ways, oldest = first;

    for (size_t i = first; i < first + c->ways; i++) {
        *found = c->entry[i].used && !memcmp(c->entry[i].key, key, LT_SHA256);
        if (*found)
            return i;
        if (c->entry[i].used < c->entry[oldest].used)
            oldest = i;
    }
    return oldest;
}

bool lt_result_cache_get(struct lt_result_cache *c, const uint8_t key[LT_SHA256], void *out)
{
    bool found;

    pthread_mutex_lock(&c->lock);
    size_t i = place(c, key, &found);
    if (found)
        c->entry[i].used = ++c->now;
    if (found && c->value_n)
        memcpy(out, c->values + i * c->value_n, c->value_n);
    pthread_mutex_unlock(&c->lock);
    return found;
}

void lt_result_cache_put(struct lt_result_cache *c, const uint8_t key[LT_SHA256], const void *value)
{
    bool found;

    pthread_mutex_lock(&c->lock);
    size_t i = place(c, key, &found);
    c->entry[i].used = ++c->now;
    memcpy(c->entry[i].key, key, LT_SHA256);
    if (c->value_n)
        memcpy(c->values + i * c->value_n, value, c->value_n);
    pthread_mutex_unlock(&c->lock);
}
