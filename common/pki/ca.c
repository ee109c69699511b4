#include "common/pki/ca.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/ids.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/db.h"
#include "common/run/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define AFTER_S                                                                                              \
    (7 * 86400) /* what ran out stays on the list for so long (RFC 5280 section 3.3: once at least) */

static const char *const migrations[] = {
    "CREATE TABLE ca_facts(name TEXT PRIMARY KEY, value NOT NULL);"
    "CREATE TABLE certificates(serial BLOB PRIMARY KEY, guest TEXT NOT NULL, ends INTEGER NOT NULL,"
    " state INTEGER NOT NULL, since INTEGER NOT NULL);"
    "CREATE INDEX certificates_guest ON certificates(guest);"
    "INSERT INTO ca_facts VALUES('number', 0);",
    /* 1: something was said, by whatever process, that is on no list yet */
    "INSERT INTO ca_facts VALUES('unlisted', 1);"};

static const struct lt_db_kind kind = {.program = "limetree ca",
                                       .application_id = LT_DB_CA,
                                       .mark = "ca_facts",
                                       .migrations = migrations,
                                       .count = sizeof migrations / sizeof *migrations};

/* `said` counts what was committed, `published` how much of that the list in force has: who finds his own
 * word in it has nothing left to do. */
struct lt_ca {
    char *cert, *key, *list, *list_der;
    struct lt_db *db;
    atomic_uint_fast64_t said;
    pthread_mutex_t lock; /* one list at a time; guards published */
    uint64_t published;
    atomic_int_fast64_t every_s, due; /* due: wall, when the next list is; every_s 0: nobody keeps it fresh */
};

/* ---- words ---- */

static const char *const names[] = {"good", "held", "revoked"};

const char *lt_ca_state_name(enum lt_ca_state s)
{
    return names[s];
}

int lt_ca_state_by_name(const char *name, enum lt_ca_state *out, struct lt_err *e)
{
    for (unsigned i = 0; name && i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name)) {
            *out = (enum lt_ca_state)i;
            return 0;
        }
    return lt_fail(e, LT_E_MALFORMED, "state: not good, held or revoked");
}

/* Agent ids that are UUIDs are one in either case. */
static int canonical(const char *guest, char out[LT_ID_MAX + 1], struct lt_err *e)
{
    uint8_t uuid[LT_UUID];

    if (!guest || !lt_id_ok(guest))
        return lt_fail(e, LT_E_MALFORMED, "guest: not 1 to %d characters of [A-Za-z0-9_.-]", LT_ID_MAX);
    if (!lt_uuid_parse(guest, uuid, LT_NO_ERR))
        lt_uuid_format(uuid, out);
    else
        memcpy(out, guest, strlen(guest) + 1);
    return 0;
}

/* ---- the list ---- */

static int read_entry(sqlite3_stmt *st, struct lt_pki_entry *x, struct lt_err *e)
{
    int n = sqlite3_column_bytes(st, 0);

    if (n <= 0 || n > LT_PKI_SERIAL)
        return lt_fail(e, LT_E_INTERNAL, "a serial number of %d bytes", n);
    x->serial_n = (size_t)n;
    x->since = sqlite3_column_int64(st, 2);
    x->reason = sqlite3_column_int(st, 1) == LT_CA_HELD ? LT_PKI_HOLD : LT_PKI_KEY_COMPROMISE;
    return lt_db_blob(st, 0, x->serial, x->serial_n, e);
}

struct entries {
    struct lt_pki_entry *p;
    size_t n, room;
};

static int read_entries(sqlite3 *sql, struct entries *all, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc;

    LT_TRY(lt_db_prepare(sql, "SELECT serial, state, since FROM certificates WHERE state <> ? AND ends > ?",
                         &st, e, "ii", (int64_t)LT_CA_GOOD, lt_clock_wall_s() - AFTER_S));
    while ((rc = lt_db_step(st, e)) == 1) {
        if (all->n == all->room) {
            size_t room = all->room ? 2 * all->room : 64;
            struct lt_pki_entry *more = reallocarray(all->p, room, sizeof *more);
            if (!more)
                return lt_fail(e, LT_E_NO_MEMORY, "list of revoked certificates: no memory");
            all->p = more;
            all->room = room;
        }
        LT_TRY(read_entry(st, &all->p[all->n++], e));
    }
    return rc;
}

static int next_number(sqlite3 *sql, uint64_t *number, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "UPDATE ca_facts SET value = value + 1 WHERE name = 'number' RETURNING value",
                         &st, e, ""));
    int rc = lt_db_step(st, e);
    if (rc < 0)
        return rc;
    *number = rc == 1 ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
    if (!*number)
        return lt_fail(e, LT_E_CONFIG, "ca.db: does not say the list's number");
    return lt_db_step(st, e);
}

/* A record that was put back from a backup is behind its list, whose number must not fall. */
static int catch_up(sqlite3 *sql, void *arg, struct lt_err *e)
{
    return lt_db_exec(sql, NULL, e, "UPDATE ca_facts SET value = max(value, ?) WHERE name = 'number'", "i",
                      (int64_t) * (uint64_t *)arg);
}

/* In the transaction that takes its number, which no other process has meanwhile. */
static int write_list(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct lt_ca *c = arg;
    LT_AUTOBUF struct lt_buf pem = LT_BUF(LT_MAX_CRL), der = LT_BUF(LT_MAX_CRL);
    struct entries all = {0};
    uint64_t number;

    int rc = next_number(sql, &number, e);
    if (!rc)
        rc = lt_db_exec(sql, NULL, e, "UPDATE ca_facts SET value = 0 WHERE name = 'unlisted'", "");
    if (!rc)
        rc = read_entries(sql, &all, e);
    if (!rc)
        rc = lt_pki_list(c->cert, c->key, all.p, all.n, number, LT_CA_LIST_S, &pem, &der, e);
    if (!rc)
        rc = lt_file_write(c->list, pem.p, pem.n, 0644, e); /* the file whose number counts */
    if (!rc)
        rc = lt_file_write(c->list_der, der.p, der.n, 0644, e);
    if (!rc)
        lt_log(LT_LOG_INFO, "ca-list", "number %llu, %zu certificates on it", (unsigned long long)number,
               all.n);
    free(all.p);
    return rc;
}

static void set_due(struct lt_ca *c)
{
    atomic_store(&c->due, lt_clock_wall_s() + atomic_load(&c->every_s));
}

/* A list that has the word with that number. Those who come while one is made share the next. */
static int publish(struct lt_ca *c, uint64_t word, struct lt_err *e)
{
    int rc = 0;

    pthread_mutex_lock(&c->lock);
    uint64_t covers = atomic_load(&c->said);
    if (c->published < word && !(rc = lt_db_write(c->db, write_list, c, e))) {
        c->published = covers;
        set_due(c);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int lt_ca_publish(struct lt_ca *c, struct lt_err *e)
{
    return publish(c, atomic_fetch_add(&c->said, 1) + 1, e);
}

static void renewed(void *arg, int rc, const struct lt_err *e)
{
    struct lt_ca *c = arg;

    if (!rc) {
        set_due(c);
        return;
    }
    lt_log(LT_LOG_ERROR, "ca-list", "the list of revoked certificates is not renewed: %s", e->msg);
    atomic_store(&c->due, lt_clock_wall_s() + 60);
}

static void on_tick(void *arg)
{
    struct lt_ca *c = arg;

    if (!atomic_load(&c->every_s) || lt_clock_wall_s() < atomic_load(&c->due))
        return;
    atomic_store(&c->due, lt_clock_wall_s() + 60); /* not twice at once */
    lt_db_post(c->db, write_list, c, renewed);
}

void lt_ca_keep_fresh(struct lt_ca *c, int64_t every_s)
{
    atomic_store(&c->due, lt_clock_wall_s() + every_s);
    atomic_store(&c->every_s, every_s);
}

int lt_ca_list(struct lt_ca *c, uint8_t **der, size_t *n, struct lt_err *e)
{
    return lt_file_read(c->list_der, LT_MAX_CRL, der, n, e);
}

int lt_ca_certificate(struct lt_ca *c, uint8_t **pem, size_t *n, struct lt_err *e)
{
    return lt_file_read(c->cert, 1 << 16, pem, n, e);
}

/* ---- the directory ---- */

void lt_ca_close(struct lt_ca *c)
{
    if (!c)
        return;
    lt_db_close(c->db);
    pthread_mutex_destroy(&c->lock);
    free(c->cert);
    free(c->key);
    free(c->list);
    free(c->list_der);
    free(c);
}

static int open_in(const char *dir, struct lt_ca **out, struct lt_err *e)
{
    LT_AUTOFREE char *db = lt_file_path(dir, "ca.db");
    struct lt_ca *c = lt_new(struct lt_ca);
    uint64_t number;

    *out = NULL;
    int rc = lt_db_open(db, &kind, NULL, &c->db, e);
    if (rc) {
        free(c);
        return rc;
    }
    c->cert = lt_file_path(dir, "guests-ca.crt");
    c->key = lt_file_path(dir, "guests-ca.key");
    c->list = lt_file_path(dir, "guests-ca.crl");
    c->list_der = lt_file_path(dir, "guests-ca.crl.der");
    pthread_mutex_init(&c->lock, NULL);
    atomic_store(&c->said, 1); /* what a process that died had committed may be on no list yet */
    lt_db_on_tick(c->db, on_tick, c);
    if (!lt_pki_list_number(c->list, &number, LT_NO_ERR) && number) /* else: no list, or one that is none */
        rc = lt_db_write(c->db, catch_up, &number, e);
    if (rc)
        lt_ca_close(c);
    else
        *out = c;
    return rc;
}

int lt_ca_open(const char *dir, struct lt_ca **out, struct lt_err *e)
{
    LT_AUTOFREE char *cert = lt_file_path(dir, "guests-ca.crt");
    struct stat st;

    *out = NULL;
    if (stat(cert, &st))
        return lt_fail(e, LT_E_CONFIG, "%s: no CA of guests' certificates is here (limetree ca init DIR)",
                       cert);
    return open_in(dir, out, e);
}

static int keep_url(sqlite3 *sql, void *arg, struct lt_err *e)
{
    return lt_db_exec(sql, NULL, e, "INSERT INTO ca_facts VALUES('url', ?)", "t", (const char *)arg);
}

int lt_ca_init(const char *dir, const char *common_name, const char *url, int days, struct lt_err *e)
{
    LT_AUTOFREE char *cert = lt_file_path(dir, "guests-ca.crt");
    LT_AUTOFREE char *key = lt_file_path(dir, "guests-ca.key");
    struct lt_ca *c;

    if (strncmp(url, "http://", 7) || strlen(url) > LT_MAX_URL)
        return lt_fail(e, LT_E_USAGE, "url %.200s: not http://…, where everybody fetches the list", url);
    LT_TRY(lt_file_dir_private(dir, e));
    LT_TRY(lt_pki_make_ca(cert, key, common_name, days, e));
    LT_TRY(open_in(dir, &c, e));
    int rc = lt_db_write(c->db, keep_url, (void *)url, e);
    if (!rc)
        rc = lt_ca_publish(c, e);
    lt_ca_close(c);
    return rc;
}

/* ---- certificates ---- */

static int read_url(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    char **url = arg;

    LT_TRY(lt_db_prepare(sql, "SELECT value FROM ca_facts WHERE name = 'url'", &st, e, ""));
    int rc = lt_db_step(st, e);
    if (rc < 0)
        return rc;
    const char *text = rc == 1 ? (const char *)sqlite3_column_text(st, 0) : NULL;
    *url = text ? strdup(text) : NULL;
    return *url ? 0 : lt_fail(e, LT_E_CONFIG, "ca.db: does not say where the list is fetched");
}

struct record {
    const char *guest;
    const struct lt_pki_made *made;
};

static int keep_record(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct record *r = arg;

    return lt_db_exec(sql, NULL, e, "INSERT INTO certificates VALUES(?, ?, ?, ?, ?)", "btiii",
                      r->made->serial, r->made->serial_n, r->guest, r->made->ends, (int64_t)LT_CA_GOOD,
                      lt_clock_wall_s());
}

int lt_ca_issue(struct lt_ca *c, const struct lt_ca_request *r, struct lt_pki_made *out, struct lt_err *e)
{
    char guest[LT_ID_MAX + 1], uri[16 + LT_UUID_TEXT];
    LT_AUTOFREE char *url = NULL;
    uint8_t uuid[LT_UUID];

    *out = (struct lt_pki_made){0};
    LT_TRY(canonical(r->guest, guest, e));
    LT_TRY(lt_db_read(c->db, read_url, &url, e));
    snprintf(uri, sizeof uri, "urn:uuid:%.36s", guest);
    const struct lt_pki_subject s = {.common_name = guest,
                                     .names = r->names,
                                     .uri = lt_uuid_parse(guest, uuid, LT_NO_ERR) ? NULL : uri,
                                     .crl_url = url,
                                     .server = true,
                                     .client = true,
                                     .days = r->days};
    LT_TRY(lt_pki_make(c->cert, c->key, &s, out, e));
    int rc = lt_db_write(c->db, keep_record, &(struct record){guest, out}, e);
    if (rc)
        lt_pki_made_free(out);
    return rc;
}

struct word {
    char guest[LT_ID_MAX + 1];
    const uint8_t *serial; /* NULL: of the guest */
    size_t serial_n;
    enum lt_ca_state state;
    int64_t count; /* that it is about */
    bool unlisted; /* this word, or another's before it */
};

static int count_them(sqlite3 *sql, struct word *w, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT count(*) FROM certificates WHERE guest = ? AND ends > ?", &st, e, "ti",
                         w->guest, lt_clock_wall_s()));
    int rc = lt_db_step(st, e);
    w->count = rc == 1 ? sqlite3_column_int64(st, 0) : 0;
    return rc < 0 ? rc : 0;
}

/* After a word that changed something, or did not. */
static int note_unlisted(sqlite3 *sql, struct word *w, int changed, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    if (changed)
        LT_TRY(lt_db_exec(sql, NULL, e, "UPDATE ca_facts SET value = 1 WHERE name = 'unlisted'", ""));
    LT_TRY(lt_db_prepare(sql, "SELECT value FROM ca_facts WHERE name = 'unlisted'", &st, e, ""));
    int rc = lt_db_step(st, e);
    w->unlisted = rc != 1 || sqlite3_column_int(st, 0);
    return rc < 0 ? rc : 0;
}

/* Revoked is for ever. */
static int say(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct word *w = arg;

    int changed;

    LT_TRY(count_them(sql, w, e));
    LT_TRY(lt_db_exec(
        sql, &changed, e,
        "UPDATE certificates SET state = ?1, since = ?2 WHERE guest = ?3 AND state <> ?1 AND state <> 2",
        "iit", (int64_t)w->state, lt_clock_wall_s(), w->guest));
    return note_unlisted(sql, w, changed, e);
}

/* One whose record was lost (a backup is in its place) is put on record: it must not be believed. */
static int say_one(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    struct word *w = arg;
    int changed;

    LT_TRY(lt_db_prepare(sql, "SELECT state FROM certificates WHERE serial = ?", &st, e, "b", w->serial,
                         w->serial_n));
    int rc = lt_db_step(st, e);
    if (rc < 0)
        return rc;
    if (rc == 1 && sqlite3_column_int(st, 0) == LT_CA_REVOKED && w->state != LT_CA_REVOKED)
        return lt_fail(e, LT_E_CONFLICT, "it is revoked, and that is for ever");
    LT_TRY(lt_db_exec(
        sql, &changed, e,
        "INSERT INTO certificates VALUES(?1, '-', 253402300799, ?2, ?3) ON CONFLICT(serial) DO UPDATE"
        " SET state = ?2, since = ?3 WHERE state <> ?2",
        "bii", w->serial, w->serial_n, (int64_t)w->state, lt_clock_wall_s()));
    return note_unlisted(sql, w, changed, e);
}

static int spread(struct lt_ca *c, lt_db_fn fn, struct word *w, struct lt_err *e)
{
    LT_TRY(lt_db_write(c->db, fn, w, e));
    return publish(c, w->unlisted ? atomic_fetch_add(&c->said, 1) + 1 : atomic_load(&c->said), e);
}

int lt_ca_tell(struct lt_ca *c, const char *guest, enum lt_ca_state s, unsigned *count, struct lt_err *e)
{
    struct word w = {.state = s};

    *count = 0;
    LT_TRY(canonical(guest, w.guest, e));
    LT_TRY(spread(c, say, &w, e));
    *count = (unsigned)w.count;
    return 0;
}

int lt_ca_tell_one(struct lt_ca *c, const char *pem, enum lt_ca_state s, struct lt_err *e)
{
    uint8_t serial[LT_PKI_SERIAL];
    struct word w = {.state = s, .serial = serial};

    LT_TRY(lt_pki_serial(c->cert, pem, serial, &w.serial_n, e));
    return spread(c, say_one, &w, e);
}

static int list_all(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc;

    LT_TRY(lt_db_prepare(sql,
                         "SELECT serial, guest, state, since, ends FROM certificates WHERE ends > ?"
                         " ORDER BY guest, since, serial",
                         &st, e, "i", lt_clock_wall_s()));
    while ((rc = lt_db_step(st, e)) == 1) {
        char since[32], ends[32];
        unsigned state = (unsigned)sqlite3_column_int(st, 2);
        lt_clock_wall_text(sqlite3_column_int64(st, 3), since);
        lt_clock_wall_text(sqlite3_column_int64(st, 4), ends);
        json_array_append_new(
            arg, json_pack("{so so ss ss ss}", "serial",
                           lt_json_new_hex(sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0)),
                           "guest", lt_json_new_text((const char *)sqlite3_column_text(st, 1)), "state",
                           state <= LT_CA_REVOKED ? names[state] : "unknown", "since", since, "ends", ends));
    }
    return rc;
}

int lt_ca_certificates(struct lt_ca *c, json_t **out, struct lt_err *e)
{
    LT_JSON_AUTO json_t *all = json_array();
    int rc = lt_db_read(c->db, list_all, all, e);

    *out = rc ? NULL : lt_take(&all);
    return rc;
}
