#include "provider/registry_store.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/run/log.h"

#include <stdlib.h>
#include <string.h>

static const char *const migrations[] = {
    "CREATE TABLE hosts(id BLOB PRIMARY KEY, address TEXT NOT NULL, ek BLOB NOT NULL, ak BLOB NOT NULL,"
    "  certificates TEXT NOT NULL, policy BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE policies(digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE guests(uuid BLOB PRIMARY KEY, tenant BLOB NOT NULL, host BLOB) WITHOUT ROWID;",
    /* A place is a host's claim on (uuid, ek_digest), the oldest first; of those of before the EK is not
       known. */
    "CREATE TABLE places(seq INTEGER PRIMARY KEY, uuid BLOB NOT NULL, ek BLOB NOT NULL, host BLOB NOT NULL,"
    "  UNIQUE(uuid, ek, host));"
    "INSERT INTO places(uuid, ek, host) SELECT uuid, zeroblob(32), host FROM guests WHERE host IS NOT NULL;"
    "ALTER TABLE guests DROP COLUMN host;",
};

static const struct lt_db_kind kind = {"limetree-provider", LT_DB_PROVIDER, "hosts", migrations,
                                       sizeof migrations / sizeof *migrations};

int lt_registry_store_open(const char *state_dir, const struct lt_space_conf *conf, struct lt_db **out,
                           struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(state_dir, "provider.db");
    struct lt_space *space = NULL;

    *out = NULL;
    LT_TRY_IN(lt_file_dir_private(state_dir, e), e, "state_dir");
    if (conf && (conf->reserve || conf->min_free))
        space = lt_space_open(state_dir, conf);
    return lt_db_open(path, &kind, space, out, e);
}

/* ---- load ---- */

static struct lt_slice column(sqlite3_stmt *st, int col)
{
    const void *p = sqlite3_column_blob(st, col);
    return (struct lt_slice){p, (size_t)sqlite3_column_bytes(st, col)};
}

static int load_host(sqlite3_stmt *st, const struct lt_registry_store_sink *s, struct lt_err *e)
{
    struct lt_registry_store_host h = {.ek = column(st, 2),
                                       .ak = column(st, 3),
                                       .address = (const char *)sqlite3_column_text(st, 4),
                                       .certificates = (const char *)sqlite3_column_text(st, 5)};

    LT_TRY(lt_db_blob(st, 0, h.id, 16, e));
    LT_TRY(lt_db_blob(st, 1, h.policy, 32, e));
    if (!h.address || !h.certificates)
        return lt_fail(e, LT_E_INTERNAL, "no address, or no certificates");
    return s->host(s->arg, &h, e);
}

static int load_policy(sqlite3_stmt *st, const struct lt_registry_store_sink *s, struct lt_err *e)
{
    struct lt_slice bytes = column(st, 1);
    uint8_t digest[32], is[32];

    LT_TRY(lt_db_blob(st, 0, digest, sizeof digest, e));
    lt_sha256(bytes.p ? bytes.p : (const uint8_t *)"", bytes.n, is);
    if (memcmp(is, digest, sizeof is))
        return lt_fail(e, LT_E_INTERNAL, "its bytes have another digest");
    return s->policy(s->arg, digest, bytes, e);
}

static int load_guest(sqlite3_stmt *st, const struct lt_registry_store_sink *s, struct lt_err *e)
{
    struct lt_registry_store_guest g = {.has_tenant = true};

    LT_TRY(lt_db_blob(st, 0, g.uuid, 16, e));
    LT_TRY(lt_db_blob(st, 1, g.tenant, 16, e));
    return s->guest(s->arg, &g, e);
}

static int load_place(sqlite3_stmt *st, const struct lt_registry_store_sink *s, struct lt_err *e)
{
    struct lt_registry_store_place p = {0};

    LT_TRY(lt_db_blob(st, 0, p.uuid, 16, e));
    LT_TRY(lt_db_blob(st, 1, p.ek, 32, e));
    LT_TRY(lt_db_blob(st, 2, p.host, 16, e));
    return s->place(s->arg, &p, e);
}

static const struct {
    const char *table, *select; /* the key comes first */
    int (*row)(sqlite3_stmt *st, const struct lt_registry_store_sink *s, struct lt_err *e);
} tables[] = {
    {"policies", "SELECT digest, bytes FROM policies", load_policy},
    {"hosts", "SELECT id, policy, ek, ak, address, certificates FROM hosts", load_host},
    {"guests", "SELECT uuid, tenant FROM guests", load_guest},
    {"places", "SELECT uuid, ek, host FROM places ORDER BY seq", load_place},
};

struct load {
    const struct lt_registry_store_sink *sink;
    struct lt_db_skipped *skipped;
};

/* One row that cannot be read is left out; it is no reason to leave out all. */
static int load(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct load *l = arg;
    int rc = 0;

    for (size_t i = 0; !rc && i < sizeof tables / sizeof *tables; i++) {
        LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
        rc = lt_db_prepare(sql, tables[i].select, &st, e, "");
        while (!rc && (rc = lt_db_step(st, e)) == 1) {
            struct lt_err why = {0};
            rc = tables[i].row(st, l->sink, &why);
            if (rc == LT_E_NO_MEMORY)
                return lt_fail(e, rc, "%s: %s", tables[i].table, why.msg);
            if (rc)
                lt_db_skip(l->skipped, tables[i].table, st, 0, &why);
            rc = 0;
        }
    }
    return rc;
}

int lt_registry_store_load(struct lt_db *db, const struct lt_registry_store_sink *sink,
                           struct lt_db_skipped *skipped, struct lt_err *e)
{
    return lt_db_read(db, load, &(struct load){sink, skipped}, e);
}

/* ---- write ---- */

static int put_host(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_registry_store_host *h = arg;
    return lt_db_exec(
        sql, NULL, e,
        "INSERT INTO hosts(id, address, ek, ak, certificates, policy) VALUES(?,?,?,?,?,?)"
        " ON CONFLICT(id) DO UPDATE SET address=excluded.address, ek=excluded.ek, ak=excluded.ak,"
        " certificates=excluded.certificates, policy=excluded.policy",
        "btbbtb", h->id, sizeof h->id, h->address, h->ek.p, h->ek.n, h->ak.p, h->ak.n, h->certificates,
        h->policy, sizeof h->policy);
}

int lt_registry_store_put_host(struct lt_db *db, const struct lt_registry_store_host *h, struct lt_err *e)
{
    return lt_db_write(db, put_host, (void *)h, e);
}

static int drop_host(sqlite3 *sql, void *arg, struct lt_err *e)
{
    int rc = lt_db_exec(sql, NULL, e, "DELETE FROM places WHERE host=?", "b", arg, (size_t)16);
    return rc ? rc : lt_db_exec(sql, NULL, e, "DELETE FROM hosts WHERE id=?", "b", arg, (size_t)16);
}

int lt_registry_store_drop_host(struct lt_db *db, const uint8_t id[16], struct lt_err *e)
{
    return lt_db_write(db, drop_host, (void *)id, e);
}

static int set_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_registry_store_host *h = arg;
    return lt_db_exec(sql, NULL, e, "UPDATE hosts SET policy=? WHERE id=?", "bb", h->policy, sizeof h->policy,
                      h->id, sizeof h->id);
}

int lt_registry_store_set_policy(struct lt_db *db, const uint8_t host[16], const uint8_t digest[32],
                                 struct lt_err *e)
{
    struct lt_registry_store_host h = {0};
    memcpy(h.id, host, sizeof h.id);
    memcpy(h.policy, digest, sizeof h.policy);
    return lt_db_write(db, set_policy, &h, e);
}

struct policy {
    const uint8_t *digest;
    struct lt_slice bytes;
    uint64_t max;
};

/* First whether it fits beside the others: what would not be loaded again is not stored. */
static int put_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct policy *p = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT coalesce(sum(length(bytes)), 0) FROM policies WHERE digest <> ?", &st,
                         e, "b", p->digest, (size_t)32));
    int rc = lt_db_step(st, e);
    int64_t kept = rc == 1 ? sqlite3_column_int64(st, 0) : 0;
    if (rc < 0)
        return rc;
    if ((uint64_t)kept > p->max || p->bytes.n > p->max - (uint64_t)kept)
        return lt_fail(
            e, LT_E_TOO_LARGE,
            "document of %zu bytes: with the %lld that are kept it is more than %llu (max_documents_mib); "
            "limetree host delete-document DIGEST removes one that nobody names",
            p->bytes.n, (long long)kept, (unsigned long long)p->max);
    return lt_db_exec(
        sql, NULL, e,
        "INSERT INTO policies(digest, bytes) VALUES(?,?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes",
        "bb", p->digest, (size_t)32, p->bytes.p, p->bytes.n);
}

int lt_registry_store_put_policy(struct lt_db *db, const uint8_t digest[32], struct lt_slice bytes,
                                 uint64_t max, struct lt_err *e)
{
    return lt_db_write(db, put_policy, &(struct policy){digest, bytes, max}, e);
}

static int drop_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    int changes,
        rc = lt_db_exec(sql, &changes, e, "DELETE FROM policies WHERE digest=?", "b", arg, (size_t)32);
    return rc || changes ? rc : lt_fail(e, LT_E_NOT_FOUND, "no document of that digest");
}

int lt_registry_store_drop_policy(struct lt_db *db, const uint8_t digest[32], struct lt_err *e)
{
    return lt_db_write(db, drop_policy, (void *)digest, e);
}

static int put_guest(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_registry_store_guest *g = arg;
    if (!g->has_tenant) {
        LT_TRY(lt_db_exec(sql, NULL, e, "DELETE FROM places WHERE uuid=?", "b", g->uuid, sizeof g->uuid));
        return lt_db_exec(sql, NULL, e, "DELETE FROM guests WHERE uuid=?", "b", g->uuid, sizeof g->uuid);
    }
    return lt_db_exec(sql, NULL, e,
                      "INSERT INTO guests(uuid, tenant) VALUES(?,?)"
                      " ON CONFLICT(uuid) DO UPDATE SET tenant=excluded.tenant",
                      "bb", g->uuid, sizeof g->uuid, g->tenant, sizeof g->tenant);
}

int lt_registry_store_put_guest(struct lt_db *db, const struct lt_registry_store_guest *g, struct lt_err *e)
{
    return lt_db_write(db, put_guest, (void *)g, e);
}

struct places {
    struct lt_registry_store_place *list;
    size_t count;
};

static int put_place(sqlite3 *sql, const struct lt_registry_store_place *p, struct lt_err *e)
{
    static const char insert[] =
        "INSERT INTO places(uuid, ek, host) SELECT ?1, ?2, ?3 WHERE EXISTS(SELECT 1 FROM guests WHERE"
        " uuid=?1) ON CONFLICT DO NOTHING",
                      delete[] = "DELETE FROM places WHERE uuid=?1 AND ek=?2 AND host=?3";

    return lt_db_exec(sql, NULL, e, p->gone ? delete : insert, "bbb", p->uuid, sizeof p->uuid, p->ek,
                      sizeof p->ek, p->host, sizeof p->host);
}

static int put_places(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct places *p = arg;
    int rc = 0;

    for (size_t i = 0; !rc && i < p->count; i++)
        rc = put_place(sql, &p->list[i], e);
    return rc;
}

static void places_done(void *arg, int rc, const struct lt_err *e)
{
    struct places *p = arg;

    if (rc)
        lt_log(LT_LOG_WARNING, "store", "places of %zu guests not kept: %s", p->count, e->msg);
    free(p->list);
    free(p);
}

void lt_registry_store_post_places(struct lt_db *db, struct lt_registry_store_place *places, size_t count)
{
    struct places *p = lt_new(struct places);

    if (!count) {
        free(p);
        free(places);
        return;
    }
    *p = (struct places){places, count};
    lt_db_post(db, put_places, p, places_done);
}
