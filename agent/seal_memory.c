#include "agent/seal_memory.h"

#include "common/bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static size_t mapped(size_t n)
{
    return n ? n : 1;
}

int lt_agent_seal_memory_new(size_t n, void **out, struct lt_err *e)
{
    void *p = mmap(NULL, mapped(n), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    *out = NULL;
    if (p == MAP_FAILED)
        return lt_fail(e, LT_E_NO_MEMORY, "keys: no memory for %zu bytes", n);
    if (mlock(p, mapped(n)) || madvise(p, mapped(n), MADV_DONTDUMP)) {
        int why = errno;
        munmap(p, mapped(n));
        return lt_fail(e, LT_E_CONFIG,
                       "keys: %zu bytes of memory cannot be locked (%s); raise LimitMEMLOCK=", n,
                       strerror(why));
    }
    *out = p;
    return 0;
}

void lt_agent_seal_memory_free(void *p, size_t n)
{
    if (!p)
        return;
    lt_wipe(p, n);
    munmap(p, mapped(n)); /* which unlocks it */
}
