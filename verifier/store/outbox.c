#include "verifier/store/outbox.h"

#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char lt_outbox_schema[] =
    "CREATE TABLE revocations(number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, kind INTEGER NOT "
    "NULL,"
    " decided INTEGER NOT NULL, doc TEXT NOT NULL, message TEXT);"
    "CREATE INDEX revocations_id ON revocations(id, number);"
    "CREATE TABLE receivers(name TEXT PRIMARY KEY, passed INTEGER NOT NULL, since INTEGER,"
    " tries INTEGER NOT NULL DEFAULT 0, error TEXT);"
    "CREATE INDEX receivers_passed ON receivers(passed);";

/* Of whom UNPROVEN was decided last: what is yet to be lifted stays when its decision goes. */
const char lt_outbox_unproven_schema[] =
    "CREATE TABLE unproven(id BLOB PRIMARY KEY);"
    "INSERT INTO unproven SELECT id FROM revocations r WHERE kind = 2 AND number ="
    " (SELECT max(number) FROM revocations WHERE id = r.id);"
    "DROP INDEX revocations_id;";

/* The last number that was given, whether its row is still there or not. */
#define HEAD "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0)"

/* A row that nobody can read is passed over: it must not hold up those behind it. */
#define READABLE                                                                                             \
    "typeof(id) = 'blob' AND length(id) = 16 AND typeof(doc) = 'text' AND kind IN (1, 2, 3) AND"             \
    " typeof(kind) = 'integer'"

const char *lt_outbox_kind_slug(enum lt_outbox_kind k)
{
    return k == LT_OUTBOX_FAILED ? "failed" : k == LT_OUTBOX_UNPROVEN ? "unproven" : "lifted";
}

void lt_outbox_item_free(struct lt_outbox_item *item)
{
    free(lt_take(&item->doc));
    free(lt_take(&item->message));
}

/* ---- decisions ---- */

/* What everybody has passed goes, but for the last ones; what there is no room for goes all the same. */
static int prune(sqlite3 *sql, int64_t head, struct lt_err *e)
{
    int changes;

    LT_TRY(lt_db_exec(sql, NULL, e,
                      "DELETE FROM revocations WHERE number <=" /* one bound, so that nothing is scanned */
                      " min(?, coalesce((SELECT min(passed) FROM receivers), ?))",
                      "ii", head - LT_OUTBOX_KEPT, head));
    LT_TRY(
        lt_db_exec(sql, &changes, e, "DELETE FROM revocations WHERE number <= ?", "i", head - LT_OUTBOX_MAX));
    if (changes)
        lt_log(LT_LOG_ERROR, "revocation", "more than %d wait for a receiver: the oldest was dropped",
               LT_OUTBOX_MAX);
    return 0;
}

static int note_standing(sqlite3 *sql, const uint8_t *id, enum lt_outbox_kind kind, struct lt_err *e)
{
    return lt_db_exec(sql, NULL, e,
                      kind == LT_OUTBOX_UNPROVEN ? "INSERT OR IGNORE INTO unproven VALUES(?)"
                                                 : "DELETE FROM unproven WHERE id = ?",
                      "b", id, (size_t)LT_UUID);
}

int lt_outbox_put(sqlite3 *sql, const uint8_t id[LT_UUID], enum lt_outbox_kind kind, int64_t decided,
                  const char *doc, struct lt_err *e)
{
    LT_TRY(lt_db_exec(sql, NULL, e, "INSERT INTO revocations(id, kind, decided, doc) VALUES(?,?,?,?)", "biit",
                      id, (size_t)LT_UUID, (int64_t)kind, decided, doc));
    int64_t number = sqlite3_last_insert_rowid(sql);
    LT_TRY(note_standing(sql, id, kind, e));
    return prune(sql, number, e);
}

int lt_outbox_unproven(sqlite3 *sql, const uint8_t id[LT_UUID], bool *is, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    *is = false;
    LT_TRY(lt_db_prepare(sql, "SELECT 1 FROM unproven WHERE id = ?", &st, e, "b", id, (size_t)LT_UUID));
    int rc = lt_db_step(st, e);
    *is = rc == 1;
    return rc < 0 ? rc : 0;
}

static int read_head(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT " HEAD, &st, e, ""));
    int rc = lt_db_step(st, e);
    if (rc == 1)
        *(int64_t *)arg = sqlite3_column_int64(st, 0);
    return rc < 0 ? rc : 0;
}

int lt_outbox_head(struct lt_db *db, int64_t *number, struct lt_err *e)
{
    *number = 0;
    return lt_db_read(db, read_head, number, e);
}

struct next_job {
    int64_t after;
    struct lt_outbox_item *out;
};

static char *column_text(sqlite3_stmt *st, int col)
{
    const char *t = (const char *)sqlite3_column_text(st, col);
    return t ? strdup(t) : NULL;
}

static int read_next(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct next_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    struct lt_outbox_item *out = j->out;

    LT_TRY(lt_db_prepare(sql,
                         "SELECT number, id, kind, decided, doc, message FROM revocations WHERE number > ?"
                         " AND " READABLE " ORDER BY number LIMIT 1",
                         &st, e, "i", j->after));
    int rc = lt_db_step(st, e);
    if (rc <= 0)
        return rc ? rc
                  : lt_fail(e, LT_E_NOT_FOUND, "revocation: none behind number %lld", (long long)j->after);
    out->number = sqlite3_column_int64(st, 0);
    out->kind = (enum lt_outbox_kind)sqlite3_column_int(st, 2);
    out->decided = sqlite3_column_int64(st, 3);
    LT_TRY(lt_db_blob(st, 1, out->id, sizeof out->id, e));
    out->message = column_text(st, 5);
    out->doc = column_text(st, 4);
    return out->doc ? 0 : lt_fail(e, LT_E_NO_MEMORY, "revocation: no memory");
}

int lt_outbox_next(struct lt_db *db, int64_t after, struct lt_outbox_item *out, struct lt_err *e)
{
    *out = (struct lt_outbox_item){0};
    int rc = lt_db_read(db, read_next, &(struct next_job){after, out}, e);
    if (rc)
        lt_outbox_item_free(out);
    return rc;
}

struct keep_job {
    int64_t number;
    const char *message;
};

static int keep(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct keep_job *j = arg;
    return lt_db_exec(sql, NULL, e, "UPDATE revocations SET message = ? WHERE number = ? AND message IS NULL",
                      "ti", j->message, j->number);
}

int lt_outbox_keep(struct lt_db *db, int64_t number, const char *message, struct lt_err *e)
{
    return lt_db_write(db, keep, &(struct keep_job){number, message}, e);
}

/* ---- receivers ---- */

static int join(sqlite3 *sql, void *arg, struct lt_err *e)
{
    return lt_db_exec(sql, NULL, e,
                      "INSERT INTO receivers(name, passed) VALUES(?, " HEAD ") ON CONFLICT DO NOTHING", "t",
                      (const char *)arg);
}

int lt_outbox_join(struct lt_db *db, const char *name, struct lt_err *e)
{
    return lt_db_write(db, join, (void *)name, e);
}

struct only_job {
    const char *prefix;
    const char *const *names;
};

static int only(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct only_job *j = arg;
    LT_JSON_AUTO json_t *list = json_array();

    for (const char *const *n = j->names; *n; n++)
        json_array_append_new(list, json_string(*n));
    LT_AUTOFREE char *text = lt_json_dump(list);
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "receivers: no memory");
    return lt_db_exec(sql, NULL, e,
                      "DELETE FROM receivers WHERE substr(name, 1, length(?1)) = ?1 AND name NOT IN"
                      " (SELECT value FROM json_each(?2))",
                      "tt", j->prefix, text);
}

int lt_outbox_only(struct lt_db *db, const char *prefix, const char *const *names, struct lt_err *e)
{
    LT_TRY(lt_db_write(db, only, &(struct only_job){prefix, names}, e));
    for (const char *const *n = names; *n; n++)
        LT_TRY(lt_outbox_join(db, *n, e));
    return 0;
}

struct behind_job {
    int (*each)(void *arg, const struct lt_outbox_receiver *r);
    void *arg;
};

static void read_receiver(sqlite3_stmt *st, struct lt_outbox_receiver *r)
{
    const char *name = (const char *)sqlite3_column_text(st, 0);

    snprintf(r->name, sizeof r->name, "%s", name ? name : "");
    r->passed = sqlite3_column_int64(st, 1);
    r->since = sqlite3_column_int64(st, 2);
    r->tries = (unsigned)sqlite3_column_int64(st, 3);
}

static int read_behind(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct behind_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    struct lt_outbox_receiver r;
    int rc = lt_db_prepare(sql, "SELECT name, passed, since, tries FROM receivers WHERE passed < " HEAD, &st,
                           e, "");

    while (!rc && (rc = lt_db_step(st, e)) == 1) {
        read_receiver(st, &r);
        rc = j->each(j->arg, &r);
    }
    return rc;
}

int lt_outbox_behind(struct lt_db *db, int (*each)(void *arg, const struct lt_outbox_receiver *r), void *arg,
                     struct lt_err *e)
{
    return lt_db_read(db, read_behind, &(struct behind_job){each, arg}, e);
}

/* What a receiver did, on its way to the writer. */
struct outcome {
    char name[LT_OUTBOX_RECEIVER];
    int64_t number;
    char why[320];
};

static int put_passed(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct outcome *o = arg;
    return lt_db_exec(
        sql, NULL, e,
        "UPDATE receivers SET passed = max(passed, ?), since = NULL, tries = 0, error = NULL WHERE"
        " name = ?",
        "it", o->number, o->name);
}

static int put_missed(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct outcome *o = arg;
    return lt_db_exec(
        sql, NULL, e,
        "UPDATE receivers SET since = coalesce(since, ?), tries = tries + 1, error = ? WHERE name = ?", "itt",
        lt_clock_wall_s(), o->why, o->name);
}

static void outcome_done(void *arg, int rc, const struct lt_err *e)
{
    (void)rc; /* a store that takes nothing is told by common/run/db.c; what is not written is sent again */
    (void)e;
    free(arg);
}

static void post(struct lt_db *db, lt_db_fn fn, const char *name, int64_t number, const char *why)
{
    struct outcome *o = lt_new(struct outcome);

    snprintf(o->name, sizeof o->name, "%s", name);
    snprintf(o->why, sizeof o->why, "%s", why);
    o->number = number;
    lt_db_post(db, fn, o, outcome_done);
}

void lt_outbox_passed(struct lt_db *db, const char *name, int64_t number)
{
    post(db, put_passed, name, number, "");
}

void lt_outbox_missed(struct lt_db *db, const char *name, const char *why)
{
    post(db, put_missed, name, 0, why);
}

/* ---- for people ---- */

static json_t *text_or_null(sqlite3_stmt *st, int col)
{
    const char *t = (const char *)sqlite3_column_text(st, col);
    return t ? lt_json_new_text(t) : json_null();
}

static json_t *guest_of(sqlite3_stmt *st, int col)
{
    uint8_t id[LT_UUID];
    return lt_db_blob(st, col, id, sizeof id, LT_NO_ERR) ? json_null() : lt_json_new_uuid(id);
}

static int list_decisions(sqlite3 *sql, json_t *out, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(
        sql,
        "SELECT number, id, kind, decided, CASE WHEN json_valid(doc) THEN json_extract(doc,"
        " '$.reason') END, (SELECT count(*) FROM receivers WHERE passed < number) FROM revocations"
        " ORDER BY number DESC LIMIT ?",
        &st, e, "i", (int64_t)LT_OUTBOX_LISTED);

    while (!rc && (rc = lt_db_step(st, e)) == 1) {
        rc = 0;
        json_array_append_new(
            out, json_pack("{s:I, s:o, s:s, s:I, s:o, s:I}", "number",
                           (json_int_t)sqlite3_column_int64(st, 0), "guest", guest_of(st, 1), "kind",
                           lt_outbox_kind_slug((enum lt_outbox_kind)sqlite3_column_int(st, 2)), "decided",
                           (json_int_t)sqlite3_column_int64(st, 3), "reason", text_or_null(st, 4), "waiting",
                           (json_int_t)sqlite3_column_int64(st, 5)));
    }
    return rc;
}

/* Those that lack something, the longest first. */
static int list_receivers(sqlite3 *sql, int64_t dead_before, json_t *out, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc =
        lt_db_prepare(sql,
                      "SELECT name, " HEAD " - passed, since, tries, error, since <= ? FROM receivers WHERE"
                      " passed < " HEAD " ORDER BY passed, name LIMIT ?",
                      &st, e, "ii", dead_before, (int64_t)LT_OUTBOX_LISTED);

    while (!rc && (rc = lt_db_step(st, e)) == 1) {
        rc = 0;
        bool failing = sqlite3_column_type(st, 2) != SQLITE_NULL;
        json_array_append_new(
            out, json_pack("{s:o, s:I, s:o, s:I, s:o, s:b}", "receiver", text_or_null(st, 0), "behind",
                           (json_int_t)sqlite3_column_int64(st, 1), "since",
                           failing ? json_integer((json_int_t)sqlite3_column_int64(st, 2)) : json_null(),
                           "tries", (json_int_t)sqlite3_column_int64(st, 3), "error", text_or_null(st, 4),
                           "dead", failing && sqlite3_column_int(st, 5)));
    }
    return rc;
}

struct list_job {
    int64_t dead_before;
    json_t *decisions, *receivers;
};

static int list(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct list_job *j = arg;
    LT_TRY(list_decisions(sql, j->decisions, e));
    return list_receivers(sql, j->dead_before, j->receivers, e);
}

int lt_outbox_list(struct lt_db *db, int64_t dead_s, json_t **out, struct lt_err *e)
{
    struct list_job j = {lt_clock_wall_s() - dead_s, json_array(), json_array()};
    int rc = lt_db_read(db, list, &j, e);

    *out = json_pack("{s:o, s:o}", "revocations", j.decisions, "receivers", j.receivers);
    if (rc)
        json_decref(lt_take(out));
    return rc || *out ? rc : lt_fail(e, LT_E_NO_MEMORY, "revocations: no memory");
}
