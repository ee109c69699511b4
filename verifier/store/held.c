/* Verdicts in memory: each from before its write until that is committed, and on for as long as the store
 * takes none. They win over what the store says, but for a failed verdict there. Nothing stays green because
 * writing fails, and nothing failed is forgotten. */
#include "common/alloc.h"
#include "common/run/log.h"
#include "verifier/store/impl.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 1024 /* written again in one job, count */

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, LT_UUID);
}

void lt_store_held_free_texts(struct lt_store_held *h)
{
    free(lt_take(&h->row.doc));
    free(lt_take(&h->owed));
    free(lt_take(&h->openers));
}

static void held_free(void *p)
{
    lt_store_held_free_texts(p);
    free(p);
}

static struct lt_store_held *find(struct lt_store *s, const uint8_t uuid[LT_UUID])
{
    struct lt_store_held *const *node = tfind(uuid, &s->held, compare);
    return node ? *node : NULL;
}

static char *copy_text(const char *text)
{
    return text ? lt_alloc_text(text) : NULL;
}

static uint8_t *copy_bytes(const uint8_t *p, size_t n)
{
    uint8_t *c = p ? lt_alloc(n + 1, 1) : NULL;

    if (c)
        memcpy(c, p, n);
    return c;
}

static struct lt_store_held *copy(const struct lt_store_held *h)
{
    struct lt_store_held *c = lt_new(struct lt_store_held);
    *c = *h;
    c->row.doc = copy_text(h->row.doc);
    c->owed = copy_text(h->owed);
    c->openers = copy_bytes(h->openers, h->openers_n);
    return c;
}

static void forget(struct lt_store *s, struct lt_store_held *h)
{
    tdelete(h->uuid, &s->held, compare);
    s->held_count--;
    held_free(h);
}

/* Whether a failed verdict waits to be written: only clearing ends it. Under the lock. */
static bool fails(const struct lt_store_held *h)
{
    return h && h->verdict && !h->cleared && h->row.result == LT_VERDICT_FAILED;
}

/* A list that waits goes on waiting, unless what comes now continues it: lists only grow. */
static void keep_openers(const struct lt_store_held *old, struct lt_store_held *h)
{
    if (!old || !old->openers || (h->openers && h->openers_n >= old->openers_n) ||
        (h->has_history && memcmp(old->ek, h->ek, sizeof h->ek)))
        return;
    memcpy(h->ek, old->ek, sizeof h->ek);
    free(h->openers);
    h->openers = copy_bytes(old->openers, old->openers_n);
    h->openers_n = old->openers_n;
}

bool lt_store_hold(struct lt_store *s, struct lt_store_held *h)
{
    pthread_mutex_lock(&s->lock);
    struct lt_store_held *old = find(s, h->uuid);
    bool stands = fails(old);
    if (stands) { /* its verdict, our history */
        free(h->row.doc);
        h->row = old->row;
        h->row.doc = copy_text(old->row.doc);
        h->verdict = h->accepted = true;
        h->late = old->late;
    }
    h->linked |= old && old->linked;
    if (old && old->owed) {
        h->owed = copy_text(old->owed);
        h->owed_at = old->owed_at;
    }
    keep_openers(old, h);
    h->generation = ++s->generation;
    struct lt_store_held *mine = copy(h);
    if (old)
        forget(s, old);
    if (!tsearch(mine, &s->held, compare))
        abort();
    s->held_count++;
    pthread_mutex_unlock(&s->lock);
    return !stands;
}

void lt_store_held_done(struct lt_store *s, const uint8_t uuid[LT_UUID], uint64_t generation, bool written)
{
    pthread_mutex_lock(&s->lock);
    struct lt_store_held *h = find(s, uuid);
    if (h && h->generation == generation && written)
        forget(s, h);
    else if (h && h->generation == generation)
        h->late = true;
    pthread_mutex_unlock(&s->lock);
}

bool lt_store_held_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_held *out)
{
    pthread_mutex_lock(&s->lock);
    const struct lt_store_held *h = find(s, uuid);
    bool has = h && h->verdict && !h->cleared;
    if (has) {
        *out = *h;
        out->row.doc = copy_text(h->row.doc);
        out->owed = NULL;
        out->openers = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    return has;
}

bool lt_store_held_linked(struct lt_store *s, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&s->lock);
    const struct lt_store_held *h = find(s, uuid);
    bool linked = h && h->linked;
    pthread_mutex_unlock(&s->lock);
    return linked;
}

struct of_ek {
    const uint8_t *ek;
    struct lt_history_guest *out;
    uint64_t generation;
    uint8_t **openers; /* lt_store_held_openers */
    size_t *n;
};

static void look_openers(const void *node, VISIT which, void *arg)
{
    const struct lt_store_held *h = *(struct lt_store_held *const *)node;
    struct of_ek *l = arg;

    if ((which != postorder && which != leaf) || !h->openers || h->openers_n < *l->n ||
        memcmp(h->ek, l->ek, sizeof h->ek))
        return;
    free(*l->openers);
    *l->openers = copy_bytes(h->openers, h->openers_n);
    *l->n = h->openers_n;
}

void lt_store_held_openers(struct lt_store *s, const uint8_t ek[32], uint8_t **bytes, size_t *n)
{
    struct of_ek l = {.ek = ek, .openers = bytes, .n = n};

    *bytes = NULL;
    *n = 0;
    pthread_mutex_lock(&s->lock);
    twalk_r(s->held, look_openers, &l);
    pthread_mutex_unlock(&s->lock);
}

static void look_ek(const void *node, VISIT which, void *arg)
{
    const struct lt_store_held *h = *(struct lt_store_held *const *)node;
    struct of_ek *l = arg;

    if ((which != postorder && which != leaf) || !h->has_history || h->generation < l->generation ||
        memcmp(h->ek, l->ek, sizeof h->ek))
        return;
    l->generation = h->generation;
    *l->out = h->history;
}

bool lt_store_held_history(struct lt_store *s, const uint8_t ek[32], struct lt_history_guest *out)
{
    struct of_ek l = {.ek = ek, .out = out};

    pthread_mutex_lock(&s->lock);
    twalk_r(s->held, look_ek, &l);
    pthread_mutex_unlock(&s->lock);
    return l.generation;
}

bool lt_store_held_clear(struct lt_store *s, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&s->lock);
    struct lt_store_held *h = find(s, uuid);
    bool failed = fails(h);
    if (failed)
        h->cleared = true;
    pthread_mutex_unlock(&s->lock);
    return failed;
}

void lt_store_held_cleared(struct lt_store *s, const uint8_t uuid[LT_UUID], bool done, bool all)
{
    pthread_mutex_lock(&s->lock);
    struct lt_store_held *h = find(s, uuid);
    bool fell = h && h->verdict && h->row.result == LT_VERDICT_FAILED;
    if (fell && done && (h->cleared || all) && !h->owed) { /* it was decided, whatever became of the guest */
        h->owed = copy_text(h->row.doc);
        h->owed_at = h->row.received;
    }
    if (h && done && (h->cleared || all))
        h->verdict = false; /* its history is still to be written */
    if (h && done && all)
        h->linked = false;
    if (h)
        h->cleared = false;
    pthread_mutex_unlock(&s->lock);
}

size_t lt_store_held_count(struct lt_store *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->held_count;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- written again ---- */

struct again {
    struct lt_store *s;
    size_t count;
    struct lt_store_held *list[AT_ONCE];
    bool written[AT_ONCE];
};

static void collect(const void *node, VISIT which, void *arg)
{
    const struct lt_store_held *h = *(struct lt_store_held *const *)node;
    struct again *a = arg;

    if ((which == postorder || which == leaf) && h->late && !h->cleared && a->count < AT_ONCE)
        (a->list[a->count++] = copy(h))->accepted = h->row.result == LT_VERDICT_FAILED;
}

/* Not one that was cleared, or replaced by a newer one, since it was collected. */
static bool still(struct lt_store *s, const struct lt_store_held *was)
{
    pthread_mutex_lock(&s->lock);
    const struct lt_store_held *h = find(s, was->uuid);
    bool is = h && h->generation == was->generation && h->verdict == was->verdict && !h->owed == !was->owed &&
              !h->cleared;
    pthread_mutex_unlock(&s->lock);
    return is;
}

/* One that cannot be written does not hold up the others. */
static int write_again(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct again *a = arg;
    int rc = 0;

    memset(a->written, 0, sizeof a->written);
    for (size_t i = 0; !rc && i < a->count; i++) {
        enum lt_store_kept kept;
        struct lt_err why = {0};
        if (!still(a->s, a->list[i]))
            continue;
        LT_TRY(lt_db_exec(sql, NULL, e, "SAVEPOINT held", ""));
        a->written[i] = !lt_store_write_held(sql, a->s, a->list[i], &kept, &why);
        if (!a->written[i] && sqlite3_get_autocommit(sql)) {
            *e = why;
            return why.code;
        }
        if (!a->written[i])
            LT_TRY(lt_db_exec(sql, NULL, e, "ROLLBACK TO held", ""));
        rc = lt_db_exec(sql, NULL, e, "RELEASE held", "");
    }
    return rc;
}

static void again_done(void *arg, int rc, const struct lt_err *e)
{
    struct again *a = arg;
    struct lt_store *s = a->s;

    (void)e; /* the store's fault is told by common/run/db.c */
    for (size_t i = 0; i < a->count; i++) {
        if (!rc && a->written[i])
            lt_store_held_done(s, a->list[i]->uuid, a->list[i]->generation, true);
        held_free(a->list[i]);
    }
    free(a);
    lt_store_revoked(s);
    pthread_mutex_lock(&s->lock);
    s->again = false;
    pthread_mutex_unlock(&s->lock);
}

void lt_store_held_tick(void *arg)
{
    struct lt_store *s = arg;

    if (!lt_store_held_count(s))
        return;
    struct again *a = lt_new(struct again);
    a->s = s;
    pthread_mutex_lock(&s->lock);
    if (!s->again)
        twalk_r(s->held, collect, a);
    s->again |= a->count;
    pthread_mutex_unlock(&s->lock);
    if (a->count)
        lt_db_post(s->db, write_again, a, again_done);
    else
        free(a);
}

void lt_store_held_free(struct lt_store *s)
{
    if (s->held_count)
        lt_log(LT_LOG_ERROR, "store", "%zu verdicts could not be written until the end, and are gone",
               s->held_count);
    tdestroy(s->held, held_free);
}
