/* Memory for keys: locked, so that it is never swapped out; in no core; wiped before it is given back. */
#ifndef LT_AGENT_SEAL_MEMORY_H
#define LT_AGENT_SEAL_MEMORY_H

#include "common/err.h"

#include <stddef.h>

/* n zeroed bytes (0 is fine), to be freed with that n. LT_E_CONFIG: the system locks no more (LimitMEMLOCK).
 */
int lt_agent_seal_memory_new(size_t n, void **out, struct lt_err *e) LT_MUST_CHECK;
void lt_agent_seal_memory_free(void *p, size_t n); /* NULL is fine */

#endif
