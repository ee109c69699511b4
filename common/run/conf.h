/* Configuration: "key = value" lines and -o key=value, against one table that also prints the help and
 * the man page. An unknown key is an error. '#' starts a comment line. */
#ifndef LT_COMMON_RUN_CONF_H
#define LT_COMMON_RUN_CONF_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum lt_conf_type {
    LT_CONF_TEXT, /* char * */
    LT_CONF_INT,  /* int64_t, min to max */
    LT_CONF_BOOL, /* bool: yes, no */
};

struct lt_conf_key {
    const char *key;
    enum lt_conf_type type;
    size_t offset; /* of the field in the program's struct */
    const char
        *fallback; /* as it would stand in the file; NULL: a text that must be given. "" is an empty text */
    int64_t min, max; /* LT_CONF_INT */
    const char *help; /* one sentence, with the unit */
};

/* Fill *conf from the fallbacks, then file (NULL: none), then overrides (NULL-ended "key=value"), in that
 * order. lt_conf_free afterwards also on failure. */
int lt_conf_load(const struct lt_conf_key *keys, size_t count, void *conf, const char *file,
                 const char *const *overrides, struct lt_err *e) LT_MUST_CHECK;
/* One text of another program's file, "" where the file does not have it; *out: free, also on failure. */
int lt_conf_peek(const char *file, const char *key, char **out, struct lt_err *e) LT_MUST_CHECK;
void lt_conf_free(const struct lt_conf_key *keys, size_t count, void *conf);
void lt_conf_help(const struct lt_conf_key *keys, size_t count, FILE *out);

#endif
