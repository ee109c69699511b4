/* A counted reference: what is prepared once (keys, policies, a host quote) and shared by rounds on several
 * threads. */
#ifndef LT_TENANT_REF_H
#define LT_TENANT_REF_H

#include <stdbool.h>

struct lt_ref;

/* Takes p; free is called with it when the last reference is put. Aborts without memory. */
struct lt_ref *lt_ref_new(void *p, void (*free)(void *p));
struct lt_ref *lt_ref_get(struct lt_ref *r); /* NULL stays NULL */
void lt_ref_put(struct lt_ref *r);
bool lt_ref_shared(const struct lt_ref *r); /* somebody else has a reference, at this moment */
void *lt_ref_value(const struct lt_ref *r); /* NULL of NULL */

#endif
