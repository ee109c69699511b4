#include "common/run/conf.h"

#include "common/alloc.h"
#include "common/bytes.h"
#include "common/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int set(const struct lt_conf_key *k, void *conf, const char *value, struct lt_err *e)
{
    void *field = (char *)conf + k->offset;

    if (k->type == LT_CONF_TEXT) {
        char *copy = lt_alloc_text(value);
        free(*(char **)field);
        *(char **)field = copy;
    } else if (k->type == LT_CONF_BOOL) {
        bool yes = !strcmp(value, "yes");
        if (!yes && strcmp(value, "no"))
            return lt_fail(e, LT_E_CONFIG, "%s = %s: not yes or no", k->key, value);
        *(bool *)field = yes;
    } else {
        char *end;
        errno = 0;
        long long v = strtoll(value, &end, 10);
        if (!*value || *end || errno || v < k->min || v > k->max)
            return lt_fail(e, LT_E_CONFIG, "%s = %s: not a whole number from %" PRId64 " to %" PRId64, k->key,
                           value, k->min, k->max);
        *(int64_t *)field = v;
    }
    return 0;
}

static char *trim(char *s)
{
    s += strspn(s, " \t");
    for (size_t n = strlen(s); n && strchr(" \t\r", s[n - 1]);)
        s[--n] = 0;
    return s;
}

/* line is "key = value", and is written to. others: keys that are not in the table are passed over. */
static int assign(const struct lt_conf_key *keys, size_t count, void *conf, char *line, bool others,
                  struct lt_err *e)
{
    char *eq = strchr(line, '=');
    if (!eq)
        return lt_fail(e, LT_E_CONFIG, "\"%s\": no '='", line);
    *eq = 0;
    const char *key = trim(line);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(keys[i].key, key))
            return set(&keys[i], conf, trim(eq + 1), e);
    return others ? 0 : lt_fail(e, LT_E_CONFIG, "unknown key \"%s\" (--help lists the keys)", key);
}

static int load_file(const struct lt_conf_key *keys, size_t count, void *conf, const char *file, bool others,
                     struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;
    int rc = lt_file_read(file, 1 << 20, &text, &n, e), line = 0;

    if (!rc && memchr(text, 0, n)) /* it would hide what stands behind it */
        rc = lt_fail(e, LT_E_CONFIG, "%s: holds a NUL", file);
    for (char *at = (char *)text, *next; !rc && at; at = next) {
        next = strchr(at, '\n');
        if (next)
            *next++ = 0;
        line++;
        char *s = trim(at);
        if (*s && *s != '#' && assign(keys, count, conf, s, others, e))
            rc = lt_fail_in(e, e->code, "%s line %d", file, line);
    }
    return rc;
}

int lt_conf_load(const struct lt_conf_key *keys, size_t count, void *conf, const char *file,
                 const char *const *overrides, struct lt_err *e)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < count; i++)
        if (keys[i].fallback)
            rc = set(&keys[i], conf, keys[i].fallback, e);
    if (!rc && file)
        rc = load_file(keys, count, conf, file, false, e);
    for (; !rc && overrides && *overrides; overrides++) {
        LT_AUTOFREE char *copy = lt_alloc_text(*overrides);
        rc = assign(keys, count, conf, copy, false, e);
        if (rc)
            rc = lt_fail_in(e, rc, "-o %s", *overrides);
    }
    for (size_t i = 0; !rc && i < count; i++) {
        const char *text = keys[i].type == LT_CONF_TEXT ? *(char **)((char *)conf + keys[i].offset) : NULL;
        if (!keys[i].fallback && (!text || !*text))
            rc = lt_fail(e, LT_E_CONFIG, "%s: \"%s\" must be set (%s)", file ? file : "configuration",
                         keys[i].key, keys[i].help);
    }
    return rc;
}

int lt_conf_peek(const char *file, const char *key, char **out, struct lt_err *e)
{
    const struct lt_conf_key one = {key, LT_CONF_TEXT, 0, "", 0, 0, ""};

    *out = NULL;
    LT_TRY(set(&one, out, "", e));
    return load_file(&one, 1, out, file, true, e);
}

void lt_conf_free(const struct lt_conf_key *keys, size_t count, void *conf)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].type == LT_CONF_TEXT) {
            char **field = (char **)((char *)conf + keys[i].offset);
            free(*field);
            *field = NULL;
        }
}

void lt_conf_help(const struct lt_conf_key *keys, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "  %s", keys[i].key);
        if (keys[i].fallback && *keys[i].fallback)
            fprintf(out, " = %s", keys[i].fallback);
        else if (!keys[i].fallback)
            fprintf(out, " (must be set)");
        fprintf(out, "\n      %s\n", keys[i].help);
    }
}
