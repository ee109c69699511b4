#include "provider/seek.h"

#include "common/alloc.h"
#include "common/run/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct waiter {
    struct waiter *next;
    struct lt_http_req *req;
};

struct pending {
    struct lt_work_task task;
    struct lt_seek *seek;
    struct pending *next; /* this and the waiters: under the lock */
    struct waiter *waiters;
    unsigned waiting;
    struct lt_seek_question q;
    unsigned at;      /* the host whose turn it is; under the lock until it is asked */
    bool asking;      /* it is asked; else this waits for its turn there. Under the lock */
    bool silent;      /* it did not answer */
    bool unreachable; /* one of them did not */
    struct lt_err e;  /* of this host's answer; code 0: bytes */
    struct lt_http_shared *bytes;
};

struct lt_seek {
    struct lt_work *work;
    void *keep_arg;
    pthread_mutex_t lock;
    struct pending *first;
};

struct lt_seek *lt_seek_new(struct lt_work *work, void *keep_arg)
{
    struct lt_seek *s = lt_new(struct lt_seek);

    s->work = work;
    s->keep_arg = keep_arg;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void lt_seek_free(struct lt_seek *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void let_go(const struct lt_seek_question *q)
{
    for (unsigned i = 0; i < q->count; i++)
        lt_provider_host_unref(q->host[i]);
}

static void reply_error(struct lt_http_req *req, int code, const char *text)
{
    struct lt_err e = {0};

    (void)lt_fail(&e, code, "%s", text);
    lt_http_reply_error(req, &e, lt_err_class(code) == LT_CLASS_RETRY ? 2 : 0);
}

/* ---- the end ---- */

/* From here on nobody joins it. */
static struct waiter *close_question(struct pending *p)
{
    struct lt_seek *s = p->seek;

    pthread_mutex_lock(&s->lock);
    for (struct pending **at = &s->first; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    struct waiter *w = p->waiters;
    pthread_mutex_unlock(&s->lock);
    return w;
}

static void answer(struct lt_http_req *req, const struct pending *p)
{
    if (p->bytes)
        lt_http_reply_shared(req, 200, "application/octet-stream", p->bytes, 0);
    else if (p->e.code == LT_E_NO_MEMORY)
        reply_error(req, LT_E_NO_MEMORY, "no memory");
    else if (p->unreachable)
        reply_error(req, LT_E_HOST_UNREACHABLE, "a host that may have it did not answer");
    else
        reply_error(req, LT_E_NOT_FOUND, p->q.kind->none);
}

static void end(struct pending *p)
{
    const struct lt_seek_kind *k = p->q.kind;

    if (p->bytes && k->keep)
        k->keep(p->seek->keep_arg, p->q.key, p->bytes);
    struct waiter *w = close_question(p);
    for (struct waiter *next; w; w = next) {
        next = w->next;
        answer(w->req, p);
        free(w);
    }
    lt_http_shared_unref(p->bytes);
    let_go(&p->q);
    free(p);
}

/* ---- one host after the other ---- */

static void send_question(struct pending *p);

/* Whoever waits for that host, if it may be asked something now; its state is asking from then on. */
static struct pending *take_next(struct lt_seek *s, const struct lt_provider_host *h, unsigned at_once)
{
    struct pending *next = NULL;
    unsigned asked = 0;

    for (struct pending *p = s->first; p; p = p->next) {
        bool here = p->q.host[p->at] == h;
        asked += here && p->asking;
        if (here && !p->asking)
            next = p; /* the oldest: new ones come in front */
    }
    if (asked >= at_once)
        return NULL;
    if (next)
        next->asking = true;
    return next;
}

/* Once for each question that came to wait, and each that ended. Who calls holds a reference to the host. */
static void pump(struct lt_seek *s, const struct lt_provider_host *h)
{
    pthread_mutex_lock(&s->lock);
    struct pending *next = take_next(s, h, LT_MAX_SOUGHT_AT_ONCE);
    pthread_mutex_unlock(&s->lock);
    if (next)
        send_question(next);
}

/* The host that was asked has it not, or said nothing. The last one's question is asking to its end: nobody
 * takes it up. */
static void go_on(struct pending *p)
{
    struct lt_seek *s = p->seek;
    struct lt_provider_host *h = NULL;

    pthread_mutex_lock(&s->lock);
    if (p->at + 1 < p->q.count) {
        h = lt_provider_host_ref(p->q.host[++p->at]);
        p->asking = false; /* and anybody's from here on */
    }
    pthread_mutex_unlock(&s->lock);
    if (!h) {
        end(p);
        return;
    }
    pump(s, h);
    lt_provider_host_unref(h);
}

/* Those who wait for a host that does not answer do not wait as long again, each. */
static void give_up(struct lt_seek *s, const struct lt_provider_host *h)
{
    for (struct pending *p;;) {
        pthread_mutex_lock(&s->lock);
        p = take_next(s, h, UINT_MAX);
        pthread_mutex_unlock(&s->lock);
        if (!p)
            return;
        p->unreachable = true;
        go_on(p);
    }
}

static void judge(struct lt_work_task *t)
{
    struct pending *p = LT_WORK_OWNER(t, struct pending);
    struct lt_provider_host *h = lt_provider_host_ref(p->q.host[p->at]);
    struct lt_seek *s = p->seek;
    bool silent = p->silent;

    if (!p->e.code && p->q.kind->check(lt_http_shared_bytes(p->bytes), p->q.key, &p->e)) {
        lt_http_shared_unref(lt_take(&p->bytes));
        lt_log(LT_LOG_WARNING, "host-answer", "%s: %s: %s", h->address, p->q.name, p->e.msg);
    }
    if (p->bytes)
        end(p);
    else
        go_on(p);
    if (silent)
        give_up(s, h);
    pump(s, h);
    lt_provider_host_unref(h);
}

static void answered(void *arg, const struct lt_http_reply *reply, const struct lt_err *trouble)
{
    struct pending *p = arg;
    const struct lt_provider_host *h = p->q.host[p->at];

    if (lt_net_check_server(h->id, reply, trouble, &p->e) || (reply->status != 200 && reply->status != 404)) {
        if (!p->e.code)
            (void)lt_fail(&p->e, LT_E_HOST_UNREACHABLE, "answered %d", reply->status);
        lt_log(LT_LOG_INFO, "host-answer", "%s: %s: %s", h->address, p->q.name, p->e.msg);
        p->silent = p->e.code != LT_E_TOO_LARGE;
        p->unreachable |= p->silent;
    } else if (reply->status == 404) {
        (void)lt_fail(&p->e, LT_E_NOT_FOUND, "it has none");
    } else {
        char *copy = malloc(reply->n + 1);
        if (copy)
            p->bytes = lt_http_shared_new(memcpy(copy, reply->body, reply->n), reply->n);
        if (!p->bytes)
            (void)lt_fail(&p->e, LT_E_NO_MEMORY, "no memory");
    }
    lt_work_post(p->seek->work, &p->task, judge);
}

static void send_question(struct pending *p)
{
    const struct lt_provider_host *h = p->q.host[p->at];

    p->e = (struct lt_err){0};
    p->silent = false;
    lt_net_send(h->shared->net,
                &(struct lt_net_request){
                    .method = "GET", .address = h->address, .name = p->q.name, .max_reply = p->q.kind->max},
                answered, p);
}

/* ---- from the API ---- */

/* The same question to the same host first (a tenant's guest on a host that stalls must not hold up
 * another's), or how many there are of them and of this tenant. */
static struct pending *find(struct lt_seek *s, const struct lt_seek_question *q, unsigned *all, unsigned *own)
{
    *all = *own = 0;
    for (struct pending *p = s->first; p; p = p->next) {
        if (!strcmp(p->q.name, q->name) && p->q.host[0] == q->host[0])
            return p;
        ++*all;
        *own += !memcmp(p->q.tenant, q->tenant, sizeof q->tenant);
    }
    return NULL;
}

static bool has_room(const struct pending *same, unsigned all, unsigned own)
{
    return same ? same->waiting < LT_MAX_LOG_WAITERS : all < LT_MAX_SOUGHT && own < LT_MAX_SOUGHT_TENANT;
}

void lt_seek_ask(struct lt_seek *s, struct lt_http_req *req, const struct lt_seek_question *q)
{
    struct waiter *w = lt_new(struct waiter);
    struct pending *fresh = lt_new(struct pending);
    unsigned all, own;

    if (!q->count) {
        free(w);
        free(fresh);
        reply_error(req, LT_E_NOT_FOUND, q->kind->none);
        return;
    }
    *w = (struct waiter){.req = req};
    *fresh = (struct pending){.seek = s, .q = *q};
    pthread_mutex_lock(&s->lock);
    struct lt_provider_host *h = lt_provider_host_ref(q->host[0]);
    struct pending *same = find(s, q, &all, &own), *to = same ? same : fresh;
    bool room = has_room(same, all, own);
    if (room) {
        lt_http_req_hold(req);
        w->next = to->waiters;
        to->waiters = w;
        to->waiting++;
        if (!same) {
            fresh->next = s->first;
            s->first = fresh;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (room && !same) {
        pump(s, h);
    } else {
        let_go(q);
        free(fresh);
    }
    lt_provider_host_unref(h);
    if (!room) {
        free(w);
        reply_error(req, LT_E_BUSY, "too many wait for hosts' answers");
    }
}
