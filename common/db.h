/* SQLite with one writer: one thread owns the connection that writes, takes jobs from a queue and commits
 * them in groups (BEGIN IMMEDIATE); readers have connections of their own, one a thread. */
#ifndef LT_COMMON_DB_H
#define LT_COMMON_DB_H

#include "common/err.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct lt_db;

/* migrations[i] takes the schema from version i to i + 1; PRAGMA user_version holds the version. The file is
 * made with mode 0600. A file newer than the program is refused. */
int lt_db_open(const char *path, const char *const *migrations, int count, struct lt_db **out,
               struct lt_err *e) LT_MUST_CHECK;
void lt_db_close(struct lt_db *db); /* drains the queue */

/* Runs in a transaction; a non-zero return undoes this job alone (a savepoint), never its neighbours. */
typedef int (*lt_db_fn)(sqlite3 *sql, void *arg, struct lt_err *e);

/* Waits until fn's work is committed (or undone). Not from an HTTP handler that may not block: see post. */
int lt_db_write(struct lt_db *db, lt_db_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;
/* Queues; done (may be NULL) is called on the writer thread after commit. */
void lt_db_post(struct lt_db *db, lt_db_fn fn, void *arg, void (*done)(void *arg, int rc, const struct lt_err *e));
/* Runs fn on this thread's read-only connection. */
int lt_db_read(struct lt_db *db, lt_db_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;

/* Prepared statement helpers. fmt, one character an argument: i int64_t, t text (NULL binds null),
 * b blob (pointer, size_t). */
int lt_db_prepare(sqlite3 *sql, const char *text, sqlite3_stmt **out, struct lt_err *e, const char *fmt, ...) LT_MUST_CHECK;
/* One statement without rows: prepared, bound, run, finalised. *changes may be NULL. */
int lt_db_exec(sqlite3 *sql, int *changes, struct lt_err *e, const char *text, const char *fmt, ...) LT_MUST_CHECK;
int lt_db_fail(sqlite3 *sql, struct lt_err *e, const char *what);
/* SQLITE_ROW -> 1, SQLITE_DONE -> 0, else a negative code. */
int lt_db_step(sqlite3_stmt *st, struct lt_err *e) LT_MUST_CHECK;
/* Copies column col, which must be a blob of exactly n bytes. */
int lt_db_blob(sqlite3_stmt *st, int col, void *out, size_t n, struct lt_err *e) LT_MUST_CHECK;
void lt_cleanup_stmt(sqlite3_stmt **st);
#define LT_AUTOSTMT __attribute__((cleanup(lt_cleanup_stmt)))

#endif
