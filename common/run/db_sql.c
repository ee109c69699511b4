/* Statements, and what is said when one fails. */
#include "common/bytes.h"
#include "common/run/db_impl.h"
#include "common/run/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The last trouble of this thread's connections that is the file's or the disk's, not the statement's. */
_Thread_local int lt_db_trouble;

static const struct {
    int code;
    const char *remedy;
} remedies[] = {
    {SQLITE_BUSY, "another program writes it: end that"},
    {SQLITE_FULL, "free space on its file system"},
    {SQLITE_CORRUPT,
     "it is damaged: put a backup in its place, or move it away with its -wal and -shm (sqlite3's "
     ".recover reads what is left), and start anew"},
    {SQLITE_NOTADB,
     "it is damaged, or no database of ours: put a backup in its place, or move it away with its -wal "
     "and -shm, and start anew"},
    {SQLITE_IOERR, "its disk gives errors, or has no room: see the kernel's log"},
    {SQLITE_READONLY, "see its owner, its mode, and how its file system is mounted"},
    {SQLITE_CANTOPEN, "see whether it and its directory are there, and their owner and mode"},
};

static const char *remedy(int code)
{
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++)
        if (remedies[i].code == code)
            return remedies[i].remedy;
    return NULL;
}

int lt_db_fail(sqlite3 *sql, struct lt_err *e, const char *what)
{
    int rc = sql ? sqlite3_errcode(sql) & 0xff : SQLITE_NOMEM;
    const char *file = sql ? sqlite3_db_filename(sql, "main") : NULL;
    int code = rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? LT_E_BUSY
               : rc == SQLITE_CONSTRAINT                ? LT_E_CONFLICT
               : rc == SQLITE_NOMEM                     ? LT_E_NO_MEMORY
                                                        : LT_E_IO;
    if (!remedy(rc))
        return lt_fail(e, code, "%s: %s", what, sql ? sqlite3_errmsg(sql) : "no memory");
    lt_db_trouble = rc;
    return lt_fail(e, code, "%s: %s; %s", file && *file ? file : what, sqlite3_errmsg(sql), remedy(rc));
}

static int bind(sqlite3 *sql, sqlite3_stmt *st, struct lt_err *e, const char *text, const char *fmt,
                va_list ap)
{
    if (sqlite3_bind_parameter_count(st) != (int)strlen(fmt))
        return lt_fail(e, LT_E_INTERNAL, "%s: %d parameters, %zu given", text,
                       sqlite3_bind_parameter_count(st), strlen(fmt));
    for (int i = 1; fmt[i - 1]; i++) {
        int rc = SQLITE_MISUSE;
        if (fmt[i - 1] == 'i') {
            rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
        } else if (fmt[i - 1] == 't') {
            rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        } else if (fmt[i - 1] == 'b') {
            const void *p = va_arg(ap, const void *);
            size_t n = va_arg(ap, size_t);
            rc = p ? sqlite3_bind_blob64(st, i, p, n, SQLITE_TRANSIENT) : sqlite3_bind_null(st, i);
        }
        if (rc != SQLITE_OK)
            return lt_db_fail(sql, e, text);
    }
    return 0;
}

static int prepare(sqlite3 *sql, const char *text, sqlite3_stmt **out, struct lt_err *e, const char *fmt,
                   va_list ap)
{
    *out = NULL;
    if (sqlite3_prepare_v2(sql, text, -1, out, NULL) != SQLITE_OK)
        return lt_db_fail(sql, e, text);
    int rc = bind(sql, *out, e, text, fmt ? fmt : "", ap);
    if (rc)
        lt_db_cleanup_stmt(out);
    return rc;
}

int lt_db_prepare(sqlite3 *sql, const char *text, sqlite3_stmt **out, struct lt_err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = prepare(sql, text, out, e, fmt, ap);
    va_end(ap);
    return rc;
}

int lt_db_exec(sqlite3 *sql, int *changes, struct lt_err *e, const char *text, const char *fmt, ...)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    va_list ap;

    if (changes)
        *changes = 0;
    va_start(ap, fmt);
    int rc = prepare(sql, text, &st, e, fmt, ap);
    va_end(ap);
    if (rc)
        return rc;
    while ((rc = lt_db_step(st, e)) > 0)
        ;
    if (!rc && changes)
        *changes = sqlite3_changes(sql);
    return rc;
}

int lt_db_step(sqlite3_stmt *st, struct lt_err *e)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : lt_db_fail(sqlite3_db_handle(st), e, sqlite3_sql(st));
}

int lt_db_blob(sqlite3_stmt *st, int col, void *out, size_t n, struct lt_err *e)
{
    bool blob = sqlite3_column_type(st, col) == SQLITE_BLOB;
    const void *p = blob ? sqlite3_column_blob(st, col) : NULL;
    size_t have = blob ? (size_t)sqlite3_column_bytes(st, col) : 0;

    memset(out, 0, n);
    if (!blob || have != n)
        return lt_fail(e, LT_E_INTERNAL, "database: column %s: %zu bytes of blob, %zu expected",
                       sqlite3_column_name(st, col), have, n);
    if (n)
        memcpy(out, p, n);
    return 0;
}

void lt_db_skip(struct lt_db_skipped *s, const char *table, sqlite3_stmt *st, int col,
                const struct lt_err *why)
{
    uint8_t key[20];
    char hex[2 * sizeof key + 1], text[320];
    int n = sqlite3_column_bytes(st, col);
    const void *p = sqlite3_column_blob(st, col);

    n = p && n > 0 ? (n > (int)sizeof key ? (int)sizeof key : n) : 0;
    if (n)
        memcpy(key, p, (size_t)n);
    lt_hex(key, (size_t)n, hex);
    snprintf(text, sizeof text, "%.60s: row x'%s' of %.20s left out: %.160s",
             sqlite3_db_filename(sqlite3_db_handle(st), "main"), hex, table, why ? why->msg : "unreadable");
    if (!s->count++)
        memcpy(s->first, text, sizeof text);
    lt_log(LT_LOG_ERROR, "store-row", "%s", text);
}

void lt_db_cleanup_stmt(sqlite3_stmt **st)
{
    sqlite3_finalize(*st);
    *st = NULL;
}
