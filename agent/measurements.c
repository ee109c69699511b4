#include "agent/measurements.h"

#include "common/file.h"
#include "common/ima_list.h"
#include "common/limits.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdio.h>
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

/* NULL: the path does not name a text. */
static char *binary_beside(const char *path)
{
    static const char text[] = "ascii_", binary[] = "binary_";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *beside = NULL;

    if (strncmp(name, text, sizeof text - 1) ||
        asprintf(&beside, "%.*s%s%s", (int)(name - path), path, binary, name + sizeof text - 1) < 0)
        return NULL;
    return beside;
}

int lt_measurements_ima_read(const char *path, uint8_t **out, size_t *n, struct lt_err *e)
{
    LT_AUTOFREE char *beside = binary_beside(path);

    if (beside && !lt_measurements_read(beside, LT_MAX_IMA_LOG, out, n, LT_NO_ERR))
        return 0;
    return lt_measurements_read(path, LT_MAX_IMA_LOG, out, n, e);
}

char *lt_measurements_ima_text(const char *text, size_t n)
{
    const struct lt_slice all = {(const uint8_t *)text, n};
    char *out = malloc(lt_utf8_valid(all) ? n + 1 : LT_UTF8_ESCAPED(n));

    if (out)
        lt_utf8_escape(all, out);
    return out;
}

uint64_t lt_measurements_ima_count(const char *path)
{
    static const char counter[] = "runtime_measurements_count";
    const char *slash = strrchr(path, '/');
    LT_AUTOFREE char *dir = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    LT_AUTOFREE char *beside = dir ? lt_file_path(dir, counter) : NULL;
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    if (beside && !lt_measurements_read(beside, 64, &text, &n, LT_NO_ERR))
        return strtoull((const char *)text, NULL, 10);
    if (lt_measurements_read(path, LT_MAX_IMA_LOG, &text, &n, LT_NO_ERR))
        return 0;
    return lt_ima_list_units((struct lt_slice){text, n});
}
