#include "verifier/revoke/revoke.h"

#include "common/alloc.h"
#include "common/ref.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 1000        /* the outbox is looked at so often, told or not */
#define RETRY_MS 1000       /* after the first failure; twice that after each other */
#define RETRY_MAX_MS 300000 /* at most */
#define KEPT 64             /* messages at hand, count */

enum lane { SOUND, FAILING, LANES };

/* Somebody who lacked a decision since the start. Idle, in one list, or under way. */
struct receiver {
    char name[LT_OUTBOX_RECEIVER]; /* first: it is the key */
    struct receiver *next;
    struct channel *channel;
    bool idle;
    int64_t passed;    /* never behind what the store says: that is written later, or not at all */
    unsigned failures; /* in a row, since the start */
    uint64_t due_ms;   /* in `waiting` */
    bool held;         /* waits for the first channel, not for itself */
};

struct queue {
    struct receiver *head, **tail;
    unsigned flying;
};

struct channel {
    struct lt_revoke_channel is;
    struct queue lane[LANES];
};

struct message {
    struct lt_revoke_message is;
    char *body;
    int64_t after; /* there is none between that number and its own */
    uint64_t held_until_ms;
};

struct delivery {
    struct lt_revoke_delivery is; /* first */
    struct lt_revoke *owner;
    struct receiver *receiver;
    struct lt_ref *message;
    enum lane lane;
};

struct lt_revoke {
    struct lt_revoke_conf conf;
    struct channel *channels;
    pthread_t thread;
    pthread_mutex_t lock; /* over all that follows, and the receivers */
    pthread_cond_t wake;
    bool look, stopping, stopped;
    int64_t head;
    void *receivers; /* tsearch(3) by name */
    struct receiver *waiting;
    size_t flying;
    struct lt_ref *kept[KEPT]; /* the thread's alone: struct message */
    unsigned next_kept;
};

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* ---- messages: the thread's alone ---- */

static void message_free(void *p)
{
    struct message *m = p;
    free(m->body);
    free(m);
}

/* The one behind `passed`, if it is at hand. */
static struct lt_ref *at_hand(const struct lt_revoke *r, int64_t passed)
{
    for (unsigned i = 0; i < KEPT; i++) {
        const struct message *m = lt_ref_value(r->kept[i]);
        if (m && m->after <= passed && passed < m->is.number)
            return lt_ref_get(r->kept[i]);
    }
    return NULL;
}

static int compose(struct lt_revoke *r, const struct lt_outbox_item *item, struct message *m,
                   struct lt_err *e)
{
    struct lt_err why = {0};

    if (item->message) {
        m->body = lt_alloc_text(item->message);
        return 0;
    }
    if (r->conf.compose(r->conf.app, item, &m->body, e))
        return lt_fail_in(e, LT_E_INTERNAL, "revocation %lld", (long long)item->number);
    if (lt_outbox_keep(r->conf.db, item->number, m->body, &why)) /* it goes out all the same */
        lt_log(LT_LOG_ERROR, "store", "revocation %lld: %s", (long long)item->number, why.msg);
    return 0;
}

static int load(struct lt_revoke *r, int64_t passed, struct lt_ref **out, struct lt_err *e)
{
    struct lt_outbox_item item;
    struct message *m = lt_new(struct message);

    int rc = lt_outbox_next(r->conf.db, passed, &item, e);
    if (!rc) {
        m->is = (struct lt_revoke_message){.number = item.number, .kind = item.kind, .decided = item.decided};
        memcpy(m->is.id, item.id, sizeof m->is.id);
        m->after = passed;
        m->held_until_ms = lt_clock_ms() + LT_REVOKE_HOLD_MS;
        rc = compose(r, &item, m, e);
        m->is.body = m->body;
        lt_outbox_item_free(&item);
    }
    if (rc) {
        message_free(m);
        return rc;
    }
    *out = lt_ref_new(m, message_free);
    lt_ref_put(r->kept[r->next_kept]);
    r->kept[r->next_kept] = lt_ref_get(*out);
    r->next_kept = (r->next_kept + 1) % KEPT;
    return 0;
}

/* ---- queues: under the lock ---- */

static void ready(struct receiver *v)
{
    struct queue *q = &v->channel->lane[v->failures ? FAILING : SOUND];

    v->next = NULL;
    *q->tail = v;
    q->tail = &v->next;
}

static void wait_until(struct lt_revoke *r, struct receiver *v, uint64_t due_ms, bool held)
{
    v->due_ms = due_ms;
    v->held = held;
    v->next = r->waiting;
    r->waiting = v;
}

static void forget(struct lt_revoke *r, struct receiver *v)
{
    tdelete(v->name, &r->receivers, compare);
    free(v);
}

static void move(struct lt_revoke *r, struct receiver *v, int64_t number)
{
    v->passed = number;
    v->idle = number >= r->head;
    if (!v->idle)
        ready(v);
}

/* It has passed that one. */
static void go_on(struct lt_revoke *r, struct receiver *v, int64_t number)
{
    v->failures = 0;
    lt_outbox_passed(r->conf.db, v->name, number);
    move(r, v, number);
}

/* Those whose time has come: whether there are any. *next: when the next one's comes. */
static bool bring_back(struct lt_revoke *r, uint64_t now_ms, uint64_t *next)
{
    bool any = false;

    for (struct receiver **at = &r->waiting, *v; (v = *at);) {
        if (v->due_ms > now_ms) {
            *next = v->due_ms < *next ? v->due_ms : *next;
            at = &v->next;
            continue;
        }
        *at = v->next;
        ready(v);
        any = true;
    }
    return any;
}

/* Who waits for the first channel looks again. */
static void release(struct lt_revoke *r)
{
    for (struct receiver *v = r->waiting; v; v = v->next)
        if (v->held)
            v->due_ms = 0;
}

static struct receiver *pop(struct queue *q)
{
    struct receiver *v = q->head;

    if (v && !(q->head = v->next))
        q->tail = &q->head;
    return v;
}

static unsigned places(const struct channel *c, enum lane lane)
{
    unsigned n = lane == SOUND ? c->is.at_once : c->is.at_once / 4;
    return n ? n : 1;
}

/* The next that may be sent to, its place taken. */
static struct receiver *next_ready(struct lt_revoke *r, enum lane *lane)
{
    for (size_t i = 0; i < r->conf.count; i++)
        for (*lane = SOUND; *lane < LANES; ++*lane) {
            struct queue *q = &r->channels[i].lane[*lane];
            struct receiver *v = q->flying < places(&r->channels[i], *lane) ? pop(q) : NULL;
            if (v) {
                q->flying++;
                return v;
            }
        }
    return NULL;
}

/* A channel that is first has not passed it, and still may. */
static bool must_hold(struct lt_revoke *r, const struct receiver *v, const struct message *m, uint64_t now_ms)
{
    bool hold = false;

    for (size_t i = 0; !v->channel->is.first && now_ms < m->held_until_ms && i < r->conf.count; i++) {
        const struct lt_revoke_channel *c = &r->channels[i].is;
        struct receiver *const *first = c->first ? tfind(c->prefix, &r->receivers, compare) : NULL;
        hold |= first && (*first)->passed < m->is.number && c->kinds & LT_REVOKE_KIND(m->is.kind);
    }
    return hold;
}

/* ---- deliveries ---- */

static uint64_t retry_ms(const struct lt_revoke *r, unsigned failures)
{
    uint64_t ms = r->conf.first_retry_ms ? r->conf.first_retry_ms : RETRY_MS;

    for (unsigned i = 1; i < failures && ms < RETRY_MAX_MS; i++)
        ms *= 2;
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

static void miss(struct lt_revoke *r, struct receiver *v, const struct lt_err *e)
{
    if (!v->failures++)
        lt_log_fields(v->channel->is.at_once == 1 ? LT_LOG_WARNING : LT_LOG_DEBUG, "revocation-undelivered",
                      json_pack("{s:s, s:I, s:o}", "receiver", v->name, "passed", (json_int_t)v->passed,
                                "message", lt_json_new_text(e->msg)));
    lt_outbox_missed(r->conf.db, v->name, e->msg);
    wait_until(r, v, lt_clock_ms() + retry_ms(r, v->failures), false);
}

void lt_revoke_ended(struct lt_revoke_delivery *is, const struct lt_err *e)
{
    struct delivery *d = (struct delivery *)is;
    struct lt_revoke *r = d->owner;
    const struct message *m = lt_ref_value(d->message);
    struct receiver *v = d->receiver;
    int code = e ? e->code : 0;

    pthread_mutex_lock(&r->lock);
    v->channel->lane[d->lane].flying--;
    r->flying--;
    bool first = v->channel->is.first;
    if (r->stopping && code)
        wait_until(r, v, LT_COND_EVER, false); /* what is ended with us is no failure of its own */
    else if (code == LT_E_NOT_FOUND)
        forget(r, v);
    else if (code)
        miss(r, v, e);
    else
        go_on(r, v, m->is.number);
    if (first && !code)
        release(r);
    lt_ref_put(d->message);
    free(d);
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

static void begin(struct lt_revoke *r, struct receiver *v, struct lt_ref *message, enum lane lane)
{
    const struct message *m = lt_ref_value(message);
    struct delivery *d = lt_new(struct delivery);

    *d = (struct delivery){.is = {&m->is, v->name + strlen(v->channel->is.prefix)},
                           .owner = r,
                           .receiver = v,
                           .message = message,
                           .lane = lane};
    v->channel->is.send(v->channel->is.app, &d->is);
}

/* Its place is given back, and it is in no list. */
static void step_back(struct lt_revoke *r, struct receiver *v, enum lane lane)
{
    v->channel->lane[lane].flying--;
    r->flying--;
}

/* One receiver, with its place; called and left without the lock. */
static void serve(struct lt_revoke *r, struct receiver *v, enum lane lane)
{
    struct lt_ref *message = at_hand(r, v->passed);
    struct lt_err e = {0};
    int rc = message ? 0 : load(r, v->passed, &message, &e);
    const struct message *m = lt_ref_value(message);

    pthread_mutex_lock(&r->lock);
    bool hears = m && v->channel->is.kinds & LT_REVOKE_KIND(m->is.kind);
    bool hold = hears && must_hold(r, v, m, lt_clock_ms());
    if (rc || hold || !hears)
        step_back(r, v, lane);
    if (rc == LT_E_NOT_FOUND) /* the oldest were dropped */
        go_on(r, v, r->head);
    else if (rc)
        miss(r, v, &e);
    else if (hold)
        wait_until(r, v, m->held_until_ms, true);
    else if (m && !hears)
        go_on(r, v, m->is.number);
    pthread_mutex_unlock(&r->lock);
    if (hears && !hold)
        begin(r, v, message, lane);
    else
        lt_ref_put(message);
}

/* ---- who lacks what ---- */

static struct channel *channel_of(struct lt_revoke *r, const char *name)
{
    for (size_t i = 0; i < r->conf.count; i++)
        if (!strncmp(name, r->channels[i].is.prefix, strlen(r->channels[i].is.prefix)))
            return &r->channels[i];
    return NULL;
}

static struct receiver *receiver_of(struct lt_revoke *r, const struct lt_outbox_receiver *is,
                                    struct channel *c)
{
    struct receiver *const *known = tfind(is->name, &r->receivers, compare);

    if (known)
        return *known;
    struct receiver *v = lt_new(struct receiver);
    memcpy(v->name, is->name, sizeof v->name);
    v->channel = c;
    v->idle = true;
    if (!tsearch(v, &r->receivers, compare))
        abort();
    return v;
}

static int meet(void *arg, const struct lt_outbox_receiver *is)
{
    struct lt_revoke *r = arg;
    struct channel *c = channel_of(r, is->name);

    if (!c)
        return 0;
    pthread_mutex_lock(&r->lock);
    struct receiver *v = receiver_of(r, is, c);
    if (v->idle && v->passed > is->passed) /* which was not written, or not yet */
        go_on(r, v, v->passed);
    else if (v->idle)
        move(r, v, is->passed);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

/* Whoever lacks a decision that we did not know of becomes a receiver here; those who are go on by
 * themselves. */
static void look(struct lt_revoke *r)
{
    struct lt_err e = {0};
    int64_t head = 0;
    int rc = lt_outbox_head(r->conf.db, &head, &e);

    pthread_mutex_lock(&r->lock);
    bool news = !rc && head > r->head;
    if (news)
        r->head = head; /* before they are asked for: who passes the older one in between goes on to it */
    pthread_mutex_unlock(&r->lock);
    if (news)
        rc = lt_outbox_behind(r->conf.db, meet, r, &e);
    if (rc)
        lt_log(LT_LOG_ERROR, "store", "revocations: %s", e.msg);
    if (rc && news) {
        pthread_mutex_lock(&r->lock);
        r->head = 0; /* once more */
        pthread_mutex_unlock(&r->lock);
    }
}

/* ---- the thread ---- */

static void serve_all(struct lt_revoke *r)
{
    enum lane lane;
    struct receiver *v;

    while (!r->stopping && !r->look && (v = next_ready(r, &lane))) {
        r->flying++;
        pthread_mutex_unlock(&r->lock);
        serve(r, v, lane);
        pthread_mutex_lock(&r->lock);
    }
}

static void *run(void *arg)
{
    struct lt_revoke *r = arg;
    uint64_t look_ms = 0;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        if (r->look || lt_clock_ms() >= look_ms) {
            r->look = false;
            pthread_mutex_unlock(&r->lock);
            look(r);
            pthread_mutex_lock(&r->lock);
            look_ms = lt_clock_ms() + LOOK_MS;
        }
        serve_all(r);
        uint64_t next = look_ms;
        if (!bring_back(r, lt_clock_ms(), &next) && !r->stopping && !r->look)
            lt_cond_until(&r->wake, &r->lock, next);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static struct lt_revoke *revoke_new(const struct lt_revoke_conf *c)
{
    struct lt_revoke *r = lt_new(struct lt_revoke);

    r->conf = *c;
    r->channels = lt_alloc(c->count + 1, sizeof *r->channels);
    for (size_t i = 0; i < c->count; i++) {
        r->channels[i].is = c->channels[i];
        for (int l = 0; l < LANES; l++)
            r->channels[i].lane[l].tail = &r->channels[i].lane[l].head;
    }
    pthread_mutex_init(&r->lock, NULL);
    lt_cond_init(&r->wake);
    return r;
}

static void revoke_free(struct lt_revoke *r)
{
    for (unsigned i = 0; i < KEPT; i++)
        lt_ref_put(r->kept[i]);
    tdestroy(r->receivers, free);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r->channels);
    free(r);
}

int lt_revoke_start(const struct lt_revoke_conf *c, struct lt_revoke **out, struct lt_err *e)
{
    struct lt_revoke *r = revoke_new(c);

    *out = NULL;
    if (pthread_create(&r->thread, NULL, run, r)) {
        revoke_free(r);
        return lt_fail(e, LT_E_NO_MEMORY, "revocations: no thread");
    }
    *out = r;
    return 0;
}

void lt_revoke_wake(void *arg)
{
    struct lt_revoke *r = arg;

    pthread_mutex_lock(&r->lock);
    r->look = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void lt_revoke_stop(struct lt_revoke *r)
{
    if (!r || r->stopped)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->stopped = true;
}

void lt_revoke_free(struct lt_revoke *r)
{
    if (!r)
        return;
    lt_revoke_stop(r);
    pthread_mutex_lock(&r->lock);
    while (r->flying)
        pthread_cond_wait(&r->wake, &r->lock);
    pthread_mutex_unlock(&r->lock);
    revoke_free(r);
}
