#include "common/alloc.h"
#include "verifier/store/impl.h"
#include "verifier/store/outbox.h"

#include <stdlib.h>
#include <string.h>

/* ---- history ---- */

struct history_job {
    const uint8_t *key;
    struct lt_history_guest *guest;
    struct lt_attest_clock_info *clock;
    bool *has;
};

static struct lt_attest_clock_info column_clock(sqlite3_stmt *st, int col)
{
    return (struct lt_attest_clock_info){
        .reset_count = (uint32_t)sqlite3_column_int64(st, col),
        .restart_count = (uint32_t)sqlite3_column_int64(st, col + 1),
        .clock_ms = (uint64_t)sqlite3_column_int64(st, col + 2),
    };
}

static int get_guest_history(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct history_job *j = arg;
    struct lt_history_guest *h = j->guest;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(
        sql,
        "SELECT clock_reset, clock_restart, clock, accepted_reset, accepted_restart, accepted_clock,"
        " ak_name, incarnation, absent, host FROM guest_history WHERE ek_digest = ?",
        &st, e, "b", j->key, (size_t)32);

    if (!rc)
        rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    h->has_clock = sqlite3_column_type(st, 0) != SQLITE_NULL;
    if (h->has_clock)
        h->clock = column_clock(st, 0);
    h->absent_before = sqlite3_column_int(st, 8);
    h->has_accepted = sqlite3_column_type(st, 3) != SQLITE_NULL;
    if (!h->has_accepted)
        return 0;
    h->accepted_clock = column_clock(st, 3);
    LT_TRY(lt_db_blob(st, 6, h->accepted_ak_name, sizeof h->accepted_ak_name, e));
    LT_TRY(lt_db_blob(st, 7, h->accepted_incarnation, sizeof h->accepted_incarnation, e));
    h->has_accepted_host = sqlite3_column_type(st, 9) != SQLITE_NULL;
    return h->has_accepted_host ? lt_db_blob(st, 9, h->accepted_host, sizeof h->accepted_host, e) : 0;
}

int lt_store_guest_history(struct lt_store *s, const uint8_t ek_digest[32], struct lt_history_guest *out,
                           struct lt_err *e)
{
    memset(out, 0, sizeof *out);
    if (lt_store_held_history(s, ek_digest, out)) /* newer than what is written */
        return 0;
    return lt_db_read(s->db, get_guest_history, &(struct history_job){.key = ek_digest, .guest = out}, e);
}

static int get_host_clock(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct history_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, "SELECT reset, restart, clock FROM host_clocks WHERE ak_name = ?", &st, e,
                           "b", j->key, (size_t)LT_TPM_NAME);

    if (!rc)
        rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    *j->has = true;
    *j->clock = column_clock(st, 0);
    return 0;
}

int lt_store_host_clock(struct lt_store *s, const uint8_t ak_name[LT_TPM_NAME], bool *has,
                        struct lt_attest_clock_info *out, struct lt_err *e)
{
    memset(out, 0, sizeof *out);
    *has = false;
    return lt_db_read(s->db, get_host_clock, &(struct history_job){.key = ak_name, .clock = out, .has = has},
                      e);
}

static int put_guest_history(sqlite3 *sql, const uint8_t *ek_digest, const struct lt_history_guest *h,
                             struct lt_err *e)
{
    int rc = lt_db_exec(
        sql, NULL, e,
        "INSERT INTO guest_history(ek_digest, absent) VALUES(?,?) ON CONFLICT DO UPDATE SET absent ="
        " excluded.absent",
        "bi", ek_digest, (size_t)32, (int64_t)h->absent_before);
    if (!rc && h->has_clock)
        rc = lt_db_exec(
            sql, NULL, e,
            "UPDATE guest_history SET clock_reset = ?, clock_restart = ?, clock = ? WHERE ek_digest = ?",
            "iiib", (int64_t)h->clock.reset_count, (int64_t)h->clock.restart_count,
            (int64_t)h->clock.clock_ms, ek_digest, (size_t)32);
    if (!rc && h->has_accepted)
        rc = lt_db_exec(
            sql, NULL, e,
            "UPDATE guest_history SET accepted_reset = ?, accepted_restart = ?, accepted_clock = ?,"
            " ak_name = ?, incarnation = ?, host = ? WHERE ek_digest = ?",
            "iiibbbb", (int64_t)h->accepted_clock.reset_count, (int64_t)h->accepted_clock.restart_count,
            (int64_t)h->accepted_clock.clock_ms, h->accepted_ak_name, sizeof h->accepted_ak_name,
            h->accepted_incarnation, sizeof h->accepted_incarnation,
            h->has_accepted_host ? h->accepted_host : NULL,
            h->has_accepted_host ? sizeof h->accepted_host : (size_t)0, ek_digest, (size_t)32);
    return rc;
}

/* Guests of one host finish in any order: a clock that is behind the stored one changes nothing. */
static int put_host_clock(sqlite3 *sql, const uint8_t *ak_name, const struct lt_attest_clock_info *c,
                          struct lt_err *e)
{
    return lt_db_exec(
        sql, NULL, e,
        "INSERT INTO host_clocks VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET reset = excluded.reset,"
        " restart = excluded.restart, clock = excluded.clock WHERE (excluded.reset, excluded.restart,"
        " excluded.clock) > (reset, restart, clock)",
        "biii", ak_name, (size_t)LT_TPM_NAME, (int64_t)c->reset_count, (int64_t)c->restart_count,
        (int64_t)c->clock_ms);
}

/* ---- verdicts ---- */

/* What a verdict that is stored now means for those who wait to hear of it. */
static int decide(sqlite3 *sql, const struct lt_store_held *h, struct lt_err *e)
{
    const struct lt_store_row *r = &h->row;
    bool lifts = false;

    if (r->result == LT_VERDICT_FAILED)
        return lt_outbox_put(sql, h->uuid, LT_OUTBOX_FAILED, r->received, r->doc, e);
    if (r->result == LT_VERDICT_TRUSTED)
        LT_TRY(lt_outbox_unproven(sql, h->uuid, &lifts, e));
    return lifts ? lt_outbox_put(sql, h->uuid, LT_OUTBOX_LIFTED, r->received, r->doc, e) : 0;
}

static int write_verdict(sqlite3 *sql, const struct lt_store *s, const struct lt_store_held *h,
                         const struct lt_store_basis *b, enum lt_store_kept *kept, struct lt_err *e)
{
    const struct lt_store_row *r = &h->row;
    int changes;

    LT_TRY(lt_db_exec(sql, &changes, e,
                      "INSERT INTO verdicts(uuid, result, doc, boot, at, received, policy, ek, pin) VALUES"
                      "(?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET result = excluded.result,"
                      " doc = excluded.doc, boot = excluded.boot, at = excluded.at,"
                      " received = excluded.received, policy = excluded.policy, ek = excluded.ek,"
                      " pin = excluded.pin WHERE result <> ?10",
                      "bittiibbbi", h->uuid, sizeof h->uuid, (int64_t)r->result, r->doc, s->boot, r->at,
                      r->received, b->has_policy ? b->policy : NULL, sizeof b->policy,
                      b->has_ek ? b->ek : NULL, sizeof b->ek, b->has_pin ? b->pin : NULL, sizeof b->pin,
                      (int64_t)LT_VERDICT_FAILED));
    if (!changes) {
        *kept = LT_STORE_STANDS;
        return 0;
    }
    LT_TRY(decide(sql, h, e));
    /* Freshness counts from t1: that is what the evidence is at least as new as. */
    if (!r->was_trusted)
        return 0;
    return lt_db_exec(sql, NULL, e, "UPDATE verdicts SET trusted_boot = ?, trusted_at = ? WHERE uuid = ?",
                      "tib", s->boot, r->trusted_at, h->uuid, sizeof h->uuid);
}

static int check_basis(sqlite3 *sql, const struct lt_store_held *h, struct lt_store_basis *now,
                       enum lt_store_kept *kept, struct lt_err *e)
{
    bool exists;

    LT_TRY(lt_store_basis_now(sql, h->uuid, &exists, now, e));
    bool other = h->has_basis && !h->accepted && lt_store_basis_other(&h->row.basis, now);
    *kept = !exists ? LT_STORE_GONE : other ? LT_STORE_OUTDATED : LT_STORE_KEPT;
    return 0;
}

/* A round that was made under a policy counts for that policy alone, and for that vTPM. */
static int put_verdict(sqlite3 *sql, const struct lt_store *s, const struct lt_store_held *h,
                       enum lt_store_kept *kept, struct lt_err *e)
{
    struct lt_store_basis now;

    LT_TRY(check_basis(sql, h, &now, kept, e));
    if (*kept != LT_STORE_KEPT)
        return 0;
    now.has_ek = false; /* without a basis nobody knows whose it would have been */
    return write_verdict(sql, s, h, h->has_basis ? &h->row.basis : &now, kept, e);
}

int lt_store_write_held(sqlite3 *sql, const struct lt_store *s, const struct lt_store_held *h,
                        enum lt_store_kept *kept, struct lt_err *e)
{
    *kept = LT_STORE_KEPT;
    if (h->has_history)
        LT_TRY(put_guest_history(sql, h->ek, &h->history, e));
    if (h->openers)
        LT_TRY(lt_store_put_openers(sql, h, e));
    if (h->has_host)
        LT_TRY(put_host_clock(sql, h->ak_name, &h->host_clock, e));
    if (h->owed)
        LT_TRY(lt_outbox_put(sql, h->uuid, LT_OUTBOX_FAILED, h->owed_at, h->owed, e));
    if (h->linked)
        LT_TRY(lt_db_exec(sql, NULL, e, "UPDATE guests SET linked = 1 WHERE uuid = ? AND linked = 0", "b",
                          h->uuid, sizeof h->uuid));
    if (h->verdict)
        LT_TRY(put_verdict(sql, s, h, kept, e));
    bool trusted = h->verdict && *kept == LT_STORE_KEPT && h->row.result == LT_VERDICT_TRUSTED;
    return h->has_history ? lt_store_keylime_count(sql, h, trusted, e) : 0;
}

struct round_job {
    struct lt_store *s;
    const struct lt_store_held *h;
    enum lt_store_kept kept;
};

static int put_round(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct round_job *j = arg;
    return lt_store_write_held(sql, j->s, j->h, &j->kept, e);
}

static int ask_basis(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct round_job *j = arg;
    struct lt_store_basis now;
    return check_basis(sql, j->h, &now, &j->kept, e);
}

static int make_held(const struct lt_store_round *r, struct lt_store_held *h, struct lt_err *e)
{
    json_t *times =
        json_pack("{s:I, s:I}", "started", (json_int_t)r->started, "received", (json_int_t)r->received);
    LT_JSON_AUTO json_t *doc = lt_verdict_to_json(r->verdict, times);

    *h = (struct lt_store_held){.verdict = true,
                                .has_basis = r->basis,
                                .has_history = r->ek_digest,
                                .has_host = r->host_ak_name,
                                .linked = r->linked};
    memcpy(h->uuid, r->uuid, sizeof h->uuid);
    h->row = (struct lt_store_row){.known = true,
                                   .result = r->verdict->result,
                                   .doc = doc ? lt_json_dump(doc) : NULL,
                                   .at_ours = true,
                                   .at = (int64_t)r->end_ms,
                                   .received = r->received};
    h->row.was_trusted = h->row.trusted_ours = r->verdict->result == LT_VERDICT_TRUSTED;
    h->row.trusted_at = (int64_t)r->t1_ms;
    if (r->basis)
        h->row.basis = *r->basis;
    if (r->ek_digest) {
        memcpy(h->ek, r->ek_digest, sizeof h->ek);
        h->history = *r->history;
    }
    if (r->ek_digest && r->openers.p) {
        h->openers = lt_alloc(r->openers.n + 1, 1);
        memcpy(h->openers, r->openers.p, r->openers.n);
        h->openers_n = r->openers.n;
    }
    if (r->host_ak_name) {
        memcpy(h->ak_name, r->host_ak_name, sizeof h->ak_name);
        h->host_clock = r->host_clock;
    }
    return h->row.doc ? 0 : lt_fail(e, LT_E_NO_MEMORY, "verdict: no memory");
}

/* Into memory first, so that nobody is told the older one while the disk takes its time, or takes nothing. */
int lt_store_round(struct lt_store *s, const struct lt_store_round *r, enum lt_store_kept *kept,
                   struct lt_err *e)
{
    struct lt_store_held h;
    struct round_job j = {.s = s, .h = &h, .kept = LT_STORE_KEPT};
    enum lt_store_kept counts = LT_STORE_KEPT;
    struct lt_err why = {0};

    *kept = LT_STORE_OUTDATED;
    LT_TRY(make_held(r, &h, e));
    if (!lt_db_read(s->db, ask_basis, &j, &why))
        counts = j.kept;
    h.verdict = counts == LT_STORE_KEPT;
    if (!lt_store_hold(s, &h))
        counts = LT_STORE_STANDS;
    int rc = lt_db_write(s->db, put_round, &j, &why);
    lt_store_held_done(s, h.uuid, h.generation, !rc);
    if (!rc && (h.owed || (h.verdict && h.row.result == LT_VERDICT_FAILED)))
        lt_store_revoked(s);
    lt_store_held_free_texts(&h);
    *kept = counts != LT_STORE_KEPT ? counts : rc ? LT_STORE_HELD : j.kept;
    return 0;
}

struct clear_job {
    const uint8_t *uuid;
    bool held; /* one that is not written yet: what is written is older, and must not come back */
};

static int clear_verdict(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct clear_job *j = arg;
    int changes,
        rc = lt_db_exec(sql, &changes, e, "DELETE FROM verdicts WHERE uuid = ? AND (result = ? OR ?)", "bii",
                        j->uuid, (size_t)LT_UUID, (int64_t)LT_VERDICT_FAILED, (int64_t)j->held);
    return rc || changes || j->held
               ? rc
               : lt_fail(e, LT_E_CONFLICT, "the verdict is not failed, there is nothing to clear");
}

int lt_store_clear(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    struct clear_job j = {uuid, lt_store_held_clear(s, uuid)};
    int rc = lt_db_write(s->db, clear_verdict, &j, e);

    lt_store_held_cleared(s, uuid, !rc, false);
    return rc;
}
