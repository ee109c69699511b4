/* The rest of seals.h: what a guest's policies have retired, and when they first did. */
#include "appraisal/policy/policy.h"
#include "common/alloc.h"
#include "common/hash.h"
#include "verifier/store/impl.h"
#include "verifier/store/seals.h"

#include <stdlib.h>
#include <string.h>

static int retire(sqlite3 *sql, const uint8_t *uuid, enum lt_store_retired_kind kind,
                  const struct lt_policy_digests *d, int64_t at, struct lt_err *e)
{
    for (size_t i = 0; i < d->count; i++)
        LT_TRY(lt_db_exec(sql, NULL, e, "INSERT OR IGNORE INTO retirements VALUES(?,?,?,?)", "bibi", uuid,
                          (size_t)LT_UUID, (int64_t)kind, d->d[i], (size_t)LT_SHA256, at));
    return 0;
}

/* A policy that is accepted again was not retired when its next states were opened. What is in neither list
 * is nobody's word: its states do not count now, and must not count later for having been closed meanwhile.
 */
static int revive(sqlite3 *sql, const uint8_t *uuid, const struct lt_policy_digests *accepted,
                  struct lt_err *e)
{
    for (size_t i = 0; i < accepted->count; i++)
        LT_TRY(lt_db_exec(sql, NULL, e, "DELETE FROM retirements WHERE uuid = ? AND kind = ? AND digest = ?",
                          "bib", uuid, (size_t)LT_UUID, (int64_t)LT_STORE_RETIRED_POLICY, accepted->d[i],
                          (size_t)LT_SHA256));
    return 0;
}

struct retired_job {
    const uint8_t *uuid;
    struct lt_store_retired *list;
    size_t count;
};

static int get_retired(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct retired_job *j = arg;
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc;

    LT_TRY(lt_db_prepare(sql, "SELECT kind, digest, at FROM retirements WHERE uuid = ?", &st, e, "b", j->uuid,
                         (size_t)LT_UUID));
    while ((rc = lt_db_step(st, e)) == 1) {
        struct lt_store_retired one = {.kind = sqlite3_column_int(st, 0) ? LT_STORE_RETIRED_HOST
                                                                         : LT_STORE_RETIRED_POLICY,
                                       .at = sqlite3_column_int64(st, 2)};
        LT_TRY(lt_db_blob(st, 1, one.digest, sizeof one.digest, e));
        struct lt_store_retired *more = realloc(j->list, (j->count + 1) * sizeof *more);
        if (!more)
            return lt_fail(e, LT_E_NO_MEMORY, "retirements: no memory");
        j->list = more;
        more[j->count++] = one;
    }
    return rc;
}

/* A host that is not retired any more is trusted again. */
static int revive_hosts(sqlite3 *sql, const uint8_t *uuid, const struct lt_policy_digests *retired,
                        struct lt_err *e)
{
    struct retired_job j = {.uuid = uuid};
    int rc = get_retired(sql, &j, e);

    for (size_t i = 0; !rc && i < j.count; i++)
        if (j.list[i].kind == LT_STORE_RETIRED_HOST && !lt_policy_digests_have(retired, j.list[i].digest))
            rc = lt_db_exec(
                sql, NULL, e, "DELETE FROM retirements WHERE uuid = ? AND kind = ? AND digest = ?", "bib",
                uuid, (size_t)LT_UUID, (int64_t)LT_STORE_RETIRED_HOST, j.list[i].digest, (size_t)LT_SHA256);
    free(j.list);
    return rc;
}

static int apply(sqlite3 *sql, const uint8_t *uuid, const struct lt_policy_guest *p, struct lt_err *e)
{
    int64_t at;

    LT_TRY(revive(sql, uuid, &p->host_policies, e));
    LT_TRY(revive_hosts(sql, uuid, &p->retired_hosts, e));
    if (!p->retired_host_policies.count && !p->retired_hosts.count)
        return 0;
    LT_TRY(lt_store_moment(sql, &at, e));
    LT_TRY(retire(sql, uuid, LT_STORE_RETIRED_POLICY, &p->retired_host_policies, at, e));
    return retire(sql, uuid, LT_STORE_RETIRED_HOST, &p->retired_hosts, at, e);
}

int lt_store_apply_retirements(sqlite3 *sql, const uint8_t uuid[LT_UUID], const uint8_t policy[LT_SHA256],
                               struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    LT_AUTO(lt_policy_guest) struct lt_policy_guest *p = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT bytes FROM policies WHERE digest = ?", &st, e, "b", policy,
                         (size_t)LT_SHA256));
    int rc = lt_db_step(st, e);
    if (rc != 1) /* not at hand: nothing is judged by it, either */
        return rc;
    if (lt_policy_guest_parse(sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0), &p, LT_NO_ERR))
        return 0;
    return apply(sql, uuid, p, e);
}

int lt_store_retired(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_retired **out,
                     size_t *count, struct lt_err *e)
{
    struct retired_job j = {.uuid = uuid};
    int rc = lt_db_read(s->db, get_retired, &j, e);

    if (rc)
        free(lt_take(&j.list));
    *out = j.list;
    *count = rc ? 0 : j.count;
    return rc;
}
