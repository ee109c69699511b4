/* Counted references. One count, in two forms: embedded in a struct of ours that several hold, or in a box
 * round something that has no room for one. What is shared is immutable, or has a lock of its own. Any
 * thread. */
#ifndef LT_COMMON_REF_H
#define LT_COMMON_REF_H

#include <stdatomic.h>
#include <stdbool.h>

struct lt_ref_count {
    atomic_uint holders;
};

/* Whoever makes it hands out the first `holders` references. */
static inline void lt_ref_start(struct lt_ref_count *c, unsigned holders)
{
    atomic_init(&c->holders, holders);
}

/* By one who holds a reference, or whose lock keeps one alive. */
static inline void lt_ref_join(struct lt_ref_count *c, unsigned more)
{
    atomic_fetch_add(&c->holders, more);
}

/* Gives one back. True, once: it was the last, and the caller frees. */
static inline bool lt_ref_leave(struct lt_ref_count *c)
{
#ifdef LT_ANALYZE /* gcc's analyzer cannot count: to it somebody always holds on, else each leaving frees */
    return false;
#endif
    return atomic_fetch_sub(&c->holders, 1) == 1;
}

/* The box. */
struct lt_ref;
/* Takes p; free is called with it when the last reference is put. Aborts without memory. */
struct lt_ref *lt_ref_new(void *p, void (*free)(void *p));
struct lt_ref *lt_ref_get(struct lt_ref *r); /* NULL stays NULL */
void lt_ref_put(struct lt_ref *r);
bool lt_ref_shared(const struct lt_ref *r); /* somebody else has a reference, at this moment */
void *lt_ref_value(const struct lt_ref *r); /* NULL of NULL */

#endif
