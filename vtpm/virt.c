#include "vtpm/virt.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

#define LIBRARY "libvirt.so.0"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lt_virt table;
static void *library;

static void quiet(void *ctx, virErrorPtr error)
{
    (void)ctx;
    (void)error;
}

static int load(struct lt_err *e)
{
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
#define X(name) {#name, offsetof(struct lt_virt, name)},
        LT_VIRT_FUNCTIONS(X)
#undef X
    };

    /* NODELETE: its threads and its thread-local data outlive every inventory. */
    void *so = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!so)
        return lt_fail(e, LT_E_CONFIG, "libvirt is not installed here: %s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *f = dlsym(so, functions[i].name);
        if (!f)
            return lt_fail(e, LT_E_CONFIG, LIBRARY ": too old, no %s", functions[i].name);
        *(void **)((char *)&table + functions[i].offset) = f;
    }
    if (table.virInitialize() || table.virEventRegisterDefaultImpl())
        return lt_fail(e, LT_E_INTERNAL, LIBRARY ": %s", table.virGetLastErrorMessage());
    table.virSetErrorFunc(NULL, quiet);
    library = so;
    return 0;
}

int lt_virt_load(const struct lt_virt **out, struct lt_err *e)
{
    pthread_mutex_lock(&lock);
    int rc = library ? 0 : load(e);
    pthread_mutex_unlock(&lock);
    *out = rc ? NULL : &table;
    return rc;
}
