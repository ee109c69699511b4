#include "common/run/log.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/run/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *log_path;
static _Atomic(const char *) log_program = "limetree"; /* these two are read without the lock */
static int log_fd = 2;
static _Atomic enum lt_log_level log_level = LT_LOG_INFO;
static const char *const names[] = {"error", "warning", "info", "debug"};

int lt_log_level_parse(const char *s)
{
    for (int i = 0; i < 4; i++)
        if (!strcmp(s, names[i]))
            return i;
    return -1;
}

int lt_log_reopen(struct lt_err *e)
{
    if (!log_path)
        return 0;
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return lt_fail(e, LT_E_IO, "log %s: %s", log_path, strerror(errno));
    pthread_mutex_lock(&lock);
    int old = log_fd;
    log_fd = fd;
    pthread_mutex_unlock(&lock);
    if (old > 2)
        close(old);
    return 0;
}

static void write_line(char *s)
{
    size_t n = strlen(s);

    s[n] = '\n'; /* the NUL is not written */
    pthread_mutex_lock(&lock);
    if (write(log_fd, s, n + 1) < 0) {
        /* Nowhere left to say so. */
    }
    pthread_mutex_unlock(&lock);
}

/* When there is no memory left to say so with: from fixed words alone, which need no escaping. */
static void last_words(const char *words)
{
    char when[32], line[320];

    lt_clock_wall_text(lt_clock_wall_s(), when);
    snprintf(line, sizeof line,
             "{\"time\":\"%s\",\"level\":\"error\",\"program\":\"%.64s\",\"event\":\"no-memory\","
             "\"message\":\"%.128s\"}",
             when, log_program, words);
    write_line(line);
}

int lt_log_open(const char *program, const char *path, enum lt_log_level level, struct lt_err *e)
{
    log_program = program;
    log_level = level;
    free(log_path);
    log_path = path && *path && strcmp(path, "-") ? lt_alloc_text(path) : NULL;
    lt_alloc_on_failure(last_words);
    return lt_log_reopen(e);
}

void lt_log_fields(enum lt_log_level level, const char *event, json_t *fields)
{
    char when[32];
    json_t *j = NULL;

    if (level <= log_level && fields) {
        lt_clock_wall_text(lt_clock_wall_s(), when);
        j = json_pack("{ss ss ss ss}", "time", when, "level", names[level], "program", log_program, "event",
                      event);
        if (j)
            json_object_update_missing(j, fields);
    }
    LT_AUTOFREE char *s = j ? lt_json_dump_plain(j) : NULL;
    if (s)
        write_line(s);
    json_decref(j);
    json_decref(fields);
}

void lt_log(enum lt_log_level level, const char *event, const char *fmt, ...)
{
    char msg[1024];
    va_list ap;

    if (level > log_level)
        return;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    lt_log_fields(level, event, json_pack("{so}", "message", lt_json_new_text(msg)));
}
