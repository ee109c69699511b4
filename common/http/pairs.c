#include "common/http/pairs.h"

#include <string.h>

const char *lt_http_pairs_get(const char *pairs, const char *name, int (*cmp)(const char *, const char *))
{
    while (pairs && *pairs) {
        const char *value = pairs + strlen(pairs) + 1;
        if (!cmp(pairs, name))
            return value;
        pairs = value + strlen(value) + 1;
    }
    return NULL;
}
