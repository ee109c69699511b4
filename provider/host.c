#include "provider/host.h"

#include "appraisal/checks/measured.h"
#include "common/alloc.h"
#include "common/hash.h"
#include "common/http/address.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "provider/named.h"
#include "provider/relay.h"

#include <stdlib.h>
#include <string.h>

struct host {
    struct lt_provider_host is; /* first */
    struct lt_ref_count refs;
    _Atomic uint32_t reset_count; /* of its last quote */
    _Atomic uint64_t ima_epoch;   /* counts the changes of PCR 10 from quote to quote */
    atomic_bool refreshing;

    pthread_mutex_t lock;               /* guards what follows */
    uint8_t policy[32];                 /* zeros: none is published */
    struct lt_residents *residents;     /* the latest it showed or quoted; NULL: not yet known */
    struct lt_residents *quoted;        /* the last that stood in a quote; NULL: none yet */
    struct lt_named named;              /* lists of openers that they named before */
    struct lt_provider_host_pcrs shown; /* by that quote; at_ms 0: none yet */
    bool contested;                     /* the latest shows a guest that another host has quoted */
};

#define IMA (1u << LT_IMA_PCR)

static struct host *whole(struct lt_provider_host *h)
{
    return (struct host *)h;
}

/* ---- the batcher's view ---- */

static void context(void *arg, uint8_t policy[32], struct lt_residents **known)
{
    struct host *own = arg;

    pthread_mutex_lock(&own->lock);
    memcpy(policy, own->policy, 32);
    *known = lt_residents_ref(own->residents);
    pthread_mutex_unlock(&own->lock);
}

/* PCRs whose values are others than in the quote before: bits. */
static uint32_t differing(const struct lt_pcrs *was, const struct lt_pcrs *is)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (is->mask >> i & 1 && memcmp(was->value[i], is->value[i], LT_SHA256))
            mask |= 1u << i;
    return mask;
}

/* Before any tenant has this quote. PCR 10 moves with every file that is measured. */
static void tell_change(const struct lt_provider_host *h, uint32_t pcrs)
{
    char id[2 * LT_RESIDENCY_HOST_ID + 1], list[200];

    lt_hex(h->id, sizeof h->id, id);
    if (pcrs & ~IMA)
        lt_log_fields(LT_LOG_WARNING, "host-pcrs",
                      json_pack("{s:s, s:s}", "host", id, "changed", lt_measured_list(pcrs, list)));
}

/* The values of the quote before; mask 0: there was none. One quote at a time comes in. */
static struct lt_pcrs note_pcrs(struct host *own, const struct lt_batcher_batch *batch)
{
    const struct lt_residency_host_quote *q = lt_ref_value(batch->quote);
    struct lt_residency_header header = {0};

    (void)!lt_residency_header_parse(q->header, sizeof q->header, &header, LT_NO_ERR); /* the batcher's */
    pthread_mutex_lock(&own->lock);
    const struct lt_pcrs was = own->shown.pcrs;
    own->shown = (struct lt_provider_host_pcrs){q->pcrs, header.batch_seq, lt_clock_ms()};
    pthread_mutex_unlock(&own->lock);
    return was;
}

static void quoted(void *arg, const struct lt_batcher_batch *batch)
{
    struct lt_provider_host *h = arg;
    struct host *own = whole(h);
    const struct lt_pcrs was = note_pcrs(own, batch);
    uint32_t changed = differing(&was, lt_batcher_batch_pcrs(batch));

    atomic_store(&own->reset_count, batch->reset_count);
    if (changed & IMA)
        atomic_fetch_add(&own->ima_epoch, 1);
    if (was.mask)
        tell_change(h, changed);
    lt_health_note(&h->health, h->address, NULL, lt_clock_ms());
    lt_provider_host_adopt(h, batch->residents, true);
    if (changed && h->shared->changed)
        h->shared->changed(h->shared->changed_arg, h->id);
}

static void failed(void *arg, const struct lt_err *e)
{
    struct lt_provider_host *h = arg;
    lt_health_note(&h->health, h->address, e, lt_clock_ms());
}

/* An HTTP answer on its way from the client's thread to the work pool. */
struct answer {
    struct lt_work_task task;
    struct lt_provider_host *host;
    struct lt_batcher_host_answer a;
    struct lt_err trouble;
    char body[];
};

static void judge_answer(struct lt_work_task *t)
{
    struct answer *x = LT_WORK_OWNER(t, struct answer);

    lt_batcher_answer(x->host->batcher, &x->a);
    lt_provider_host_unref(x->host);
    free(x);
}

static void quote_done(void *arg, const struct lt_http_reply *r, const struct lt_err *trouble)
{
    struct lt_provider_host *h = arg;
    struct lt_err e = {0};
    int rc = lt_net_check_server(h->id, r, trouble, &e);
    size_t n = rc ? 0 : r->n;
    struct answer *x = malloc(sizeof *x + n + 1);

    if (!x) { /* the only case judged on this thread: there is nothing to judge */
        (void)lt_fail(&e, LT_E_NO_MEMORY, "answer of %zu bytes: no memory", n);
        lt_batcher_answer(h->batcher, &(struct lt_batcher_host_answer){.trouble = &e});
        lt_provider_host_unref(h);
        return;
    }
    *x = (struct answer){.host = h, .trouble = e};
    if (!rc) {
        memcpy(x->body, r->body, n);
        x->a = (struct lt_batcher_host_answer){
            .status = r->status, .body = x->body, .n = n, .retry_after_s = r->retry_after_s};
    } else {
        x->a.trouble = &x->trouble;
    }
    x->body[n] = 0;
    lt_work_post(h->shared->work, &x->task, judge_answer);
}

static void send_ask(void *arg, const struct lt_batcher_batch_ask *ask)
{
    struct lt_provider_host *h = arg;
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_BODY_SMALL);
    char root[65], policy[65], inventory[65];

    lt_hex(ask->batch_root, 32, root);
    lt_hex(ask->policy_digest, 32, policy);
    lt_buf_printf(
        &b, "{\"batch_seq\":%llu,\"n\":%u,\"batch_root\":\"%s\",\"policy_digest\":\"%s\",\"inventory_root\":",
        (unsigned long long)ask->batch_seq, ask->n, root, policy);
    if (ask->inventory_root) {
        lt_hex(ask->inventory_root, 32, inventory);
        lt_buf_printf(&b, "\"%s\"}", inventory);
    } else {
        lt_buf_str(&b, "null}");
    }
    lt_net_send(h->shared->net,
                &(struct lt_net_request){.method = "POST",
                                         .address = h->address,
                                         .name = "host-quotes",
                                         .body = (const char *)b.p,
                                         .body_n = b.n,
                                         .max_reply = LT_MAX_HOST_REPLY},
                quote_done, lt_provider_host_ref(h));
}

/* ---- life ---- */

static void ref(void *arg)
{
    (void)lt_provider_host_ref(arg);
}

static void unref(void *arg)
{
    lt_provider_host_unref(arg);
}

static struct lt_relay *new_relay(struct host *own)
{
    const struct lt_relay_host host = {.id = own->is.id,
                                       .address = own->is.address,
                                       .net = own->is.shared->net,
                                       .work = own->is.shared->work,
                                       .reset_count = &own->reset_count,
                                       .ima_epoch = &own->ima_epoch,
                                       .arg = own,
                                       .ref = ref,
                                       .unref = unref};
    return lt_relay_new(&host);
}

int lt_provider_host_new(const struct lt_provider_host_shared *shared, const char *address,
                         const struct lt_provider_host_keys *keys, const uint8_t policy[32],
                         struct lt_provider_host **out, struct lt_err *e)
{
    struct host *own = lt_new(struct host);
    int rc;

    *out = NULL;
    struct lt_provider_host *h = &own->is;
    lt_ref_start(&own->refs, 1);
    pthread_mutex_init(&own->lock, NULL);
    lt_health_init(&h->health, shared->period_ms);
    h->shared = shared;
    h->certificates = json_incref(keys->certificates);
    memcpy(own->policy, policy, sizeof own->policy);
    lt_public_copy(&h->ek, keys->ek);
    lt_public_copy(&h->ak, keys->ak);
    rc = lt_http_address_check_peer(address, e);
    if (!rc) {
        memcpy(h->address, address, strlen(address));
        rc = lt_public_check_ak_host(&h->ak, e);
    }
    if (!rc)
        rc = lt_residency_host_id(&h->ek, h->id, e);
    if (!rc)
        rc = lt_public_ek_digest(&h->ek, h->ek_digest, e);
    if (!rc) {
        h->relay = new_relay(own);
        struct lt_batcher_conf c = {
            .ak = &h->ak, .arg = h, .context = context, .quoted = quoted, .failed = failed, .send = send_ask};
        memcpy(c.host_id, h->id, sizeof c.host_id);
        rc = lt_batcher_new(&c, &h->batcher, e);
    }
    if (rc)
        lt_provider_host_unref(h);
    else
        *out = h;
    return rc;
}

struct lt_provider_host *lt_provider_host_ref(struct lt_provider_host *h)
{
    lt_ref_join(&whole(h)->refs, 1);
    return h;
}

void lt_provider_host_unref(struct lt_provider_host *h)
{
    struct host *own = whole(h);

    if (!h || !lt_ref_leave(&own->refs))
        return;
    lt_batcher_free(h->batcher);
    lt_relay_free(h->relay);
    lt_residents_unref(own->residents);
    lt_residents_unref(own->quoted);
    lt_named_free(&own->named);
    json_decref(h->certificates);
    lt_health_destroy(&h->health);
    pthread_mutex_destroy(&own->lock);
    free(own);
}

void lt_provider_host_policy(struct lt_provider_host *h, uint8_t out[32])
{
    struct host *own = whole(h);

    pthread_mutex_lock(&own->lock);
    memcpy(out, own->policy, 32);
    pthread_mutex_unlock(&own->lock);
}

void lt_provider_host_set_policy(struct lt_provider_host *h, const uint8_t digest[32])
{
    struct host *own = whole(h);

    pthread_mutex_lock(&own->lock);
    memcpy(own->policy, digest, 32);
    pthread_mutex_unlock(&own->lock);
}

struct lt_residents *lt_provider_host_residents(struct lt_provider_host *h)
{
    struct host *own = whole(h);

    pthread_mutex_lock(&own->lock);
    struct lt_residents *r = lt_residents_ref(own->residents);
    pthread_mutex_unlock(&own->lock);
    return r;
}

struct lt_residents *lt_provider_host_quoted(struct lt_provider_host *h)
{
    struct host *own = whole(h);

    pthread_mutex_lock(&own->lock);
    struct lt_residents *r = lt_residents_ref(own->quoted);
    pthread_mutex_unlock(&own->lock);
    return r;
}

bool lt_provider_host_named(struct lt_provider_host *h, const uint8_t digest[LT_SHA256],
                            bool (*is)(void *arg, const uint8_t uuid[16]), void *arg)
{
    struct host *own = whole(h);

    pthread_mutex_lock(&own->lock);
    bool named = lt_named_find(&own->named, digest, lt_clock_ms(), is, arg);
    pthread_mutex_unlock(&own->lock);
    return named;
}

bool lt_provider_host_pcrs(struct lt_provider_host *h, struct lt_provider_host_pcrs *out)
{
    struct host *own = whole(h);

    pthread_mutex_lock(&own->lock);
    *out = own->shown;
    pthread_mutex_unlock(&own->lock);
    return out->at_ms;
}

static bool same_inventory(const struct lt_residents *a, const struct lt_residents *b)
{
    return a && !memcmp(lt_residents_root(a), lt_residents_root(b), LT_MERKLE_NODE);
}

static void replace(struct lt_residents **at, struct lt_residents *r)
{
    struct lt_residents *was = *at;
    *at = lt_residents_ref(r);
    lt_residents_unref(was);
}

void lt_provider_host_adopt(struct lt_provider_host *h, struct lt_residents *r, bool quoted)
{
    struct host *own = whole(h);

    pthread_mutex_lock(&own->lock);
    if (!same_inventory(own->residents, r) || (quoted && !same_inventory(own->quoted, r))) {
        const struct lt_provider_move m = {own->residents, own->quoted, r, quoted};
        own->contested = h->shared->moved(h->shared->arg, h, &m);
        lt_named_note(&own->named, own->residents, r, lt_clock_ms());
        if (quoted && own->quoted != own->residents)
            lt_named_note(&own->named, own->quoted, r, lt_clock_ms());
        replace(&own->residents, r);
        if (quoted)
            replace(&own->quoted, r);
    }
    bool needed = own->contested && !quoted; /* again with every refresh, until a quote has it */
    pthread_mutex_unlock(&own->lock);
    if (needed)
        (void)lt_provider_host_check(h, 0, NULL, NULL);
}

/* ---- our own quotes ---- */

struct check {
    struct lt_batcher_batch_item item;
    struct lt_provider_host *host;
    void (*done)(void *arg);
    void *arg;
};

static void checked(struct lt_batcher_batch_item *i, struct lt_batcher_batch *batch, uint32_t index,
                    const struct lt_batcher_failure *why)
{
    struct check *c = (struct check *)i;

    (void)batch, (void)index, (void)why; /* the batcher has told our host already */
    lt_health_checked(&c->host->health);
    if (c->done)
        c->done(c->arg);
    lt_provider_host_unref(c->host);
    free(c);
}

bool lt_provider_host_check(struct lt_provider_host *h, uint64_t age_ms, void (*done)(void *arg), void *arg)
{
    struct check *c = lt_new(struct check);

    if (!lt_health_due(&h->health, age_ms, lt_clock_ms())) {
        free(c);
        return false;
    }
    *c = (struct check){.item.done = checked, .host = lt_provider_host_ref(h), .done = done, .arg = arg};
    lt_random(c->item.commitment, sizeof c->item.commitment); /* a leaf like any other */
    lt_batcher_add(h->batcher, &c->item);
    return true;
}

/* ---- the wire ---- */

struct refresh {
    struct lt_work_task task;
    struct lt_provider_host *host;
    void (*done)(void *arg);
    void *arg;
    char *body; /* NULL: no answer */
    size_t n;
};

static void judge_refresh(struct lt_work_task *t)
{
    struct refresh *x = LT_WORK_OWNER(t, struct refresh);
    struct lt_provider_host *h = x->host;
    struct lt_residents *r = NULL;
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *j = x->body ? lt_json_parse(x->body, x->n, LT_MAX_HOST_REPLY, &e) : NULL;

    if (j && !lt_residents_from_json(json_object_get(j, "inventory"), &r, &e))
        lt_provider_host_adopt(h, r, false);
    else if (x->body)
        lt_log(LT_LOG_WARNING, "host-inventory", "%s: %s", h->address, e.msg);
    lt_residents_unref(r);
    atomic_store(&whole(h)->refreshing, false);
    if (x->done)
        x->done(x->arg);
    lt_provider_host_unref(h);
    free(x->body);
    free(x);
}

static void refresh_done(void *arg, const struct lt_http_reply *r, const struct lt_err *trouble)
{
    struct refresh *x = arg;
    struct lt_err e;

    if (lt_net_check_server(x->host->id, r, trouble, &e)) {
        lt_log(LT_LOG_DEBUG, "host-inventory", "%s: %s", x->host->address, e.msg);
    } else {
        x->body = r->status == 200 ? malloc(r->n + 1) : NULL;
        if (x->body)
            memcpy(x->body, r->body, x->n = r->n);
    }
    lt_work_post(x->host->shared->work, &x->task, judge_refresh);
}

void lt_provider_host_refresh(struct lt_provider_host *h, void (*done)(void *arg), void *arg)
{
    struct refresh *x = lt_new(struct refresh);

    if (atomic_exchange(&whole(h)->refreshing, true)) { /* somebody else is asking */
        free(x);
        if (done)
            done(arg);
        return;
    }
    *x = (struct refresh){.host = lt_provider_host_ref(h), .done = done, .arg = arg};
    lt_net_send(h->shared->net,
                &(struct lt_net_request){.method = "GET",
                                         .address = h->address,
                                         .name = "host",
                                         .timeout_ms = LT_PROVIDER_REFRESH_TIMEOUT_MS,
                                         .max_reply = LT_MAX_HOST_REPLY},
                refresh_done, x);
}
