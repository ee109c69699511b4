#include "verifier/store/releases.h"

#include "verifier/store/impl.h"

#include <stdlib.h>
#include <string.h>

void lt_store_release_free(struct lt_store_release *r)
{
    lt_buf_free(&r->v);
    lt_buf_free(&r->revocation_key);
}

struct release_job {
    const uint8_t *uuid;
    struct lt_slice v, revocation_key;
    struct lt_store_release *out;
    const uint8_t *key;
    int64_t when;
    int changes;
};

/* ---- writing ---- */

static int set(sqlite3 *sql, const char *text, const uint8_t *uuid, struct lt_slice bytes, struct lt_err *e)
{
    return bytes.n ? lt_db_exec(sql, NULL, e, text, "bb", uuid, (size_t)LT_UUID, bytes.p, bytes.n) : 0;
}

int lt_store_release_write(sqlite3 *sql, const uint8_t uuid[LT_UUID], struct lt_slice v,
                           struct lt_slice revocation_key, struct lt_err *e)
{
    bool exists;
    struct lt_store_basis basis;

    LT_TRY(lt_store_basis_now(sql, uuid, &exists, &basis, e));
    if (!exists)
        return lt_fail(e, LT_E_NOT_FOUND, "guest: not added");
    LT_TRY(set(sql,
               "INSERT INTO releases(uuid, v) VALUES(?,?) ON CONFLICT DO UPDATE SET v = excluded.v,"
               " key = NULL, delivered = NULL",
               uuid, v, e));
    return set(sql,
               "INSERT INTO releases(uuid, revocation_key) VALUES(?,?) ON CONFLICT DO UPDATE SET"
               " revocation_key = excluded.revocation_key",
               uuid, revocation_key, e);
}

static int put_release(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct release_job *j = arg;
    return lt_store_release_write(sql, j->uuid, j->v, j->revocation_key, e);
}

int lt_store_release_put(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice v,
                         struct lt_slice revocation_key, struct lt_err *e)
{
    struct release_job j = {.uuid = uuid, .v = v, .revocation_key = revocation_key};
    return lt_db_write(s->db, put_release, &j, e);
}

/* No two seals are alike: the sealed bytes say which V it was. */
static int note_delivered(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct release_job *j = arg;
    return lt_db_exec(sql, &j->changes, e,
                      "UPDATE releases SET key = ?, delivered = ? WHERE uuid = ? AND v = ?", "bibb", j->key,
                      (size_t)32, j->when, j->uuid, (size_t)LT_UUID, j->v.p, j->v.n);
}

int lt_store_release_delivered(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice v,
                               const uint8_t key[32], int64_t when, bool *counts, struct lt_err *e)
{
    struct release_job j = {.uuid = uuid, .v = v, .key = key, .when = when};
    int rc = lt_db_write(s->db, note_delivered, &j, e);

    *counts = !rc && j.changes;
    return rc;
}

/* ---- reading ---- */

static int sealed_column(sqlite3_stmt *st, int col, struct lt_buf *out, struct lt_err *e)
{
    *out = LT_BUF(LT_MAX_SEALED);
    if (sqlite3_column_type(st, col) == SQLITE_NULL)
        return 0;
    lt_buf_put(out, sqlite3_column_blob(st, col), (size_t)sqlite3_column_bytes(st, col));
    return lt_buf_ok(out, e);
}

static int get_release(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct release_job *j = arg;
    struct lt_store_release *r = j->out;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT v, revocation_key, key, delivered FROM releases WHERE uuid = ?", &st, e,
                         "b", j->uuid, (size_t)LT_UUID));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    LT_TRY(sealed_column(st, 0, &r->v, e));
    LT_TRY(sealed_column(st, 1, &r->revocation_key, e));
    r->delivered = sqlite3_column_type(st, 3) != SQLITE_NULL;
    r->when = sqlite3_column_int64(st, 3);
    return r->delivered ? lt_db_blob(st, 2, r->key, sizeof r->key, e) : 0;
}

int lt_store_release_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_release *out,
                         struct lt_err *e)
{
    *out = (struct lt_store_release){0};
    int rc = lt_db_read(s->db, get_release, &(struct release_job){.uuid = uuid, .out = out}, e);
    if (rc)
        lt_store_release_free(out);
    return rc;
}
