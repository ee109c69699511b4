#include "verifier/store/store.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/run/clock.h"
#include "verifier/store/impl.h"
#include "verifier/store/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const migrations[] = {
    "CREATE TABLE agents(id TEXT PRIMARY KEY, ek BLOB NOT NULL, ak BLOB NOT NULL, ekcert TEXT, mtls_cert "
    "TEXT,"
    " ip TEXT, port INTEGER NOT NULL, regcount INTEGER NOT NULL, activated INTEGER NOT NULL);"
    "CREATE TABLE guests(uuid BLOB PRIMARY KEY, address TEXT NOT NULL, policy BLOB);"
    "CREATE TABLE policies(digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE guest_history(ek_digest BLOB PRIMARY KEY, clock_reset INTEGER, clock_restart INTEGER, "
    "clock INTEGER,"
    " accepted_reset INTEGER, accepted_restart INTEGER, accepted_clock INTEGER, ak_name BLOB, incarnation "
    "BLOB,"
    " absent INTEGER NOT NULL);"
    "CREATE TABLE host_clocks(ak_name BLOB PRIMARY KEY, reset INTEGER NOT NULL, restart INTEGER NOT NULL,"
    " clock INTEGER NOT NULL);"
    "CREATE TABLE nonces(nonce TEXT PRIMARY KEY, boot TEXT NOT NULL, at INTEGER NOT NULL);"
    "CREATE TABLE verdicts(uuid BLOB PRIMARY KEY REFERENCES guests(uuid) ON DELETE CASCADE, result INTEGER "
    "NOT NULL,"
    " doc TEXT NOT NULL, boot TEXT NOT NULL, at INTEGER NOT NULL, received INTEGER NOT NULL,"
    " trusted_boot TEXT, trusted_at INTEGER);",
    "CREATE INDEX agents_ek ON agents(ek);",
    /* Verdicts of before say nothing of the policy they were made under: they count for none. */
    "ALTER TABLE verdicts ADD COLUMN policy BLOB; ALTER TABLE verdicts ADD COLUMN ek BLOB;",
    "ALTER TABLE guest_history ADD COLUMN host BLOB;", /* host_id of the last accepted round */
    "CREATE TABLE releases(uuid BLOB PRIMARY KEY REFERENCES guests(uuid) ON DELETE CASCADE, v BLOB, key BLOB,"
    " delivered INTEGER, revocation_key BLOB);",
    /* Guests of before registered as their UUIDs, and none was judged without a host. A row whose key is no
     * UUID stays one that cannot be read. */
    "ALTER TABLE guests ADD COLUMN agent TEXT; ALTER TABLE guests ADD COLUMN door INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE guests ADD COLUMN ek BLOB; ALTER TABLE guests ADD COLUMN linked INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE verdicts ADD COLUMN pin BLOB;"
    "UPDATE guests SET agent = lower(substr(hex(uuid),1,8)||'-'||substr(hex(uuid),9,4)||'-'||"
    "substr(hex(uuid),13,4)||'-'||substr(hex(uuid),17,4)||'-'||substr(hex(uuid),21,12))"
    " WHERE typeof(uuid) = 'blob' AND length(uuid) = 16;"
    "CREATE UNIQUE INDEX guests_agent ON guests(agent);",
    "CREATE TABLE keylime(uuid BLOB PRIMARY KEY REFERENCES guests(uuid) ON DELETE CASCADE, given TEXT NOT "
    "NULL,"
    " runtime TEXT, boot TEXT, stopped INTEGER NOT NULL, attestations INTEGER NOT NULL, last_quote INTEGER "
    "NOT"
    " NULL, last_attestation INTEGER NOT NULL);"
    "CREATE TABLE keylime_policies(kind INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB, tpm_policy TEXT,"
    " own BLOB REFERENCES guests(uuid) ON DELETE CASCADE, PRIMARY KEY(kind, name));"
    "CREATE INDEX keylime_policies_own ON keylime_policies(own);",
    lt_outbox_schema,
    /* Each guest's agent hears of all that is decided while the guest is there. */
    "CREATE TRIGGER guest_added AFTER INSERT ON guests BEGIN INSERT OR IGNORE INTO receivers(name, passed) "
    "VALUES"
    " ('" LT_OUTBOX_AGENT "' || lower(hex(NEW.uuid)),"
    " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0)); END;"
    "CREATE TRIGGER guest_removed AFTER DELETE ON guests BEGIN DELETE FROM receivers WHERE name ="
    " '" LT_OUTBOX_AGENT "' || lower(hex(OLD.uuid)); END;"
    "INSERT OR IGNORE INTO receivers(name, passed) SELECT '" LT_OUTBOX_AGENT
    "' || lower(hex(uuid)), 0 FROM guests;",
    "ALTER TABLE keylime ADD COLUMN ak BLOB;",
    lt_outbox_unproven_schema,
    /* Guest policies of before could retire nothing. */
    "CREATE TABLE moments(id INTEGER PRIMARY KEY CHECK(id = 1), ms INTEGER NOT NULL);"
    "INSERT INTO moments VALUES(1, 0);"
    "CREATE TABLE sealed_lists(ek_digest BLOB PRIMARY KEY, uuid BLOB NOT NULL, openers BLOB NOT NULL);"
    "CREATE TABLE sealed_hosts(host BLOB NOT NULL, ek_digest BLOB NOT NULL, PRIMARY KEY(host, ek_digest))"
    " WITHOUT ROWID;"
    "CREATE TABLE sealed_closed(ek_digest BLOB NOT NULL, opener INTEGER NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY(ek_digest, opener)) WITHOUT ROWID;"
    "CREATE TABLE sealed_logs(state BLOB PRIMARY KEY, log BLOB NOT NULL);"
    "CREATE TABLE exposures(ek_digest BLOB NOT NULL, host BLOB NOT NULL, since INTEGER NOT NULL,"
    " cleared INTEGER, PRIMARY KEY(ek_digest, host)) WITHOUT ROWID;"
    "CREATE TABLE retirements(uuid BLOB NOT NULL, kind INTEGER NOT NULL, digest BLOB NOT NULL, at INTEGER NOT"
    " NULL, PRIMARY KEY(uuid, kind, digest)) WITHOUT ROWID;",
};

#define GUEST_COLUMNS "uuid, address, policy, agent, door, ek, linked" /* as read_guest has them */

static int read_boot_id(char out[LT_UUID_TEXT], struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    uint8_t id[LT_UUID];
    size_t n;

    LT_TRY(lt_file_read("/proc/sys/kernel/random/boot_id", 64, &text, &n, e));
    text[strcspn((char *)text, "\n")] = 0;
    int rc = lt_uuid_parse((char *)text, id, e);
    if (!rc)
        lt_uuid_format(id, out);
    return rc;
}

static int read_guest(sqlite3_stmt *st, struct lt_store_guest *g, struct lt_err *e);

/* The rows that those who read them one by one will leave out. */
static int check_rows(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct lt_store *s = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *guests = NULL, *verdicts = NULL;
    struct lt_store_guest g;
    int rc = lt_db_prepare(sql, "SELECT " GUEST_COLUMNS " FROM guests", &guests, e, "");

    while (!rc && (rc = lt_db_step(guests, e)) == 1) {
        struct lt_err why = {0};
        if (read_guest(guests, &g, &why))
            lt_db_skip(&s->skipped, "guests", guests, 0, &why);
        rc = 0;
    }
    if (!rc)
        rc = lt_db_prepare(sql,
                           "SELECT uuid FROM verdicts WHERE typeof(result) <> 'integer' OR result < ? OR"
                           " result > ? OR typeof(doc) <> 'text' OR NOT json_valid(doc)",
                           &verdicts, e, "ii", (int64_t)LT_VERDICT_TRUSTED, (int64_t)LT_VERDICT_UNREACHABLE);
    while (!rc && (rc = lt_db_step(verdicts, e)) == 1) {
        lt_db_skip(&s->skipped, "verdicts", verdicts, 0, NULL);
        rc = 0;
    }
    return rc;
}

static const struct lt_db_kind kind = {"limetree-tenant", LT_DB_TENANT, "verdicts", migrations,
                                       sizeof migrations / sizeof *migrations};

static void tick(void *store)
{
    lt_store_held_tick(store);
    lt_store_openers_tick(store);
}

int lt_store_open(const char *path, const char *boot_id, struct lt_space *space, struct lt_store **out,
                  struct lt_err *e)
{
    struct lt_store *s = lt_new(struct lt_store);
    int rc = 0;

    *out = NULL;
    if (boot_id)
        snprintf(s->boot, sizeof s->boot, "%s", boot_id);
    else
        rc = read_boot_id(s->boot, e);
    if (rc)
        lt_space_close(space);
    else
        rc = lt_db_open(path, &kind, space, &s->db, e);
    if (rc) {
        free(s);
        return rc;
    }
    pthread_mutex_init(&s->lock, NULL);
    rc = lt_db_read(s->db, check_rows, s, e);
    if (rc) {
        lt_store_close(s);
        return rc;
    }
    lt_db_on_tick(s->db, tick, s);
    *out = s;
    return 0;
}

void lt_store_close(struct lt_store *s)
{
    if (!s)
        return;
    lt_db_close(s->db);
    lt_store_held_free(s);
    lt_store_pending_free(s);
    lt_store_nonces_free(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void lt_store_report(struct lt_store *s, struct lt_db_health *health, struct lt_db_skipped *skipped,
                     size_t *unwritten)
{
    lt_db_health(s->db, health);
    *skipped = s->skipped; /* never changed after the start */
    *unwritten = lt_store_held_count(s) + lt_store_pending_count(s);
}

bool lt_store_fits(struct lt_store *s, uint64_t n)
{
    return lt_db_fits(s->db, n);
}

struct lt_db *lt_store_outbox(struct lt_store *s)
{
    return s->db;
}

void lt_store_on_revocation(struct lt_store *s, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&s->lock);
    s->on_revocation = fn;
    s->on_revocation_arg = arg;
    pthread_mutex_unlock(&s->lock);
}

void lt_store_revoked(struct lt_store *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->on_revocation)
        s->on_revocation(s->on_revocation_arg);
    pthread_mutex_unlock(&s->lock);
}

/* ---- agents ---- */

static char *column_text(sqlite3_stmt *st, int col)
{
    const unsigned char *t = sqlite3_column_text(st, col);
    return t ? strdup((const char *)t) : NULL;
}

static int column_public(sqlite3_stmt *st, int col, uint8_t out[LT_MAX_PUBLIC], size_t *n, struct lt_err *e)
{
    int len = sqlite3_column_bytes(st, col);
    if (len <= 0 || len > LT_MAX_PUBLIC)
        return lt_fail(e, LT_E_INTERNAL, "store: a public area of %d bytes", len);
    *n = (size_t)len;
    return lt_db_blob(st, col, out, *n, e);
}

struct agent_job {
    struct lt_store *s;
    const char *id;
    struct lt_agent *out;
    const struct lt_agent *in;
    bool same;    /* the record has all of it already */
    bool keylime; /* who deletes it is the admin of Keylime's API */
};

static int get_agent(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct agent_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    struct lt_agent *a = j->out;

    int rc =
        lt_db_prepare(sql, "SELECT ek, ak, ekcert, mtls_cert, ip, port, regcount FROM agents WHERE id = ?",
                      &st, e, "t", j->id);
    if (!rc)
        rc = lt_db_step(st, e);
    if (!rc)
        return lt_fail(e, LT_E_NOT_FOUND, "agent %s: not registered", j->id);
    if (rc < 0)
        return rc;
    LT_TRY(column_public(st, 0, a->ek, &a->ek_n, e));
    LT_TRY(column_public(st, 1, a->ak, &a->ak_n, e));
    a->ekcert = column_text(st, 2);
    a->mtls_cert = column_text(st, 3);
    a->ip = column_text(st, 4);
    a->port = sqlite3_column_int(st, 5);
    a->regcount = sqlite3_column_int64(st, 6);
    return 0;
}

int lt_store_agent_get(struct lt_store *s, const char *id, struct lt_agent *out, struct lt_err *e)
{
    struct agent_job j = {.id = id, .out = out};

    memset(out, 0, sizeof *out);
    if (!lt_id_ok(id))
        return lt_fail(e, LT_E_NOT_FOUND, "no such agent");
    memcpy(out->id, id, strlen(id) + 1);
    int rc = lt_db_read(s->db, get_agent, &j, e);
    if (rc)
        lt_agent_free(out);
    return rc;
}

static int count_agents(sqlite3 *sql, int64_t *count, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, "SELECT count(*) FROM agents", &st, e, "");
    if (!rc)
        rc = lt_db_step(st, e);
    *count = rc == 1 ? sqlite3_column_int64(st, 0) : 0;
    return rc < 0 ? rc : 0;
}

/* A vTPM vouches for one machine: its clocks are compared with those of one history (protocol.md, check 2).
 */
static int check_ek_free(sqlite3 *sql, const struct lt_agent *a, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, "SELECT id FROM agents WHERE ek = ? AND id <> ?", &st, e, "bt", a->ek,
                           a->ek_n, a->id);
    if (!rc)
        rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    return lt_fail(e, LT_E_FORBIDDEN,
                   "agent %s: its EK is registered as agent %s; an administrator must delete that first",
                   a->id, (const char *)sqlite3_column_text(st, 0));
}

/* 1: a guest (any: of either door) is attested by this agent. */
static int has_guest(sqlite3 *sql, const char *id, bool any, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT 1 FROM guests WHERE agent = ? AND (door = ? OR ?)", &st, e, "tii", id,
                         (int64_t)LT_STORE_DOOR_FEDERATION, (int64_t)any));
    return lt_db_step(st, e);
}

/* A place for a new one; those that are attested have one whatever strangers register. */
static int check_room(sqlite3 *sql, struct lt_store *s, const struct lt_agent *a, struct lt_err *e)
{
    int64_t count;
    int rc = count_agents(sql, &count, e);

    bool fits = lt_db_fits(s->db, 0);
    if (rc || (count < LT_STORE_AGENTS && fits))
        return rc;
    if ((rc = has_guest(sql, a->id, true, e)))
        return rc < 0 ? rc : 0;
    return fits ? lt_fail(e, LT_E_BUSY, "agent %s: %d agents are registered, which is the limit", a->id,
                          LT_STORE_AGENTS)
                : lt_fail(e, LT_E_BUSY, "agent %s: the registrar's disk is almost full", a->id);
}

static int activate_agent(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct agent_job *j = arg;
    const struct lt_agent *a = j->in;
    LT_KEYLIME_AUTOAGENT struct lt_agent old = {0};
    int64_t regcount = 1;

    memcpy(old.id, a->id, sizeof old.id);
    int rc = get_agent(sql, &(struct agent_job){.id = a->id, .out = &old}, e);
    if (!rc) {
        rc = lt_keylime_agent_check_identity(&old, a, e);
        regcount = old.regcount + (!old.ekcert && a->ekcert);
        j->same = !rc && lt_agent_same(&old, a);
    } else if (rc == LT_E_NOT_FOUND) {
        rc = check_room(sql, j->s, a, e);
        if (!rc)
            rc = check_ek_free(sql, a, e);
    }
    if (rc || j->same)
        return rc;
    return lt_db_exec(sql, NULL, e,
                      "INSERT INTO agents VALUES(?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET"
                      " ekcert = excluded.ekcert, mtls_cert = excluded.mtls_cert, ip = excluded.ip,"
                      " port = excluded.port, regcount = excluded.regcount, activated = excluded.activated",
                      "tbbtttiii", a->id, a->ek, a->ek_n, a->ak, a->ak_n, a->ekcert, a->mtls_cert, a->ip,
                      (int64_t)a->port, regcount, lt_clock_wall_s());
}

int lt_store_agent_activate(struct lt_store *s, const struct lt_agent *a, bool *changed, struct lt_err *e)
{
    struct agent_job job = {.s = s, .in = a};
    int rc = lt_db_write(s->db, activate_agent, &job, e);

    if (changed)
        *changed = !job.same;
    return rc;
}

static int delete_agent(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct agent_job *j = arg;
    int changes, rc = j->keylime ? has_guest(sql, j->id, false, e) : 0;

    if (rc)
        return rc < 0 ? rc
                      : lt_fail(e, LT_E_FORBIDDEN,
                                "agent %s: of a guest of the federation, whose operator deletes it", j->id);
    rc = lt_db_exec(sql, &changes, e, "DELETE FROM agents WHERE id = ?", "t", j->id);
    return rc || changes ? rc : lt_fail(e, LT_E_NOT_FOUND, "agent %s: not registered", j->id);
}

int lt_store_agent_delete(struct lt_store *s, const char *id, bool keylime, struct lt_err *e)
{
    struct agent_job j = {.id = id, .keylime = keylime};

    if (!lt_id_ok(id))
        return lt_fail(e, LT_E_NOT_FOUND, "no such agent");
    return lt_db_write(s->db, delete_agent, &j, e);
}

struct page_job {
    const char *after;
    char (*ids)[LT_ID_MAX + 1];
    size_t n, count;
};

static int page_agents(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    struct page_job *j = arg;
    int rc = 0;

    LT_TRY(lt_db_prepare(sql, "SELECT id FROM agents WHERE id > ? ORDER BY id", &st, e, "t", j->after));
    while (j->count < j->n && (rc = lt_db_step(st, e)) == 1) {
        const char *id = (const char *)sqlite3_column_text(st, 0);
        if (id && lt_id_ok(id))
            memcpy(j->ids[j->count++], id, strlen(id) + 1);
    }
    return rc < 0 ? rc : 0;
}

int lt_store_agent_page(struct lt_store *s, const char *after, char (*ids)[LT_ID_MAX + 1], size_t n,
                        size_t *count, struct lt_err *e)
{
    struct page_job j = {.after = after, .ids = ids, .n = n};
    int rc = lt_db_read(s->db, page_agents, &j, e);

    *count = rc ? 0 : j.count;
    return rc;
}

static int list_agents(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT id FROM agents ORDER BY id", &st, e, ""));
    int rc;
    while ((rc = lt_db_step(st, e)) == 1)
        json_array_append_new(arg, json_string((const char *)sqlite3_column_text(st, 0)));
    return rc;
}

int lt_store_agent_ids(struct lt_store *s, json_t **out, struct lt_err *e)
{
    LT_JSON_AUTO json_t *ids = json_array();
    int rc = lt_db_read(s->db, list_agents, ids, e);
    *out = rc ? NULL : lt_take(&ids);
    return rc;
}

/* ---- guests ---- */

/* An agent's id, which a guest that can be read has. */
static int column_agent(sqlite3_stmt *st, int col, char out[LT_ID_MAX + 1], struct lt_err *e)
{
    const char *id = (const char *)sqlite3_column_text(st, col);

    if (!id || !lt_id_ok(id))
        return lt_fail(e, LT_E_INTERNAL, "store: a guest whose agent has no id");
    memcpy(out, id, strlen(id) + 1);
    return 0;
}

static int read_guest(sqlite3_stmt *st, struct lt_store_guest *g, struct lt_err *e)
{
    const char *address = (const char *)sqlite3_column_text(st, 1);

    memset(g, 0, sizeof *g);
    snprintf(g->address, sizeof g->address, "%s", address ? address : "");
    g->has_policy = sqlite3_column_type(st, 2) != SQLITE_NULL;
    g->door = sqlite3_column_int(st, 4) ? LT_STORE_DOOR_KEYLIME : LT_STORE_DOOR_FEDERATION;
    g->has_ek = sqlite3_column_type(st, 5) != SQLITE_NULL;
    g->linked = sqlite3_column_int(st, 6) != 0;
    int rc = lt_db_blob(st, 0, g->uuid, sizeof g->uuid, e);
    if (!rc && g->has_policy)
        rc = lt_db_blob(st, 2, g->policy, sizeof g->policy, e);
    if (!rc && g->has_ek)
        rc = lt_db_blob(st, 5, g->ek, sizeof g->ek, e);
    return rc ? rc : column_agent(st, 3, g->agent, e);
}

struct guest_job {
    const uint8_t *uuid; /* NULL: by agent */
    const char *agent;
    struct lt_store_guest *out;
    int (*each)(void *arg, const struct lt_store_guest *g);
    void *arg;
};

static int no_guest(const uint8_t *uuid, struct lt_err *e)
{
    char text[LT_UUID_TEXT];
    lt_uuid_format(uuid, text);
    return lt_fail(e, LT_E_NOT_FOUND, "guest %s: not added (limetree guest add %s)", text, text);
}

static int get_guest(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct guest_job *j = arg;
    char text[LT_UUID_TEXT];
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, "SELECT " GUEST_COLUMNS " FROM guests WHERE uuid = ?", &st, e, "b", j->uuid,
                           (size_t)LT_UUID);

    if (!rc)
        rc = lt_db_step(st, e);
    if (!rc)
        return no_guest(j->uuid, e);
    if (rc < 0 || !read_guest(st, j->out, e))
        return rc < 0 ? rc : 0;
    lt_uuid_format(j->uuid, text);
    return lt_fail(
        e, LT_E_CONFLICT,
        "guest %s: what the store holds of it cannot be read; limetree guest remove %s, and add it again",
        text, text);
}

int lt_store_guest_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_guest *out,
                       struct lt_err *e)
{
    bool linked = lt_store_held_linked(s, uuid); /* before the row: it is gone once that is written */

    LT_TRY(lt_db_read(s->db, get_guest, &(struct guest_job){.uuid = uuid, .out = out}, e));
    out->linked |= linked;
    return 0;
}

static int find_agent(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct guest_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT " GUEST_COLUMNS " FROM guests WHERE agent = ?", &st, e, "t", j->agent));
    int rc = lt_db_step(st, e);
    if (!rc)
        return lt_fail(e, LT_E_NOT_FOUND, "agent %s: no guest's that was added", j->agent);
    return rc < 0 ? rc : read_guest(st, j->out, e);
}

int lt_store_guest_by_agent(struct lt_store *s, const char *id, struct lt_store_guest *out, struct lt_err *e)
{
    if (!lt_id_ok(id))
        return lt_fail(e, LT_E_NOT_FOUND, "no such agent");
    return lt_db_read(s->db, find_agent, &(struct guest_job){.agent = id, .out = out}, e);
}

static int delete_guest(sqlite3 *sql, void *arg, struct lt_err *e)
{
    int changes,
        rc = lt_db_exec(sql, &changes, e, "DELETE FROM guests WHERE uuid = ?", "b", arg, (size_t)LT_UUID);
    return rc || changes ? rc : no_guest(arg, e);
}

int lt_store_guest_delete(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    int rc = lt_db_write(s->db, delete_guest, (void *)uuid, e);
    lt_store_held_cleared(s, uuid, !rc, true);
    return rc;
}

static int each_guest(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct guest_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    struct lt_store_guest g;

    LT_TRY(lt_db_prepare(sql, "SELECT " GUEST_COLUMNS " FROM guests ORDER BY uuid", &st, e, ""));
    int rc;
    while ((rc = lt_db_step(st, e)) == 1) {
        if (read_guest(st, &g, LT_NO_ERR)) /* told at the start */
            continue;
        LT_TRY(j->each(j->arg, &g));
    }
    return rc;
}

int lt_store_guests(struct lt_store *s, int (*each)(void *arg, const struct lt_store_guest *g), void *arg,
                    struct lt_err *e)
{
    return lt_db_read(s->db, each_guest, &(struct guest_job){.each = each, .arg = arg}, e);
}

/* ---- guests and their policies ---- */

struct put_job {
    const struct lt_store_guest *guest;
    struct lt_slice document;
    bool all; /* the address too, and a guest that is not there is made */
};

static int put_document(sqlite3 *sql, const uint8_t digest[32], struct lt_slice bytes, struct lt_err *e)
{
    return lt_db_exec(sql, NULL, e, "INSERT INTO policies VALUES(?,?) ON CONFLICT DO NOTHING", "bb", digest,
                      (size_t)LT_SHA256, bytes.p, bytes.n);
}

static int set_policy(sqlite3 *sql, const struct lt_store_guest *g, struct lt_err *e)
{
    int changes, rc = lt_db_exec(sql, &changes, e, "UPDATE guests SET policy = ? WHERE uuid = ?", "bb",
                                 g->policy, sizeof g->policy, g->uuid, sizeof g->uuid);
    return rc || changes ? rc : no_guest(g->uuid, e);
}

static int check_door(sqlite3 *sql, const struct lt_store_guest *g, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    char text[LT_UUID_TEXT];

    if (g->door == LT_STORE_DOOR_FEDERATION)
        return 0;
    LT_TRY(lt_db_prepare(sql, "SELECT 1 FROM guests WHERE uuid = ? AND door = ?", &st, e, "bi", g->uuid,
                         sizeof g->uuid, (int64_t)LT_STORE_DOOR_FEDERATION));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    lt_uuid_format(g->uuid, text);
    return lt_fail(e, LT_E_FORBIDDEN, "guest %s: added by the federation's API, which alone changes it",
                   text);
}

/* The id that the guest is to have is no other guest's. UUIDs are one in either case, as the authority of
 * guests' certificates has them: what is decided of one guest must not be read as the other's. */
static int check_agent(sqlite3 *sql, const struct lt_store_guest *g, const char *agent, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t is[LT_UUID] = {0};
    char text[LT_UUID_TEXT];
    const char *query = lt_uuid_parse(agent, is, LT_NO_ERR)
                            ? "SELECT uuid FROM guests WHERE agent = ? AND uuid <> ?"
                            : "SELECT uuid FROM guests WHERE agent = ? COLLATE NOCASE AND uuid <> ?";

    LT_TRY(lt_db_prepare(sql, query, &st, e, "tb", agent, g->uuid, sizeof g->uuid));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    (void)!lt_db_blob(st, 0, is, sizeof is, LT_NO_ERR);
    lt_uuid_format(is, text);
    return lt_fail(e, LT_E_CONFLICT, "agent %s: it is guest %s's already", agent, text);
}

static int insert_guest(sqlite3 *sql, const struct lt_store_guest *g, struct lt_err *e)
{
    char own[LT_UUID_TEXT];

    lt_uuid_format(g->uuid, own);
    LT_TRY(check_door(sql, g, e));
    LT_TRY(check_agent(sql, g, *g->agent ? g->agent : own, e));
    return lt_db_exec(sql, NULL, e,
                      "INSERT INTO guests(uuid, address, policy, ek, door, agent, linked) VALUES"
                      "(?1,?2,?3,?4,?5,coalesce(?6,?7),0) ON CONFLICT(uuid) DO UPDATE SET"
                      " address = excluded.address, policy = coalesce(excluded.policy, policy),"
                      " ek = coalesce(excluded.ek, ek), door = excluded.door, agent = coalesce(?6, agent)",
                      "btbbitt", g->uuid, sizeof g->uuid, g->address, g->has_policy ? g->policy : NULL,
                      sizeof g->policy, g->has_ek ? g->ek : NULL, sizeof g->ek, (int64_t)g->door,
                      *g->agent ? g->agent : NULL, own);
}

static int put_guest(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct put_job *j = arg;

    if (j->document.p)
        LT_TRY(put_document(sql, j->guest->policy, j->document, e));
    LT_TRY(j->all ? insert_guest(sql, j->guest, e) : set_policy(sql, j->guest, e));
    return j->guest->has_policy ? lt_store_apply_retirements(sql, j->guest->uuid, j->guest->policy, e) : 0;
}

int lt_store_guest_write(sqlite3 *sql, const struct lt_store_guest *g, struct lt_slice document,
                         struct lt_err *e)
{
    return put_guest(sql, &(struct put_job){g, document, true}, e);
}

int lt_store_guest_put(struct lt_store *s, const struct lt_store_guest *g, struct lt_slice document,
                       struct lt_err *e)
{
    return lt_db_write(s->db, put_guest, &(struct put_job){g, document, true}, e);
}

int lt_store_guest_policy(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice document,
                          uint8_t digest[32], struct lt_err *e)
{
    struct lt_store_guest g = {.has_policy = true};

    memcpy(g.uuid, uuid, sizeof g.uuid);
    lt_sha256(document.p, document.n, g.policy);
    memcpy(digest, g.policy, sizeof g.policy);
    return lt_db_write(s->db, put_guest, &(struct put_job){&g, document, false}, e);
}

/* ---- policies ---- */

struct policy_job {
    const uint8_t *digest;
    const void *in;
    uint8_t *out;
    size_t n;
};

static int put_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct policy_job *j = arg;
    return put_document(sql, j->digest, (struct lt_slice){j->in, j->n}, e);
}

int lt_store_policy_put(struct lt_store *s, const void *p, size_t n, uint8_t digest[32], struct lt_err *e)
{
    lt_sha256(p, n, digest);
    return lt_db_write(s->db, put_policy, &(struct policy_job){.digest = digest, .in = p, .n = n}, e);
}

static int get_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct policy_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t is[LT_SHA256];
    int rc = lt_db_prepare(sql, "SELECT bytes FROM policies WHERE digest = ?", &st, e, "b", j->digest,
                           (size_t)LT_SHA256);

    if (!rc)
        rc = lt_db_step(st, e);
    if (rc < 0)
        return rc;
    if (!rc)
        return lt_fail(e, LT_E_NOT_FOUND, "policy: no document of that digest");
    const void *p = sqlite3_column_blob(st, 0);
    j->n = (size_t)sqlite3_column_bytes(st, 0);
    lt_sha256(p ? p : "", j->n, is);
    if (memcmp(is, j->digest, sizeof is))
        return lt_fail(e, LT_E_INTERNAL, "policy: the stored bytes have another digest");
    j->out = malloc(j->n + 1);
    if (!j->out)
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    memcpy(j->out, p ? p : "", j->n);
    j->out[j->n] = 0;
    return 0;
}

int lt_store_policy_get(struct lt_store *s, const uint8_t digest[32], uint8_t **p, size_t *n,
                        struct lt_err *e)
{
    struct policy_job j = {.digest = digest};
    int rc = lt_db_read(s->db, get_policy, &j, e);
    *p = j.out;
    *n = j.n;
    return rc;
}
