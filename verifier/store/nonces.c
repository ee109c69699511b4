/* "N used once" (protocol.md section 5, window): nonces are written down before they leave. While the store
 * takes nothing, memory does it: two sets, the older of which is forgotten after keep_ms. */
#include "verifier/store/impl.h"

#include "common/alloc.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct nonces_job {
    struct lt_store *s;
    const char (*nonces)[LT_RESIDENCY_NONCE + 1];
    size_t count;
    uint64_t now_ms, keep_ms;
    bool *used;
};

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Under the lock. True: it was there. add: it is from now on. */
static bool remember(struct lt_store *s, const char *nonce, bool add)
{
    if (tfind(nonce, &s->older_nonces, compare) || tfind(nonce, &s->nonces, compare))
        return true;
    if (!add)
        return false;
    char *mine = lt_alloc_text(nonce);
    if (!tsearch(mine, &s->nonces, compare))
        abort(); /* a nonce that nobody would know as used */
    return false;
}

static void turn(struct lt_store *s)
{
    tdestroy(s->older_nonces, free);
    s->older_nonces = s->nonces;
    s->nonces = NULL;
}

static void consult(struct lt_store *s, const struct nonces_job *j, bool add)
{
    pthread_mutex_lock(&s->lock);
    if (j->now_ms - s->nonces_ms > j->keep_ms) {
        turn(s);
        if (j->now_ms - s->nonces_ms > 2 * j->keep_ms)
            turn(s);
        s->nonces_ms = j->now_ms;
    }
    for (size_t i = 0; i < j->count; i++)
        j->used[i] |= remember(s, j->nonces[i], add);
    pthread_mutex_unlock(&s->lock);
}

void lt_store_nonces_free(struct lt_store *s)
{
    turn(s);
    turn(s);
}

static int claim_nonces(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct nonces_job *j = arg;
    int64_t limit = j->now_ms > j->keep_ms ? (int64_t)(j->now_ms - j->keep_ms) : 0;
    int changes, rc = lt_db_exec(sql, NULL, e, "DELETE FROM nonces WHERE boot <> ? OR at < ?", "ti",
                                 j->s->boot, limit);

    for (size_t i = 0; !rc && i < j->count; i++) {
        rc = lt_db_exec(sql, &changes, e, "INSERT INTO nonces VALUES(?,?,?) ON CONFLICT DO NOTHING", "tti",
                        j->nonces[i], j->s->boot, (int64_t)j->now_ms);
        j->used[i] = !changes;
    }
    return rc;
}

int lt_store_nonces(struct lt_store *s, const char (*nonces)[LT_RESIDENCY_NONCE + 1], size_t count,
                    uint64_t now_ms, uint64_t keep_ms, bool *used, struct lt_err *e)
{
    struct nonces_job j = {s, nonces, count, now_ms, keep_ms, used};
    int rc = lt_db_write(s->db, claim_nonces, &j, e);

    if (rc && rc != LT_E_IO && rc != LT_E_BUSY)
        return rc;
    if (rc)
        memset(used, 0, count * sizeof *used);
    consult(s, &j, rc);
    return 0;
}
