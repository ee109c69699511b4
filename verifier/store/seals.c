#include "verifier/store/seals.h"

#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "residency/openers.h"
#include "verifier/store/impl.h"

#include <stdlib.h>
#include <string.h>

/* An exposure on its way to the disk. */
struct lt_store_pending {
    struct lt_store_pending *next;
    struct lt_store *store; /* of a copy that is being written */
    uint8_t ek[LT_SHA256], host[LT_SHA256];
    int64_t since;
    bool late; /* could not be written at once */
};

int lt_store_moment(sqlite3 *sql, int64_t *out, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_exec(sql, NULL, e, "UPDATE moments SET ms = max(ms + 1, ?)", "i", lt_clock_wall_s() * 1000));
    LT_TRY(lt_db_prepare(sql, "SELECT ms FROM moments", &st, e, ""));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc ? rc : lt_fail(e, LT_E_INTERNAL, "store: it has no clock (table moments)");
    *out = sqlite3_column_int64(st, 0);
    return 0;
}

/* ---- lists ---- */

static int take_blob(sqlite3_stmt *st, uint8_t **bytes, size_t *n, struct lt_err *e)
{
    const void *p = sqlite3_column_blob(st, 0);

    *n = (size_t)sqlite3_column_bytes(st, 0);
    *bytes = malloc(*n + 1);
    if (!*bytes)
        return lt_fail(e, LT_E_NO_MEMORY, "store: no memory for %zu bytes", *n);
    memcpy(*bytes, p ? p : "", *n);
    return 0;
}

static int get_list(sqlite3 *sql, const uint8_t *ek, uint8_t **bytes, size_t *n, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT openers FROM sealed_lists WHERE ek_digest = ?", &st, e, "b", ek,
                         (size_t)LT_SHA256));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    return take_blob(st, bytes, n, e);
}

static int put_hosts(sqlite3 *sql, const uint8_t *ek, const struct lt_openers *o, struct lt_err *e)
{
    for (unsigned i = 0; i < o->count; i++)
        if (o->one[i].kind == LT_OPENERS_STATE)
            LT_TRY(lt_db_exec(sql, NULL, e, "INSERT OR IGNORE INTO sealed_hosts VALUES(?,?)", "bb",
                              o->one[i].digest, (size_t)LT_SHA256, ek, (size_t)LT_SHA256));
    return 0;
}

static int put_closed(sqlite3 *sql, const uint8_t *ek, const struct lt_openers *o, struct lt_err *e)
{
    int64_t at = 0;

    for (unsigned i = 0; i < o->count; i++) {
        if (!o->one[i].closed)
            continue;
        if (!at)
            LT_TRY(lt_store_moment(sql, &at, e));
        LT_TRY(lt_db_exec(sql, NULL, e, "INSERT OR IGNORE INTO sealed_closed VALUES(?,?,?)", "bii", ek,
                          (size_t)LT_SHA256, (int64_t)i, at));
    }
    return 0;
}

/* Rounds end in any order: a list that the stored one continues takes nothing away, and one that is of
 * neither kind is not remembered (its check 8 fails). */
static int which_stays(sqlite3 *sql, const uint8_t *ek, const struct lt_openers *fresh, bool *newer,
                       bool *older, struct lt_err *e)
{
    LT_OPENERS_AUTO struct lt_openers had = {0};
    LT_AUTOFREE uint8_t *bytes = NULL;
    size_t n = 0;

    *newer = true;
    *older = false;
    LT_TRY(get_list(sql, ek, &bytes, &n, e));
    if (!bytes)
        return 0;
    LT_TRY_IN(lt_openers_parse(bytes, n, &had, e), e, "store: the last list of openers");
    *newer = lt_openers_prefix(&had, fresh);
    *older = !*newer && lt_openers_prefix(fresh, &had);
    return 0;
}

int lt_store_put_openers(sqlite3 *sql, const struct lt_store_held *h, struct lt_err *e)
{
    LT_OPENERS_AUTO struct lt_openers fresh = {0};
    bool newer, older;

    LT_TRY(lt_openers_parse(h->openers, h->openers_n, &fresh, e));
    LT_TRY(which_stays(sql, h->ek, &fresh, &newer, &older, e));
    if (newer) {
        LT_TRY(lt_db_exec(
            sql, NULL, e,
            "INSERT INTO sealed_lists VALUES(?,?,?) ON CONFLICT DO UPDATE SET uuid = excluded.uuid,"
            " openers = excluded.openers",
            "bbb", h->ek, sizeof h->ek, h->uuid, sizeof h->uuid, h->openers, h->openers_n));
        LT_TRY(put_hosts(sql, h->ek, &fresh, e));
    }
    return newer || older ? put_closed(sql, h->ek, &fresh, e) : 0;
}

/* ---- what there is of an EK ---- */

void lt_store_openers_free(struct lt_store_openers *o)
{
    free(o->bytes);
    free(o->exposed);
    memset(o, 0, sizeof *o);
}

static int get_closed(sqlite3 *sql, const uint8_t *ek, struct lt_store_openers *o, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc;

    LT_TRY(lt_db_prepare(sql, "SELECT opener, at FROM sealed_closed WHERE ek_digest = ?", &st, e, "b", ek,
                         (size_t)LT_SHA256));
    while ((rc = lt_db_step(st, e)) == 1) {
        int64_t i = sqlite3_column_int64(st, 0);
        if (i >= 0 && i < LT_MAX_OPENERS)
            o->closed[i] = sqlite3_column_int64(st, 1);
    }
    return rc;
}

static int add_exposure(struct lt_store_openers *o, const uint8_t *host, int64_t since, struct lt_err *e)
{
    for (size_t i = 0; i < o->exposed_count; i++)
        if (!memcmp(o->exposed[i].host, host, LT_SHA256))
            return 0;
    struct lt_store_exposure *more = realloc(o->exposed, (o->exposed_count + 1) * sizeof *more);
    if (!more)
        return lt_fail(e, LT_E_NO_MEMORY, "exposures: no memory");
    o->exposed = more;
    memcpy(more[o->exposed_count].host, host, LT_SHA256);
    more[o->exposed_count++].since = since;
    return 0;
}

static int get_exposures(sqlite3 *sql, const uint8_t *ek, struct lt_store_openers *o, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t host[LT_SHA256];
    int rc;

    LT_TRY(lt_db_prepare(sql, "SELECT host, since FROM exposures WHERE ek_digest = ? AND cleared IS NULL",
                         &st, e, "b", ek, (size_t)LT_SHA256));
    while ((rc = lt_db_step(st, e)) == 1) {
        LT_TRY(lt_db_blob(st, 0, host, sizeof host, e));
        LT_TRY(add_exposure(o, host, sqlite3_column_int64(st, 1), e));
    }
    return rc;
}

struct openers_job {
    const uint8_t *ek;
    struct lt_store_openers *out;
};

static int get_openers(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct openers_job *j = arg;
    struct lt_store_openers *o = j->out;

    LT_TRY(get_list(sql, j->ek, &o->bytes, &o->n, e));
    LT_TRY(get_closed(sql, j->ek, o, e));
    return get_exposures(sql, j->ek, o, e);
}

static int add_pending(struct lt_store *s, const uint8_t *ek, struct lt_store_openers *o, struct lt_err *e)
{
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    for (const struct lt_store_pending *p = s->pending; p && !rc; p = p->next)
        if (!memcmp(p->ek, ek, sizeof p->ek))
            rc = add_exposure(o, p->host, p->since, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* What waits is looked at first: once it is written it is gone there. */
int lt_store_openers(struct lt_store *s, const uint8_t ek_digest[LT_SHA256], struct lt_store_openers *out,
                     struct lt_err *e)
{
    LT_AUTOFREE uint8_t *held = NULL;
    size_t n = 0;

    memset(out, 0, sizeof *out);
    lt_store_held_openers(s, ek_digest, &held, &n);
    LT_TRY(add_pending(s, ek_digest, out, e));
    LT_TRY(lt_db_read(s->db, get_openers, &(struct openers_job){ek_digest, out}, e));
    if (held && n >= out->n) { /* lists only grow */
        free(out->bytes);
        out->bytes = lt_take(&held);
        out->n = n;
    }
    return 0;
}

/* ---- exposures ---- */

static int put_exposure(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_store_pending *p = arg;
    int64_t at;

    LT_TRY(lt_store_moment(sql, &at, e));
    return lt_db_exec(
        sql, NULL, e,
        "INSERT INTO exposures(ek_digest, host, since) VALUES(?,?,?) ON CONFLICT DO UPDATE SET since"
        " = excluded.since, cleared = NULL WHERE cleared IS NOT NULL",
        "bbi", p->ek, sizeof p->ek, p->host, sizeof p->host, at);
}

/* Under the lock. */
static struct lt_store_pending *find(struct lt_store *s, const uint8_t *ek, const uint8_t *host)
{
    struct lt_store_pending *p = s->pending;

    while (p && (memcmp(p->ek, ek, sizeof p->ek) || memcmp(p->host, host, sizeof p->host)))
        p = p->next;
    return p;
}

/* Under the lock. */
static void drop(struct lt_store *s, const uint8_t *ek, const uint8_t *host)
{
    for (struct lt_store_pending **at = &s->pending; *at;) {
        struct lt_store_pending *p = *at;
        if (memcmp(p->ek, ek, sizeof p->ek) || (host && memcmp(p->host, host, sizeof p->host))) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        s->pending_count--;
        free(p);
    }
}

static bool known(struct lt_store *s, const uint8_t *ek, const uint8_t *host)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o;
    bool is = false;

    if (lt_store_openers(s, ek, &o, LT_NO_ERR))
        return false; /* then it is written once more, which changes nothing */
    for (size_t i = 0; i < o.exposed_count; i++)
        is |= !memcmp(o.exposed[i].host, host, LT_SHA256);
    return is;
}

/* In memory first, so that no round is told otherwise while the disk takes its time, or takes nothing. */
void lt_store_expose(struct lt_store *s, const uint8_t ek_digest[LT_SHA256], const uint8_t host[LT_SHA256],
                     bool *news)
{
    struct lt_store_pending p = {.since = lt_clock_wall_s() * 1000}, *mine;
    struct lt_err e = {0};

    *news = !known(s, ek_digest, host);
    if (!*news)
        return;
    memcpy(p.ek, ek_digest, sizeof p.ek);
    memcpy(p.host, host, sizeof p.host);
    pthread_mutex_lock(&s->lock);
    if (!find(s, ek_digest, host)) {
        mine = lt_new(struct lt_store_pending);
        *mine = p;
        mine->next = s->pending;
        s->pending = mine;
        s->pending_count++;
    }
    s->exposures++;
    pthread_mutex_unlock(&s->lock);
    int rc = lt_db_write(s->db, put_exposure, &p, &e);
    pthread_mutex_lock(&s->lock);
    mine = find(s, ek_digest, host);
    if (mine && rc)
        mine->late = true;
    else if (mine)
        drop(s, ek_digest, host);
    pthread_mutex_unlock(&s->lock);
    if (rc)
        lt_log(LT_LOG_ERROR, "store", "an exposure waits to be written: %s", e.msg);
}

static int clear_exposures(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct openers_job *j = arg;
    int64_t at;

    LT_TRY(lt_store_moment(sql, &at, e));
    return lt_db_exec(sql, NULL, e,
                      "UPDATE exposures SET cleared = ? WHERE ek_digest = ? AND cleared IS NULL", "ib", at,
                      j->ek, (size_t)LT_SHA256);
}

int lt_store_exposure_clear(struct lt_store *s, const uint8_t ek_digest[LT_SHA256], struct lt_err *e)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o;
    struct openers_job j = {.ek = ek_digest};

    LT_TRY(lt_store_openers(s, ek_digest, &o, e));
    if (!o.exposed_count)
        return lt_fail(e, LT_E_CONFLICT, "it is not exposed, there is nothing to clear");
    LT_TRY(lt_db_write(s->db, clear_exposures, &j, e));
    pthread_mutex_lock(&s->lock);
    drop(s, ek_digest, NULL);
    s->exposures++;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

uint64_t lt_store_exposures(struct lt_store *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->exposures;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void late_done(void *arg, int rc, const struct lt_err *e)
{
    struct lt_store_pending *p = arg;
    struct lt_store *s = p->store;

    (void)e; /* the store's fault is told by common/run/db.c */
    pthread_mutex_lock(&s->lock);
    struct lt_store_pending *mine = find(s, p->ek, p->host);
    if (mine && rc)
        mine->late = true;
    else if (mine)
        drop(s, p->ek, p->host);
    pthread_mutex_unlock(&s->lock);
    free(p);
}

/* One at a time: they are few, and a disk that takes one takes the next. */
void lt_store_openers_tick(struct lt_store *s)
{
    struct lt_store_pending *p, *again = NULL;

    pthread_mutex_lock(&s->lock);
    for (p = s->pending; p && !p->late; p = p->next)
        ;
    if (p) {
        again = lt_new(struct lt_store_pending);
        *again = *p;
        again->store = s;
        p->late = false;
    }
    pthread_mutex_unlock(&s->lock);
    if (again)
        lt_db_post(s->db, put_exposure, again, late_done);
}

size_t lt_store_pending_count(struct lt_store *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->pending_count;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void lt_store_pending_free(struct lt_store *s)
{
    if (s->pending_count)
        lt_log(LT_LOG_ERROR, "store", "%zu exposures could not be written until the end, and are gone",
               s->pending_count);
    for (struct lt_store_pending *p = s->pending, *next; p; p = next) {
        next = p->next;
        free(p);
    }
}

/* ---- whom a host concerns ---- */

struct opened_job {
    const uint8_t *host, *policy;
    int (*each_policy)(void *arg, const uint8_t policy[LT_SHA256]);
    int (*each)(void *arg, const uint8_t ek_digest[LT_SHA256], struct lt_slice openers);
    void *arg;
};

static int each_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct opened_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t policy[LT_SHA256];
    int rc;

    LT_TRY(
        lt_db_prepare(sql,
                      "SELECT DISTINCT g.policy FROM sealed_hosts h JOIN sealed_lists l USING(ek_digest) JOIN"
                      " guests g ON g.uuid = l.uuid WHERE h.host = ? AND g.policy IS NOT NULL",
                      &st, e, "b", j->host, (size_t)LT_SHA256));
    while ((rc = lt_db_step(st, e)) == 1)
        if (!lt_db_blob(st, 0, policy, sizeof policy, LT_NO_ERR))
            LT_TRY(j->each_policy(j->arg, policy));
    return rc;
}

int lt_store_opened_by(struct lt_store *s, const uint8_t host[LT_SHA256],
                       int (*fn)(void *arg, const uint8_t policy[LT_SHA256]), void *arg, struct lt_err *e)
{
    return lt_db_read(s->db, each_policy, &(struct opened_job){.host = host, .each_policy = fn, .arg = arg},
                      e);
}

static int each_under(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct opened_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t ek[LT_SHA256];
    int rc;

    LT_TRY(
        lt_db_prepare(sql,
                      "SELECT l.ek_digest, l.openers FROM sealed_hosts h JOIN sealed_lists l USING(ek_digest)"
                      " JOIN guests g ON g.uuid = l.uuid WHERE h.host = ? AND g.policy = ?",
                      &st, e, "bb", j->host, (size_t)LT_SHA256, j->policy, (size_t)LT_SHA256));
    while ((rc = lt_db_step(st, e)) == 1) {
        const struct lt_slice list = {sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1)};
        if (!lt_db_blob(st, 0, ek, sizeof ek, LT_NO_ERR))
            LT_TRY(j->each(j->arg, ek, list));
    }
    return rc;
}

int lt_store_opened_under(struct lt_store *s, const uint8_t host[LT_SHA256], const uint8_t policy[LT_SHA256],
                          int (*fn)(void *arg, const uint8_t ek_digest[LT_SHA256], struct lt_slice openers),
                          void *arg, struct lt_err *e)
{
    return lt_db_read(s->db, each_under,
                      &(struct opened_job){.host = host, .policy = policy, .each = fn, .arg = arg}, e);
}

/* ---- boot logs ---- */

struct log_job {
    const uint8_t *key;
    struct lt_slice log;
    uint8_t *out;
    size_t n;
};

static int put_log(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct log_job *j = arg;

    return lt_db_exec(sql, NULL, e, "INSERT OR IGNORE INTO sealed_logs VALUES(?,?)", "bb", j->key,
                      (size_t)LT_SHA256, j->log.p, j->log.n);
}

int lt_store_log_put(struct lt_store *s, const uint8_t key[LT_SHA256], struct lt_slice log, struct lt_err *e)
{
    if (log.n > LT_STORE_LOG_MAX || !lt_store_fits(s, log.n))
        return lt_fail(e, LT_E_TOO_LARGE, "boot log: %zu bytes are not kept", log.n);
    return lt_db_write(s->db, put_log, &(struct log_job){.key = key, .log = log}, e);
}

static int get_log(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct log_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT log FROM sealed_logs WHERE state = ?", &st, e, "b", j->key,
                         (size_t)LT_SHA256));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc ? rc : lt_fail(e, LT_E_NOT_FOUND, "boot log: none is kept of that state");
    return take_blob(st, &j->out, &j->n, e);
}

int lt_store_log_get(struct lt_store *s, const uint8_t key[LT_SHA256], uint8_t **p, size_t *n,
                     struct lt_err *e)
{
    struct log_job j = {.key = key};
    int rc = lt_db_read(s->db, get_log, &j, e);

    *p = j.out;
    *n = j.n;
    return rc;
}
