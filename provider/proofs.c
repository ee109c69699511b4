#include "provider/proofs.h"

#include "common/alloc.h"
#include "common/ref.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "provider/render.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define TICKET 16
#define RETRY_S 1

struct job;

/* One host asked for one guest. */
struct ask {
    struct lt_batcher_batch_item item; /* first: the batcher gives it back */
    struct slot *slot;
    uint8_t host[16];
    struct lt_batcher_batch *batch; /* these three are written before done */
    uint32_t index;
    struct lt_batcher_item_error error;
    atomic_bool done;
};

/* One guest of a request, and whom it takes to answer for it. It is settled when nothing more has to be
 * waited for: all have answered, or the host that the tenant named has, with this guest among its residents.
 */
struct slot {
    struct lt_registry_sought sought;
    uint8_t commitment[32];
    struct ask first, *more; /* more: count - 1 */
    unsigned count;
    bool named; /* the first is the host that the tenant named */
    atomic_uint left;
    atomic_bool settled;
    struct job *job;
    struct slot *lost_next;
};

/* One request: held (req) or a ticket. */
struct job {
    uint8_t ticket[TICKET]; /* first: the key of the tree of tickets */
    uint8_t tenant[16];
    struct lt_proofs *owner;
    struct lt_http_req *req; /* NULL: a ticket */
    uint64_t asked_ms;
    struct job *newer;           /* finished tickets, by age */
    uint64_t done_ms;            /* 0: not yet finished */
    struct lt_http_shared *text; /* of a finished ticket: however often it is asked for */
    struct lt_ref_count refs;    /* each ask, its dispatcher, the tree of tickets, the list of ripe ones */
    atomic_uint asks;            /* without an answer, and one for the dispatcher */
    atomic_uint unsettled;       /* slots, and one for the dispatcher */
    atomic_bool contested, replied;
    struct job *
        next_ripe; /* every slot is settled, and some hosts have not answered: due_ms is the end of waiting */
    uint64_t due_ms;
    uint32_t count;
    struct slot slots[];
};

struct tenant {
    uint8_t id[16];
    uint32_t items;
};

struct lt_proofs {
    struct lt_registry *registry;
    uint32_t max_waiting, max_per_tenant;
    pthread_mutex_t lock; /* guards what follows */
    void *tenants, *tickets;
    uint32_t waiting;
    struct job *oldest, *newest, *ripe;
    pthread_cond_t ripened;
    pthread_t timer;
    bool stopping, timing;
    /* Assigned guests that no known inventory has: they wait for the answers of a question to all hosts. */
    struct slot *lost;
    unsigned asking; /* hosts that have not answered, and one for the asker */
    uint64_t asked_ms;
};

static const struct lt_batcher_item_error foreign = {LT_E_NOT_ASSIGNED, 0, "no guest of this tenant's"};
static const struct lt_batcher_item_error nowhere = {LT_E_NOT_FOUND, 2, "no host has this guest"};
static const struct lt_batcher_item_error late = {LT_E_HOST_UNREACHABLE, 2,
                                                  "this host did not answer while another's answer sufficed"};
static const struct lt_batcher_item_error no_memory = {LT_E_NO_MEMORY, 2, "the provider has no memory left"};

static int compare16(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void *watch_ripe(void *arg);

int lt_proofs_new(struct lt_registry *r, uint32_t max_waiting, uint32_t max_per_tenant,
                  struct lt_proofs **out, struct lt_err *e)
{
    struct lt_proofs *p = *out = lt_new(struct lt_proofs);
    p->registry = r;
    p->max_waiting = max_waiting;
    p->max_per_tenant = max_per_tenant;
    pthread_mutex_init(&p->lock, NULL);
    lt_cond_init(&p->ripened);
    int err = pthread_create(&p->timer, NULL, watch_ripe, p);
    p->timing = !err;
    if (!err)
        return 0;
    lt_proofs_free(lt_take(out));
    return lt_fail(e, LT_E_IO, "proofs: thread: %s", strerror(err));
}

void lt_proofs_free(struct lt_proofs *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_signal(&p->ripened);
    pthread_mutex_unlock(&p->lock);
    if (p->timing)
        pthread_join(p->timer, NULL);
    lt_proofs_sweep(p, UINT64_MAX);
    pthread_cond_destroy(&p->ripened);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- ceilings ---- */

static int admit(struct lt_proofs *p, const uint8_t id[16], uint32_t items, struct lt_err *e)
{
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    struct tenant **node = tfind(id, &p->tenants, compare16);
    struct tenant *t = node ? *node : NULL;
    if ((t ? t->items : 0) + items > p->max_per_tenant)
        rc = lt_fail(e, LT_E_TOO_MANY, "more than %u guests of one tenant wait", p->max_per_tenant);
    else if (p->waiting + items > p->max_waiting)
        rc = lt_fail(e, LT_E_BUSY, "more than %u guests wait", p->max_waiting);
    if (!rc && !t) {
        t = lt_new(struct tenant);
        memcpy(t->id, id, 16);
        if (!tsearch(t, &p->tenants, compare16))
            free(lt_take(&t));
    }
    if (!rc && !t)
        rc = lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    if (!rc) {
        t->items += items;
        p->waiting += items;
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* Under the lock. */
static void discharge(struct lt_proofs *p, const uint8_t id[16], uint32_t items)
{
    struct tenant *t = *(struct tenant **)tfind(id, &p->tenants, compare16);

    p->waiting -= items;
    t->items -= items;
    if (!t->items) {
        tdelete(id, &p->tenants, compare16);
        free(t);
    }
}

uint32_t lt_proofs_waiting(struct lt_proofs *p)
{
    pthread_mutex_lock(&p->lock);
    uint32_t n = p->waiting;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* ---- answers ---- */

static struct ask *ask_at(struct slot *s, unsigned i)
{
    return i ? &s->more[i - 1] : &s->first;
}

static void job_unref(struct job *j)
{
    struct lt_proofs *p = j->owner;

    if (!lt_ref_leave(&j->refs))
        return;
    pthread_mutex_lock(&p->lock);
    discharge(p, j->tenant, j->count);
    pthread_mutex_unlock(&p->lock);
    lt_http_shared_unref(j->text);
    for (uint32_t i = 0; i < j->count; i++) {
        for (unsigned k = 0; k < j->slots[i].count; k++)
            lt_batcher_batch_unref(ask_at(&j->slots[i], k)->batch);
        free(j->slots[i].more);
    }
    free(j);
}

static bool has_pair(const struct slot *s, const struct lt_batcher_batch *b)
{
    uint32_t at;
    return b && lt_residents_find(b->residents, s->sought.uuid, s->sought.has_ek ? s->sought.ek : NULL, &at);
}

static unsigned rank(const struct slot *s, const struct lt_render_answer *a)
{
    return has_pair(s, a->batch) ? 0 : a->batch ? 1 : 2;
}

/* The answers as they are now. The item's own is the one that has the guest, of the host that was named or
 * has claimed it longest; then a null, then an error. */
static void gather(struct slot *s, struct lt_render_answers *out)
{
    *out = (struct lt_render_answers){.ek = s->sought.has_ek ? s->sought.ek : NULL, .count = s->count};
    memcpy(out->uuid, s->sought.uuid, sizeof out->uuid);
    for (unsigned i = 0; i < s->count; i++) {
        struct ask *a = ask_at(s, i);
        struct lt_render_answer now = {.error = late};
        if (atomic_load(&a->done))
            now = (struct lt_render_answer){.batch = a->batch, .index = a->index, .error = a->error};
        memcpy(now.host, a->host, sizeof now.host);
        unsigned at = i;
        for (; at && rank(s, &out->answer[at - 1]) > rank(s, &now); at--)
            out->answer[at] = out->answer[at - 1];
        out->answer[at] = now;
    }
}

static int render(struct job *j, char **text, size_t *n, struct lt_err *e)
{
    LT_AUTOFREE struct lt_render_answers *items = calloc(j->count + 1, sizeof *items);

    if (!items)
        return lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    for (uint32_t i = 0; i < j->count; i++)
        gather(&j->slots[i], &items[i]);
    return lt_render_proofs(items, j->count, text, n, e);
}

static void reply(struct job *j)
{
    struct lt_err e = {0};
    char *text;
    size_t n;

    if (render(j, &text, &n, &e))
        lt_http_reply_error(j->req, &e, RETRY_S);
    else
        lt_http_reply_bytes(j->req, 200, "application/json", text, n);
}

static void finish_ticket(struct job *j)
{
    struct lt_proofs *p = j->owner;
    char *text;
    size_t n;

    if (!render(j, &text, &n, LT_NO_ERR))
        j->text = lt_http_shared_new(text, n);
    pthread_mutex_lock(&p->lock);
    j->done_ms = lt_clock_ms();
    if (p->newest)
        p->newest->newer = j;
    else
        p->oldest = j;
    p->newest = j;
    pthread_mutex_unlock(&p->lock);
}

/* Once. Answers that come later find nobody to hear them. */
static void answer(struct job *j)
{
    if (atomic_exchange(&j->replied, true))
        return;
    if (j->req)
        reply(j);
    else
        finish_ticket(j);
}

/* ---- who is slow ---- */

/* The others are waited for as long again as those that suffice took. */
static void ripen(struct job *j)
{
    struct lt_proofs *p = j->owner;
    uint64_t now = lt_clock_ms(), grace = now - j->asked_ms;

    if (!atomic_load(&j->contested))
        return;
    grace = grace < LT_PROVIDER_GRACE_MIN_MS   ? LT_PROVIDER_GRACE_MIN_MS
            : grace > LT_PROVIDER_GRACE_MAX_MS ? LT_PROVIDER_GRACE_MAX_MS
                                               : grace;
    lt_ref_join(&j->refs, 1);
    pthread_mutex_lock(&p->lock);
    j->due_ms = now + grace;
    j->next_ripe = p->ripe;
    p->ripe = j;
    pthread_cond_signal(&p->ripened);
    pthread_mutex_unlock(&p->lock);
}

/* One that is due, or NULL and when the next one is. Under the lock. */
static struct job *take_ripe(struct lt_proofs *p, uint64_t now, uint64_t *next)
{
    *next = UINT64_MAX;
    for (struct job **at = &p->ripe; *at; at = &(*at)->next_ripe) {
        struct job *j = *at;
        if (p->stopping || j->due_ms <= now || atomic_load(&j->replied)) {
            *at = j->next_ripe;
            return j;
        }
        if (j->due_ms < *next)
            *next = j->due_ms;
    }
    return NULL;
}

static void *watch_ripe(void *arg)
{
    struct lt_proofs *p = arg;
    uint64_t next;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        uint64_t now = lt_clock_ms();
        struct job *j = take_ripe(p, now, &next);
        if (j) {
            pthread_mutex_unlock(&p->lock);
            answer(j);
            job_unref(j);
            pthread_mutex_lock(&p->lock);
        } else if (p->stopping) {
            break;
        } else {
            (void)lt_cond_until(&p->ripened, &p->lock, next);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- one answer ---- */

static void settle(struct job *j)
{
    if (atomic_fetch_sub(&j->unsettled, 1) == 1 && atomic_load(&j->asks) > 1)
        ripen(j);
}

static void close_ask(struct job *j)
{
    if (atomic_fetch_sub(&j->asks, 1) == 1)
        answer(j);
    job_unref(j);
}

static void ask_done(struct ask *a)
{
    struct slot *s = a->slot;
    struct job *j = s->job;

    atomic_store(&a->done, true);
    bool named = s->named && a == &s->first && has_pair(s, a->batch);
    if ((atomic_fetch_sub(&s->left, 1) == 1 || named) && !atomic_exchange(&s->settled, true))
        settle(j);
    close_ask(j);
}

static void item_done(struct lt_batcher_batch_item *i, struct lt_batcher_batch *batch, uint32_t index,
                      const struct lt_batcher_failure *why)
{
    struct ask *a = (struct ask *)i;

    if (batch)
        a->batch = lt_batcher_batch_ref(batch);
    a->index = index;
    a->error = why->told;
    ask_done(a);
}

/* Nobody is asked for this guest. */
static void slot_fail(struct slot *s, const struct lt_batcher_item_error *why)
{
    item_done(&s->first.item, NULL, 0, &(struct lt_batcher_failure){.told = *why});
}

/* ---- to the hosts ---- */

/* The items of one request for one host stay together: one quote carries them all. */
struct group {
    struct lt_provider_host *host;
    struct lt_batcher_batch_item *first, **last;
};

static void append(struct group *groups, uint32_t *count, struct lt_provider_host *h,
                   struct lt_batcher_batch_item *i)
{
    uint32_t g = *count;

    while (g && groups[g - 1].host != h)
        g--;
    if (!g) {
        groups[*count] = (struct group){.host = lt_provider_host_ref(h)};
        groups[*count].last = &groups[*count].first;
        g = ++*count;
    }
    i->next = NULL;
    *groups[g - 1].last = i;
    groups[g - 1].last = &i->next;
}

/* Makes room for so many asks; without memory the first must do. */
static void widen(struct slot *s, unsigned count)
{
    if (count > 1 && (s->more = calloc(count - 1, sizeof *s->more))) {
        s->count = count;
        lt_ref_join(&s->job->refs, count - 1);
        atomic_fetch_add(&s->job->asks, count - 1);
        atomic_store(&s->left, count);
        atomic_store(&s->job->contested, true);
    }
}

static void ask_hosts(struct slot *s, const struct lt_registry_places *places, struct group *groups,
                      uint32_t *n)
{
    widen(s, places->count);
    s->named = s->sought.has_host && !memcmp(places->host[0]->id, s->sought.host, 16);
    for (unsigned i = 0; i < s->count; i++) {
        struct ask *a = ask_at(s, i);
        a->slot = s;
        a->item.done = item_done;
        memcpy(a->item.commitment, s->commitment, sizeof a->item.commitment);
        memcpy(a->host, places->host[i]->id, sizeof a->host);
        append(groups, n, places->host[i], &a->item);
    }
}

static void seek(struct lt_proofs *p, struct slot *lost);

/* slots[0..count): each gets its hosts, its error, or (unless this is the last try) its place among the lost.
 */
static void dispatch(struct lt_proofs *p, struct slot **slots, uint32_t count, bool last_try)
{
    LT_AUTOFREE struct group *groups = calloc(count + 1, LT_MAX_CLAIMANTS * sizeof *groups);
    LT_AUTOFREE const struct lt_batcher_item_error **why = calloc(count + 1, sizeof *why);
    struct slot *lost = NULL;
    uint32_t n = 0;

    if (!groups || !why) {
        for (uint32_t i = 0; i < count; i++)
            slot_fail(slots[i], &no_memory);
        return;
    }
    lt_registry_lock(p->registry);
    for (uint32_t i = 0; i < count; i++) {
        struct lt_registry_places places;
        enum lt_registry_place place =
            lt_registry_places(p->registry, &slots[i]->sought, slots[i]->job->tenant, last_try, &places);
        if (place == LT_REGISTRY_PLACE_HOST) {
            ask_hosts(slots[i], &places, groups, &n);
        } else if (place == LT_REGISTRY_PLACE_FOREIGN || last_try) {
            why[i] = place == LT_REGISTRY_PLACE_FOREIGN ? &foreign : &nowhere;
        } else {
            slots[i]->lost_next = lost;
            lost = slots[i];
        }
    }
    lt_registry_unlock(p->registry);
    /* From here on a slot that was handed over may be gone with its job. */
    for (uint32_t i = 0; i < count; i++)
        if (why[i])
            slot_fail(slots[i], why[i]);
    for (uint32_t g = 0; g < n; g++) {
        lt_batcher_add(groups[g].host->batcher, groups[g].first);
        lt_provider_host_unref(groups[g].host);
    }
    if (lost)
        seek(p, lost);
}

/* Nobody is asked any more who has them. */
static void try_last(struct lt_proofs *p, struct slot *lost)
{
    uint32_t n = 0;

    for (struct slot *s = lost; s; s = s->lost_next)
        n++;
    LT_AUTOFREE struct slot **slots = calloc(n + 1, sizeof *slots);
    n = 0;
    for (struct slot *s = lost, *next; s; s = next) {
        next = s->lost_next;
        if (slots)
            slots[n++] = s;
        else
            slot_fail(s, &no_memory);
    }
    if (n)
        dispatch(p, slots, n, true);
}

static void asked(void *arg)
{
    struct lt_proofs *p = arg;
    struct slot *lost = NULL;

    pthread_mutex_lock(&p->lock);
    if (!--p->asking)
        lost = lt_take(&p->lost);
    pthread_mutex_unlock(&p->lock);
    try_last(p, lost);
}

/* Asks every host for its inventory, at most once in LT_PROVIDER_REFRESH_GAP_MS; who comes meanwhile shares
 * the question. */
static void seek(struct lt_proofs *p, struct slot *lost)
{
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(p->registry);
    uint64_t now = lt_clock_ms();
    bool ask = false;

    pthread_mutex_lock(&p->lock);
    if (!p->asking && hosts && (!p->asked_ms || now - p->asked_ms >= LT_PROVIDER_REFRESH_GAP_MS)) {
        p->asked_ms = now;
        p->asking = (unsigned)hosts->count + 1;
        ask = true;
    }
    if (p->asking) {
        struct slot **end = &lost;
        while (*end)
            end = &(*end)->lost_next;
        *end = p->lost;
        p->lost = lost;
        lost = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    try_last(p, lost);
    for (size_t i = 0; ask && i < hosts->count; i++)
        lt_provider_host_refresh(hosts->host[i], asked, p);
    if (ask)
        asked(p);
}

/* ---- requests ---- */

static int read_item(const json_t *j, struct slot *s, struct lt_err *e)
{
    static const char *const keys[] = {"uuid", "commitment", "ek_digest", "host", NULL};
    struct lt_registry_sought *o = &s->sought;

    LT_TRY(lt_json_only(j, keys, e));
    LT_TRY(lt_json_uuid(j, "uuid", o->uuid, e));
    LT_TRY(lt_json_hex(j, "commitment", s->commitment, sizeof s->commitment, e));
    o->has_ek = lt_json_has(j, "ek_digest");
    o->has_host = lt_json_has(j, "host");
    if (o->has_ek)
        LT_TRY(lt_json_hex(j, "ek_digest", o->ek, sizeof o->ek, e));
    return o->has_host ? lt_json_hex(j, "host", o->host, sizeof o->host, e) : 0;
}

static int read_items(const json_t *j, struct job **out, struct lt_err *e)
{
    static const char *const keys[] = {"guests", NULL};
    json_t *guests, *g;
    size_t i;

    LT_TRY(lt_json_only(j, keys, e));
    LT_TRY(lt_json_array(j, "guests", LT_MAX_PROOF_ITEMS, &guests, e));
    LT_AUTOFREE struct job *job = calloc(1, sizeof *job + json_array_size(guests) * sizeof *job->slots);
    if (!job)
        return lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    json_array_foreach(guests, i, g)
    {
        struct slot *s = &job->slots[job->count++];
        s->job = job;
        s->first.slot = s;
        s->count = 1;
        atomic_init(&s->left, 1);
        LT_TRY_IN(read_item(g, s, e), e, "guest %zu", i);
    }
    if (!job->count)
        return lt_fail(e, LT_E_MALFORMED, "JSON: \"guests\" is empty");
    *out = lt_take(&job);
    return 0;
}

/* Makes the job a ticket and says so. Returns false without memory. */
static bool issue(struct lt_proofs *p, struct job *j, struct lt_http_req *req)
{
    static const char base[] = "/federation/v1/proofs/";
    char location[sizeof base + 2 * TICKET];

    lt_random(j->ticket, sizeof j->ticket);
    lt_ref_join(&j->refs, 1);
    pthread_mutex_lock(&p->lock);
    bool ok = tsearch(j, &p->tickets, compare16);
    pthread_mutex_unlock(&p->lock);
    if (!ok) {
        (void)lt_ref_leave(&j->refs); /* not the last: the dispatcher has one */
        return false;
    }
    memcpy(location, base, sizeof base - 1);
    lt_hex(j->ticket, TICKET, location + sizeof base - 1);
    lt_http_req_add_header(req, "Location", location);
    lt_http_reply_json(req, 202, json_object());
    return true;
}

void lt_proofs_ask(struct lt_proofs *p, struct lt_http_req *req)
{
    const struct lt_peer *peer = lt_http_req_peer(req);
    const char *prefer = lt_http_req_header(req, "Prefer");
    struct lt_err e = {0};
    struct job *j = NULL;
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, &e);

    if (!body || read_items(body, &j, &e) || admit(p, peer->tenant_id, j->count, &e)) {
        free(j);
        lt_http_reply_error(req, &e, lt_err_class(e.code) == LT_CLASS_RETRY ? RETRY_S : 0);
        return;
    }
    j->owner = p;
    memcpy(j->tenant, peer->tenant_id, sizeof j->tenant);
    j->asked_ms = lt_clock_ms();
    lt_ref_start(&j->refs, j->count + 1);
    atomic_init(&j->asks, j->count + 1);
    atomic_init(&j->unsettled, j->count + 1);
    if (!prefer || !strstr(prefer, "respond-async") || !issue(p, j, req)) {
        lt_http_req_hold(req);
        j->req = req;
    }
    LT_AUTOFREE struct slot **slots = calloc(j->count, sizeof *slots);
    for (uint32_t i = 0; i < j->count; i++)
        if (slots)
            slots[i] = &j->slots[i];
        else
            slot_fail(&j->slots[i], &no_memory);
    if (slots)
        dispatch(p, slots, j->count, false);
    settle(j);
    close_ask(j);
}

void lt_proofs_collect(struct lt_proofs *p, struct lt_http_req *req, const char *ticket)
{
    uint8_t key[TICKET];
    struct lt_err e = {0};
    struct job *j = NULL;

    pthread_mutex_lock(&p->lock);
    if (!lt_unhex(ticket, key, sizeof key, &e)) {
        struct job **node = tfind(key, &p->tickets, compare16);
        j = node && !memcmp((*node)->tenant, lt_http_req_peer(req)->tenant_id, 16) ? *node : NULL;
    }
    if (!j || (j->done_ms && lt_ticket_over(j->done_ms, lt_clock_ms()))) {
        (void)lt_fail(&e, LT_E_NOT_FOUND, "no such ticket");
        lt_http_reply_error(req, &e, 0);
    } else if (!j->done_ms) {
        lt_http_req_add_header(req, "Retry-After", "1");
        lt_http_reply_json(req, 202, json_object());
    } else if (j->text) {
        lt_http_reply_shared(req, 200, "application/json", j->text, 0);
    } else {
        (void)lt_fail(&e, LT_E_NO_MEMORY, "proofs: no memory");
        lt_http_reply_error(req, &e, RETRY_S);
    }
    pthread_mutex_unlock(&p->lock);
}

void lt_proofs_sweep(struct lt_proofs *p, uint64_t now_ms)
{
    struct job *over = NULL;

    pthread_mutex_lock(&p->lock);
    while (p->oldest && lt_ticket_over(p->oldest->done_ms, now_ms)) {
        struct job *j = p->oldest;
        p->oldest = j->newer;
        if (!p->oldest)
            p->newest = NULL;
        tdelete(j, &p->tickets, compare16);
        j->newer = over;
        over = j;
    }
    pthread_mutex_unlock(&p->lock);
    for (struct job *next; over; over = next) {
        next = over->newer;
        job_unref(over);
    }
}
