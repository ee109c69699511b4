/* SQLite with one writer: one thread owns the connection that writes, takes jobs from a queue and commits
 * them in groups (BEGIN IMMEDIATE); readers have connections of their own, one a thread. */
#ifndef LT_COMMON_RUN_DB_H
#define LT_COMMON_RUN_DB_H

#include "common/err.h"
#include "common/json.h"
#include "common/run/space.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct lt_db;

/* Whose store it is, so that no program takes another's for its own. */
struct lt_db_kind {
    const char *program;           /* "limetree-tenant" */
    uint32_t application_id;       /* PRAGMA application_id */
    const char *mark;              /* a table of its own: tells stores from before there was an id */
    const char *const *migrations; /* [i] takes the schema from version i to i + 1 (PRAGMA user_version) */
    int count;
};
/* "LTca", "LTtn" and "LTpr" */
#define LT_DB_CA 0x4c546361u
#define LT_DB_TENANT 0x4c54746eu
#define LT_DB_PROVIDER 0x4c547072u

/* The file is made with mode 0600. Refused, with the file's name and a way out: one of a newer program, one
 * of another program, one that is damaged. space: of the directory it lies in (NULL: nobody watches it),
 * taken over also on failure. */
int lt_db_open(const char *path, const struct lt_db_kind *kind, struct lt_space *space, struct lt_db **out,
               struct lt_err *e) LT_MUST_CHECK;
void lt_db_close(struct lt_db *db); /* drains the queue */

/* Called on the writer's thread about once a second, busy or not. It may post. */
void lt_db_on_tick(struct lt_db *db, void (*fn)(void *arg), void *arg);

/* A store that does not take writes, or lies where nobody will look for it, until that has ended by itself.
 */
struct lt_db_health {
    bool fault;
    int64_t since; /* wall; of the fault */
    char why[320]; /* the file, and what to do */
    struct lt_space_state space;
};
void lt_db_health(struct lt_db *db, struct lt_db_health *out);
bool lt_db_faulty(struct lt_db *db); /* out->fault of that, alone */
/* Whether n bytes that can be done without may be written (common/run/space.h). */
bool lt_db_fits(struct lt_db *db, uint64_t n);

/* Runs in a transaction; a non-zero return undoes this job alone (a savepoint), never its neighbours. It may
 * run twice: again, when the first time found no room and the reserve gave some. */
typedef int (*lt_db_fn)(sqlite3 *sql, void *arg, struct lt_err *e);

/* Waits until fn's work is committed (or undone). Not from an HTTP handler that may not block: see post. */
int lt_db_write(struct lt_db *db, lt_db_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;
/* Queues; done (may be NULL) is called on the writer thread after commit. */
void lt_db_post(struct lt_db *db, lt_db_fn fn, void *arg,
                void (*done)(void *arg, int rc, const struct lt_err *e));
/* Runs fn on this thread's read-only connection. */
int lt_db_read(struct lt_db *db, lt_db_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;

/* Prepared statement helpers. fmt, one character an argument: i int64_t, t text (NULL binds null),
 * b blob (pointer, size_t). */
int lt_db_prepare(sqlite3 *sql, const char *text, sqlite3_stmt **out, struct lt_err *e, const char *fmt,
                  ...) LT_MUST_CHECK;
/* One statement without rows: prepared, bound, run, finalised. *changes may be NULL. */
int lt_db_exec(sqlite3 *sql, int *changes, struct lt_err *e, const char *text, const char *fmt,
               ...) LT_MUST_CHECK;
int lt_db_fail(sqlite3 *sql, struct lt_err *e, const char *what);
/* SQLITE_ROW -> 1, SQLITE_DONE -> 0, else a negative code. */
int lt_db_step(sqlite3_stmt *st, struct lt_err *e) LT_MUST_CHECK;
/* Copies column col, which must be a blob of exactly n bytes. */
int lt_db_blob(sqlite3_stmt *st, int col, void *out, size_t n, struct lt_err *e) LT_MUST_CHECK;
/* Rows that cannot be read: left out, told once in the log (event "store-row"), counted for the status; never
 * a reason not to start. */
struct lt_db_skipped {
    unsigned count;
    char first[320];
};
/* key: what the row is known by, as it stands in column col. why NULL: no message. */
void lt_db_skip(struct lt_db_skipped *s, const char *table, sqlite3_stmt *st, int col,
                const struct lt_err *why);
/* STORE of docs/api.md: "fault" is a store that keeps nothing, "low" one that keeps only what must not be
 * lost. */
json_t *lt_db_status_json(const struct lt_db_health *h, const struct lt_db_skipped *skipped);
void lt_db_cleanup_stmt(sqlite3_stmt **st);
#define LT_DB_AUTOSTMT __attribute__((cleanup(lt_db_cleanup_stmt)))

#endif
