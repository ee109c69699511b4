#include "common/ref.h"

#include "common/alloc.h"

#include <stddef.h>
#include <stdlib.h>

struct lt_ref {
    struct lt_ref_count count;
    void *p;
    void (*free)(void *p);
};

struct lt_ref *lt_ref_new(void *p, void (*fn)(void *p))
{
    struct lt_ref *r = lt_new(struct lt_ref);
    lt_ref_start(&r->count, 1);
    r->p = p;
    r->free = fn;
    return r;
}

struct lt_ref *lt_ref_get(struct lt_ref *r)
{
    if (r)
        lt_ref_join(&r->count, 1);
    return r;
}

void lt_ref_put(struct lt_ref *r)
{
    if (!r || !lt_ref_leave(&r->count))
        return;
    r->free(r->p);
    free(r);
}

bool lt_ref_shared(const struct lt_ref *r)
{
    return r && atomic_load(&r->count.holders) > 1;
}

void *lt_ref_value(const struct lt_ref *r)
{
    return r ? r->p : NULL;
}
