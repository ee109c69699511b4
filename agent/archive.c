#include "agent/archive.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

#define LIBRARY "libarchive.so.13"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lt_archive table;
static void *library;

static int load(struct lt_err *e)
{
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
#define X(name) {#name, offsetof(struct lt_archive, name)},
        LT_ARCHIVE_FUNCTIONS(X)
#undef X
    };

    void *so = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!so)
        return lt_fail(e, LT_E_CONFIG, "libarchive13 is not installed here: %s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *f = dlsym(so, functions[i].name);
        if (!f)
            return lt_fail(e, LT_E_CONFIG, LIBRARY ": too old, no %s", functions[i].name);
        *(void **)((char *)&table + functions[i].offset) = f;
    }
    library = so;
    return 0;
}

int lt_archive_load(const struct lt_archive **out, struct lt_err *e)
{
    pthread_mutex_lock(&lock);
    int rc = library ? 0 : load(e);
    pthread_mutex_unlock(&lock);
    *out = rc ? NULL : &table;
    return rc;
}
