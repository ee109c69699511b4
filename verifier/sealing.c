#include "verifier/sealing.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "verifier/store/seals.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_MOST 32 /* times the first pause */

/* Something by its digest: had, or when it may be asked for again. */
struct entry {
    struct entry *next;
    uint8_t digest[LT_SHA256];
    struct lt_ref *is; /* NULL: could not be had, for why */
    uint64_t used_ms, retry_ms, pause_ms;
    bool soon; /* it did not come, rather than that what came was wrong */
    char why[200];
};

struct shelf {
    struct entry *first;
    unsigned count, most;
};

struct lt_sealing_cache {
    struct lt_sealing_conf conf;
    pthread_mutex_t lock; /* of both; never held while something is fetched */
    struct shelf lists, policies, logs;
};

struct lt_sealing_cache *lt_sealing_cache_new(const struct lt_sealing_conf *c)
{
    struct lt_sealing_cache *x = lt_new(struct lt_sealing_cache);

    x->conf = *c;
    x->conf.retry_ms = c->retry_ms ? c->retry_ms : LT_HOSTS_HOST_RETRY_MS;
    x->conf.soon_ms = c->soon_ms ? c->soon_ms : LT_SEALING_SOON_MS;
    x->lists.most = LT_SEALING_LISTS;
    x->policies.most = LT_SEALING_POLICIES;
    x->logs.most = LT_SEALING_LOGS;
    pthread_mutex_init(&x->lock, NULL);
    return x;
}

static void clear(struct shelf *s)
{
    for (struct entry *x = s->first, *next; x; x = next) {
        next = x->next;
        lt_ref_put(x->is);
        free(x);
    }
    *s = (struct shelf){.most = s->most};
}

void lt_sealing_cache_free(struct lt_sealing_cache *c)
{
    if (!c)
        return;
    clear(&c->lists);
    clear(&c->policies);
    clear(&c->logs);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- the shelves ---- all under the lock */

static struct entry *find(struct shelf *s, const uint8_t digest[LT_SHA256])
{
    struct entry *x = s->first;

    while (x && memcmp(x->digest, digest, LT_SHA256))
        x = x->next;
    if (x)
        x->used_ms = lt_clock_ms();
    return x;
}

/* The one that was used longest ago goes; who still has what it held keeps that. */
static void make_room(struct shelf *s)
{
    struct entry **oldest = &s->first;

    if (s->count < s->most || !s->first)
        return;
    for (struct entry **at = &s->first; *at; at = &(*at)->next)
        if ((*at)->used_ms < (*oldest)->used_ms)
            oldest = at;
    struct entry *gone = *oldest;
    *oldest = gone->next;
    lt_ref_put(gone->is);
    free(gone);
    s->count--;
}

static struct entry *need(struct shelf *s, const uint8_t digest[LT_SHA256])
{
    struct entry *x = find(s, digest);

    if (x)
        return x;
    make_room(s);
    x = lt_new(struct entry);
    memcpy(x->digest, digest, LT_SHA256);
    x->used_ms = lt_clock_ms();
    x->next = s->first;
    s->first = x;
    s->count++;
    return x;
}

/* What nobody but the shelf has, so that others find room. */
static void shed(struct shelf *s)
{
    for (struct entry **at = &s->first; *at;) {
        struct entry *x = *at;
        if (!x->is || lt_ref_shared(x->is)) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        lt_ref_put(x->is);
        free(x);
        s->count--;
    }
}

/* The next pause after that one, of at least first_ms. */
static uint64_t longer(const struct lt_sealing_cache *c, uint64_t pause_ms, uint64_t first_ms)
{
    const uint64_t most = c->conf.retry_ms * PAUSE_MOST;

    if (2 * pause_ms < first_ms)
        return first_ms;
    return 2 * pause_ms < most ? 2 * pause_ms : most;
}

enum how { PARTLY, SOON, WHOLE };

/* What was asked for has come (is: a reference, taken), or has not. WHOLE: nothing of it is missing; SOON: it
 * merely did not come. */
static void settle(struct lt_sealing_cache *c, struct shelf *s, const uint8_t digest[LT_SHA256],
                   struct lt_ref *is, enum how how, const char *why)
{
    pthread_mutex_lock(&c->lock);
    struct entry *x = need(s, digest);
    if (is || !x->is) {
        lt_ref_put(x->is);
        x->is = is;
    }
    snprintf(x->why, sizeof x->why, "%s", why);
    x->soon = how == SOON;
    x->pause_ms = how == WHOLE ? 0 : longer(c, x->pause_ms, how == SOON ? c->conf.soon_ms : c->conf.retry_ms);
    x->retry_ms = how == WHOLE ? 0 : lt_clock_ms() + x->pause_ms;
    pthread_mutex_unlock(&c->lock);
}

/* A new reference to what is had; *ask: there is none, or not all of it, and its pause is over. */
static struct lt_ref *look(struct lt_sealing_cache *c, struct shelf *s, const uint8_t digest[LT_SHA256],
                           bool *ask, char why[200])
{
    pthread_mutex_lock(&c->lock);
    struct entry *x = find(s, digest);
    struct lt_ref *is = x ? lt_ref_get(x->is) : NULL;
    *ask = !x || (x->retry_ms ? lt_clock_ms() >= x->retry_ms : !x->is);
    snprintf(why, 200, "%s", x ? x->why : "");
    pthread_mutex_unlock(&c->lock);
    return is;
}

/* ---- lists ---- */

static void list_free(void *p)
{
    struct lt_sealing_list *l = p;

    lt_openers_free(&l->parsed);
    free(l->bytes);
    if (l->memory)
        (void)!lt_budget_keep(l->memory, &l->kept, 0);
    free(l);
}

static size_t size_of(const struct lt_sealing_list *l)
{
    return l->n + l->parsed.count * sizeof *l->parsed.one;
}

/* Room for it, of which `charge` was taken already. */
static int stay(struct lt_sealing_cache *c, struct lt_sealing_list *l, size_t charge, struct lt_err *e)
{
    struct lt_budget *memory = c->conf.source.memory;

    l->memory = memory;
    if (!memory || lt_budget_settle(memory, charge, &l->kept, size_of(l)))
        return 0;
    pthread_mutex_lock(&c->lock);
    shed(&c->lists);
    pthread_mutex_unlock(&c->lock);
    return lt_budget_keep(memory, &l->kept, size_of(l))
               ? 0
               : lt_fail(e, LT_E_NO_ROOM, "openers: %zu bytes find no room (memory_limit_mib)", size_of(l));
}

/* Takes bytes, also on failure, and charge. */
static int make(struct lt_sealing_cache *c, uint8_t *bytes, size_t n, size_t charge, struct lt_ref **out,
                struct lt_err *e)
{
    struct lt_sealing_list *l = lt_new(struct lt_sealing_list);

    *out = NULL;
    l->bytes = bytes;
    l->n = n;
    lt_sha256(bytes, n, l->digest);
    int rc = lt_openers_parse(bytes, n, &l->parsed, e);
    if (rc && c->conf.source.memory)
        lt_budget_give(c->conf.source.memory, charge);
    if (!rc)
        rc = stay(c, l, charge, e);
    if (rc)
        list_free(l);
    else
        *out = lt_ref_new(l, list_free);
    return rc;
}

int lt_sealing_list_new(struct lt_sealing_cache *c, const uint8_t *bytes, size_t n, struct lt_ref **out,
                        struct lt_err *e)
{
    uint8_t digest[LT_SHA256], *copy;
    char why[200];
    bool ask;

    lt_sha256(bytes, n, digest);
    *out = look(c, &c->lists, digest, &ask, why);
    if (*out)
        return 0;
    copy = lt_alloc(n + 1, 1);
    memcpy(copy, bytes, n);
    LT_TRY(make(c, copy, n, 0, out, e));
    settle(c, &c->lists, digest, lt_ref_get(*out), WHOLE, "");
    return 0;
}

/* *how: SOON where it did not come; where something came that is not it, or found no room, asking again soon
 * is of no use. */
static int fetch_list(struct lt_sealing_cache *c, const uint8_t digest[LT_SHA256], struct lt_ref **out,
                      enum how *how, struct lt_err *e)
{
    struct lt_bundle_blob b = {0};
    size_t charge = 0;

    *out = NULL;
    int rc = lt_host_source_openers(&c->conf.source, digest, &b, &charge, e);
    *how = rc && rc != LT_E_REFUSED && rc != LT_E_PROVIDER_REFUSED && rc != LT_E_NO_ROOM ? SOON : PARTLY;
    if (!rc)
        rc = make(c, b.p, b.n, charge, out, e);
    if (!rc)
        *how = WHOLE;
    return rc;
}

/* When the one that did not come may be asked for again. */
static uint64_t again(struct lt_sealing_cache *c, const uint8_t digest[LT_SHA256])
{
    pthread_mutex_lock(&c->lock);
    const struct entry *x = find(&c->lists, digest);
    uint64_t at = x && x->soon ? x->retry_ms : 0;
    pthread_mutex_unlock(&c->lock);
    return at;
}

static struct lt_ref *need_list(struct lt_sealing_cache *c, const uint8_t digest[LT_SHA256], char why[200])
{
    struct lt_err e = {0};
    enum how how;
    bool ask;
    struct lt_ref *is = look(c, &c->lists, digest, &ask, why);

    if (is || !ask)
        return is;
    if (fetch_list(c, digest, &is, &how, &e))
        lt_log(LT_LOG_WARNING, "openers-missing", "%s", e.msg);
    snprintf(why, 200, "%.199s", e.msg);
    settle(c, &c->lists, digest, lt_ref_get(is), how, why);
    return is;
}

/* ---- host policies ---- */

/* One that could not be parsed, or whose boot policy is not there, is asked for again. */
static struct lt_ref *need_policy(struct lt_sealing_cache *c, const uint8_t digest[LT_SHA256])
{
    struct lt_err e = {0};
    char why[200];
    bool ask;
    struct lt_ref *is = look(c, &c->policies, digest, &ask, why), *fresh = NULL;

    if (!ask)
        return is;
    if (lt_host_source_states(&c->conf.source, digest, c->conf.documents, &fresh, &e))
        lt_log(LT_LOG_WARNING, "host-policy-missing", "%s", e.msg);
    const struct lt_verifier_host_document *d = lt_ref_value(fresh);
    if (d && !d->parsed)
        lt_ref_put(lt_take(&fresh));
    d = lt_ref_value(fresh);
    settle(c, &c->policies, digest, lt_ref_get(fresh), d && d->documents.complete ? WHOLE : PARTLY, e.msg);
    if (!fresh)
        return is;
    lt_ref_put(is);
    return fresh;
}

static void add_policies(struct lt_sealing_cache *c, const struct lt_policy_digests *d, size_t *tried,
                         struct lt_sealing_view *v)
{
    for (size_t i = 0; i < d->count && *tried < LT_SEALING_PER_GUEST; i++, ++*tried) {
        struct lt_ref *is = need_policy(c, d->d[i]);
        if (is)
            v->policy[v->policy_count++] = is;
    }
}

/* ---- boot logs ---- */

static void log_free(void *p)
{
    struct lt_sealing_log *l = p;

    lt_boot_log_free(l->log);
    if (l->memory)
        (void)!lt_budget_keep(l->memory, &l->kept, 0);
    free(l);
}

/* Which state of which host. */
static void key_of(const struct lt_openers_one *one, uint8_t key[LT_SHA256])
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(2048);

    lt_buf_put(&b, one->digest, LT_SHA256);
    lt_openers_state_write(&one->state, &b);
    lt_sha256(b.p, b.n, key);
}

/* NULL: no room, or no log. */
static struct lt_ref *open_log(struct lt_sealing_cache *c, struct lt_slice bytes)
{
    struct lt_sealing_log *l = lt_new(struct lt_sealing_log);

    l->memory = c->conf.source.memory;
    l->log = lt_boot_log_new(bytes);
    size_t n = l->log ? l->log->n + l->log->count * sizeof *l->log->event : 0;
    if (l->log && l->log->replay.present && (!l->memory || lt_budget_keep(l->memory, &l->kept, n)))
        return lt_ref_new(l, log_free);
    log_free(l);
    return NULL;
}

/* The store is asked once: what is not there comes with lt_sealing_keep_log. */
static struct lt_ref *need_log(struct lt_sealing_cache *c, const uint8_t key[LT_SHA256])
{
    char why[200];
    bool ask;
    struct lt_ref *is = look(c, &c->logs, key, &ask, why);
    LT_AUTOFREE uint8_t *bytes = NULL;
    size_t n;

    if (!ask)
        return is;
    if (!lt_store_log_get(c->conf.store, key, &bytes, &n, LT_NO_ERR))
        is = open_log(c, (struct lt_slice){bytes, n});
    settle(c, &c->logs, key, lt_ref_get(is), is ? WHOLE : PARTLY, "");
    return is;
}

static bool judge_boots(const struct lt_sealing_view *v)
{
    for (size_t i = 0; i < v->policy_count; i++) {
        const struct lt_verifier_host_document *d = lt_ref_value(v->policy[i]);
        if (d->parsed->measured.has_boot)
            return true;
    }
    return false;
}

static void add_logs(struct lt_sealing_cache *c, const struct lt_openers *o, struct lt_sealing_view *v)
{
    uint8_t key[LT_SHA256];

    if (!judge_boots(v))
        return;
    v->log = lt_alloc(o->count + 1, sizeof(struct lt_ref *));
    for (unsigned i = 0; i < o->count; i++) {
        if (o->one[i].kind != LT_OPENERS_STATE)
            continue;
        key_of(&o->one[i], key);
        struct lt_ref *is = need_log(c, key);
        if (is)
            v->log[v->log_count++] = is;
    }
}

static bool in_state(const struct lt_pcrs *state, const struct lt_pcrs *quoted)
{
    for (int i = 0; i < LT_MAX_PCRS; i++)
        if (state->mask >> i & 1 &&
            (!(quoted->mask >> i & 1) || memcmp(state->value[i], quoted->value[i], LT_SHA256)))
            return false;
    return true;
}

static void keep_log(struct lt_sealing_cache *c, const uint8_t key[LT_SHA256], struct lt_slice log)
{
    struct lt_ref *is = need_log(c, key);
    struct lt_err e = {0};

    if (!is && lt_store_log_put(c->conf.store, key, log, &e))
        lt_log(LT_LOG_WARNING, "store", "%s", e.msg);
    else if (!is)
        settle(c, &c->logs, key, open_log(c, log), WHOLE, "");
    lt_ref_put(is);
}

void lt_sealing_keep_log(struct lt_sealing_cache *c, const struct lt_openers *list,
                         const uint8_t ek_digest[LT_SHA256], const struct lt_pcrs *quoted,
                         const struct lt_boot_log *log)
{
    uint8_t key[LT_SHA256];

    for (unsigned i = 0; i < list->count; i++) {
        const struct lt_openers_one *one = &list->one[i];
        if (one->kind != LT_OPENERS_STATE || memcmp(one->digest, ek_digest, LT_SHA256) ||
            !in_state(&one->state, quoted))
            continue;
        key_of(one, key);
        keep_log(c, key, (struct lt_slice){log->bytes, log->n});
        break;
    }
}

/* ---- views ---- */

static void view_free(void *p)
{
    struct lt_sealing_view *v = p;

    lt_ref_put(v->list);
    for (size_t i = 0; i < v->host_count; i++)
        lt_ref_put(v->host[i].keys);
    for (size_t i = 0; i < v->policy_count; i++)
        lt_ref_put(v->policy[i]);
    for (size_t i = 0; i < v->log_count; i++)
        lt_ref_put(v->log[i]);
    free(v->log);
    free(v->host);
    free(v->policy);
    free(v);
}

static bool has_host(const struct lt_sealing_view *v, const uint8_t ek_digest[LT_SHA256])
{
    for (size_t i = 0; i < v->host_count; i++)
        if (!memcmp(v->host[i].ek_digest, ek_digest, LT_SHA256))
            return true;
    return false;
}

static void add_hosts(struct lt_sealing_cache *c, const struct lt_openers *o,
                      const struct lt_policy_guest *policy, struct lt_sealing_view *v)
{
    v->host = lt_alloc(o->count + 1, sizeof *v->host);
    for (unsigned i = 0; i < o->count; i++) {
        const struct lt_openers_one *one = &o->one[i];
        if (one->kind != LT_OPENERS_STATE || has_host(v, one->digest))
            continue;
        struct lt_sealing_host *h = &v->host[v->host_count++];
        memcpy(h->ek_digest, one->digest, sizeof h->ek_digest);
        bool known = policy && lt_policy_digests_have(&policy->retired_hosts, one->digest);
        lt_hosts_facts(c->conf.hosts, one->digest, known, &h->registered, &h->keys);
    }
}

struct lt_ref *lt_sealing_view(struct lt_sealing_cache *c, const uint8_t digest[LT_SHA256],
                               struct lt_ref *had, const struct lt_policy_guest *policy)
{
    struct lt_sealing_view *v = lt_new(struct lt_sealing_view);
    const struct lt_sealing_list *l = lt_ref_value(had);
    char why[200] = "";
    size_t tried = 0;

    v->list = l && !memcmp(l->digest, digest, LT_SHA256) ? lt_ref_get(had) : need_list(c, digest, why);
    l = lt_ref_value(v->list);
    v->again_ms = l ? 0 : again(c, digest);
    if (!l)
        snprintf(v->trouble, sizeof v->trouble, "its list of openers could not be had: %.199s",
                 *why ? why : "it is asked for again later");
    else
        add_hosts(c, &l->parsed, policy, v);
    if (l && policy) {
        v->policy = lt_alloc(LT_SEALING_PER_GUEST, sizeof(struct lt_ref *));
        add_policies(c, &policy->host_policies, &tried, v);
        add_policies(c, &policy->retired_host_policies, &tried, v);
        add_logs(c, &l->parsed, v);
    }
    return lt_ref_new(v, view_free);
}
