#include "verifier/hosts.h"

#include "common/alloc.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "tpm/attest.h"
#include "tpm/signature.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 1000 /* how long a look at a host waits for it to be there */

struct host {
    struct host *next;
    char name[2 * LT_RESIDENCY_HOST_ID + 1];
    bool busy;           /* under the hosts' lock: one worker asks, the others wait for its answer */
    pthread_cond_t idle; /* lt_cond_init: not busy any more */
    struct lt_hosts_host_view view;
    uint64_t judged_ms; /* when registry and certificate were last looked up */
    uint64_t retry_ms;  /* of the keys: not before; 0: at once */
    uint64_t
        facts_retry_ms; /* the same, of an opener's host: apart, so that a quote's keys never wait for it */
    uint64_t log_retry_ms; /* of a boot log that was not there or not of this boot */
    uint64_t ima_retry_ms; /* of an IMA list that was not there or did not replay */
    uint64_t documents_ms; /* the same for documents that its policy names */
    struct lt_err why;     /* of the last fetch of keys; code 0: it brought some */
    enum lt_verdict_level level;
};

/* Quotes of one AK_h; outlives the host's entry in every case. */
struct chronicle {
    struct chronicle *next;
    uint8_t ak_name[LT_TPM_NAME];
    struct lt_history_host history;
};

struct lt_hosts {
    struct lt_hosts_conf conf;
    pthread_mutex_t lock; /* of the lists; never held while something is fetched */
    struct lt_ref *trust; /* struct lt_verifier_trust */
    struct host *hosts;
    unsigned count;
    struct chronicle *chronicles;
};

static void trust_free(void *p)
{
    lt_verifier_trust_free(p);
}

void lt_hosts_host_view_free(struct lt_hosts_host_view *v)
{
    lt_ref_put(v->keys);
    lt_ref_put(v->policy);
    lt_ref_put(v->log);
    lt_ref_put(v->ima);
    memset(v, 0, sizeof *v);
}

int lt_hosts_new(const struct lt_hosts_conf *c, struct lt_hosts **out, struct lt_err *e)
{
    struct lt_hosts *h = lt_new(struct lt_hosts);
    struct lt_verifier_trust *trust;

    *out = NULL;
    if (lt_verifier_trust_load(c->registry, c->roots, &trust, e)) {
        free(h);
        return e->code;
    }
    h->conf = *c;
    h->conf.facts_ms = c->facts_ms ? c->facts_ms : LT_HOSTS_HOST_FACTS_MS;
    h->trust = lt_ref_new(trust, trust_free);
    pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return 0;
}

void lt_hosts_free(struct lt_hosts *h)
{
    if (!h)
        return;
    for (struct host *x = h->hosts, *next; x; x = next) {
        next = x->next;
        lt_hosts_host_view_free(&x->view);
        pthread_cond_destroy(&x->idle);
        free(x);
    }
    for (struct chronicle *x = h->chronicles, *next; x; x = next) {
        next = x->next;
        free(x);
    }
    lt_ref_put(h->trust);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* The host is this thread's alone until it is let go, whatever is fetched meanwhile; false: not by then. */
static bool seize(struct lt_hosts *h, struct host *x, uint64_t until_ms)
{
    pthread_mutex_lock(&h->lock);
    while (x->busy && lt_cond_until(&x->idle, &h->lock, until_ms))
        ;
    bool mine = !x->busy;
    x->busy = true;
    pthread_mutex_unlock(&h->lock);
    return mine;
}

static void let_go(struct lt_hosts *h, struct host *x)
{
    pthread_mutex_lock(&h->lock);
    x->busy = false;
    pthread_cond_signal(&x->idle);
    pthread_mutex_unlock(&h->lock);
}

int lt_hosts_reload(struct lt_hosts *h, struct lt_err *e)
{
    struct lt_verifier_trust *trust;

    LT_TRY(lt_verifier_trust_load(h->conf.registry, h->conf.roots, &trust, e));
    pthread_mutex_lock(&h->lock);
    lt_ref_put(h->trust);
    h->trust = lt_ref_new(trust, trust_free);
    struct host *first = h->hosts; /* entries are never removed, and added in front */
    pthread_mutex_unlock(&h->lock);
    for (struct host *x = first; x; x = x->next) {
        (void)!seize(h, x, LT_COND_EVER);
        lt_hosts_host_view_free(&x->view);
        x->retry_ms = x->facts_retry_ms = x->log_retry_ms = x->ima_retry_ms = 0;
        let_go(h, x);
    }
    return 0;
}

static struct host *find(struct lt_hosts *h, const char *name)
{
    struct host *x;

    pthread_mutex_lock(&h->lock);
    for (x = h->hosts; x && strcmp(x->name, name); x = x->next)
        ;
    if (!x && h->count < LT_MAX_HOSTS) {
        x = lt_new(struct host);
        snprintf(x->name, sizeof x->name, "%s", name);
        lt_cond_init(&x->idle);
        x->next = h->hosts;
        h->hosts = x;
        h->count++;
    }
    pthread_mutex_unlock(&h->lock);
    return x;
}

static bool signed_by(const struct lt_ref *keys, const struct lt_attest *a)
{
    const struct lt_verifier_host_keys *k = lt_ref_value(keys);
    return k && a->qualified_signer.n == LT_TPM_NAME &&
           !memcmp(a->qualified_signer.p, k->id->qualified_signer, LT_TPM_NAME);
}

/* The AK it shows did sign this quote, under whatever hierarchy: then check 6 says what is wrong with it. */
static bool verifies(const struct lt_verifier_host_keys *k, const struct lt_residency_host_quote *q)
{
    return k->id->key && !lt_signature_check(k->id->key, (struct lt_slice){q->signature, q->signature_n},
                                             (struct lt_slice){q->attest, q->attest_n}, LT_NO_ERR);
}

static bool good_keys(const struct lt_ref *keys, const struct lt_attest *a)
{
    const struct lt_verifier_host_keys *k = lt_ref_value(keys);
    return k && k->id->activated == LT_CHECKS_FACT_YES && k->id->certificate != LT_CHECKS_FACT_NO &&
           !k->id->certificate_gap && signed_by(keys, a);
}

/* Facts that were found long ago are found again: certificates expire. Without memory they count for nothing.
 * While it is seized. */
static void renew_facts(struct lt_hosts *h, struct host *x)
{
    const struct lt_verifier_host_keys *k = lt_ref_value(x->view.keys);
    uint64_t now = lt_clock_ms();
    struct lt_ref *fresh;

    if (!k || now - x->judged_ms < h->conf.facts_ms)
        return;
    pthread_mutex_lock(&h->lock);
    struct lt_ref *trust = lt_ref_get(h->trust);
    pthread_mutex_unlock(&h->lock);
    (void)!lt_verifier_host_keys_again(k, lt_ref_value(trust), &fresh, LT_NO_ERR);
    lt_ref_put(trust);
    lt_ref_put(x->view.keys);
    x->view.keys = fresh;
    x->judged_ms = now;
}

/* Keys are fetched when there are none, when the tenant has not activated them, lacks their certificate or
 * refused it (the provider may show another), and when the quote names another signer: then the host may have
 * a new AK. While it is seized. a NULL: the quote names nobody, which check 5 says. */
static int need_keys(struct lt_hosts *h, struct host *x, const struct lt_attest *a,
                     const struct lt_residency_host_quote *q, struct lt_err *e)
{
    renew_facts(h, x);
    const struct lt_host_source *source = &h->conf.source;
    const struct lt_verifier_host_keys *k = lt_ref_value(x->view.keys);
    struct lt_ref *keys, *trust;

    if (k && (!a || good_keys(x->view.keys, a)))
        return 0;
    if (lt_clock_ms() >= x->retry_ms) {
        pthread_mutex_lock(&h->lock);
        trust = lt_ref_get(h->trust);
        pthread_mutex_unlock(&h->lock);
        x->why = (struct lt_err){0};
        if (!source->keys(source->arg, x->name, lt_ref_value(trust), k, true, &keys, &x->why)) {
            lt_ref_put(x->view.keys);
            x->view.keys = keys;
            x->judged_ms = lt_clock_ms();
            k = lt_ref_value(keys);
        }
        lt_ref_put(trust);
        bool settled = source->own || (a && good_keys(x->view.keys, a));
        x->retry_ms = settled ? 0 : lt_clock_ms() + LT_HOSTS_HOST_RETRY_MS;
    }
    if (k && (!a || source->own || signed_by(x->view.keys, a) || verifies(k, q)))
        return 0;
    /* Other keys than the signer's would fail check 5 for want of an answer, or because the provider shows
     * the wrong ones: transport is no verdict. */
    if (!x->why.code)
        return lt_fail(e, LT_E_PROVIDER_REFUSED,
                       "hosts/%s: the keys shown of it are not those that signed its quote", x->name);
    *e = x->why;
    return e->code;
}

/* Nothing of a document that nobody accepts is fetched: the provider may publish as many as it likes. One
 * that a neighbour's policy accepts is used for all: check 7 asks each guest's own. */
static void need_policy(struct lt_hosts *h, struct host *x, const uint8_t digest[LT_SHA256], bool accepted)
{
    const struct lt_verifier_host_document *d = lt_ref_value(x->view.policy);
    struct lt_ref *fresh;
    struct lt_err e = {0};

    if (!accepted && !(d && !memcmp(d->digest, digest, LT_SHA256))) {
        lt_ref_put(lt_take(&x->view.policy));
        return;
    }
    if (d && !memcmp(d->digest, digest, LT_SHA256)) {
        bool lacks = accepted && d->parsed && !d->documents.complete;
        if (!lacks || lt_clock_ms() < x->documents_ms)
            return;
        x->documents_ms = lt_clock_ms() + LT_HOSTS_HOST_RETRY_MS;
        if (lt_host_source_missing(&h->conf.source, d, h->conf.documents, &fresh)) {
            lt_ref_put(x->view.policy);
            x->view.policy = fresh;
        }
        return;
    }
    if (lt_host_source_policy(&h->conf.source, digest, h->conf.documents, &fresh, &e))
        lt_log(LT_LOG_WARNING, "host-policy-missing", "host %s: %s", x->name, e.msg);
    bool replaced = x->view.policy;
    lt_ref_put(x->view.policy);
    x->view.policy = fresh;
    if (replaced)
        lt_documents_collect(h->conf.documents);
}

/* A log of another boot, or none, may be the provider's cache: it says nothing of the host, is not used, and
 * is asked for again. One that is withheld for good is reported as not made. */
static void need_log(struct lt_hosts *h, struct host *x, const struct lt_residency_host_quote *q,
                     uint32_t reset_count)
{
    const struct lt_verifier_host_log *l = lt_ref_value(x->view.log);
    struct lt_ref *fresh;
    struct lt_err e = {0};

    if (l && l->reset_count == reset_count && !lt_boot_replay_match(&l->log->replay, &q->pcrs, LT_NO_ERR))
        return;
    lt_ref_put(lt_take(&x->view.log));
    if (lt_clock_ms() < x->log_retry_ms)
        return;
    if (!lt_host_source_log(&h->conf.source, x->name, reset_count, &fresh, &e)) {
        l = lt_ref_value(fresh);
        if (!l->log->replay.present)
            (void)!lt_fail(&e, LT_E_NOT_FOUND, "there is none");
        else
            (void)!lt_boot_replay_match(&l->log->replay, &q->pcrs, &e);
        if (e.code)
            lt_ref_put(fresh);
        else
            x->view.log = fresh;
    }
    x->log_retry_ms = e.code ? lt_clock_ms() + LT_HOSTS_HOST_RETRY_MS : 0;
    if (e.code)
        lt_log(LT_LOG_WARNING, "host-boot-log-missing", "host %s: %s", x->name, e.msg);
}

/* Documents are fetched, and kept, only of a host that is one: a provider may name thousands that are none,
 * and their check 6 fails whatever they say. Those of an own registry are hosts. */
static bool credible(bool own, const struct host *x, const struct lt_attest *a)
{
    const struct lt_verifier_host_keys *k = lt_ref_value(x->view.keys);
    return signed_by(x->view.keys, a) && k->id->activated == LT_CHECKS_FACT_YES &&
           k->id->in_registry != LT_CHECKS_FACT_NO && k->id->certificate != LT_CHECKS_FACT_NO &&
           (own || !k->id->certificate_gap);
}

/* Whether the list is this quote's: the chain alone, no content. */
static int replays(const struct lt_verifier_host_ima *i, struct lt_err *e)
{
    struct lt_ima_result r;
    const struct lt_ima_input in = {.list = {i->bytes.p, i->bytes.n}, .bank = LT_HASH_SHA256, .pcr = i->pcr};

    if (!i->present)
        return lt_fail(e, LT_E_NOT_FOUND, "there is no IMA list of it");
    LT_TRY_IN(lt_ima_appraise(&in, NULL, &r, e), e, "the IMA list is not that of its quote");
    return 0;
}

/* Only for a policy that judges it, and only when PCR 10 has changed since. A list that does not replay to
 * this quote is the provider's, or an earlier one: it says nothing of the host, is not used, and asked for
 * again, from its beginning. One that is withheld for good is reported as not made. */
static void need_ima(struct lt_hosts *h, struct host *x, uint32_t reset_count, const struct lt_pcrs *pcrs)
{
    const struct lt_verifier_host_document *d = lt_ref_value(x->view.policy);
    const struct lt_verifier_host_ima *i = lt_ref_value(x->view.ima);
    const uint8_t *pcr = pcrs->value[LT_IMA_PCR];
    struct lt_ref *fresh = NULL;
    struct lt_err e = {0};

    bool judged = d && d->parsed && d->parsed->measured.layer_count;
    if (judged && i && i->reset_count == reset_count && !memcmp(i->pcr, pcr, LT_SHA256))
        return;
    if (judged && lt_clock_ms() >= x->ima_retry_ms) {
        if (!lt_host_source_ima(&h->conf.source, x->name, i, reset_count, pcr, &fresh, &e) &&
            replays(lt_ref_value(fresh), &e))
            lt_ref_put(lt_take(&fresh));
        x->ima_retry_ms = fresh ? 0 : lt_clock_ms() + LT_HOSTS_HOST_IMA_RETRY_MS;
        if (!fresh)
            lt_log(LT_LOG_WARNING, "host-ima-missing", "host %s: %s", x->name, e.msg);
    }
    lt_ref_put(x->view.ima);
    x->view.ima = fresh;
}

int lt_hosts_view(struct lt_hosts *h, const char *host, const struct lt_residency_host_quote *q,
                  bool accepted, bool wait, struct lt_hosts_host_view *out, struct lt_err *e)
{
    uint8_t id[LT_RESIDENCY_HOST_ID];
    char name[2 * LT_RESIDENCY_HOST_ID + 1];
    struct lt_attest attest = {0};
    struct lt_residency_header header = {0};

    memset(out, 0, sizeof *out);
    LT_TRY_IN(lt_unhex(host, id, sizeof id, e), e, "host");
    lt_hex(id, sizeof id, name);
    struct host once = {.idle = PTHREAD_COND_INITIALIZER}; /* the table is full: asked, and forgotten */
    struct host *x = find(h, name);
    if (!x) {
        x = &once;
        snprintf(x->name, sizeof x->name, "%s", name);
    }
    /* Bytes that do not parse are judged by check 5, not here. */
    bool parsed = !lt_attest_parse(q->attest, q->attest_n, &attest, LT_NO_ERR) &&
                  !lt_residency_header_parse(q->header, sizeof q->header, &header, LT_NO_ERR);
    if (!seize(h, x, wait ? LT_COND_EVER : 0))
        return lt_fail(e, LT_E_BUSY, "host %s is being asked about", x->name);
    int rc = need_keys(h, x, parsed ? &attest : NULL, q, e);
    if (!rc && parsed && credible(h->conf.source.own, x, &attest)) {
        need_policy(h, x, header.policy_digest, accepted);
        need_log(h, x, q, attest.clock.reset_count);
        need_ima(h, x, attest.clock.reset_count, &q->pcrs);
    }
    if (!rc)
        *out = (struct lt_hosts_host_view){lt_ref_get(x->view.keys), lt_ref_get(x->view.policy),
                                           lt_ref_get(x->view.log), lt_ref_get(x->view.ima)};
    let_go(h, x);
    lt_hosts_host_view_free(&once.view);
    return rc;
}

void lt_hosts_logs(const struct lt_hosts_host_view *view, int64_t now, struct lt_measured_logs *l)
{
    const struct lt_verifier_host_document *document = lt_ref_value(view->policy);
    const struct lt_verifier_host_log *log = lt_ref_value(view->log);
    const struct lt_verifier_host_ima *ima = lt_ref_value(view->ima);

    l->now = now;
    l->documents = document ? &document->documents.view : NULL;
    if (log && log->log->replay.present) {
        l->boot_log = log->log;
        l->boot_log_digest = log->digest;
    } else if (!log) {
        l->boot_log_trouble = "the host's boot log could not be had";
    }
    l->has_ima = ima && ima->present;
    if (l->has_ima) {
        l->ima = (struct lt_slice){ima->bytes.p, ima->bytes.n};
        l->ima_digest = ima->digest;
    } else if (!ima) {
        l->ima_trouble = "the host's IMA list could not be had";
    }
}

/* ---- hosts that openers name ---- */

static bool settled(const struct lt_verifier_host_keys *k)
{
    return k && k->id->certificate != LT_CHECKS_FACT_NO && !k->id->certificate_gap;
}

/* While it is seized. What its quotes are checked with stays when nothing better came. */
static void need_facts(struct lt_hosts *h, struct host *x, struct lt_ref *trust)
{
    const struct lt_host_source *source = &h->conf.source;
    struct lt_ref *keys = NULL;
    struct lt_err e = {0};

    renew_facts(h, x);
    const struct lt_verifier_host_keys *k = lt_ref_value(x->view.keys);
    if (settled(k) || lt_clock_ms() < x->facts_retry_ms)
        return;
    if (source->keys(source->arg, x->name, lt_ref_value(trust), k, false, &keys, &e)) {
        lt_log(LT_LOG_WARNING, "host-missing", "host %s, which openers name: %s", x->name, e.msg);
    } else if (!k || settled(lt_ref_value(keys))) {
        lt_ref_put(x->view.keys);
        x->view.keys = keys;
        x->judged_ms = lt_clock_ms();
    } else {
        lt_ref_put(keys);
    }
    x->facts_retry_ms = settled(lt_ref_value(x->view.keys)) ? 0 : lt_clock_ms() + LT_HOSTS_HOST_RETRY_MS;
}

void lt_hosts_facts(struct lt_hosts *h, const uint8_t ek_digest[LT_SHA256], bool known,
                    enum lt_checks_fact *registered, struct lt_ref **keys)
{
    char name[2 * LT_RESIDENCY_HOST_ID + 1];

    *keys = NULL;
    pthread_mutex_lock(&h->lock);
    struct lt_ref *trust = lt_ref_get(h->trust);
    pthread_mutex_unlock(&h->lock);
    *registered = lt_verifier_trust_registered(lt_ref_value(trust), ek_digest);
    lt_hex(ek_digest, LT_RESIDENCY_HOST_ID, name);
    struct host *x = known || *registered == LT_CHECKS_FACT_YES ? find(h, name) : NULL;
    if (x && seize(h, x, lt_clock_ms() + LOOK_MS)) { /* one that hangs keeps no guest of others */
        need_facts(h, x, trust);
        *keys = lt_ref_get(x->view.keys);
        let_go(h, x);
    }
    lt_ref_put(trust);
    const struct lt_verifier_host_keys *k = lt_ref_value(*keys);
    if (k && memcmp(k->id->ek_digest, ek_digest, LT_SHA256))
        lt_ref_put(lt_take(keys));
}

/* ---- history ---- */

static struct chronicle *chronicle(struct lt_hosts *h, const uint8_t ak_name[LT_TPM_NAME])
{
    struct chronicle *x = h->chronicles;
    while (x && memcmp(x->ak_name, ak_name, LT_TPM_NAME))
        x = x->next;
    return x;
}

int lt_hosts_history(struct lt_hosts *h, const uint8_t ak_name[LT_TPM_NAME], struct lt_history_host *out,
                     struct lt_err *e)
{
    struct chronicle *x;
    bool has;

    pthread_mutex_lock(&h->lock);
    x = chronicle(h, ak_name);
    if (x)
        *out = x->history;
    pthread_mutex_unlock(&h->lock);
    if (x)
        return 0;
    /* Of an earlier life of this process: one entry at time 0, before every t1. */
    memset(out, 0, sizeof *out);
    int rc = lt_store_host_clock(h->conf.store, ak_name, &has, &out->entry[0].clock, e);
    out->count = !rc && has;
    return rc;
}

bool lt_hosts_learn(struct lt_hosts *h, const struct lt_history_round_facts *f, uint64_t t5_ms,
                    struct lt_attest_clock_info *clock)
{
    struct lt_history_host before;
    struct lt_err e = {0};

    if (!f->host_genuine)
        return false;
    if (lt_hosts_history(h, f->host_ak_name, &before, &e)) {
        lt_log(LT_LOG_ERROR, "history", "%s", e.msg);
        return false;
    }
    pthread_mutex_lock(&h->lock);
    struct chronicle *x = chronicle(h, f->host_ak_name);
    if (!x) {
        x = lt_new(struct chronicle);
        memcpy(x->ak_name, f->host_ak_name, LT_TPM_NAME);
        x->history = before;
        x->next = h->chronicles;
        h->chronicles = x;
    }
    lt_history_host_learn(&x->history, f, t5_ms);
    bool has = lt_history_host_at(&x->history, UINT64_MAX, clock);
    pthread_mutex_unlock(&h->lock);
    return has;
}

/* ---- for people ---- */

void lt_hosts_note(struct lt_hosts *h, const uint8_t host_id[LT_RESIDENCY_HOST_ID],
                   enum lt_verdict_level level)
{
    char name[2 * LT_RESIDENCY_HOST_ID + 1];
    struct host *x;

    lt_hex(host_id, LT_RESIDENCY_HOST_ID, name);
    pthread_mutex_lock(&h->lock);
    for (x = h->hosts; x; x = x->next)
        if (!strcmp(x->name, name))
            x->level = level;
    pthread_mutex_unlock(&h->lock);
}

/* A provider that hangs keeps x busy as long as it likes; it shall not hold those who look. */
static json_t *describe(struct lt_hosts *h, struct host *x, enum lt_verdict_level shown)
{
    struct lt_hosts_host_view v = {0};
    const char *none = "it is being asked about";
    struct lt_err why;

    if (seize(h, x, lt_clock_ms() + LOOK_MS)) {
        v = (struct lt_hosts_host_view){lt_ref_get(x->view.keys), lt_ref_get(x->view.policy), NULL, NULL};
        why = x->why;
        none = why.msg;
        let_go(h, x);
    }
    const struct lt_verifier_host_keys *k = lt_ref_value(v.keys);
    const struct lt_verifier_host_document *d = lt_ref_value(v.policy);
    const char *level = lt_verdict_level_slug(shown);
    json_t *o = json_object();

    json_object_set_new(o, "host", json_string(x->name));
    json_object_set_new(o, "level", level ? json_string(level) : json_null());
    json_object_set_new(o, "policy", d ? lt_json_new_hex(d->digest, LT_SHA256) : json_null());
    json_object_set_new(o, "ak_name", k ? lt_json_new_hex(k->id->ak_name, LT_TPM_NAME) : json_null());
    json_object_set_new(o, "activated", json_boolean(k && k->id->activated == LT_CHECKS_FACT_YES));
    json_object_set_new(o, "in_registry", json_boolean(k && k->id->in_registry == LT_CHECKS_FACT_YES));
    json_object_set_new(o, "certificate", lt_json_new_text(k ? k->id->certificate_text : none));
    lt_hosts_host_view_free(&v);
    return o;
}

json_t *lt_hosts_list(struct lt_hosts *h)
{
    json_t *list = json_array();

    pthread_mutex_lock(&h->lock);
    for (struct host *x = h->hosts; x; x = x->next) {
        enum lt_verdict_level level = x->level;
        pthread_mutex_unlock(&h->lock); /* entries are never removed, and added in front */
        json_array_append_new(list, describe(h, x, level));
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return json_pack("{s:o}", "hosts", list);
}
