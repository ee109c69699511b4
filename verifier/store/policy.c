/* Removing documents: only those that nobody names. */
#include "appraisal/policy/policy.h"
#include "common/hash.h"
#include "verifier/store/impl.h"

#include <string.h>

#define MAX_NAMING (4u << 20) /* bytes: larger documents are no guest policies */

static bool names(const struct lt_policy_guest *p, const uint8_t digest[32])
{
    bool found = p->measured.has_boot && !memcmp(p->measured.boot, digest, 32);

    for (unsigned i = 0; i < p->measured.layer_count; i++)
        found |= !memcmp(p->measured.layer[i].policy, digest, 32);
    return found;
}

static bool document_names(sqlite3_stmt *st, int col, const uint8_t digest[32])
{
    struct lt_policy_guest *p;
    const void *bytes = sqlite3_column_blob(st, col);

    if (!bytes || lt_policy_guest_parse(bytes, (size_t)sqlite3_column_bytes(st, col), &p, LT_NO_ERR))
        return false;
    bool found = names(p, digest);
    lt_policy_guest_free(p);
    return found;
}

static int named_by(struct lt_err *e, const uint8_t digest[32], const char *what, const char *who)
{
    char hex[2 * LT_SHA256 + 1];

    lt_hex(digest, LT_SHA256, hex);
    return lt_fail(e, LT_E_CONFLICT, "document %s is named by %s %s", hex, what, who);
}

static int check_guests(sqlite3 *sql, const uint8_t digest[32], struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    uint8_t uuid[LT_UUID];
    char text[LT_UUID_TEXT];

    LT_TRY(lt_db_prepare(sql, "SELECT uuid FROM guests WHERE policy = ? LIMIT 1", &st, e, "b", digest,
                         (size_t)32));
    int rc = lt_db_step(st, e);
    if (rc != 1)
        return rc;
    (void)!lt_db_blob(st, 0, uuid, sizeof uuid, LT_NO_ERR);
    lt_uuid_format(uuid, text);
    return named_by(e, digest, "guest", text);
}

static int check_policies(sqlite3 *sql, const uint8_t digest[32], struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    char hex[2 * LT_SHA256 + 1];
    uint8_t is[LT_SHA256];

    LT_TRY(lt_db_prepare(sql, "SELECT digest, bytes FROM policies WHERE digest <> ? AND length(bytes) <= ?",
                         &st, e, "bi", digest, (size_t)32, (int64_t)MAX_NAMING));
    int rc;
    while ((rc = lt_db_step(st, e)) == 1) {
        if (!document_names(st, 1, digest))
            continue;
        (void)!lt_db_blob(st, 0, is, sizeof is, LT_NO_ERR);
        lt_hex(is, sizeof is, hex);
        return named_by(e, digest, "policy", hex);
    }
    return rc;
}

/* Names of Keylime's API. */
static int check_named(sqlite3 *sql, const uint8_t digest[32], struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(lt_db_prepare(sql, "SELECT name FROM keylime_policies WHERE digest = ? LIMIT 1", &st, e, "b",
                         digest, (size_t)32));
    int rc = lt_db_step(st, e);
    return rc == 1 ? named_by(e, digest, "Keylime's policy", (const char *)sqlite3_column_text(st, 0)) : rc;
}

/* In one transaction: nobody begins to name it meanwhile. */
static int drop_policy(sqlite3 *sql, void *arg, struct lt_err *e)
{
    const uint8_t *digest = arg;
    int changes;

    LT_TRY(check_guests(sql, digest, e));
    LT_TRY(check_policies(sql, digest, e));
    LT_TRY(check_named(sql, digest, e));
    LT_TRY(lt_db_exec(sql, &changes, e, "DELETE FROM policies WHERE digest = ?", "b", digest, (size_t)32));
    return changes ? 0 : lt_fail(e, LT_E_NOT_FOUND, "no document of that digest");
}

int lt_store_policy_drop(struct lt_store *s, const uint8_t digest[32], struct lt_err *e)
{
    return lt_db_write(s->db, drop_policy, (void *)digest, e);
}
