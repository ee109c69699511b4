#include "verifier/rounds/watch.h"

#include "common/run/clock.h"
#include "common/run/cond.h"

#include <stdlib.h>
#include <string.h>

#define IDLE_MS 60000 /* the thread looks at least so often */

void lt_watch_lock(struct lt_watch *w)
{
    pthread_mutex_lock(&w->control.lock);
}

void lt_watch_unlock(struct lt_watch *w)
{
    pthread_mutex_unlock(&w->control.lock);
}

void lt_watch_wake(struct lt_watch *w)
{
    pthread_cond_broadcast(&w->control.wake);
}

struct lt_watch_entry *lt_watch_find(const struct lt_watch *w, const uint8_t id[LT_WATCH_ID])
{
    struct lt_watch_entry *g = w->first;

    while (g && memcmp(g->id, id, LT_WATCH_ID))
        g = g->next;
    return g;
}

struct lt_watch_entry *lt_watch_new(struct lt_watch *w, const uint8_t id[LT_WATCH_ID])
{
    struct lt_watch_entry *g = w->conf.make(w->conf.app);

    memcpy(g->id, id, LT_WATCH_ID);
    g->next = w->first;
    w->first = g;
    return g;
}

/* ---- who is due: all under the lock ---- */

/* Whether those of a request wait for one of theirs that still flies for another reason. The last answer is
 * kept: neighbours mostly belong to the same request. */
struct hold {
    uint64_t ask;
    bool held;
};

static bool held(const struct lt_watch *w, const struct lt_watch_entry *g, struct hold *h)
{
    if (!g->ask)
        return false;
    if (g->ask != h->ask) {
        *h = (struct hold){.ask = g->ask};
        for (const struct lt_watch_entry *other = w->first; other && !h->held; other = other->next)
            h->held = other->ask == g->ask && other->flying;
    }
    return h->held;
}

/* When it may fly; LT_COND_EVER while something else must happen first. */
static uint64_t due(const struct lt_watch *w, const struct lt_watch_entry *g, struct hold *h)
{
    if (g->bulky && w->bulky >= w->conf.bulky_at_once)
        return LT_COND_EVER;
    return g->flying || g->removed || held(w, g, h) ? LT_COND_EVER : g->due_ms;
}

/* Those whose verdict went stale for good are told of; those that were removed and have landed go. */
static uint64_t look_after(struct lt_watch *w, uint64_t now_ms)
{
    uint64_t next = now_ms + IDLE_MS;
    struct hold h = {0};

    for (struct lt_watch_entry **at = &w->first, *g; (g = *at);) {
        if (g->removed && !g->flying) {
            *at = g->next;
            w->conf.free(w->conf.app, g);
            continue;
        }
        if (g->proven_until_ms && now_ms > g->proven_until_ms) {
            g->proven_until_ms = 0;
            w->conf.stale(w->conf.app, g);
        }
        if (g->proven_until_ms && g->proven_until_ms < next)
            next = g->proven_until_ms + 1;
        if (due(w, g, &h) < next)
            next = due(w, g, &h);
        at = &g->next;
    }
    return next;
}

static struct lt_flight *take(struct lt_watch *w, struct lt_watch_entry *g, struct lt_flight *list)
{
    struct lt_flight *f = w->conf.depart(w->conf.app, g);

    f->asked = g->ask;
    g->flying = true;
    g->ask = 0;
    f->watched = g;
    f->next = list;
    f->bulky = g->bulky;
    w->bulky += f->bulky;
    return f;
}

/* The one that has waited longest; thousands of them at once would keep all others waiting. */
static struct lt_watch_entry *next_bulky(struct lt_watch *w, uint64_t until_ms)
{
    struct lt_watch_entry *first = NULL;
    struct hold h = {0};

    for (struct lt_watch_entry *g = w->first; g; g = g->next)
        if (g->bulky && due(w, g, &h) <= until_ms && (!first || g->due_ms < first->due_ms))
            first = g;
    return first;
}

/* If anybody is due, everybody who is due soon. */
static struct lt_flight *take_due(struct lt_watch *w, uint64_t now_ms)
{
    uint64_t slack = w->conf.period_ms / 10 < 3000 ? w->conf.period_ms / 10 : 3000;
    struct lt_flight *list = NULL;
    struct hold h = {0};
    bool any = false;

    for (const struct lt_watch_entry *g = w->first; g; g = g->next)
        any |= due(w, g, &h) <= now_ms;
    for (struct lt_watch_entry *g = w->first; any && g; g = g->next)
        if (!g->bulky && due(w, g, &h) <= now_ms + slack)
            list = take(w, g, list);
    for (struct lt_watch_entry *g; any && (g = next_bulky(w, now_ms + slack));)
        list = take(w, g, list);
    return list;
}

/* ---- the thread ---- */

static void look(struct lt_watch *w)
{
    uint64_t now = lt_clock_ms(), next = look_after(w, now);
    struct lt_flight *list;

    if (w->conf.look)
        w->conf.look(w->conf.app, now, &next);
    if ((list = take_due(w, now))) {
        lt_watch_unlock(w);
        lt_flight_start(&w->control, list);
        lt_watch_lock(w);
    } else if (!lt_flight_late(&w->control, now, &next)) {
        lt_cond_until(&w->control.wake, &w->control.lock, next);
    }
}

static void *schedule(void *arg)
{
    struct lt_watch *w = arg;
    uint64_t never = 0;

    lt_watch_lock(w);
    while (!w->control.stopping)
        look(w);
    /* Those under way end by their own deadlines; a late sweep would wait for us, so it waits no longer. */
    while (lt_flight_late(&w->control, UINT64_MAX, &never))
        ;
    lt_watch_unlock(w);
    return NULL;
}

void lt_watch_init(struct lt_watch *w, const struct lt_watch_conf *c)
{
    *w = (struct lt_watch){.conf = *c};
    lt_flight_control_init(&w->control, c->table, c->gather_ms);
}

int lt_watch_start(struct lt_watch *w, struct lt_err *e)
{
    int rc = pthread_create(&w->thread, NULL, schedule, w);

    return rc ? lt_fail(e, LT_E_INTERNAL, "rounds: thread: %s", strerror(rc)) : 0;
}

void lt_watch_stop(struct lt_watch *w)
{
    lt_watch_lock(w);
    w->control.stopping = true;
    lt_watch_wake(w);
    lt_watch_unlock(w);
    pthread_join(w->thread, NULL);
}

void lt_watch_close(struct lt_watch *w)
{
    for (struct lt_watch_entry *g = w->first, *next; g; g = next) {
        next = g->next;
        w->conf.free(w->conf.app, g);
    }
    lt_flight_control_close(&w->control);
}

/* ---- from outside ---- */

static void make_due(struct lt_watch *w, struct lt_watch_entry *g)
{
    g->ask = w->asks;
    if (!g->flying)
        g->due_ms = lt_clock_ms();
}

bool lt_watch_ask(struct lt_watch *w, const uint8_t (*ids)[LT_WATCH_ID], size_t count)
{
    bool known = true;

    lt_watch_lock(w);
    for (size_t i = 0; ids && known && i < count; i++) {
        const struct lt_watch_entry *g = lt_watch_find(w, ids[i]);
        known = g && !g->removed;
    }
    w->asks += known;
    for (size_t i = 0; known && ids && i < count; i++)
        make_due(w, lt_watch_find(w, ids[i]));
    for (struct lt_watch_entry *g = w->first; known && !ids && g; g = g->next)
        make_due(w, g);
    lt_watch_wake(w);
    lt_watch_unlock(w);
    return known;
}

void lt_watch_add(struct lt_watch *w, const uint8_t id[LT_WATCH_ID])
{
    lt_watch_lock(w);
    struct lt_watch_entry *g = lt_watch_find(w, id);
    if (!g)
        g = lt_watch_new(w, id);
    g->removed = false;
    w->asks++;
    make_due(w, g);
    lt_watch_wake(w);
    lt_watch_unlock(w);
}

void lt_watch_remove(struct lt_watch *w, const uint8_t id[LT_WATCH_ID])
{
    lt_watch_lock(w);
    struct lt_watch_entry *g = lt_watch_find(w, id);
    if (g) {
        g->removed = true;
        g->proven_until_ms = 0;
    }
    lt_watch_wake(w);
    lt_watch_unlock(w);
}

void lt_watch_landed(struct lt_watch *w, const struct lt_flight *f, uint64_t due_ms)
{
    struct lt_watch_entry *g = f->watched;

    g->due_ms = g->ask ? lt_clock_ms() : due_ms;
    g->flying = false;
    w->bulky -= f->bulky;
    lt_watch_wake(w);
}
