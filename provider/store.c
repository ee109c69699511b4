#include "provider/store.h"

#include "common/file.h"
#include "common/log.h"
#include "provider/limits.h"

#include <stdlib.h>
#include <string.h>

static const char *const migrations[] = {
    "CREATE TABLE hosts(id BLOB PRIMARY KEY, address TEXT NOT NULL, ek BLOB NOT NULL, ak BLOB NOT NULL,"
    "  certificates TEXT NOT NULL, policy BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE policies(digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE guests(uuid BLOB PRIMARY KEY, tenant BLOB NOT NULL, host BLOB) WITHOUT ROWID;",
};

int lt_store_open(const char *state_dir, struct lt_db **out, struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_path(state_dir, "provider.db");

    *out = NULL;
    if (lt_dir_private(state_dir, e))
        return lt_fail_in(e, "state_dir");
    return lt_db_open(path, migrations, sizeof migrations / sizeof *migrations, out, e);
}

/* ---- load ---- */

static struct lt_slice column(sqlite3_stmt *st, int col)
{
    const void *p = sqlite3_column_blob(st, col);
    return (struct lt_slice){p, (size_t)sqlite3_column_bytes(st, col)};
}

static int load_hosts(sqlite3 *sql, const struct lt_store_sink *s, struct lt_err *e)
{
    LT_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, "SELECT id, policy, ek, ak, address, certificates FROM hosts", &st, e, "");

    while (!rc && (rc = lt_db_step(st, e)) == 1) {
        struct lt_store_host h = {.ek = column(st, 2), .ak = column(st, 3),
                                  .address = (const char *)sqlite3_column_text(st, 4),
                                  .certificates = (const char *)sqlite3_column_text(st, 5)};
        rc = lt_db_blob(st, 0, h.id, 16, e);
        if (!rc)
            rc = lt_db_blob(st, 1, h.policy, 32, e);
        if (!rc)
            rc = s->host(s->arg, &h, e);
    }
    return rc;
}

static int load_policies(sqlite3 *sql, const struct lt_store_sink *s, struct lt_err *e)
{
    LT_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t digest[32];
    int rc = lt_db_prepare(sql, "SELECT digest, bytes FROM policies", &st, e, "");

    while (!rc && (rc = lt_db_step(st, e)) == 1) {
        rc = lt_db_blob(st, 0, digest, sizeof digest, e);
        if (!rc)
            rc = s->policy(s->arg, digest, column(st, 1), e);
    }
    return rc;
}

static int load_guests(sqlite3 *sql, const struct lt_store_sink *s, struct lt_err *e)
{
    LT_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, "SELECT uuid, tenant, host FROM guests", &st, e, "");

    while (!rc && (rc = lt_db_step(st, e)) == 1) {
        struct lt_store_guest g = {.has_tenant = true, .has_host = sqlite3_column_type(st, 2) != SQLITE_NULL};
        rc = lt_db_blob(st, 0, g.uuid, 16, e);
        if (!rc)
            rc = lt_db_blob(st, 1, g.tenant, 16, e);
        if (!rc && g.has_host)
            rc = lt_db_blob(st, 2, g.host, 16, e);
        if (!rc)
            rc = s->guest(s->arg, &g, e);
    }
    return rc;
}

static int load(sqlite3 *sql, void *arg, struct lt_err *e)
{
    int rc = load_policies(sql, arg, e);
    if (!rc)
        rc = load_hosts(sql, arg, e);
    return rc ? rc : load_guests(sql, arg, e);
}

int lt_store_load(struct lt_db *db, const struct lt_store_sink *sink, struct lt_err *e)
{
    return lt_db_read(db, load, (void *)sink, e);
}

/* ---- write ---- */

static int put_host(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_store_host *h = arg;
    return lt_db_exec(sql, NULL, e,
                      "INSERT INTO hosts(id, address, ek, ak, certificates, policy) VALUES(?,?,?,?,?,?)"
                      " ON CONFLICT(id) DO UPDATE SET address=excluded.address, ek=excluded.ek, ak=excluded.ak,"
                      " certificates=excluded.certificates, policy=excluded.policy",
                      "btbbtb", h->id, sizeof h->id, h->address, h->ek.p, h->ek.n, h->ak.p, h->ak.n,
                      h->certificates, h->policy, sizeof h->policy);
}

int lt_store_put_host(struct lt_db *db, const struct lt_store_host *h, struct lt_err *e)
{
    return lt_db_write(db, put_host, (void *)h, e);
}

static int drop_host(sqlite3 *sql, void *arg, struct lt_err *e)
{
    int rc = lt_db_exec(sql, NULL, e, "UPDATE guests SET host=NULL WHERE host=?", "b", arg, (size_t)16);
    return rc ? rc : lt_db_exec(sql, NULL, e, "DELETE FROM hosts WHERE id=?", "b", arg, (size_t)16);
}

int lt_store_drop_host(struct lt_db *db, const uint8_t id[16], struct lt_err *e)
{
    return lt_db_write(db, drop_host, (void *)id, e);
}

static int set_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_store_host *h = arg;
    return lt_db_exec(sql, NULL, e, "UPDATE hosts SET policy=? WHERE id=?", "bb", h->policy, sizeof h->policy,
                      h->id, sizeof h->id);
}

int lt_store_set_policy(struct lt_db *db, const uint8_t host[16], const uint8_t digest[32], struct lt_err *e)
{
    struct lt_store_host h = {0};
    memcpy(h.id, host, sizeof h.id);
    memcpy(h.policy, digest, sizeof h.policy);
    return lt_db_write(db, set_policy, &h, e);
}

struct policy {
    const uint8_t *digest;
    struct lt_slice bytes;
};

static int put_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct policy *p = arg;
    return lt_db_exec(sql, NULL, e, "INSERT INTO policies(digest, bytes) VALUES(?,?) ON CONFLICT DO NOTHING", "bb",
                      p->digest, (size_t)32, p->bytes.p, p->bytes.n);
}

int lt_store_put_policy(struct lt_db *db, const uint8_t digest[32], struct lt_slice bytes, struct lt_err *e)
{
    return lt_db_write(db, put_policy, &(struct policy){digest, bytes}, e);
}

static int put_guest(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_store_guest *g = arg;
    if (!g->has_tenant)
        return lt_db_exec(sql, NULL, e, "DELETE FROM guests WHERE uuid=?", "b", g->uuid, sizeof g->uuid);
    return lt_db_exec(sql, NULL, e,
                      "INSERT INTO guests(uuid, tenant, host) VALUES(?,?,?)"
                      " ON CONFLICT(uuid) DO UPDATE SET tenant=excluded.tenant, host=excluded.host",
                      "bbb", g->uuid, sizeof g->uuid, g->tenant, sizeof g->tenant, g->has_host ? g->host : NULL,
                      g->has_host ? sizeof g->host : (size_t)0);
}

int lt_store_put_guest(struct lt_db *db, const struct lt_store_guest *g, struct lt_err *e)
{
    return lt_db_write(db, put_guest, (void *)g, e);
}

struct places {
    struct lt_store_guest *guests;
    size_t count;
};

static int put_places(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct places *p = arg;
    int rc = 0;

    for (size_t i = 0; !rc && i < p->count; i++)
        rc = lt_db_exec(sql, NULL, e, "UPDATE guests SET host=? WHERE uuid=?", "bb", p->guests[i].host,
                        sizeof p->guests[i].host, p->guests[i].uuid, sizeof p->guests[i].uuid);
    return rc;
}

static void places_done(void *arg, int rc, const struct lt_err *e)
{
    struct places *p = arg;

    if (rc)
        lt_log(LT_LOG_WARNING, "store", "places of %zu guests not kept: %s", p->count, e->msg);
    free(p->guests);
    free(p);
}

void lt_store_post_places(struct lt_db *db, struct lt_store_guest *guests, size_t count)
{
    struct places *p = malloc(sizeof *p);

    if (!p) {
        free(guests);
        return;
    }
    *p = (struct places){guests, count};
    lt_db_post(db, put_places, p, places_done);
}
