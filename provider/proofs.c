#include "provider/proofs.h"

#include "common/clock.h"
#include "provider/render.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define TICKET 16
#define RETRY_S 1

struct job;

struct slot {
    struct lt_batch_item item; /* first: the batcher gives it back */
    struct lt_answer answer;
    struct job *job;
    struct slot *lost_next;
};

/* One request: held (req) or a ticket. */
struct job {
    uint8_t ticket[TICKET]; /* first: the key of the tree of tickets */
    uint8_t tenant[16];
    struct lt_proofs *owner;
    struct lt_req *req;     /* NULL: a ticket */
    struct job *newer;      /* finished tickets, by age */
    uint64_t done_ms;       /* 0: not yet finished */
    struct lt_shared *text; /* of a finished ticket: however often it is asked for */
    atomic_uint open;       /* items without an answer, and one for the dispatcher */
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
    struct job *oldest, *newest;
    /* Assigned guests that no known inventory has: they wait for the answers of a question to all hosts. */
    struct slot *lost;
    unsigned asking;       /* hosts that have not answered, and one for the asker */
    uint64_t asked_ms;
};

static const struct lt_item_error foreign = {LT_E_NOT_ASSIGNED, 0, "no guest of this tenant's"};
static const struct lt_item_error nowhere = {LT_E_NOT_FOUND, 2, "no host has this guest"};
static const struct lt_item_error no_memory = {LT_E_NO_MEMORY, 2, "the provider has no memory left"};

static int compare16(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

int lt_proofs_new(struct lt_registry *r, uint32_t max_waiting, uint32_t max_per_tenant, struct lt_proofs **out,
                  struct lt_err *e)
{
    struct lt_proofs *p = *out = calloc(1, sizeof *p);

    if (!p)
        return lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    p->registry = r;
    p->max_waiting = max_waiting;
    p->max_per_tenant = max_per_tenant;
    pthread_mutex_init(&p->lock, NULL);
    return 0;
}

void lt_proofs_free(struct lt_proofs *p)
{
    if (!p)
        return;
    lt_proofs_sweep(p, UINT64_MAX);
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
    if (!rc && !t && (t = calloc(1, sizeof *t))) {
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

static void job_free(struct job *j)
{
    lt_shared_unref(j->text);
    for (uint32_t i = 0; i < j->count; i++)
        lt_batch_unref(j->slots[i].answer.batch);
    free(j);
}

static int render(const struct job *j, char **text, size_t *n, struct lt_err *e)
{
    LT_AUTOFREE const struct lt_answer **answers = calloc(j->count + 1, sizeof *answers);

    if (!answers)
        return lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    for (uint32_t i = 0; i < j->count; i++)
        answers[i] = &j->slots[i].answer;
    return lt_render_proofs(answers, j->count, text, n, e);
}

static void reply(const struct job *j, struct lt_req *req)
{
    struct lt_err e = {0};
    char *text;
    size_t n;

    if (render(j, &text, &n, &e))
        lt_reply_error(req, &e, RETRY_S);
    else
        lt_reply_bytes(req, 200, "application/json", text, n);
}

static void finish(struct job *j)
{
    struct lt_proofs *p = j->owner;
    struct lt_req *req = j->req;

    char *text;
    size_t n;

    if (req)
        reply(j, req);
    else if (!render(j, &text, &n, NULL))
        j->text = lt_shared_new(text, n);
    pthread_mutex_lock(&p->lock);
    if (req) {
        discharge(p, j->tenant, j->count);
    } else {
        j->done_ms = lt_now_ms();
        if (p->newest)
            p->newest->newer = j;
        else
            p->oldest = j;
        p->newest = j;
    }
    pthread_mutex_unlock(&p->lock);
    if (req)
        job_free(j);
}

static void release(struct job *j)
{
    if (atomic_fetch_sub(&j->open, 1) == 1)
        finish(j);
}

static void item_done(struct lt_batch_item *i, struct lt_batch *batch, uint32_t index, const struct lt_item_error *why)
{
    struct slot *s = (struct slot *)i;

    if (batch)
        s->answer.batch = lt_batch_ref(batch);
    s->answer.index = index;
    s->answer.error = *why;
    release(s->job);
}

/* ---- to the hosts ---- */

/* The items of one request for one host stay together: one quote carries them all. */
struct group {
    struct lt_host *host;
    struct lt_batch_item *first, **last;
};

static void append(struct group *groups, uint32_t *count, struct lt_host *h, struct lt_batch_item *i)
{
    uint32_t g = *count;

    while (g && groups[g - 1].host != h)
        g--;
    if (!g) {
        groups[*count] = (struct group){.host = lt_host_ref(h)};
        groups[*count].last = &groups[*count].first;
        g = ++*count;
    }
    i->next = NULL;
    *groups[g - 1].last = i;
    groups[g - 1].last = &i->next;
}

static void seek(struct lt_proofs *p, struct slot *lost);

/* slots[0..count): each gets its host, its error, or (unless this is the last try) its place among the lost. */
static void dispatch(struct lt_proofs *p, struct slot **slots, uint32_t count, bool last_try)
{
    LT_AUTOFREE struct group *groups = calloc(count + 1, sizeof *groups);
    LT_AUTOFREE const struct lt_item_error **why = calloc(count + 1, sizeof *why);
    struct slot *lost = NULL;
    uint32_t n = 0;

    if (!groups || !why) {
        for (uint32_t i = 0; i < count; i++)
            item_done(&slots[i]->item, NULL, 0, &no_memory);
        return;
    }
    lt_registry_lock(p->registry);
    for (uint32_t i = 0; i < count; i++) {
        struct lt_host *h;
        enum lt_place place = lt_registry_place(p->registry, slots[i]->answer.uuid, slots[i]->job->tenant, &h);
        if (place == LT_PLACE_HOST) {
            append(groups, &n, h, &slots[i]->item);
        } else if (place == LT_PLACE_FOREIGN || last_try) {
            why[i] = place == LT_PLACE_FOREIGN ? &foreign : &nowhere;
        } else {
            slots[i]->lost_next = lost;
            lost = slots[i];
        }
    }
    lt_registry_unlock(p->registry);
    /* From here on a slot that was handed over may be gone with its job. */
    for (uint32_t i = 0; i < count; i++)
        if (why[i])
            item_done(&slots[i]->item, NULL, 0, why[i]);
    for (uint32_t g = 0; g < n; g++) {
        lt_batcher_add(groups[g].host->batcher, groups[g].first);
        lt_host_unref(groups[g].host);
    }
    if (lost)
        seek(p, lost);
}

static void give_up(struct slot *lost)
{
    for (struct slot *next; lost; lost = next) {
        next = lost->lost_next;
        item_done(&lost->item, NULL, 0, &nowhere);
    }
}

static void asked(void *arg)
{
    struct lt_proofs *p = arg;
    struct slot *lost = NULL;
    uint32_t n = 0;

    pthread_mutex_lock(&p->lock);
    if (!--p->asking) {
        lost = p->lost;
        p->lost = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    for (struct slot *s = lost; s; s = s->lost_next)
        n++;
    LT_AUTOFREE struct slot **slots = calloc(n + 1, sizeof *slots);
    if (!slots) {
        give_up(lost);
        return;
    }
    n = 0;
    for (struct slot *s = lost; s; s = s->lost_next)
        slots[n++] = s;
    dispatch(p, slots, n, true);
}

/* Asks every host for its inventory, at most once in LT_REFRESH_GAP_MS; who comes meanwhile shares the question. */
static void seek(struct lt_proofs *p, struct slot *lost)
{
    LT_AUTOHOSTS struct lt_host_list *hosts = lt_registry_hosts(p->registry);
    uint64_t now = lt_now_ms();
    bool ask = false;

    pthread_mutex_lock(&p->lock);
    if (!p->asking && hosts && (!p->asked_ms || now - p->asked_ms >= LT_REFRESH_GAP_MS)) {
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
    give_up(lost);
    for (size_t i = 0; ask && i < hosts->count; i++)
        lt_host_refresh(hosts->host[i], asked, p);
    if (ask)
        asked(p);
}

/* ---- requests ---- */

static int read_items(const json_t *j, struct job **out, struct lt_err *e)
{
    static const char *const keys[] = {"guests", NULL}, *const item_keys[] = {"uuid", "commitment", NULL};
    json_t *guests, *g;
    size_t i;
    int rc = lt_json_only(j, keys, e);

    if (!rc)
        rc = lt_json_array(j, "guests", LT_MAX_PROOF_ITEMS, &guests, e);
    if (rc)
        return rc;
    LT_AUTOFREE struct job *job = calloc(1, sizeof *job + json_array_size(guests) * sizeof *job->slots);
    if (!job)
        return lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    json_array_foreach(guests, i, g)
    {
        struct slot *s = &job->slots[job->count++];
        s->job = job;
        s->item.done = item_done;
        if (lt_json_uuid(g, "uuid", s->answer.uuid, e) ||
            lt_json_hex(g, "commitment", s->item.commitment, sizeof s->item.commitment, e) ||
            lt_json_only(g, item_keys, e))
            return lt_fail_in(e, "guest %zu", i);
    }
    if (!job->count)
        return lt_fail(e, LT_E_MALFORMED, "JSON: \"guests\" is empty");
    *out = lt_take(&job);
    return 0;
}

/* Makes the job a ticket and says so. Returns false without memory. */
static bool issue(struct lt_proofs *p, struct job *j, struct lt_req *req)
{
    static const char base[] = "/federation/v1/proofs/";
    char location[sizeof base + 2 * TICKET];

    lt_random(j->ticket, sizeof j->ticket);
    pthread_mutex_lock(&p->lock);
    bool ok = tsearch(j, &p->tickets, compare16);
    pthread_mutex_unlock(&p->lock);
    if (!ok)
        return false;
    memcpy(location, base, sizeof base - 1);
    lt_hex(j->ticket, TICKET, location + sizeof base - 1);
    lt_req_add_header(req, "Location", location);
    lt_reply_json(req, 202, json_object());
    return true;
}

void lt_proofs_ask(struct lt_proofs *p, struct lt_req *req)
{
    const struct lt_peer *peer = lt_req_peer(req);
    const char *prefer = lt_req_header(req, "Prefer");
    struct lt_err e = {0};
    struct job *j = NULL;
    LT_AUTOJSON json_t *body = lt_req_json(req, &e);
    int rc = body ? read_items(body, &j, &e) : e.code;

    if (!rc)
        rc = admit(p, peer->tenant_id, j->count, &e);
    if (rc) {
        free(j);
        lt_reply_error(req, &e, lt_err_class(rc) == LT_CLASS_RETRY ? RETRY_S : 0);
        return;
    }
    j->owner = p;
    memcpy(j->tenant, peer->tenant_id, sizeof j->tenant);
    atomic_init(&j->open, j->count + 1);
    if (!prefer || !strstr(prefer, "respond-async") || !issue(p, j, req)) {
        lt_req_hold(req);
        j->req = req;
    }
    LT_AUTOFREE struct slot **slots = calloc(j->count, sizeof *slots);
    for (uint32_t i = 0; i < j->count; i++)
        if (slots)
            slots[i] = &j->slots[i];
        else
            item_done(&j->slots[i].item, NULL, 0, &no_memory);
    if (slots)
        dispatch(p, slots, j->count, false);
    release(j);
}

void lt_proofs_collect(struct lt_proofs *p, struct lt_req *req, const char *ticket)
{
    uint8_t key[TICKET];
    struct lt_err e = {0};
    struct job *j = NULL;

    pthread_mutex_lock(&p->lock);
    if (!lt_unhex(ticket, key, sizeof key, &e)) {
        struct job **node = tfind(key, &p->tickets, compare16);
        j = node && !memcmp((*node)->tenant, lt_req_peer(req)->tenant_id, 16) ? *node : NULL;
    }
    if (!j || (j->done_ms && lt_now_ms() - j->done_ms >= LT_TICKET_MS)) {
        (void)lt_fail(&e, LT_E_NOT_FOUND, "no such ticket");
        lt_reply_error(req, &e, 0);
    } else if (!j->done_ms) {
        lt_req_add_header(req, "Retry-After", "1");
        lt_reply_json(req, 202, json_object());
    } else if (j->text) {
        lt_reply_shared(req, 200, "application/json", j->text, 0);
    } else {
        (void)lt_fail(&e, LT_E_NO_MEMORY, "proofs: no memory");
        lt_reply_error(req, &e, RETRY_S);
    }
    pthread_mutex_unlock(&p->lock);
}

void lt_proofs_sweep(struct lt_proofs *p, uint64_t now_ms)
{
    pthread_mutex_lock(&p->lock);
    while (p->oldest && now_ms - p->oldest->done_ms >= LT_TICKET_MS) {
        struct job *j = p->oldest;
        p->oldest = j->newer;
        if (!p->oldest)
            p->newest = NULL;
        tdelete(j, &p->tickets, compare16);
        discharge(p, j->tenant, j->count);
        job_free(j);
    }
    pthread_mutex_unlock(&p->lock);
}
