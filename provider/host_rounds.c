#include "provider/host_rounds.h"

#include "appraisal/checks/host_quote.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "provider/stages.h"
#include "verifier/store/outbox.h"

#include <stdlib.h>
#include <string.h>

#define THREADS 4       /* most wait for a host's logs */
#define CHANGED_MS 5000 /* between a round and the next, for the sake of other values in a quote */
#define LEAST_STALE 180000

int lt_provider_rounds_accept(const char *accept, struct lt_provider_rounds_conf *out, struct lt_err *e)
{
    static const char gap[] = ", \t";

    for (const char *at = accept; *(at += strspn(at, gap)); at += strcspn(at, gap)) {
        size_t n = strcspn(at, gap);
        if (n == strlen("boot-only") && !strncmp(at, "boot-only", n))
            out->accept_boot_only = true;
        else if (n == strlen("ek-unproven") && !strncmp(at, "ek-unproven", n))
            out->accept_ek_unproven = true;
        else
            return lt_fail(e, LT_E_CONFIG, "host_accept: \"%.*s\" is neither boot-only nor ek-unproven",
                           n > 40 ? 40 : (int)n, at);
    }
    return 0;
}

/* ---- what the watch is told of hosts ---- */

static struct lt_provider_watched *watched_of(struct lt_watch_entry *entry)
{
    return (struct lt_provider_watched *)entry;
}

static struct lt_watch_entry *make(void *app)
{
    (void)app;
    return &lt_new(struct lt_provider_watched)->entry;
}

static void watched_free(void *app, struct lt_watch_entry *entry)
{
    (void)app;
    free(watched_of(entry));
}

static struct lt_flight *depart(void *app, struct lt_watch_entry *entry)
{
    struct lt_provider_flight *f = lt_new(struct lt_provider_flight);

    f->owner = app;
    f->watched = watched_of(entry);
    f->watched->began_ms = lt_clock_ms();
    return &f->flight;
}

static struct lt_store_deadlines deadlines(const struct lt_provider_rounds *r)
{
    /* News come once a period; a round may take the window. */
    return (struct lt_store_deadlines){.news_ms = r->conf.period_ms + LT_WINDOW_MS,
                                       .fault_ms = r->conf.period_ms,
                                       .max_stale_ms = r->conf.max_stale_ms};
}

static void stale(void *app, struct lt_watch_entry *entry)
{
    struct lt_provider_rounds *r = app;
    struct lt_store_deadlines d = deadlines(r);

    lt_store_unproven(r->store, entry->id, &d);
    lt_log_fields(LT_LOG_ERROR, "revocation",
                  json_pack("{s:o, s:s, s:s}", "host", lt_json_new_hex(entry->id, sizeof entry->id), "result",
                            "unproven", "message", "no trusted verdict for host_max_stale_s"));
}

/* Other values are quoted than before, in whosever batch: the operator is to hear of it no later than the
 * tenants. Due at once, but not soon after a round. Any thread. */
static void changed(void *rounds, const uint8_t id[LT_RESIDENCY_HOST_ID])
{
    struct lt_provider_rounds *r = rounds;

    lt_watch_lock(&r->watch);
    struct lt_provider_watched *w = watched_of(lt_watch_find(&r->watch, id));
    if (w && !w->entry.flying) {
        uint64_t now = lt_clock_ms(), soonest = w->began_ms ? w->began_ms + CHANGED_MS : now;
        uint64_t at = soonest > now ? soonest : now;
        if (at < w->entry.due_ms)
            w->entry.due_ms = at;
        lt_watch_wake(&r->watch);
    }
    lt_watch_unlock(&r->watch);
}

/* ---- start and stop ---- */

/* What the last life of this process left goes on ageing. Unproven is revoked only when it could not be
 * proven for so long although this one tried. */
static void load(struct lt_provider_rounds *r, const struct lt_provider_host *h)
{
    struct lt_store_deadlines d = deadlines(r);
    struct lt_store_status st;
    struct lt_err e = {0};
    struct lt_watch_entry *w = lt_watch_new(&r->watch, h->id);

    if (lt_store_status(r->store, h->id, &d, lt_clock_ms(), &st, NULL, &e))
        lt_log(LT_LOG_ERROR, "store", "%s", e.msg);
    else if (st.proven_ms || st.unproven)
        w->proven_until_ms = lt_clock_ms() + r->conf.max_stale_ms;
}

struct orphans {
    struct lt_provider_rounds *r;
    uint8_t (*ids)[LT_RESIDENCY_HOST_ID];
    size_t count, room;
};

static int look_orphan(void *arg, const struct lt_store_guest *row)
{
    struct orphans *o = arg;

    if (lt_watch_find(&o->r->watch, row->uuid))
        return 0;
    if (o->count == o->room) {
        size_t more = o->room ? 2 * o->room : 16;
        void *ids = realloc(o->ids, more * sizeof *o->ids);
        if (!ids)
            return 1; /* the others at the next start */
        o->ids = ids;
        o->room = more;
    }
    memcpy(o->ids[o->count++], row->uuid, sizeof *o->ids);
    return 0;
}

/* Rows of hosts that were dropped while this process died. */
static int drop_orphans(struct lt_provider_rounds *r, struct lt_err *e)
{
    struct orphans o = {.r = r};
    int rc = lt_store_guests(r->store, look_orphan, &o, e);

    for (size_t i = 0; !rc && i < o.count; i++)
        rc = lt_store_guest_delete(r->store, o.ids[i], e);
    free(o.ids);
    return rc;
}

static int open_documents(struct lt_provider_rounds *r, struct lt_err *e)
{
    const struct lt_documents_conf c = {.tables = r->tables = lt_file_path(r->conf.state_dir, "tables"),
                                        .fetched = r->fetched = lt_file_path(r->conf.state_dir, "fetched"),
                                        .max_fetched = r->conf.max_documents,
                                        .store = r->store};

    return lt_documents_new(&c, &r->documents, e);
}

static int open_all(struct lt_provider_rounds *r, struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(r->conf.state_dir, "hosts.db");

    LT_TRY(lt_store_open(path, NULL, NULL, &r->store, e));
    LT_TRY(open_documents(r, e));
    r->memory = lt_budget_new(r->conf.max_memory);
    r->source = (struct lt_evidence){r->conf.registry, r->memory};
    const struct lt_hosts_conf hosts = {.source = lt_evidence_source(&r->source),
                                        .store = r->store,
                                        .documents = r->documents,
                                        .roots = r->conf.roots};
    LT_TRY(lt_hosts_new(&hosts, &r->hosts, e));
    LT_TRY(lt_hook_start(r->store, r->conf.webhook, r->conf.webhook_ca, &r->hook, e));
    return lt_work_start(&(struct lt_work_conf){"hosts", THREADS, 0}, &r->pool, e);
}

static int begin(struct lt_provider_rounds *r, struct lt_err *e)
{
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(r->conf.registry);

    if (!hosts)
        return lt_fail(e, LT_E_NO_MEMORY, "hosts: no memory");
    for (size_t i = 0; i < hosts->count; i++)
        load(r, hosts->host[i]);
    LT_TRY(drop_orphans(r, e));
    r->conf.shared->changed_arg = r;
    r->conf.shared->changed = changed;
    LT_TRY(lt_watch_start(&r->watch, e));
    r->watching = true;
    return 0;
}

int lt_provider_rounds_start(const struct lt_provider_rounds_conf *c, struct lt_provider_rounds **out,
                             struct lt_err *e)
{
    struct lt_provider_rounds *r = lt_new(struct lt_provider_rounds);
    uint64_t stale_ms = 3 * c->period_ms > LEAST_STALE ? 3 * c->period_ms : LEAST_STALE;
    const struct lt_watch_conf watch = {.table = &lt_provider_stages,
                                        .period_ms = c->period_ms,
                                        .app = r,
                                        .make = make,
                                        .free = watched_free,
                                        .depart = depart,
                                        .stale = stale};

    *out = NULL;
    r->conf = *c;
    if (!r->conf.max_stale_ms)
        r->conf.max_stale_ms = stale_ms;
    lt_watch_init(&r->watch, &watch);
    r->quotes = lt_host_quote_cache_new();
    r->measured = lt_measured_cache_new();
    int rc = open_all(r, e);
    if (!rc)
        rc = begin(r, e);
    if (rc)
        lt_provider_rounds_free(r);
    else
        *out = r;
    return rc;
}

void lt_provider_rounds_halt(struct lt_provider_rounds *r)
{
    if (!r || !r->watching)
        return;
    r->watching = false;
    lt_watch_stop(&r->watch);
}

void lt_provider_rounds_drain(struct lt_provider_rounds *r)
{
    if (!r)
        return;
    lt_watch_lock(&r->watch);
    while (r->watch.control.flying)
        pthread_cond_wait(&r->watch.control.wake, &r->watch.control.lock);
    lt_watch_unlock(&r->watch);
}

void lt_provider_rounds_free(struct lt_provider_rounds *r)
{
    if (!r)
        return;
    lt_provider_rounds_halt(r);
    lt_provider_rounds_drain(r);
    lt_work_free(r->pool);
    lt_watch_close(&r->watch);
    lt_hosts_free(r->hosts);
    lt_result_cache_free(r->quotes);
    lt_result_cache_free(r->measured);
    lt_hook_free(r->hook);
    lt_documents_free(r->documents);
    free(r->tables);
    free(r->fetched);
    lt_budget_free(r->memory);
    lt_store_close(r->store);
    free(r);
}

int lt_provider_rounds_reload(struct lt_provider_rounds *r, struct lt_err *e)
{
    return lt_hosts_reload(r->hosts, e);
}

/* ---- from the API ---- */

void lt_provider_rounds_add(struct lt_provider_rounds *r, const uint8_t id[LT_RESIDENCY_HOST_ID])
{
    lt_watch_add(&r->watch, id);
}

void lt_provider_rounds_remove(struct lt_provider_rounds *r, const uint8_t id[LT_RESIDENCY_HOST_ID])
{
    struct lt_err e = {0};

    lt_watch_remove(&r->watch, id);
    if (lt_store_guest_delete(r->store, id, &e) && e.code != LT_E_NOT_FOUND)
        lt_log(LT_LOG_WARNING, "store", "%s", e.msg); /* dropped at the next start */
}

bool lt_provider_rounds_ask(struct lt_provider_rounds *r, const uint8_t (*ids)[LT_RESIDENCY_HOST_ID],
                            size_t count)
{
    return lt_watch_ask(&r->watch, ids, count);
}

int lt_provider_rounds_verdict(struct lt_provider_rounds *r, struct lt_provider_host *h, json_t **out,
                               struct lt_err *e)
{
    struct lt_store_deadlines d = deadlines(r);
    struct lt_store_status st;
    uint8_t policy[LT_SHA256];

    *out = NULL;
    LT_TRY(lt_provider_follow(r, h, policy, e)); /* the verdict is about what is published now, or none */
    return lt_store_status(r->store, h->id, &d, lt_clock_ms(), &st, out, e);
}

int lt_provider_rounds_clear(struct lt_provider_rounds *r, const uint8_t id[LT_RESIDENCY_HOST_ID],
                             struct lt_err *e)
{
    LT_TRY(lt_store_clear(r->store, id, e));
    lt_watch_add(&r->watch, id);
    return 0;
}

/* The store names whatever it attests as a guest. */
static void name_host(json_t *decision)
{
    const char *text = json_string_value(json_object_get(decision, "guest"));
    uint8_t id[LT_UUID];

    if (text && !lt_uuid_parse(text, id, LT_NO_ERR))
        json_object_set_new(decision, "host", lt_json_new_hex(id, sizeof id));
    json_object_del(decision, "guest");
}

int lt_provider_rounds_revocations(struct lt_provider_rounds *r, json_t **out, struct lt_err *e)
{
    json_t *decision;
    size_t i;

    LT_TRY(lt_outbox_list(lt_store_outbox(r->store), r->conf.dead_s, out, e));
    json_array_foreach(json_object_get(*out, "revocations"), i, decision) name_host(decision);
    return 0;
}

void lt_provider_rounds_report(struct lt_provider_rounds *r, struct lt_db_health *health,
                               struct lt_db_skipped *skipped, size_t *unwritten)
{
    lt_store_report(r->store, health, skipped, unwritten);
}
