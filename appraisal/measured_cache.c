#include "appraisal/measured.h"
#include "common/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SETS 256
#define WAYS 2

struct lt_measured_cache {
    pthread_mutex_t lock;
    uint64_t now; /* counts uses */
    struct {
        uint64_t used; /* 0: empty */
        uint8_t key[LT_SHA256];
        struct lt_measured_result *result; /* owned */
    } slot[SETS][WAYS];
};

struct lt_measured_cache *lt_measured_cache_new(void)
{
    struct lt_measured_cache *c = calloc(1, sizeof *c);

    if (c && pthread_mutex_init(&c->lock, NULL)) {
        free(c);
        c = NULL;
    }
    return c;
}

void lt_measured_cache_free(struct lt_measured_cache *c)
{
    if (!c)
        return;
    for (unsigned s = 0; s < SETS; s++)
        for (unsigned w = 0; w < WAYS; w++)
            free(c->slot[s][w].result);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Fixed lengths throughout, with a flag where something may be absent. */
void lt_measured_key(const uint8_t ak_name[34], const struct lt_pcrs *pcrs, const uint8_t policy[LT_SHA256],
                     const struct lt_measured_policy *p, const struct lt_measured_documents *d,
                     const uint8_t *log, const uint8_t *list, int64_t now, uint8_t out[LT_SHA256])
{
    static const uint8_t zeros[LT_SHA256];
    uint8_t fixed[20] = {0};
    uint32_t at_hand = 0;

    for (unsigned i = 0; i < p->layer_count; i++)
        at_hand |= (uint32_t) !!d->layer[i] << i;
    at_hand |= (uint32_t) !!d->boot << LT_MAX_LAYERS;
    lt_put_u32(fixed, pcrs->alg);
    lt_put_u32(fixed + 4, pcrs->mask);
    lt_put_u32(fixed + 8, lt_measured_active(p, now));
    lt_put_u32(fixed + 12, at_hand);
    fixed[16] = !!log;
    fixed[17] = !!list;
    const struct lt_slice parts[] = {
        {ak_name, 34},
        {(const uint8_t *)pcrs->value, sizeof pcrs->value},
        {policy, LT_SHA256},
        {fixed, sizeof fixed},
        {log ? log : zeros, LT_SHA256},
        {list ? list : zeros, LT_SHA256},
    };
    lt_hash(LT_HASH_SHA256, parts, sizeof parts / sizeof *parts, out);
}

/* The way that holds the key; else the one to give up. */
static unsigned way_of(const struct lt_measured_cache *c, unsigned set, const uint8_t key[LT_SHA256],
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

bool lt_measured_cache_get(struct lt_measured_cache *c, const uint8_t key[LT_SHA256],
                           struct lt_measured_result *out)
{
    unsigned set = key[0] % SETS;
    bool found;

    pthread_mutex_lock(&c->lock);
    unsigned w = way_of(c, set, key, &found);
    if (found) {
        c->slot[set][w].used = ++c->now;
        *out = *c->slot[set][w].result;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

void lt_measured_cache_put(struct lt_measured_cache *c, const uint8_t key[LT_SHA256],
                           const struct lt_measured_result *r)
{
    unsigned set = key[0] % SETS;
    bool found;

    pthread_mutex_lock(&c->lock);
    unsigned w = way_of(c, set, key, &found);
    if (!c->slot[set][w].result)
        c->slot[set][w].result = malloc(sizeof *r);
    if (c->slot[set][w].result) {
        *c->slot[set][w].result = *r;
        c->slot[set][w].used = ++c->now;
        memcpy(c->slot[set][w].key, key, LT_SHA256);
    }
    pthread_mutex_unlock(&c->lock);
}
