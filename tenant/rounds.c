#include "tenant/rounds.h"

#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "tenant/rounds_impl.h"

#include <stdlib.h>
#include <string.h>

#define IDLE_MS 60000 /* the scheduler looks at least so often */

static struct lt_tenant_watched *find(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    struct lt_tenant_watched *g = r->guests;
    while (g && memcmp(g->uuid, uuid, LT_UUID))
        g = g->next;
    return g;
}

static void watched_free(struct lt_tenant_rounds *r, struct lt_tenant_watched *g)
{
    lt_ref_put(g->identity);
    lt_ref_put(g->policy);
    lt_ref_put(g->last);
    lt_list_clear(&g->list);
    (void)!lt_budget_keep(r->conf.memory, &g->kept, 0);
    free(g);
}

static void told_unproven(struct lt_tenant_watched *g)
{
    char uuid[LT_UUID_TEXT];

    lt_uuid_format(g->uuid, uuid);
    g->proven_until_ms = 0;
    lt_log_fields(LT_LOG_ERROR, "revocation",
                  json_pack("{s:s, s:s, s:s}", "guest", uuid, "result", "unproven", "message",
                            "no trusted verdict for max_stale_s"));
}

/* ---- the scheduler's thread ---- */

/* Whether the guests of a request wait for one of theirs that still flies for another reason. The last answer
 * is kept: neighbours mostly belong to the same request. */
struct hold {
    uint64_t ask;
    bool held;
};

static bool held(const struct lt_tenant_rounds *r, const struct lt_tenant_watched *g, struct hold *h)
{
    if (!g->ask)
        return false;
    if (g->ask != h->ask) {
        *h = (struct hold){.ask = g->ask};
        for (const struct lt_tenant_watched *other = r->guests; other && !h->held; other = other->next)
            h->held = other->ask == g->ask && other->flying;
    }
    return h->held;
}

/* When it may fly; LT_SCHEDULE_NEVER while something else must happen first. */
static uint64_t due(const struct lt_tenant_rounds *r, const struct lt_tenant_watched *g, struct hold *h)
{
    if (g->bulky && r->bulky >= LT_TENANT_BULKY_AT_ONCE)
        return LT_SCHEDULE_NEVER;
    return g->flying || g->removed || held(r, g, h) ? LT_SCHEDULE_NEVER : g->due_ms;
}

/* Guests whose verdict went stale for good are told of; those that were removed and have landed go. Under the
 * lock. */
static uint64_t look_after(struct lt_tenant_rounds *r, uint64_t now_ms)
{
    uint64_t next = now_ms + IDLE_MS;
    struct hold h = {0};

    for (struct lt_tenant_watched **at = &r->guests, *g; (g = *at);) {
        if (g->removed && !g->flying) {
            *at = g->next;
            watched_free(r, g);
            continue;
        }
        if (g->proven_until_ms && now_ms > g->proven_until_ms)
            told_unproven(g);
        if (g->proven_until_ms && g->proven_until_ms < next)
            next = g->proven_until_ms + 1;
        if (due(r, g, &h) < next)
            next = due(r, g, &h);
        at = &g->next;
    }
    return next;
}

/* Under the lock. */
static struct lt_tenant_flight *take(struct lt_tenant_rounds *r, struct lt_tenant_watched *g,
                                     struct lt_tenant_flight *list)
{
    struct lt_tenant_flight *f = calloc(1, sizeof *f);

    if (!f)
        abort();
    g->flying = true;
    g->ask = 0;
    f->owner = r;
    f->guest = g;
    f->next = list;
    f->bulky = g->bulky;
    r->bulky += f->bulky;
    r->flying++;
    return f;
}

/* The one that has waited longest; thousands of them at once would keep all others waiting. Under the lock.
 */
static struct lt_tenant_watched *next_bulky(struct lt_tenant_rounds *r, uint64_t until_ms)
{
    struct lt_tenant_watched *first = NULL;
    struct hold h = {0};

    for (struct lt_tenant_watched *g = r->guests; g; g = g->next)
        if (g->bulky && due(r, g, &h) <= until_ms && (!first || g->due_ms < first->due_ms))
            first = g;
    return first;
}

/* If anybody is due, everybody who is due soon. Under the lock. */
static struct lt_tenant_flight *take_due(struct lt_tenant_rounds *r, uint64_t now_ms)
{
    uint64_t slack = r->conf.period_ms / 10 < 3000 ? r->conf.period_ms / 10 : 3000;
    struct lt_tenant_flight *list = NULL;
    struct hold h = {0};
    bool any = false;

    for (const struct lt_tenant_watched *g = r->guests; g; g = g->next)
        any |= due(r, g, &h) <= now_ms;
    for (struct lt_tenant_watched *g = r->guests; any && g; g = g->next)
        if (!g->bulky && due(r, g, &h) <= now_ms + slack)
            list = take(r, g, list);
    for (struct lt_tenant_watched *g; any && (g = next_bulky(r, now_ms + slack));)
        list = take(r, g, list);
    return list;
}

/* Sweeps whose slow guests hold the others no longer. Under the lock; one at a time, since asking is done
 * without. */
static struct lt_tenant_flight *take_late(struct lt_tenant_rounds *r, uint64_t now_ms, uint64_t *next)
{
    for (struct lt_tenant_sweep *s = r->sweeps; s; s = s->next) {
        if (!s->late && s->gather_until_ms <= now_ms) {
            s->late = true;
            struct lt_tenant_flight *ready = lt_tenant_sweep_take(s);
            if (ready)
                return ready;
        } else if (!s->late && s->gather_until_ms < *next) {
            *next = s->gather_until_ms;
        }
    }
    return NULL;
}

static void *schedule(void *arg)
{
    struct lt_tenant_rounds *r = arg;
    struct lt_tenant_flight *list;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        uint64_t now = lt_clock_ms(), next = look_after(r, now);
        lt_tenant_contests_due(r, now, &next);
        if ((list = take_due(r, now))) {
            pthread_mutex_unlock(&r->lock);
            lt_tenant_sweep_start(r, list);
            pthread_mutex_lock(&r->lock);
        } else if ((list = take_late(r, now, &next))) {
            pthread_mutex_unlock(&r->lock);
            lt_tenant_flights_ask(r, list);
            pthread_mutex_lock(&r->lock);
        } else {
            (void)lt_cond_until(&r->wake, &r->lock, next);
        }
    }
    /* Those under way end by their own deadlines; a late sweep would wait for us, so it waits no longer. */
    for (uint64_t never = 0; (list = take_late(r, UINT64_MAX, &never));) {
        pthread_mutex_unlock(&r->lock);
        lt_tenant_flights_ask(r, list);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- start and stop ---- */

static struct lt_tenant_watched *watch(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    struct lt_tenant_watched *g = calloc(1, sizeof *g);

    if (!g)
        abort();
    memcpy(g->uuid, uuid, LT_UUID);
    g->next = r->guests;
    r->guests = g;
    return g;
}

/* What the last life of this process left: a failed verdict stands, a trusted one goes on ageing. */
static int load(void *arg, const struct lt_store_guest *guest)
{
    struct lt_tenant_rounds *r = arg;
    struct lt_store_deadlines d = lt_tenant_rounds_deadlines(r);
    struct lt_store_status st;
    struct lt_err e = {0};
    struct lt_tenant_watched *g = watch(r, guest->uuid);

    if (lt_store_status(r->conf.store, guest->uuid, &d, lt_clock_ms(), &st, NULL, &e))
        lt_log(LT_LOG_ERROR, "store", "%s", e.msg); /* due at once, like one without a verdict */
    else if (st.known && st.result == LT_VERDICT_FAILED)
        g->due_ms = LT_SCHEDULE_NEVER;
    else if (st.unproven)
        told_unproven(g);
    else if (st.proven_ms)
        g->proven_until_ms = lt_clock_ms() + st.proven_ms;
    return 0;
}

static void rounds_free(struct lt_tenant_rounds *r)
{
    for (struct lt_tenant_watched *g = r->guests, *next; g; g = next) {
        next = g->next;
        watched_free(r, g);
    }
    lt_result_cache_free(r->caches.quotes);
    lt_result_cache_free(r->caches.measured);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static bool known(void *arg, const uint8_t uuid[LT_UUID])
{
    return find(arg, uuid);
}

int lt_tenant_rounds_start(const struct lt_tenant_rounds_conf *c, struct lt_tenant_rounds **out,
                           struct lt_err *e)
{
    struct lt_tenant_rounds *r = calloc(1, sizeof *r);
    int rc;

    *out = NULL;
    if (!r || !(r->caches.quotes = lt_appraisal_quote_cache_new()) ||
        !(r->caches.measured = lt_measured_cache_new())) {
        if (r)
            lt_result_cache_free(r->caches.quotes);
        free(r);
        return lt_fail(e, LT_E_NO_MEMORY, "rounds: no memory");
    }
    r->conf = *c;
    pthread_mutex_init(&r->lock, NULL);
    lt_cond_init(&r->wake);
    rc = lt_store_guests(c->store, load, r, e);
    if (!rc)
        lt_bundles_collect(c->bundles, known, r);
    if (!rc && (rc = pthread_create(&r->thread, NULL, schedule, r)))
        rc = lt_fail(e, LT_E_INTERNAL, "rounds: thread: %s", strerror(rc));
    if (rc)
        rounds_free(r);
    else
        *out = r;
    return rc;
}

void lt_tenant_rounds_stop(struct lt_tenant_rounds *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    lt_http_client_free(r->conf.to_guests);
    pthread_mutex_lock(&r->lock);
    while (r->flying || r->contests)
        pthread_cond_wait(&r->wake, &r->lock);
    pthread_mutex_unlock(&r->lock);
    rounds_free(r);
}

/* ---- from the API and the registrar ---- */

static void make_due(struct lt_tenant_rounds *r, struct lt_tenant_watched *g)
{
    g->ask = r->asks;
    if (!g->flying) {
        g->schedule = (struct lt_schedule){0};
        g->due_ms = lt_clock_ms();
    }
}

bool lt_tenant_rounds_ask(struct lt_tenant_rounds *r, const uint8_t (*uuids)[LT_UUID], size_t count)
{
    bool known = true;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; uuids && known && i < count; i++) {
        const struct lt_tenant_watched *g = find(r, uuids[i]);
        known = g && !g->removed;
    }
    r->asks += known;
    for (size_t i = 0; known && uuids && i < count; i++)
        make_due(r, find(r, uuids[i]));
    for (struct lt_tenant_watched *g = r->guests; known && !uuids && g; g = g->next)
        make_due(r, g);
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return known;
}

void lt_tenant_rounds_add(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&r->lock);
    struct lt_tenant_watched *g = find(r, uuid);
    if (!g)
        g = watch(r, uuid);
    g->removed = false;
    r->asks++;
    make_due(r, g);
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void lt_tenant_rounds_remove(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&r->lock);
    struct lt_tenant_watched *g = find(r, uuid);
    if (g) {
        g->removed = true;
        lt_ref_put(lt_take(&g->last));
        g->proven_until_ms = 0;
    }
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

struct lt_ref *lt_tenant_rounds_last(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&r->lock);
    struct lt_tenant_watched *g = find(r, uuid);
    struct lt_ref *last = g ? lt_ref_get(g->last) : NULL;
    pthread_mutex_unlock(&r->lock);
    return last;
}

struct lt_store_deadlines lt_tenant_rounds_deadlines(const struct lt_tenant_rounds *r)
{
    /* News come once a period; a round may take the gathering and the window. */
    return (struct lt_store_deadlines){
        .news_ms = r->conf.period_ms + r->conf.gather_ms + r->conf.window_ms,
        .fault_ms = r->conf.period_ms,
        .max_stale_ms = r->conf.max_stale_ms,
    };
}

void lt_tenant_rounds_count(struct lt_tenant_rounds *r, struct lt_tenant_rounds_count *out)
{
    pthread_mutex_lock(&r->lock);
    *out = r->count;
    pthread_mutex_unlock(&r->lock);
}
