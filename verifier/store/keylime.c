#include "verifier/store/keylime.h"

#include "common/hash.h"
#include "verifier/store/impl.h"
#include "verifier/store/releases.h"

#include <stdlib.h>
#include <string.h>

#define MAX_GIVEN (8u << 20) /* of a row, bytes: what add took is less */

static const char *const columns[LT_STORE_KEYLIME_KINDS] = {"runtime", "boot"};

void lt_store_keylime_free(struct lt_store_keylime *k)
{
    json_decref(k->given);
    memset(k, 0, sizeof *k);
}

void lt_store_keylime_cleanup(struct lt_store_keylime *k)
{
    lt_store_keylime_free(k);
}

void lt_store_keylime_policy_free(struct lt_store_keylime_policy *p)
{
    free(p->tpm_policy);
    memset(p, 0, sizeof *p);
}

/* A name of LT_ID_MAX characters at most; anything else is none. */
static void column_name(sqlite3_stmt *st, int col, char out[LT_ID_MAX + 1])
{
    const char *s = (const char *)sqlite3_column_text(st, col);

    out[0] = 0;
    if (s && lt_id_ok(s))
        memcpy(out, s, strlen(s) + 1);
}

/* ---- rows ---- */

struct row_job {
    const uint8_t *uuid;
    struct lt_store_keylime *out;
    bool stopped;
    struct lt_slice ak;
};

static int not_keylime(struct lt_err *e)
{
    return lt_fail(e, LT_E_NOT_FOUND, "this guest did not come by Keylime's API");
}

static int get_row(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct row_job *j = arg;
    struct lt_store_keylime *k = j->out;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql,
                           "SELECT given, runtime, boot, stopped, attestations, last_quote, last_attestation"
                           " FROM keylime WHERE uuid = ?",
                           &st, e, "b", j->uuid, (size_t)LT_UUID);

    if (!rc)
        rc = lt_db_step(st, e);
    if (rc < 0)
        return rc;
    if (!rc)
        return not_keylime(e);
    const char *given = (const char *)sqlite3_column_text(st, 0);
    k->given = lt_json_parse(given ? given : "", given ? strlen(given) : 0, MAX_GIVEN, e);
    if (!json_is_object(k->given))
        return lt_fail(e, LT_E_INTERNAL, "store: what Keylime's API was given of a guest cannot be read");
    for (int i = 0; i < LT_STORE_KEYLIME_KINDS; i++)
        column_name(st, 1 + i, k->name[i]);
    k->stopped = sqlite3_column_int64(st, 3);
    k->attestations = sqlite3_column_int64(st, 4);
    k->last_quote = sqlite3_column_int64(st, 5);
    k->last_attestation = sqlite3_column_int64(st, 6);
    return 0;
}

int lt_store_keylime_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_keylime *out,
                         struct lt_err *e)
{
    memset(out, 0, sizeof *out);
    int rc = lt_db_read(s->db, get_row, &(struct row_job){.uuid = uuid, .out = out}, e);
    if (rc)
        lt_store_keylime_free(out);
    return rc;
}

static int set_stopped(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct row_job *j = arg;
    int changes, rc = lt_db_exec(sql, &changes, e, "UPDATE keylime SET stopped = ? WHERE uuid = ?", "ib",
                                 (int64_t)j->stopped, j->uuid, (size_t)LT_UUID);
    return rc || changes ? rc : not_keylime(e);
}

int lt_store_keylime_stop(struct lt_store *s, const uint8_t uuid[LT_UUID], bool stopped, struct lt_err *e)
{
    return lt_db_write(s->db, set_stopped, &(struct row_job){.uuid = uuid, .stopped = stopped}, e);
}

static int get_stopped(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct row_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(
        sql, "SELECT k.stopped FROM keylime k JOIN guests g USING(uuid) WHERE uuid = ? AND door = ?", &st, e,
        "bi", j->uuid, (size_t)LT_UUID, (int64_t)LT_STORE_DOOR_KEYLIME);

    if (!rc)
        rc = lt_db_step(st, e);
    j->stopped = rc == 1 && sqlite3_column_int64(st, 0);
    return rc < 0 ? rc : 0;
}

bool lt_store_keylime_stopped(struct lt_store *s, const uint8_t uuid[LT_UUID])
{
    struct row_job j = {.uuid = uuid};

    return !lt_db_read(s->db, get_stopped, &j, LT_NO_ERR) && j.stopped;
}

static int check_ak(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct row_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(
        sql, "SELECT 1 FROM keylime JOIN guests USING(uuid) WHERE uuid = ? AND door = ? AND ak <> ?", &st, e,
        "bib", j->uuid, (size_t)LT_UUID, (int64_t)LT_STORE_DOOR_KEYLIME, j->ak.p, j->ak.n);

    if (!rc)
        rc = lt_db_step(st, e);
    return rc == 1 ? lt_fail(e, LT_E_NOT_REGISTERED,
                             "its agent has registered another AK than it was added with; keylime_tenant -c"
                             " update takes that one")
                   : rc;
}

int lt_store_keylime_check_ak(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice ak,
                              struct lt_err *e)
{
    return lt_db_read(s->db, check_ak, &(struct row_job){.uuid = uuid, .ak = ak}, e);
}

int lt_store_keylime_count(sqlite3 *sql, const struct lt_store_held *h, bool trusted, struct lt_err *e)
{
    return lt_db_exec(sql, NULL, e,
                      "UPDATE keylime SET last_quote = ?1, attestations = attestations + ?2,"
                      " last_attestation = CASE WHEN ?2 THEN ?1 ELSE last_attestation END WHERE uuid = ?3",
                      "iib", h->row.received, (int64_t)trusted, h->uuid, sizeof h->uuid);
}

/* ---- policies by name ---- */

struct policy_job {
    enum lt_store_keylime_kind kind;
    const char *name;
    struct lt_store_keylime_policy *out;
    const struct lt_store_keylime_policy *in;
    json_t *names;
};

static const char *what(enum lt_store_keylime_kind kind)
{
    return kind == LT_STORE_KEYLIME_RUNTIME ? "runtime policy" : "measured boot policy";
}

static int no_policy(enum lt_store_keylime_kind kind, const char *name, struct lt_err *e)
{
    return lt_fail(e, LT_E_NOT_FOUND, "%s %s: there is none of that name", what(kind), name);
}

static int get_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct policy_job *j = arg;
    struct lt_store_keylime_policy *p = j->out;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql,
                           "SELECT digest, tpm_policy, own IS NOT NULL FROM keylime_policies WHERE kind = ?"
                           " AND name = ?",
                           &st, e, "it", (int64_t)j->kind, j->name);

    if (!rc)
        rc = lt_db_step(st, e);
    if (rc < 0)
        return rc;
    if (!rc)
        return no_policy(j->kind, j->name, e);
    p->kind = j->kind;
    memcpy(p->name, j->name, strlen(j->name) + 1);
    p->has_document = sqlite3_column_type(st, 0) != SQLITE_NULL;
    if (p->has_document)
        LT_TRY(lt_db_blob(st, 0, p->digest, sizeof p->digest, e));
    const char *text = (const char *)sqlite3_column_text(st, 1);
    p->tpm_policy = text ? strdup(text) : NULL;
    p->own = sqlite3_column_int64(st, 2);
    return 0;
}

static int policy_get(struct lt_db *db, sqlite3 *sql, struct policy_job *j, struct lt_err *e)
{
    memset(j->out, 0, sizeof *j->out);
    if (!lt_id_ok(j->name))
        return no_policy(j->kind, "so named", e);
    int rc = sql ? get_policy(sql, j, e) : lt_db_read(db, get_policy, j, e);
    if (rc)
        lt_store_keylime_policy_free(j->out);
    return rc;
}

int lt_store_keylime_policy_get(struct lt_store *s, enum lt_store_keylime_kind kind, const char *name,
                                struct lt_store_keylime_policy *out, struct lt_err *e)
{
    return policy_get(s->db, NULL, &(struct policy_job){.kind = kind, .name = name, .out = out}, e);
}

static int list_policies(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct policy_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT name FROM keylime_policies WHERE kind = ? ORDER BY name", &st, e, "i",
                         (int64_t)j->kind));
    int rc;
    while ((rc = lt_db_step(st, e)) == 1)
        json_array_append_new(j->names, json_string((const char *)sqlite3_column_text(st, 0)));
    return rc;
}

int lt_store_keylime_policy_names(struct lt_store *s, enum lt_store_keylime_kind kind, json_t **out,
                                  struct lt_err *e)
{
    LT_JSON_AUTO json_t *names = json_array();
    int rc = lt_db_read(s->db, list_policies, &(struct policy_job){.kind = kind, .names = names}, e);

    *out = rc ? NULL : lt_take(&names);
    return rc;
}

static int64_t count_of(sqlite3 *sql, enum lt_store_keylime_kind kind)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    if (lt_db_prepare(sql, "SELECT count(*) FROM keylime_policies WHERE kind = ?", &st, LT_NO_ERR, "i",
                      (int64_t)kind) ||
        lt_db_step(st, LT_NO_ERR) != 1)
        return LT_STORE_KEYLIME_POLICIES;
    return sqlite3_column_int64(st, 0);
}

/* own: the guest that it goes with; NULL: nobody's. */
static int insert_policy(sqlite3 *sql, const struct lt_store_keylime_policy *p, const uint8_t *own,
                         struct lt_err *e)
{
    int changes;

    if (!own && count_of(sql, p->kind) >= LT_STORE_KEYLIME_POLICIES)
        return lt_fail(e, LT_E_BUSY, "there are %d policies of this kind, which is the limit",
                       LT_STORE_KEYLIME_POLICIES);
    LT_TRY(lt_db_exec(sql, &changes, e,
                      "INSERT INTO keylime_policies(kind, name, digest, tpm_policy, own) VALUES(?,?,?,?,?) ON"
                      " CONFLICT DO NOTHING",
                      "itbtb", (int64_t)p->kind, p->name, p->has_document ? p->digest : NULL,
                      sizeof p->digest, p->tpm_policy, own, (size_t)LT_UUID));
    return changes ? 0 : lt_fail(e, LT_E_CONFLICT, "%s %s: exists already", what(p->kind), p->name);
}

static int add_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    return insert_policy(sql, ((const struct policy_job *)arg)->in, NULL, e);
}

int lt_store_keylime_policy_add(struct lt_store *s, const struct lt_store_keylime_policy *p, struct lt_err *e)
{
    return lt_db_write(s->db, add_policy, &(struct policy_job){.in = p}, e);
}

/* In order of uuid. Guests that the federation took over are judged by its own documents. */
static int select_users(sqlite3 *sql, enum lt_store_keylime_kind kind, const char *name, sqlite3_stmt **out,
                        struct lt_err *e)
{
    char query[128];

    snprintf(
        query, sizeof query,
        "SELECT k.uuid FROM keylime k JOIN guests g USING(uuid) WHERE k.%s = ? AND door = ? ORDER BY uuid",
        columns[kind]);
    return lt_db_prepare(sql, query, out, e, "ti", name, (int64_t)LT_STORE_DOOR_KEYLIME);
}

static int check_unused(sqlite3 *sql, enum lt_store_keylime_kind kind, const char *name, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t uuid[LT_UUID] = {0};
    char text[LT_UUID_TEXT];

    LT_TRY(select_users(sql, kind, name, &st, e));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    (void)!lt_db_blob(st, 0, uuid, sizeof uuid, LT_NO_ERR);
    lt_uuid_format(uuid, text);
    return lt_fail(e, LT_E_CONFLICT, "%s %s: in use by guest %s", what(kind), name, text);
}

static int drop_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct policy_job *j = arg;
    int changes;

    LT_TRY(check_unused(sql, j->kind, j->name, e));
    LT_TRY(lt_db_exec(sql, &changes, e, "DELETE FROM keylime_policies WHERE kind = ? AND name = ?", "it",
                      (int64_t)j->kind, j->name));
    return changes ? 0 : no_policy(j->kind, j->name, e);
}

int lt_store_keylime_policy_drop(struct lt_store *s, enum lt_store_keylime_kind kind, const char *name,
                                 struct lt_err *e)
{
    if (!lt_id_ok(name))
        return no_policy(kind, "so named", e);
    return lt_db_write(s->db, drop_policy, &(struct policy_job){.kind = kind, .name = name}, e);
}

/* ---- another content under a name ---- */

struct users_job {
    enum lt_store_keylime_kind kind;
    const char *name;
    int (*each)(void *arg, const struct lt_store_guest *g, const struct lt_store_keylime *row);
    void *arg;
    struct lt_store *s;
};

static int one_user(const struct users_job *j, sqlite3_stmt *st, struct lt_err *e)
{
    LT_STORE_AUTOKEYLIME struct lt_store_keylime row = {0};
    struct lt_store_guest g;
    uint8_t uuid[LT_UUID];

    LT_TRY(lt_db_blob(st, 0, uuid, sizeof uuid, e));
    LT_TRY(lt_store_guest_get(j->s, uuid, &g, e));
    LT_TRY(lt_store_keylime_get(j->s, uuid, &row, e));
    return j->each(j->arg, &g, &row);
}

static int each_user(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct users_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(select_users(sql, j->kind, j->name, &st, e));
    int rc;
    while ((rc = lt_db_step(st, e)) == 1)
        LT_TRY(one_user(j, st, e));
    return rc;
}

int lt_store_keylime_users(struct lt_store *s, enum lt_store_keylime_kind kind, const char *name,
                           int (*each)(void *arg, const struct lt_store_guest *g,
                                       const struct lt_store_keylime *row),
                           void *arg, struct lt_err *e)
{
    return lt_db_read(s->db, each_user, &(struct users_job){kind, name, each, arg, s}, e);
}

struct change_job {
    const struct lt_store_keylime_policy *policy;
    const struct lt_store_keylime_change *changes;
    size_t count;
};

/* Those who use it are those, in order. */
static int check_users(sqlite3 *sql, const struct change_job *j, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t uuid[LT_UUID];
    size_t i = 0;
    bool same = true;

    LT_TRY(select_users(sql, j->policy->kind, j->policy->name, &st, e));
    int rc;
    while ((rc = lt_db_step(st, e)) == 1 && same) {
        LT_TRY(lt_db_blob(st, 0, uuid, sizeof uuid, e));
        same = i < j->count && !memcmp(uuid, j->changes[i].uuid, sizeof uuid);
        i++;
    }
    if (rc < 0)
        return rc;
    return same && i == j->count ? 0
                                 : lt_fail(e, LT_E_BUSY, "%s %s: guests began or ceased to use it meanwhile",
                                           what(j->policy->kind), j->policy->name);
}

static int change_guest(sqlite3 *sql, const struct lt_store_keylime_change *c, struct lt_err *e)
{
    uint8_t digest[LT_SHA256];

    lt_sha256(c->document.p, c->document.n, digest);
    LT_TRY(lt_db_exec(sql, NULL, e, "INSERT INTO policies VALUES(?,?) ON CONFLICT DO NOTHING", "bb", digest,
                      sizeof digest, c->document.p, c->document.n));
    LT_TRY(lt_db_exec(sql, NULL, e, "UPDATE guests SET policy = ? WHERE uuid = ?", "bb", digest,
                      sizeof digest, c->uuid, sizeof c->uuid));
    return lt_store_apply_retirements(sql, c->uuid, digest, e);
}

static int change_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct change_job *j = arg;
    const struct lt_store_keylime_policy *p = j->policy;
    int changes;

    LT_TRY(check_users(sql, j, e));
    for (size_t i = 0; i < j->count; i++)
        LT_TRY(change_guest(sql, &j->changes[i], e));
    LT_TRY(lt_db_exec(sql, &changes, e,
                      "UPDATE keylime_policies SET digest = ?, tpm_policy = ? WHERE kind = ? AND name = ?",
                      "btit", p->has_document ? p->digest : NULL, sizeof p->digest, p->tpm_policy,
                      (int64_t)p->kind, p->name));
    return changes ? 0 : no_policy(p->kind, p->name, e);
}

int lt_store_keylime_policy_change(struct lt_store *s, const struct lt_store_keylime_policy *p,
                                   const struct lt_store_keylime_change *changes, size_t count,
                                   struct lt_err *e)
{
    return lt_db_write(s->db, change_policy, &(struct change_job){p, changes, count}, e);
}

/* ---- a guest ---- */

static int check_new(sqlite3 *sql, const struct lt_store_keylime_new *n, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT 1 FROM guests WHERE uuid = ?", &st, e, "b", n->guest->uuid,
                         sizeof n->guest->uuid));
    int rc = lt_db_step(st, e);
    return rc == 1 ? lt_fail(e, LT_E_CONFLICT, "this agent is added already") : rc;
}

/* What its row names is there, and is what its guest policy was made with. */
static int check_names(sqlite3 *sql, const struct lt_store_keylime_new *n, struct lt_err *e)
{
    for (int kind = 0; kind < LT_STORE_KEYLIME_KINDS; kind++) {
        struct lt_store_keylime_policy p;
        const struct lt_store_keylime_policy *was = &n->judged[kind];
        struct policy_job j = {
            .kind = (enum lt_store_keylime_kind)kind, .name = n->row->name[kind], .out = &p};
        if (!n->row->name[kind][0])
            continue;
        LT_TRY(policy_get(NULL, sql, &j, e));
        bool same = p.has_document == was->has_document &&
                    (!p.has_document || !memcmp(p.digest, was->digest, sizeof p.digest));
        lt_store_keylime_policy_free(&p);
        if (!same)
            return lt_fail(e, LT_E_BUSY, "%s %s: changed meanwhile", what(j.kind), j.name);
    }
    return 0;
}

static int insert_row(sqlite3 *sql, const struct lt_store_keylime_new *n, struct lt_err *e)
{
    const struct lt_store_keylime *k = n->row;
    LT_AUTOFREE char *given = lt_json_dump(k->given);

    if (!given || strlen(given) > MAX_GIVEN)
        return lt_fail(e, given ? LT_E_TOO_LARGE : LT_E_NO_MEMORY, "add: what is to be told back");
    return lt_db_exec(sql, NULL, e,
                      "INSERT INTO keylime(uuid, given, runtime, boot, stopped, attestations, last_quote,"
                      " last_attestation, ak) VALUES(?,?,?,?,0,0,0,0,?)",
                      "btttb", n->guest->uuid, sizeof n->guest->uuid, given,
                      k->name[0][0] ? k->name[0] : NULL, k->name[1][0] ? k->name[1] : NULL, n->ak.p, n->ak.n);
}

static int add_guest(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const struct lt_store_keylime_new *n = arg;

    LT_TRY(check_new(sql, n, e));
    LT_TRY(lt_store_guest_write(sql, n->guest, n->document, e));
    for (size_t i = 0; i < n->count; i++)
        LT_TRY(insert_policy(sql, &n->policies[i], n->policies[i].own ? n->guest->uuid : NULL, e));
    LT_TRY(check_names(sql, n, e));
    LT_TRY(insert_row(sql, n, e));
    return lt_store_release_write(sql, n->guest->uuid, n->v, n->revocation_key, e);
}

int lt_store_keylime_add(struct lt_store *s, const struct lt_store_keylime_new *n, struct lt_err *e)
{
    return lt_db_write(s->db, add_guest, (void *)n, e);
}
