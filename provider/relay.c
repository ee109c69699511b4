#include "provider/relay.h"

#include "common/alloc.h"
#include "common/ima_list.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "common/run/work.h"
#include "provider/limits.h"
#include "provider/net.h"
#include "provider/turns.h"
#include "residency/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct waiter {
    struct waiter *next;
    struct lt_http_req *req;
    uint64_t epoch; /* the list must have been asked for in this one or later */
};

struct cached_log {
    bool asked;
    unsigned waiting;
    struct waiter *waiters;
    struct lt_http_shared *bytes; /* NULL: none kept */
    uint64_t at_ms;
    uint32_t reset_count;
    uint64_t epoch;
};

struct activation {
    struct lt_turn turn; /* first */
    struct lt_relay *relay;
    struct lt_http_req *req; /* its body is what is forwarded */
};

struct lt_relay {
    struct lt_relay_host host;
    pthread_mutex_t lock;
    struct cached_log logs[2];
    struct activation *active; /* is with the host */
    struct lt_turn *waiting;
};

static const struct {
    const char *name;
    size_t max;
    uint64_t fresh_ms;
} kinds[] = {
    [LT_RELAY_BOOT_LOG] = {"boot-log", LT_MAX_BOOT_LOG, LT_PROVIDER_BOOT_LOG_FRESH_MS},
    [LT_RELAY_IMA] = {"ima", LT_MAX_IMA_LOG, LT_PROVIDER_IMA_FRESH_MS},
};

struct lt_relay *lt_relay_new(const struct lt_relay_host *host)
{
    struct lt_relay *r = lt_new(struct lt_relay);

    r->host = *host;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void lt_relay_free(struct lt_relay *r)
{
    if (!r)
        return;
    lt_http_shared_unref(r->logs[LT_RELAY_BOOT_LOG].bytes);
    lt_http_shared_unref(r->logs[LT_RELAY_IMA].bytes);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void reply_error(struct lt_http_req *req, int code, const char *text, unsigned retry_after_s)
{
    struct lt_err e = {0};
    (void)lt_fail(&e, code, "%s", text);
    lt_http_reply_error(req, &e, retry_after_s);
}

/* ---- logs ---- */

static uint64_t epoch_of(const struct lt_relay *r, enum lt_relay_kind kind)
{
    return kind == LT_RELAY_IMA ? atomic_load(r->host.ima_epoch) : 0;
}

/* A list from the unit on that was asked for: a line of text, an entry of a binary list. */
static void reply_log(struct lt_http_req *req, enum lt_relay_kind kind, struct lt_http_shared *log)
{
    const char *q = kind == LT_RELAY_IMA ? lt_http_req_query(req, "first") : NULL;
    uint64_t first =
        q && *q && strlen(q) < 20 && strspn(q, "0123456789") == strlen(q) ? strtoull(q, NULL, 10) : 0;
    size_t from = 0;
    char header[24];

    if (kind == LT_RELAY_IMA) {
        from = lt_ima_list_from(lt_http_shared_bytes(log), &first);
        snprintf(header, sizeof header, "%llu", (unsigned long long)first);
        lt_http_req_add_header(req, "X-Ima-First", header);
    }
    lt_http_reply_shared(req, 200, "application/octet-stream", log, from);
}

static bool fresh(const struct lt_relay *r, enum lt_relay_kind kind, const struct cached_log *l)
{
    return l->bytes && l->reset_count == atomic_load(r->host.reset_count) && l->epoch == epoch_of(r, kind) &&
           lt_clock_ms() - l->at_ms < kinds[kind].fresh_ms;
}

struct fetch {
    struct lt_work_task task;
    struct lt_relay *relay;
    enum lt_relay_kind kind;
    struct lt_err e; /* code 0: bytes */
    struct lt_http_shared *bytes;
    uint32_t reset_count;
    uint64_t epoch;
};

static void ask_host(struct fetch *f);

/* Those whom this answer covers; the others wait for the next one. */
static struct waiter *take_waiters(struct cached_log *l, const struct fetch *f)
{
    struct waiter *go = NULL, **at = &l->waiters;

    while (*at) {
        struct waiter *w = *at;
        if (w->epoch > f->epoch) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = go;
        go = w;
        l->waiting--;
    }
    return go;
}

/* Under the lock, and before anybody is answered: whoever asks next is answered from it. */
static void keep(struct cached_log *l, const struct fetch *f)
{
    lt_http_shared_unref(l->bytes);
    l->bytes = lt_http_shared_ref(f->bytes);
    l->at_ms = lt_clock_ms();
    l->reset_count = f->reset_count;
    l->epoch = f->epoch;
}

static void hand_out(struct lt_work_task *t)
{
    struct fetch *f = LT_WORK_OWNER(t, struct fetch);
    struct lt_relay *r = f->relay;
    struct cached_log *l = &r->logs[f->kind];

    pthread_mutex_lock(&r->lock);
    struct waiter *w = take_waiters(l, f);
    bool again = l->asked = l->waiters;
    if (!f->e.code)
        keep(l, f);
    pthread_mutex_unlock(&r->lock);
    for (struct waiter *next; w; w = next) {
        next = w->next;
        if (f->e.code)
            lt_http_reply_error(w->req, &f->e, lt_err_class(f->e.code) == LT_CLASS_RETRY ? 2 : 0);
        else
            reply_log(w->req, f->kind, f->bytes);
        free(w);
    }
    lt_http_shared_unref(lt_take(&f->bytes));
    if (again) {
        f->e = (struct lt_err){0};
        ask_host(f);
        return;
    }
    free(f);
    r->host.unref(r->host.arg);
}

static void log_done(void *arg, const struct lt_http_reply *reply, const struct lt_err *trouble)
{
    struct fetch *f = arg;
    const struct lt_relay_host *h = &f->relay->host;
    struct lt_err e = {0};

    if (lt_net_check_server(h->id, reply, trouble, &e) || (reply->status != 200 && reply->status != 404)) {
        lt_log(LT_LOG_INFO, "host-log", "%s %s: %s", h->address, kinds[f->kind].name,
               e.code ? e.msg : "refused by the host");
        (void)lt_fail(&f->e, LT_E_HOST_UNREACHABLE, "the host did not answer");
    } else if (reply->status == 404) {
        (void)lt_fail(&f->e, LT_E_NOT_FOUND, "the host has no such log");
    } else {
        char *copy = malloc(reply->n + 1);
        if (copy)
            f->bytes = lt_http_shared_new(memcpy(copy, reply->body, reply->n), reply->n);
        if (!f->bytes)
            (void)lt_fail(&f->e, LT_E_NO_MEMORY, "log: no memory");
    }
    lt_work_post(h->work, &f->task, hand_out);
}

/* The epoch is read before the question leaves: what it covers was measured by then. */
static void ask_host(struct fetch *f)
{
    const struct lt_relay_host *h = &f->relay->host;

    f->reset_count = atomic_load(h->reset_count);
    f->epoch = epoch_of(f->relay, f->kind);
    lt_net_send(h->net,
                &(struct lt_net_request){.method = "GET",
                                         .address = h->address,
                                         .name = kinds[f->kind].name,
                                         .max_reply = kinds[f->kind].max},
                log_done, f);
}

void lt_relay_log(struct lt_relay *r, enum lt_relay_kind kind, struct lt_http_req *req)
{
    struct cached_log *l = &r->logs[kind];
    struct waiter *w = lt_new(struct waiter);
    struct fetch *f = lt_new(struct fetch);
    bool ask = false, held = false, full;

    pthread_mutex_lock(&r->lock);
    bool cached = fresh(r, kind, l);
    full = l->waiting >= LT_MAX_LOG_WAITERS;
    if (cached) {
        reply_log(req, kind, l->bytes);
    } else if (!full) {
        lt_http_req_hold(req);
        *w = (struct waiter){l->waiters, req, epoch_of(r, kind)};
        l->waiters = w;
        l->waiting++;
        ask = !l->asked;
        l->asked = held = true;
    }
    pthread_mutex_unlock(&r->lock);
    if (!held)
        free(w);
    if (!ask)
        free(f);
    if (!cached && full)
        reply_error(req, LT_E_BUSY, "too many wait for this log", 2);
    if (!ask)
        return;
    r->host.ref(r->host.arg);
    *f = (struct fetch){.relay = r, .kind = kind};
    ask_host(f);
}

void lt_relay_sweep(struct lt_relay *r)
{
    for (enum lt_relay_kind k = LT_RELAY_BOOT_LOG; k <= LT_RELAY_IMA; k++) {
        struct cached_log *l = &r->logs[k];
        pthread_mutex_lock(&r->lock);
        if (!fresh(r, k, l))
            lt_http_shared_unref(lt_take(&l->bytes));
        pthread_mutex_unlock(&r->lock);
    }
}

/* ---- activations ---- */

static void forward(struct activation *a);

static void activation_done(void *arg, const struct lt_http_reply *reply, const struct lt_err *trouble)
{
    struct activation *a = arg;
    struct lt_relay *r = a->relay;
    const struct lt_relay_host *h = &r->host;
    struct lt_err e = {0};
    uint8_t proof[32];
    LT_JSON_AUTO json_t *j = NULL;

    if (!lt_net_check_server(h->id, reply, trouble, &e))
        j = lt_http_json(reply, 200, lt_residency_error_read, &e);
    if (j && !lt_json_hex(j, "proof", proof, sizeof proof, &e)) {
        lt_http_reply_json(a->req, 200, json_pack("{s:o}", "proof", lt_json_new_hex(proof, sizeof proof)));
    } else {
        lt_log(LT_LOG_INFO, "host-activation", "%s: %s", h->address, e.msg);
        if (lt_err_class(e.code) == LT_CLASS_PEER && !trouble->code)
            reply_error(a->req, LT_E_REFUSED, "the host refused the credential", 0);
        else if (e.code == LT_E_HOST_TPM)
            reply_error(a->req, LT_E_HOST_TPM, "the host's TPM fails or is away", 2);
        else
            reply_error(a->req, LT_E_HOST_UNREACHABLE, "the host did not answer", 2);
    }
    pthread_mutex_lock(&r->lock);
    struct activation *next = r->active = (struct activation *)lt_turns_take(&r->waiting, a->turn.tenant);
    pthread_mutex_unlock(&r->lock);
    if (next)
        forward(next);
    free(a);
    h->unref(h->arg);
}

static void forward(struct activation *a)
{
    struct lt_slice body = lt_http_req_body(a->req);

    lt_net_send(a->relay->host.net,
                &(struct lt_net_request){.method = "POST",
                                         .address = a->relay->host.address,
                                         .name = "activations",
                                         .body = (const char *)body.p,
                                         .body_n = body.n,
                                         .max_reply = LT_MAX_BODY_SMALL},
                activation_done, a);
}

static int check_activation(struct lt_http_req *req, struct lt_err *e)
{
    static const char *const keys[] = {"credential", "challenge", NULL};
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, e);
    LT_AUTOFREE uint8_t *credential = NULL;
    uint8_t challenge[32];
    size_t n;

    if (!j || lt_json_only(j, keys, e) ||
        lt_json_base64(j, "credential", LT_MAX_CREDENTIAL, &credential, &n, e) ||
        lt_json_hex(j, "challenge", challenge, sizeof challenge, e))
        return lt_fail_in(e, e->code, "activation");
    return 0;
}

/* Its place, or why it has none. *yields: who had to make room. Under the lock. */
static int queue(struct lt_relay *r, struct activation *a, struct activation **yields)
{
    const uint8_t *tenant = a->turn.tenant;
    bool own = r->active && !memcmp(r->active->turn.tenant, tenant, sizeof a->turn.tenant);
    struct lt_turn **end = &r->waiting;

    *yields = NULL;
    if (own + lt_turns_count(r->waiting, tenant) >= LT_MAX_ACTIVATIONS_TENANT)
        return LT_E_TOO_MANY;
    if (lt_turns_count(r->waiting, NULL) + 1 >= LT_MAX_ACTIVATIONS &&
        (own || !(*yields = (struct activation *)lt_turns_yield(&r->waiting, tenant))))
        return LT_E_BUSY;
    r->host.ref(r->host.arg);
    lt_http_req_hold(a->req);
    if (!r->active) {
        r->active = a;
        return 0;
    }
    while (*end)
        end = &(*end)->next;
    *end = &a->turn;
    return 0;
}

static void give_up(struct activation *a)
{
    reply_error(a->req, LT_E_BUSY, "activations of other tenants wait, too", 2);
    a->relay->host.unref(a->relay->host.arg);
    free(a);
}

void lt_relay_activate(struct lt_relay *r, struct lt_http_req *req)
{
    struct activation *yields;
    struct lt_err e = {0};

    if (check_activation(req, &e)) {
        lt_http_reply_error(req, &e, 0);
        return;
    }
    struct activation *a = lt_new(struct activation);
    *a = (struct activation){.relay = r, .req = req};
    memcpy(a->turn.tenant, lt_http_req_peer(req)->tenant_id, sizeof a->turn.tenant);
    pthread_mutex_lock(&r->lock);
    int rc = queue(r, a, &yields);
    bool first = !rc && r->active == a;
    pthread_mutex_unlock(&r->lock);
    if (yields)
        give_up(yields);
    if (rc) {
        free(a);
        reply_error(req, rc, "activations wait already", 2);
    } else if (first) {
        forward(a);
    }
}
