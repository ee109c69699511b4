/* The log: one JSON object a line. Text from outside is escaped by construction. Secrets never. */
#ifndef LT_COMMON_RUN_LOG_H
#define LT_COMMON_RUN_LOG_H

#include "common/json.h"

enum lt_log_level { LT_LOG_ERROR, LT_LOG_WARNING, LT_LOG_INFO, LT_LOG_DEBUG };

/* path NULL or "-": standard error. Messages above level are dropped. */
int lt_log_open(const char *program, const char *path, enum lt_log_level level,
                struct lt_err *e) LT_MUST_CHECK;
int lt_log_reopen(struct lt_err *e) LT_MUST_CHECK; /* SIGHUP */
/* {"time":…,"level":…,"program":…,"event":event,"message":…}; event is a fixed slug. Thread safe. */
void lt_log(enum lt_log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with fields in place of prose; takes the reference. What outsiders say stands in a value. */
void lt_log_fields(enum lt_log_level level, const char *event, json_t *fields);
/* "error", "warning", "info", "debug"; -1: none of them. */
int lt_log_level_parse(const char *s);

#endif
