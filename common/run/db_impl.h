/* Inside common/run/db*.c only. */
#ifndef LT_COMMON_RUN_DB_IMPL_H
#define LT_COMMON_RUN_DB_IMPL_H

#include "common/run/db.h"

/* db_sql.c: SQLite's code of the last trouble on this thread that is the file's or the disk's, not the
 * statement's; set by lt_db_fail, cleared by whoever wants to know. */
extern _Thread_local int lt_db_trouble;

/* db_open.c. Statements without parameters and rows. */
int lt_db_run(sqlite3 *sql, const char *text, struct lt_err *e) LT_MUST_CHECK;
/* Writes nothing yet. */
int lt_db_connect(const char *path, bool writer, sqlite3 **out, struct lt_err *e) LT_MUST_CHECK;
/* Refuses what is not of this kind, as it is; then brings its schema up to date. */
int lt_db_prepare_store(sqlite3 *sql, const char *path, const struct lt_db_kind *kind,
                        struct lt_err *e) LT_MUST_CHECK;

#endif
