#include "provider/batcher.h"

#include "appraisal/checks/host_quote.h"
#include "common/alloc.h"
#include "common/http/client.h"
#include "common/run/log.h"
#include "provider/limits.h"
#include "residency/error.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONFLICTS 3 /* a host that says 409 more often for one batch is broken */
#define RETRY_S 2

/* A batch that is closed and asked for. */
struct closed {
    struct lt_batcher_batch_item *items;
    struct lt_batcher_batch_ask ask;
    struct lt_merkle *tree;
    struct lt_residents *known; /* the inventory that the ask named */
    unsigned conflicts;
};

struct lt_batcher {
    struct lt_batcher_conf conf;
    struct lt_signature_key *key;
    pthread_mutex_t lock; /* guards what follows; never held across a callback */
    struct lt_batcher_batch_item *first, **last;
    uint64_t batch_seq; /* of the last ask; a 409 tells where a host stands that knew us before */
    bool busy;
    struct closed current; /* valid while busy; then its answering thread's alone */
};

static const struct lt_batcher_item_error unreachable = {LT_E_HOST_UNREACHABLE, RETRY_S,
                                                         "the guest's host gave no proof"};
static const struct lt_batcher_item_error no_memory = {LT_E_NO_MEMORY, RETRY_S,
                                                       "the provider has no memory left"};

const struct lt_pcrs *lt_batcher_batch_pcrs(const struct lt_batcher_batch *b)
{
    const struct lt_residency_host_quote *q = lt_ref_value(b->quote);

    return &q->pcrs;
}

struct lt_batcher_batch *lt_batcher_batch_ref(struct lt_batcher_batch *b)
{
    lt_ref_join(&b->refs, 1);
    return b;
}

void lt_batcher_batch_unref(struct lt_batcher_batch *b)
{
    if (!b || !lt_ref_leave(&b->refs))
        return;
    free(b->text);
    lt_ref_put(b->quote);
    lt_merkle_free(b->tree);
    lt_residents_unref(b->residents);
    free(b);
}

int lt_batcher_new(const struct lt_batcher_conf *c, struct lt_batcher **out, struct lt_err *e)
{
    struct lt_batcher *b = lt_new(struct lt_batcher);

    *out = NULL;
    b->conf = *c;
    b->conf.ak = NULL; /* only borrowed for this call */
    b->last = &b->first;
    int rc = lt_signature_key_new(c->ak, &b->key, e);
    if (rc) {
        free(b);
        return rc;
    }
    pthread_mutex_init(&b->lock, NULL);
    *out = b;
    return 0;
}

void lt_batcher_free(struct lt_batcher *b)
{
    if (!b)
        return;
    lt_signature_key_free(b->key);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static void deliver(struct lt_batcher_batch_item *items, struct lt_batcher_batch *batch,
                    const struct lt_batcher_failure *why)
{
    static const struct lt_batcher_failure none = {0};
    uint32_t index = 0;

    for (struct lt_batcher_batch_item *i = items, *next; i; i = next) {
        next = i->next;
        i->done(i, batch, index++, batch ? &none : why);
    }
}

/* Takes the first items of the queue, at most LT_MAX_BATCH. Under the lock. */
static struct lt_batcher_batch_item *take_queue(struct lt_batcher *b, uint32_t max, uint32_t *count)
{
    struct lt_batcher_batch_item *items = b->first, **end = &items;

    for (*count = 0; *end && *count < max; ++*count)
        end = &(*end)->next;
    b->first = *end;
    *end = NULL;
    if (!b->first)
        b->last = &b->first;
    return items;
}

static struct lt_merkle *batch_tree(const struct lt_batcher_batch_item *items, uint32_t n)
{
    LT_AUTOFREE uint8_t(*leaves)[LT_MERKLE_NODE] = calloc(n, sizeof *leaves);
    struct lt_merkle *tree = NULL;
    struct lt_err e;

    if (!leaves)
        return NULL;
    for (uint32_t i = 0; i < n; i++, items = items->next)
        lt_merkle_leaf(items->commitment, sizeof items->commitment, leaves[i]);
    return lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, n, &tree, &e) ? NULL : tree;
}

/* Closes the open batch and asks the host, if there is anything to ask and nobody else is at it. */
static void start(struct lt_batcher *b)
{
    for (;;) {
        struct closed *c = &b->current;
        uint32_t n;

        pthread_mutex_lock(&b->lock);
        if (b->busy || !b->first) {
            pthread_mutex_unlock(&b->lock);
            return;
        }
        b->busy = true;
        *c = (struct closed){.items = take_queue(b, LT_MAX_BATCH, &n)};
        c->ask = (struct lt_batcher_batch_ask){.n = n, .batch_seq = ++b->batch_seq};
        pthread_mutex_unlock(&b->lock);

        c->tree = batch_tree(c->items, n);
        if (c->tree) {
            memcpy(c->ask.batch_root, lt_merkle_root(c->tree), LT_MERKLE_NODE);
            b->conf.context(b->conf.arg, c->ask.policy_digest, &c->known);
            c->ask.inventory_root = c->known ? lt_residents_root(c->known) : NULL;
            b->conf.send(b->conf.arg, &c->ask);
            return;
        }
        struct lt_batcher_batch_item *items = c->items;
        pthread_mutex_lock(&b->lock);
        b->busy = false;
        pthread_mutex_unlock(&b->lock);
        deliver(items, NULL, &(struct lt_batcher_failure){.told = no_memory});
    }
}

void lt_batcher_add(struct lt_batcher *b, struct lt_batcher_batch_item *items)
{
    if (!items)
        return;
    pthread_mutex_lock(&b->lock);
    *b->last = items;
    while (*b->last)
        b->last = &(*b->last)->next;
    pthread_mutex_unlock(&b->lock);
    start(b);
}

/* ---- the answer ---- */

/* The header is the one asked for. */
static int check_header(const struct lt_batcher *b, const struct closed *c,
                        const struct lt_residency_header *h, struct lt_err *e)
{
    if (memcmp(h->host_id, b->conf.host_id, LT_RESIDENCY_HOST_ID))
        return lt_fail(e, LT_E_MALFORMED, "header: another host's host_id");
    if (h->batch_seq != c->ask.batch_seq || h->n != c->ask.n)
        return lt_fail(e, LT_E_MALFORMED, "header: batch %llu with n = %u, asked was %llu with n = %u",
                       (unsigned long long)h->batch_seq, h->n, (unsigned long long)c->ask.batch_seq,
                       c->ask.n);
    if (memcmp(h->batch_root, c->ask.batch_root, 32))
        return lt_fail(e, LT_E_MALFORMED, "header: batch_root is not the one asked for");
    if (memcmp(h->policy_digest, c->ask.policy_digest, 32))
        return lt_fail(e, LT_E_MALFORMED, "header: policy_digest is not the one asked for");
    return 0;
}

/* The inventory of the header's root: the one that was named in the ask, or the one that came along. A tree
 * is matched by its root, never by its number. */
static int find_residents(const struct closed *c, const json_t *j, const struct lt_residency_header *h,
                          struct lt_residents **out, struct lt_err *e)
{
    struct lt_residents *r = NULL;
    int rc = 0;

    if (c->known && !memcmp(lt_residents_root(c->known), h->inventory_root, 32))
        r = lt_residents_ref(c->known);
    else if (lt_json_has(j, "inventory"))
        rc = lt_residents_from_json(json_object_get(j, "inventory"), &r, e);
    else
        rc = lt_fail(e, LT_E_MALFORMED, "header: inventory_root is neither known nor delivered");
    if (!rc && (memcmp(lt_residents_root(r), h->inventory_root, 32) || r->count != h->m))
        rc = lt_fail(e, LT_E_MALFORMED, "header: inventory of m = %u is not the %u records delivered", h->m,
                     r->count);
    if (rc)
        lt_residents_unref(r);
    *out = rc ? NULL : r;
    return rc;
}

static int render(const struct lt_batcher *b, const struct lt_residency_host_quote *q,
                  struct lt_batcher_batch *out, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_residency_host_quote_to_json(q);

    if (!j || json_object_set_new(j, "host", lt_json_new_hex(b->conf.host_id, LT_RESIDENCY_HOST_ID)) ||
        !(out->text = lt_json_dump(j)))
        return lt_fail(e, LT_E_NO_MEMORY, "host quote: no memory");
    out->text_n = strlen(out->text);
    return 0;
}

static void quote_free(void *p)
{
    lt_residency_host_quote_free(p);
    free(p);
}

/* *refused: a new reference if check 5 is what fails. */
static int accept_quote(struct lt_batcher *b, struct closed *c, const struct lt_batcher_host_answer *a,
                        struct lt_batcher_batch *out, struct lt_ref **refused, struct lt_err *e)
{
    struct lt_residency_host_quote *q = lt_new(struct lt_residency_host_quote);
    LT_JSON_AUTO json_t *j = lt_json_parse(a->body, a->n, LT_MAX_HOST_REPLY, e);
    struct lt_attest attest;
    struct lt_residency_header h;

    out->quote = lt_ref_new(q, quote_free);
    LT_TRY(j ? lt_residency_host_quote_from_json(j, q, e) : lt_fail_in(e, e->code, "reply"));
    if (lt_host_quote_check(q, b->key, &h, &attest, e)) {
        *refused = e->code == LT_E_NO_MEMORY ? NULL : lt_ref_get(out->quote);
        return e->code;
    }
    LT_TRY(check_header(b, c, &h, e));
    LT_TRY(find_residents(c, j, &h, &out->residents, e));
    LT_TRY(render(b, q, out, e));
    out->reset_count = attest.clock.reset_count;
    out->tree = lt_take(&c->tree);
    return 0;
}

/* 409: continue above the host's last. Returns false if this host cannot be followed. */
static bool follow(struct lt_batcher *b, struct closed *c, const struct lt_batcher_host_answer *a)
{
    struct lt_err e;
    int64_t last;
    LT_JSON_AUTO json_t *j = lt_json_parse(a->body, a->n, LT_MAX_BODY_SMALL, &e);

    if (!j || ++c->conflicts > MAX_CONFLICTS ||
        lt_json_int(j, "last_batch_seq", 0, INT64_MAX - 1, &last, &e) || (uint64_t)last < c->ask.batch_seq)
        return false;
    c->ask.batch_seq = (uint64_t)last + 1;
    pthread_mutex_lock(&b->lock);
    b->batch_seq = c->ask.batch_seq;
    pthread_mutex_unlock(&b->lock);
    b->conf.send(b->conf.arg, &c->ask);
    return true;
}

/* What the host said instead of a quote. Its own word counts only where it says something of itself. */
static int refused(const struct lt_batcher_host_answer *a, struct lt_err *e)
{
    const struct lt_http_reply reply = {.status = a->status, .body = (char *)(uintptr_t)a->body, .n = a->n};
    struct lt_err said = {0};

    json_decref(lt_http_json(&reply, 200, lt_residency_error_read, &said));
    if (a->status != 503 || (said.code != LT_E_HOST_TPM && said.code != LT_E_BUSY))
        said.code = a->status == 503 ? LT_E_BUSY : LT_E_HOST_UNREACHABLE;
    return lt_fail(e, said.code, "the host answered %d: %.200s", a->status, said.msg);
}

static struct lt_batcher_item_error failure(const struct lt_batcher_host_answer *a, const struct lt_err *e)
{
    struct lt_batcher_item_error why = unreachable;

    if (e->code == LT_E_NO_MEMORY)
        return no_memory;
    if (e->code == LT_E_HOST_TPM)
        why = (struct lt_batcher_item_error){LT_E_HOST_TPM, RETRY_S,
                                             "the TPM of the guest's host fails or is away"};
    else if (e->code == LT_E_BUSY) /* its inventory is not complete: it asks to be asked again */
        why = (struct lt_batcher_item_error){LT_E_BUSY, RETRY_S, "the guest's host is not ready"};
    if (a->retry_after_s)
        why.retry_after_s = a->retry_after_s;
    return why;
}

/* All rounds of a host that is away would say the same: its state says it once, when it changes. */
static void tell_failure(const struct lt_batcher *b, const struct closed *c, const struct lt_err *e)
{
    char id[2 * LT_RESIDENCY_HOST_ID + 1];

    lt_hex(b->conf.host_id, LT_RESIDENCY_HOST_ID, id);
    lt_log(LT_LOG_DEBUG, "host-quote", "host %s, batch %llu of %u: %s", id,
           (unsigned long long)c->ask.batch_seq, c->ask.n, e->msg);
    if (b->conf.failed)
        b->conf.failed(b->conf.arg, e);
}

void lt_batcher_answer(struct lt_batcher *b, const struct lt_batcher_host_answer *a)
{
    struct closed c = b->current;
    struct lt_batcher_batch *batch = NULL;
    struct lt_ref *bad = NULL;
    struct lt_err e = {0};
    int rc;

    if (a->status == 409 && follow(b, &b->current, a))
        return;
    if (a->status != 200)
        rc = a->status ? refused(a, &e) : lt_fail(&e, a->trouble->code, "%s", a->trouble->msg);
    else {
        batch = lt_new(struct lt_batcher_batch);
        lt_ref_start(&batch->refs, 1);
        rc = accept_quote(b, &c, a, batch, &bad, &e);
    }
    if (rc) {
        tell_failure(b, &c, &e);
        lt_batcher_batch_unref(lt_take(&batch));
    } else {
        b->conf.quoted(b->conf.arg, batch);
    }

    struct lt_batcher_failure why = {0};
    if (rc)
        why = (struct lt_batcher_failure){failure(a, &e), &e, bad};
    struct lt_batcher_batch_item *stranded = NULL;
    uint32_t n;
    pthread_mutex_lock(&b->lock);
    b->busy = false;
    if (rc && !a->status)
        stranded = take_queue(b, UINT32_MAX, &n);
    pthread_mutex_unlock(&b->lock);
    start(b);
    deliver(c.items, batch, &why);
    deliver(stranded, NULL, &why);
    lt_ref_put(bad);
    lt_merkle_free(c.tree);
    lt_residents_unref(c.known);
    lt_batcher_batch_unref(batch);
}
