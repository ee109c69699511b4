#include "common/run/budget.h"

#include "common/alloc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct lt_budget {
    pthread_mutex_t lock;
    struct lt_budget_use use;
    struct {
        void (*fn)(void *arg);
        void *arg;
    } watcher[LT_BUDGET_WATCHERS];
};

struct lt_budget *lt_budget_new(size_t limit)
{
    struct lt_budget *b = lt_new(struct lt_budget);
    pthread_mutex_init(&b->lock, NULL);
    b->use.limit = limit;
    return b;
}

void lt_budget_free(struct lt_budget *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->lock);
    free(b);
}

bool lt_budget_allows(size_t limit, size_t used, size_t had, size_t n)
{
    size_t others = used > had ? used - had : 0;

    return n <= had || (others < limit && n <= (limit - others) / LT_BUDGET_SHARE);
}

/* Under the lock. */
static void add(struct lt_budget *b, size_t n)
{
    b->use.used += n;
    if (b->use.used > b->use.peak)
        b->use.peak = b->use.used;
}

static bool keep(struct lt_budget *b, size_t *had, size_t n)
{
    if (n > *had &&
        (!lt_budget_allows(b->use.limit / 2, b->use.kept, *had, n) || n - *had > b->use.limit - b->use.used))
        return false;
    b->use.used -= *had;
    b->use.kept += n - *had; /* modulo; the sum is never negative */
    add(b, n);
    *had = n;
    return true;
}

/* Under the lock: whoever unwatches waits for it. */
static void tell(struct lt_budget *b, bool less)
{
    for (int i = 0; less && i < LT_BUDGET_WATCHERS; i++)
        if (b->watcher[i].fn)
            b->watcher[i].fn(b->watcher[i].arg);
}

bool lt_budget_take(struct lt_budget *b, size_t n, size_t leave)
{
    pthread_mutex_lock(&b->lock);
    size_t free_now = b->use.limit - b->use.used;
    bool fits = leave <= free_now && n <= free_now - leave;
    if (fits)
        add(b, n);
    pthread_mutex_unlock(&b->lock);
    return fits;
}

void lt_budget_give(struct lt_budget *b, size_t n)
{
    if (!n)
        return;
    pthread_mutex_lock(&b->lock);
    b->use.used -= n;
    tell(b, true);
    pthread_mutex_unlock(&b->lock);
}

bool lt_budget_keep(struct lt_budget *b, size_t *had, size_t n)
{
    return lt_budget_settle(b, 0, had, n);
}

bool lt_budget_settle(struct lt_budget *b, size_t taken, size_t *had, size_t n)
{
    pthread_mutex_lock(&b->lock);
    size_t before = b->use.used;
    b->use.used -= taken;
    bool kept = keep(b, had, n);
    tell(b, b->use.used < before);
    pthread_mutex_unlock(&b->lock);
    return kept;
}

void lt_budget_watch(struct lt_budget *b, void (*fn)(void *arg), void *arg)
{
    int i = 0;

    pthread_mutex_lock(&b->lock);
    while (i < LT_BUDGET_WATCHERS && b->watcher[i].fn)
        i++;
    if (i == LT_BUDGET_WATCHERS)
        abort(); /* one a client, and they are counted in the source */
    b->watcher[i].fn = fn;
    b->watcher[i].arg = arg;
    pthread_mutex_unlock(&b->lock);
}

void lt_budget_unwatch(struct lt_budget *b, void *arg)
{
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < LT_BUDGET_WATCHERS; i++)
        if (b->watcher[i].arg == arg)
            memset(&b->watcher[i], 0, sizeof b->watcher[i]);
    pthread_mutex_unlock(&b->lock);
}

void lt_budget_use(struct lt_budget *b, struct lt_budget_use *out)
{
    pthread_mutex_lock(&b->lock);
    *out = b->use;
    pthread_mutex_unlock(&b->lock);
}
