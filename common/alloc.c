#include "common/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void (*on_failure)(const char *line);

void lt_alloc_on_failure(void (*say)(const char *line))
{
    on_failure = say;
}

static _Noreturn void die(size_t n, size_t size)
{
    char line[96];

    snprintf(line, sizeof line, "no memory for %zu * %zu bytes; cannot go on", n, size);
    if (on_failure)
        on_failure(line);
    else
        fprintf(stderr, "limetree: %s\n", line);
    abort();
}

void *lt_alloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);

    if (!p)
        die(n, size);
    return p;
}

char *lt_alloc_text(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(lt_alloc(1, n), s, n);
}
