/* What a verdict reads as now: deadlines, and whether it is about the policy and the EK the guest has now. */
#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tpm/public.h"
#include "verifier/store/impl.h"
#include "verifier/store/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what verdicts are about ---- */

void lt_store_basis_ek(struct lt_store_basis *b, const uint8_t *ek, size_t n)
{
    struct lt_public p;

    b->has_ek = true;
    if (!ek || lt_public_parse(ek, n, &p, LT_NO_ERR) || lt_public_ek_digest(&p, b->ek, LT_NO_ERR))
        memset(b->ek, 0, sizeof b->ek);
}

static bool digest_column(sqlite3_stmt *st, int col, uint8_t out[32])
{
    memset(out, 0, 32);
    if (sqlite3_column_type(st, col) == SQLITE_NULL)
        return false;
    (void)!lt_db_blob(st, col, out, 32, LT_NO_ERR); /* a bad one is zeros, which is nobody's */
    return true;
}

/* g.policy, g.ek and a.ek (TPM2B_PUBLIC), from column `policy` on. */
static void basis_columns(sqlite3_stmt *st, int policy, struct lt_store_basis *out)
{
    int ek = policy + 2;

    *out = (struct lt_store_basis){0};
    out->has_policy = digest_column(st, policy, out->policy);
    out->has_pin = digest_column(st, policy + 1, out->pin);
    if (sqlite3_column_type(st, ek) != SQLITE_NULL)
        lt_store_basis_ek(out, sqlite3_column_blob(st, ek), (size_t)sqlite3_column_bytes(st, ek));
}

int lt_store_basis_now(sqlite3 *sql, const uint8_t uuid[LT_UUID], bool *exists, struct lt_store_basis *out,
                       struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    *out = (struct lt_store_basis){0};
    LT_TRY(lt_db_prepare(
        sql,
        "SELECT g.policy, g.ek, a.ek FROM guests g LEFT JOIN agents a ON a.id = g.agent WHERE g.uuid = ?",
        &st, e, "b", uuid, (size_t)LT_UUID));
    int rc = lt_db_step(st, e);
    *exists = rc == 1;
    if (*exists)
        basis_columns(st, 0, out);
    return rc < 0 ? rc : 0;
}

const char *lt_store_basis_other(const struct lt_store_basis *was, const struct lt_store_basis *now)
{
    if (was->has_policy != now->has_policy ||
        (was->has_policy && memcmp(was->policy, now->policy, sizeof was->policy)))
        return "policy-changed";
    if (was->has_ek && (!now->has_ek || memcmp(was->ek, now->ek, sizeof was->ek)))
        return "registration-changed";
    if (was->has_pin != now->has_pin || (was->has_pin && memcmp(was->pin, now->pin, sizeof was->pin)))
        return "registration-changed";
    return NULL;
}

/* ---- the row ---- */

/* Time `at` of boot `boot`, if that is this one. */
static bool this_boot(const struct lt_store *s, sqlite3_stmt *st, int boot, int at, int64_t *out)
{
    const char *b = (const char *)sqlite3_column_text(st, boot);

    *out = sqlite3_column_int64(st, at);
    return b && !strcmp(b, s->boot);
}

static void read_row(const struct lt_store *s, sqlite3_stmt *st, struct lt_store_row *row)
{
    int64_t result = sqlite3_column_int64(st, 0);
    const char *doc = (const char *)sqlite3_column_text(st, 1);

    row->known = true;
    row->bad = sqlite3_column_type(st, 0) != SQLITE_INTEGER || result < LT_VERDICT_TRUSTED ||
               result > LT_VERDICT_UNREACHABLE;
    row->result = row->bad ? LT_VERDICT_UNCHECKED : (enum lt_verdict_result)result;
    row->doc = doc ? strdup(doc) : NULL;
    row->at_ours = this_boot(s, st, 2, 3, &row->at);
    row->received = sqlite3_column_int64(st, 4);
    row->was_trusted = sqlite3_column_type(st, 6) != SQLITE_NULL;
    row->trusted_ours = row->was_trusted && this_boot(s, st, 5, 6, &row->trusted_at);
    row->basis.has_policy = digest_column(st, 7, row->basis.policy);
    row->basis.has_ek = digest_column(st, 8, row->basis.ek);
    row->basis.has_pin = digest_column(st, 9, row->basis.pin);
}

/* The guest's row and what it must be about, in one snapshot. */
static int get_row(sqlite3 *sql, const struct lt_store *s, const uint8_t *uuid, struct lt_store_row *row,
                   bool *exists, struct lt_store_basis *now, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql,
                         "SELECT v.result, v.doc, v.boot, v.at, v.received, v.trusted_boot, v.trusted_at,"
                         " v.policy, v.ek, v.pin, g.policy, g.ek, a.ek FROM guests g LEFT JOIN verdicts v"
                         " USING(uuid) LEFT JOIN agents a ON a.id = g.agent WHERE g.uuid = ?",
                         &st, e, "b", uuid, (size_t)LT_UUID));
    int rc = lt_db_step(st, e);
    if (rc == 1) {
        if (sqlite3_column_type(st, 0) != SQLITE_NULL)
            read_row(s, st, row);
        basis_columns(st, 10, now);
    }
    *exists = rc == 1;
    return rc < 0 ? rc : 0;
}

/* What memory holds is newer, but a failed verdict that is written stands. Takes h's document. */
static void overlay(struct lt_store_row *row, struct lt_store_held *h, const struct lt_store_basis *now)
{
    struct lt_store_row was = *row;

    if (was.known && was.result == LT_VERDICT_FAILED && h->row.result != LT_VERDICT_FAILED) {
        free(lt_take(&h->row.doc));
        return;
    }
    *row = h->row;
    if (!row->was_trusted) {
        row->was_trusted = was.was_trusted;
        row->trusted_ours = was.trusted_ours;
        row->trusted_at = was.trusted_at;
    }
    if (!h->has_basis) {
        row->basis = *now;
        row->basis.has_ek = false;
    }
    free(was.doc);
}

/* ---- the status ---- */

struct status_job {
    struct lt_store *s;
    const uint8_t *uuid;
    const struct lt_store_deadlines *d;
    uint64_t now_ms;
    struct lt_store_status *out;
    json_t **json;
};

/* Age of a time of this boot or another. One of another boot, or of the future, is past every deadline. */
static uint64_t age(bool ours, int64_t at, uint64_t now_ms)
{
    return !ours || at < 0 || (uint64_t)at > now_ms ? UINT64_MAX : now_ms - (uint64_t)at;
}

/* A verdict that says only why none of its checks counts. */
static json_t *nothing_made(enum lt_verdict_result result, const char *reason, const char *message,
                            int64_t received)
{
    struct lt_verdict v;

    lt_verdict_init(&v);
    v.result = result;
    snprintf(v.reason, sizeof v.reason, "%s", reason);
    for (int c = 0; c < LT_CHECKS; c++)
        lt_check_skip(&v, c, "%s", message);
    return lt_verdict_to_json(
        &v, json_pack("{s:I, s:I}", "started", (json_int_t)received, "received", (json_int_t)received));
}

static json_t *digest_or_null(bool has, const uint8_t digest[32])
{
    return has ? lt_json_new_hex(digest, 32) : json_null();
}

static const char *what_changed(const char *slug)
{
    return !strcmp(slug, "policy-changed")
               ? "its policy was changed, and no round under the new one has ended yet"
               : "the agent's registration or the pinned EK was changed or removed, and no round of the new "
                 "one"
                 " has ended yet";
}

static json_t *document(const struct lt_store_row *row, const char *other)
{
    json_t *doc = NULL;

    if (!row->bad && other)
        return nothing_made(LT_VERDICT_UNCHECKED, other, what_changed(other), row->received);
    if (!row->bad && row->doc)
        doc = lt_json_parse(row->doc, strlen(row->doc), LT_MAX_BODY_PROOFS, LT_NO_ERR);
    return doc ? doc
               : nothing_made(row->result, "store", "what the store holds of this verdict cannot be read",
                              row->received);
}

static int tell(const struct status_job *j, const struct lt_store_row *row, const char *other, uint64_t aged,
                struct lt_err *e)
{
    json_t *doc = document(row, other);

    if (!doc)
        return lt_fail(e, LT_E_NO_MEMORY, "verdict: no memory");
    if (aged == UINT64_MAX) {
        int64_t s = lt_clock_wall_s() - row->received;
        aged = s > 0 ? (uint64_t)s * 1000 : 0;
    }
    json_object_set_new(json_object_get(doc, "times"), "age_ms", json_integer((json_int_t)aged));
    json_object_set_new(doc, "result", json_string(lt_verdict_result_slug(j->out->result)));
    json_object_set_new(doc, "policy", digest_or_null(row->basis.has_policy, row->basis.policy));
    json_object_set_new(doc, "ek_digest", digest_or_null(row->basis.has_ek, row->basis.ek));
    if (j->out->unproven)
        json_object_set_new(doc, "reason", json_string("unproven"));
    *j->json = doc;
    return 0;
}

/* While the store takes nothing, rounds may not begin, either: then nothing is believed for longer than a
 * period. */
static uint64_t news_ms(const struct status_job *j)
{
    const struct lt_store_deadlines *d = j->d;
    return d->fault_ms && d->fault_ms < d->news_ms && lt_db_faulty(j->s->db) ? d->fault_ms : d->news_ms;
}

static int judge_row(const struct status_job *j, const struct lt_store_row *row,
                     const struct lt_store_basis *now, struct lt_err *e)
{
    uint64_t aged = age(row->at_ours, row->at, j->now_ms);
    uint64_t since = row->was_trusted ? age(row->trusted_ours, row->trusted_at, j->now_ms) : 0;
    bool failed = row->result == LT_VERDICT_FAILED;
    const char *other = failed ? NULL : lt_store_basis_other(&row->basis, now);
    struct lt_store_status *o = j->out;

    o->known = true;
    o->bad = row->bad;
    o->result = other ? LT_VERDICT_UNCHECKED : row->result;
    o->unproven = !failed && since > j->d->max_stale_ms;
    if (row->was_trusted && !failed && !o->unproven)
        o->proven_ms = j->d->max_stale_ms - since + 1;
    if (o->result == LT_VERDICT_TRUSTED && (o->unproven || aged > news_ms(j)))
        o->result = LT_VERDICT_STALE;
    return j->json ? tell(j, row, other, aged, e) : 0;
}

static int get_status(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct status_job *j = arg;
    struct lt_store_row row = {0};
    struct lt_store_held held;
    struct lt_store_basis now = {0};
    bool exists,
        has = lt_store_held_get(j->s, j->uuid, &held); /* before the row: it is gone once that is written */
    int rc = get_row(sql, j->s, j->uuid, &row, &exists, &now, e);

    if (has && !rc && exists)
        overlay(&row, &held, &now);
    else if (has)
        free(held.row.doc);
    if (!rc && row.known)
        rc = judge_row(j, &row, &now, e);
    free(row.doc);
    return rc;
}

int lt_store_status(struct lt_store *s, const uint8_t uuid[LT_UUID], const struct lt_store_deadlines *d,
                    uint64_t now_ms, struct lt_store_status *out, json_t **json, struct lt_err *e)
{
    struct status_job j = {s, uuid, d, now_ms, out, json};

    memset(out, 0, sizeof *out);
    if (json)
        *json = NULL;
    int rc = lt_db_read(s->db, get_status, &j, e);
    if (!rc && json && !*json)
        *json = json_null();
    return rc;
}

/* ---- unproven ---- */

struct unproven_job {
    struct lt_store *s;
    uint8_t uuid[LT_UUID];
    struct lt_store_deadlines d;
};

static int put_unproven(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct unproven_job *u = arg;
    struct lt_store_status st = {0};
    LT_JSON_AUTO json_t *doc = NULL;
    struct status_job j = {u->s, u->uuid, &u->d, lt_clock_ms(), &st, &doc};
    bool told;

    LT_TRY(get_status(sql, &j, e));
    LT_TRY(lt_outbox_unproven(sql, u->uuid, &told, e));
    if (!st.unproven || told)
        return 0;
    LT_AUTOFREE char *text = lt_json_dump(doc);
    return text ? lt_outbox_put(sql, u->uuid, LT_OUTBOX_UNPROVEN, lt_clock_wall_s(), text, e)
                : lt_fail(e, LT_E_NO_MEMORY, "verdict: no memory");
}

static void unproven_done(void *arg, int rc, const struct lt_err *e)
{
    struct unproven_job *u = arg;

    if (rc)
        lt_log(LT_LOG_ERROR, "store", "unproven: %s", e->msg);
    lt_store_revoked(u->s);
    free(u);
}

void lt_store_unproven(struct lt_store *s, const uint8_t uuid[LT_UUID], const struct lt_store_deadlines *d)
{
    struct unproven_job *u = lt_new(struct unproven_job);

    *u = (struct unproven_job){.s = s, .d = *d};
    memcpy(u->uuid, uuid, sizeof u->uuid);
    lt_db_post(s->db, put_unproven, u, unproven_done);
}
