#include "tenant/rounds.h"

#include "appraisal/checks/host_quote.h"
#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tenant/stages.h"
#include "verifier/store/keylime.h"

#include <stdlib.h>

#define UNPROVEN_ROUNDS 2 /* that ended untrusted before a guest is told as unproven, count */
#define BULKY_AT_ONCE 16  /* guests known for large answers that are asked at a time, count */

/* ---- what the watch is told of guests ---- */

static struct lt_watch_entry *make(void *app)
{
    struct lt_tenant_guest *g = lt_new(struct lt_tenant_guest);

    (void)app;
    return &g->entry;
}

static struct lt_tenant_guest *guest_of(struct lt_watch_entry *entry)
{
    return (struct lt_tenant_guest *)entry;
}

static void guest_free(void *app, struct lt_watch_entry *entry)
{
    struct lt_tenant_guest *g = guest_of(entry);
    struct lt_tenant_rounds *r = app;

    lt_ref_put(g->identity);
    lt_ref_put(g->policy);
    lt_ref_put(g->last);
    lt_ref_put(g->sealed);
    lt_list_clear(&g->list);
    (void)!lt_budget_keep(r->conf.memory, &g->kept, 0);
    free(g);
}

static struct lt_flight *depart(void *app, struct lt_watch_entry *entry)
{
    struct lt_tenant_flight *f = lt_new(struct lt_tenant_flight);
    f->owner = app;
    f->guest = guest_of(entry);
    return &f->flight;
}

/* Only what this process itself has tried says that nothing can be proved: a tenant that slept, or was away,
 * does not know. The log says it once, the outbox keeps it once, and both are told again until it is written.
 */
static void look_overdue(struct lt_tenant_rounds *r, struct lt_tenant_guest *g, bool told)
{
    struct lt_store_deadlines d = lt_rounds_deadlines(r);
    char uuid[LT_UUID_TEXT];

    if (!g->overdue || g->untrusted < UNPROVEN_ROUNDS)
        return;
    lt_uuid_format(g->entry.id, uuid);
    if (!told)
        lt_log_fields(LT_LOG_ERROR, "revocation",
                      json_pack("{s:s, s:s, s:s}", "guest", uuid, "result", "unproven", "message",
                                "no trusted verdict for max_stale_s"));
    if (r->conf.revoke_unproven)
        lt_store_unproven(r->conf.store, g->entry.id, &d);
}

static void stale(void *app, struct lt_watch_entry *entry)
{
    struct lt_tenant_guest *g = guest_of(entry);

    g->overdue = true;
    look_overdue(app, g, false);
}

void lt_tenant_landed(struct lt_tenant_flight *f)
{
    struct lt_tenant_guest *g = f->guest;
    bool told = g->untrusted >= UNPROVEN_ROUNDS;

    if (f->proven_until_ms || f->revoked) {
        g->entry.proven_until_ms = f->proven_until_ms;
        g->untrusted = 0;
        g->overdue = false;
    } else if (f->untrusted) {
        g->untrusted++;
        look_overdue(f->owner, g, told);
    }
}

static void look(void *app, uint64_t now_ms, uint64_t *next_ms)
{
    lt_tenant_contests_due(app, now_ms, next_ms);
}

/* ---- start and stop ---- */

/* What the last life of this process left: a failed verdict stands, a trusted one goes on ageing. */
static int load(void *arg, const struct lt_store_guest *guest)
{
    struct lt_tenant_rounds *r = arg;
    struct lt_store_deadlines d = lt_rounds_deadlines(r);
    struct lt_store_status st;
    struct lt_err e = {0};
    if (lt_store_keylime_stopped(r->conf.store, guest->uuid))
        return 0;
    struct lt_watch_entry *g = lt_watch_new(&r->watch, guest->uuid);

    if (lt_store_status(r->conf.store, guest->uuid, &d, lt_clock_ms(), &st, NULL, &e))
        lt_log(LT_LOG_ERROR, "store", "%s", e.msg); /* due at once, like one without a verdict */
    else if (st.known && st.result == LT_VERDICT_FAILED)
        g->due_ms = LT_SCHEDULE_NEVER;
    else if (st.unproven || st.proven_ms) /* was trusted once: max_stale begins anew, for it was not tried */
        g->proven_until_ms = lt_clock_ms() + r->conf.max_stale_ms;
    return 0;
}

static void rounds_free(struct lt_tenant_rounds *r)
{
    lt_watch_close(&r->watch);
    lt_release_free(r->release);
    lt_exposure_free(r->exposure);
    lt_result_cache_free(r->caches.quotes);
    lt_result_cache_free(r->caches.measured);
    free(r);
}

static bool known(void *arg, const uint8_t uuid[LT_UUID])
{
    const struct lt_tenant_rounds *r = arg;

    return lt_watch_find(&r->watch, uuid) || lt_store_keylime_stopped(r->conf.store, uuid);
}

static struct lt_tenant_rounds *rounds_new(const struct lt_rounds_conf *c)
{
    struct lt_tenant_rounds *r = lt_new(struct lt_tenant_rounds);
    const struct lt_watch_conf watch = {.table = &lt_tenant_stages,
                                        .period_ms = c->period_ms,
                                        .gather_ms = c->gather_ms,
                                        .bulky_at_once = BULKY_AT_ONCE,
                                        .app = r,
                                        .make = make,
                                        .free = guest_free,
                                        .depart = depart,
                                        .stale = stale,
                                        .look = look};
    r->conf = *c;
    lt_watch_init(&r->watch, &watch);
    r->caches.quotes = lt_host_quote_cache_new();
    r->caches.measured = lt_measured_cache_new();
    r->exposure = lt_exposure_new(&(struct lt_exposure_conf){c->store, c->hosts, &r->caches});
    return r;
}

static int start_release(struct lt_tenant_rounds *r, struct lt_err *e)
{
    const struct lt_release_conf c = {.store = r->conf.store,
                                      .vault = r->conf.vault,
                                      .to_guests = r->conf.to_guests,
                                      .deadlines = lt_rounds_deadlines(r)};
    return lt_release_start(&c, &r->release, e);
}

int lt_rounds_start(const struct lt_rounds_conf *c, struct lt_tenant_rounds **out, struct lt_err *e)
{
    struct lt_tenant_rounds *r = rounds_new(c);
    int rc = lt_store_guests(c->store, load, r, e);

    *out = NULL;
    if (!rc)
        rc = start_release(r, e);
    if (!rc) {
        lt_bundles_collect(c->bundles, known, r);
        rc = lt_watch_start(&r->watch, e);
    }
    if (!rc) {
        *out = r;
    } else {
        lt_release_stop(r->release);
        rounds_free(r);
    }
    return rc;
}

void lt_rounds_stop(struct lt_tenant_rounds *r)
{
    if (!r)
        return;
    lt_watch_stop(&r->watch);
    lt_release_stop(r->release);
    lt_http_client_free(r->conf.to_guests);
    lt_watch_lock(&r->watch);
    while (r->watch.control.flying || r->contests)
        pthread_cond_wait(&r->watch.control.wake, &r->watch.control.lock);
    lt_watch_unlock(&r->watch);
    rounds_free(r);
}

/* ---- from the API and the registrar ---- */

bool lt_rounds_ask(struct lt_tenant_rounds *r, const uint8_t (*uuids)[LT_UUID], size_t count)
{
    return lt_watch_ask(&r->watch, uuids, count);
}

void lt_rounds_add(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    if (!lt_store_keylime_stopped(r->conf.store, uuid))
        lt_watch_add(&r->watch, uuid);
}

static struct lt_tenant_guest *find(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    return guest_of(lt_watch_find(&r->watch, uuid));
}

void lt_rounds_remove(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    lt_watch_remove(&r->watch, uuid);
    lt_release_forget(r->release, uuid);
    lt_watch_lock(&r->watch);
    struct lt_tenant_guest *g = find(r, uuid);
    if (g)
        lt_ref_put(lt_take(&g->last));
    lt_watch_unlock(&r->watch);
}

struct lt_http_client *lt_rounds_client(struct lt_tenant_rounds *r)
{
    return r->conf.to_guests;
}

struct lt_release *lt_rounds_release(struct lt_tenant_rounds *r)
{
    return r->release;
}

struct lt_ref *lt_rounds_last(struct lt_tenant_rounds *r, const uint8_t uuid[LT_UUID])
{
    lt_watch_lock(&r->watch);
    struct lt_tenant_guest *g = find(r, uuid);
    struct lt_ref *last = g ? lt_ref_get(g->last) : NULL;
    lt_watch_unlock(&r->watch);
    return last;
}

struct lt_store_deadlines lt_rounds_deadlines(const struct lt_tenant_rounds *r)
{
    /* News come once a period; a round may take the gathering and the window. */
    return (struct lt_store_deadlines){
        .news_ms = r->conf.period_ms + r->conf.gather_ms + r->conf.window_ms,
        .fault_ms = r->conf.period_ms,
        .max_stale_ms = r->conf.max_stale_ms,
    };
}

void lt_rounds_count(struct lt_tenant_rounds *r, struct lt_rounds_count *out)
{
    lt_watch_lock(&r->watch);
    *out = (struct lt_rounds_count){r->quotes, r->last_batch};
    lt_watch_unlock(&r->watch);
}
