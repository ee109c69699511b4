#include "agent/measurements.h"

#include "common/file.h"
#include "common/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int lt_measurements_read(const char *path, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    *out = NULL;
    *n = 0;
    if (!*path || (access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR)))
        return lt_fail(e, LT_E_NOT_FOUND, "there is no such log");
    return lt_file_read(path, max, out, n, e);
}

const char *lt_ima_from(const char *text, uint64_t entry, uint64_t *first)
{
    const char *at = text;

    for (uint64_t i = 0; i < entry; i++) {
        const char *end = strchr(at, '\n');
        if (!end) {
            *first = 0;
            return text;
        }
        at = end + 1;
    }
    *first = entry;
    return at;
}

uint64_t lt_ima_count(const char *path)
{
    static const char counter[] = "runtime_measurements_count";
    const char *slash = strrchr(path, '/');
    LT_AUTOFREE char *dir = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    LT_AUTOFREE char *beside = dir ? lt_path(dir, counter) : NULL;
    LT_AUTOFREE uint8_t *text = NULL;
    uint64_t lines = 0;
    size_t n;

    if (beside && !lt_measurements_read(beside, 64, &text, &n, NULL))
        return strtoull((const char *)text, NULL, 10);
    if (lt_measurements_read(path, LT_MAX_IMA_LOG, &text, &n, NULL))
        return 0;
    for (const uint8_t *p = text; (p = memchr(p, '\n', (size_t)(text + n - p))); p++)
        lines++;
    return lines;
}
