/* What file this is, and whether it is ours to write. */
#include "common/run/db_impl.h"

#include <stdio.h>
#include <string.h>

#define BUSY_MS 5000

int lt_db_run(sqlite3 *sql, const char *text, struct lt_err *e)
{
    return sqlite3_exec(sql, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : lt_db_fail(sql, e, text);
}

/* Debian's library can load extensions and honours what a schema says: both off. Nothing is written yet. */
int lt_db_connect(const char *path, bool writer, sqlite3 **out, struct lt_err *e)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE |
                (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    int rc = sqlite3_open_v2(path, out, flags, NULL) != SQLITE_OK ? lt_db_fail(*out, e, path) : 0;

    if (!rc) {
        sqlite3_extended_result_codes(*out, 0);
        sqlite3_busy_timeout(*out, BUSY_MS);
        if (sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
            sqlite3_db_config(*out, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) != SQLITE_OK ||
            sqlite3_db_config(*out, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL) != SQLITE_OK)
            rc = lt_db_fail(*out, e, path);
    }
    if (!rc)
        rc = lt_db_run(*out,
                       writer ? "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY"
                              : "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA query_only=ON",
                       e);
    if (rc) {
        sqlite3_close(*out);
        *out = NULL;
    }
    return rc;
}

static int number(sqlite3 *sql, const char *text, int64_t *out, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, text, &st, e, "");
    if (!rc)
        rc = lt_db_step(st, e);
    *out = rc == 1 ? sqlite3_column_int64(st, 0) : 0;
    return rc < 0 ? rc : 0;
}

static int foreign(const char *path, const struct lt_db_kind *kind, uint32_t id, struct lt_err *e)
{
    const char *whose = id == LT_DB_TENANT     ? "is a store of limetree-tenant"
                        : id == LT_DB_PROVIDER ? "is a store of limetree-provider"
                        : id == LT_DB_CA       ? "is the record of a limetree ca"
                                               : "belongs to another program";
    return lt_fail(
        e, LT_E_CONFIG,
        "%s: %s (application id %08x), not of %s, and was left as it is: name another state_dir, or move "
        "it away",
        path, whose, id, kind->program);
}

/* What file this is, before anything is written into it. *version: of its schema. */
static int check_kind(sqlite3 *sql, const char *path, const struct lt_db_kind *kind, int *version,
                      struct lt_err *e)
{
    int64_t id, is, tables, marked = 0;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(number(sql, "PRAGMA application_id", &id, e));
    LT_TRY(number(sql, "PRAGMA user_version", &is, e));
    LT_TRY(number(sql, "SELECT count(*) FROM sqlite_schema", &tables, e));
    LT_TRY(lt_db_prepare(sql, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", &st, e, "t",
                         kind->mark));
    marked = lt_db_step(st, e);
    if (marked < 0)
        return (int)marked;
    if ((uint32_t)id != kind->application_id && (id || (tables && !marked)))
        return foreign(path, kind, (uint32_t)id, e);
    if (is < 0 || is > kind->count)
        return lt_fail(
            e, LT_E_CONFIG,
            "%s: schema version %lld, this program knows %d: made by a newer %s; run that one, or put a "
            "backup of before in its place",
            path, (long long)is, kind->count, kind->program);
    *version = (int)is;
    return 0;
}

/* All steps in one transaction: a program killed here leaves the old schema. */
static int migrate(sqlite3 *sql, const char *path, const struct lt_db_kind *kind, int version,
                   struct lt_err *e)
{
    char set[96];

    int rc = lt_db_run(sql, "BEGIN IMMEDIATE", e);
    for (; !rc && version < kind->count; version++)
        if ((rc = lt_db_run(sql, kind->migrations[version], e)))
            rc = lt_fail_in(e, rc, "%s: migration to version %d", path, version + 1);
    snprintf(set, sizeof set, "PRAGMA user_version=%d; PRAGMA application_id=%d", kind->count,
             (int)kind->application_id);
    if (!rc)
        rc = lt_db_run(sql, set, e);
    if (!rc)
        rc = lt_db_run(sql, "COMMIT", e);
    if (rc && !sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* FULL in WAL syncs the log at every commit, so what was answered survives the power. A store that is up to
 * date is not written to: it must open on a full disk. */
int lt_db_prepare_store(sqlite3 *sql, const char *path, const struct lt_db_kind *kind, struct lt_err *e)
{
    int64_t id;
    int version;

    LT_TRY(check_kind(sql, path, kind, &version, e));
    LT_TRY(lt_db_run(sql, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", e));
    LT_TRY(number(sql, "PRAGMA application_id", &id, e));
    if (version == kind->count && (uint32_t)id == kind->application_id)
        return 0;
    return migrate(sql, path, kind, version, e);
}
