#include "tenant/exposure.h"

#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define KEPT 32 /* guest policies that are kept parsed, count: those of guests that are elsewhere */

struct lt_exposure {
    struct lt_exposure_conf conf;
    pthread_mutex_t lock;
    struct {
        uint8_t digest[LT_SHA256];
        struct lt_ref *policy; /* struct lt_tenant_policy; NULL: free */
    } kept[KEPT];
    unsigned next;
};

struct lt_exposure *lt_exposure_new(const struct lt_exposure_conf *c)
{
    struct lt_exposure *x = lt_new(struct lt_exposure);

    x->conf = *c;
    pthread_mutex_init(&x->lock, NULL);
    return x;
}

void lt_exposure_free(struct lt_exposure *x)
{
    if (!x)
        return;
    for (unsigned i = 0; i < KEPT; i++)
        lt_ref_put(x->kept[i].policy);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* ---- policies ---- */

static struct lt_ref *kept(struct lt_exposure *x, const uint8_t digest[LT_SHA256])
{
    struct lt_ref *is = NULL;

    pthread_mutex_lock(&x->lock);
    for (unsigned i = 0; i < KEPT && !is; i++)
        if (x->kept[i].policy && !memcmp(x->kept[i].digest, digest, LT_SHA256))
            is = lt_ref_get(x->kept[i].policy);
    pthread_mutex_unlock(&x->lock);
    return is;
}

static void keep(struct lt_exposure *x, const uint8_t digest[LT_SHA256], struct lt_ref *policy)
{
    pthread_mutex_lock(&x->lock);
    lt_ref_put(x->kept[x->next].policy);
    x->kept[x->next].policy = lt_ref_get(policy);
    memcpy(x->kept[x->next].digest, digest, LT_SHA256);
    x->next = (x->next + 1) % KEPT;
    pthread_mutex_unlock(&x->lock);
}

/* A new reference; NULL: it is not there, or no policy, and nobody is judged by it. */
static struct lt_ref *policy_of(struct lt_exposure *x, const uint8_t digest[LT_SHA256])
{
    struct lt_ref *is = kept(x, digest);
    struct lt_err e = {0};
    uint8_t *bytes;
    size_t n;

    if (is)
        return is;
    if (lt_store_policy_get(x->conf.store, digest, &bytes, &n, &e) ||
        lt_tenant_policy_new(bytes, n, NULL, false, &is, &e)) {
        lt_log(LT_LOG_ERROR, "store", "a guest's policy: %s", e.msg);
        return NULL;
    }
    keep(x, digest, is);
    return is;
}

/* ---- one host ---- */

struct digests {
    size_t count;
    uint8_t (*d)[LT_SHA256];
};

static int add(struct digests *l, const uint8_t digest[LT_SHA256])
{
    uint8_t(*more)[LT_SHA256] = realloc(l->d, (l->count + 1) * sizeof *more);

    if (!more)
        return LT_E_NO_MEMORY;
    l->d = more;
    memcpy(more[l->count++], digest, LT_SHA256);
    return 0;
}

static int add_policy(void *arg, const uint8_t policy[LT_SHA256])
{
    return add(arg, policy);
}

struct look {
    struct lt_exposure *x;
    const struct lt_residency_host_quote *q;
    const struct lt_hosts_host_view *view;
    const struct lt_checks_identity_host *id;
    struct digests found; /* EKs */
};

static const struct lt_boot_log *log_of(const struct lt_hosts_host_view *view)
{
    const struct lt_verifier_host_log *l = lt_ref_value(view->log);

    return l && l->log->replay.present ? l->log : NULL;
}

/* Check 7, of a quote that passes 5 and 6. One that is not made says nothing. */
static bool fails(const struct look *l, const struct lt_policy_guest *p)
{
    const struct lt_verifier_host_document *d = lt_ref_value(l->view->policy);
    LT_AUTOFREE struct lt_verdict *v = lt_new(struct lt_verdict);
    struct lt_history_round_facts f;
    struct lt_checks_host_round h = {
        .quote = l->q,
        .identity = l->id,
        .policy = d ? d->parsed : NULL,
        .accepted = &p->host_policies,
        .measured_cache = l->x->conf.caches->measured,
        .cache = l->x->conf.caches->quotes,
    };

    lt_hosts_logs(l->view, lt_clock_wall_s(), &h.logs);
    lt_verdict_init(v);
    lt_checks_host_alone(v);
    lt_checks_appraise_host(&h, &f, v);
    return f.host_genuine && v->check[LT_CHECK_HOST_POLICY].state == LT_CHECK_NOT_PASSED;
}

static int look_at_guest(void *arg, const uint8_t ek_digest[LT_SHA256], struct lt_slice openers)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    struct look *l = arg;
    struct lt_err e = {0};

    if (lt_openers_parse(openers.p, openers.n, &list, &e)) {
        lt_log(LT_LOG_ERROR, "store", "a list of openers cannot be read: %s", e.msg);
        return 0;
    }
    return lt_checks_openers_exposed(&list, l->id->ek_digest, log_of(l->view), &l->q->pcrs)
               ? add(&l->found, ek_digest)
               : 0;
}

void lt_exposure_found(struct lt_store *s, const uint8_t ek_digest[LT_SHA256], const uint8_t host[LT_SHA256])
{
    char ek[2 * LT_SHA256 + 1], by[2 * LT_RESIDENCY_HOST_ID + 1];
    bool news;

    lt_store_expose(s, ek_digest, host, &news);
    if (!news)
        return;
    lt_hex(ek_digest, LT_SHA256, ek);
    lt_hex(host, LT_RESIDENCY_HOST_ID, by);
    lt_log(LT_LOG_ERROR, "exposed",
           "the guest with EK %s: host %s, which is among its openers, runs what no policy of the guest's "
           "accepts;"
           " limetree guest clear UUID --exposed takes it back",
           ek, by);
}

static void look_at_policy(struct look *l, const uint8_t digest[LT_SHA256], const struct lt_policy_guest *p)
{
    struct lt_err e = {0};

    if (!fails(l, p))
        return;
    if (lt_store_opened_under(l->x->conf.store, l->id->ek_digest, digest, look_at_guest, l, &e))
        lt_log(LT_LOG_ERROR, "store", "openers: %s", e.msg);
    for (size_t i = 0; i < l->found.count; i++)
        lt_exposure_found(l->x->conf.store, l->found.d[i], l->id->ek_digest);
    l->found.count = 0;
}

/* A document that only guests elsewhere accept was not asked for by those who are here. */
static void need_document(struct lt_exposure *x, const char *host, const struct lt_residency_host_quote *q,
                          const struct lt_policy_guest *p, const struct lt_residency_header *h,
                          struct lt_hosts_host_view *mine)
{
    if (!mine->policy && !mine->keys && lt_policy_digests_have(&p->host_policies, h->policy_digest) &&
        lt_hosts_view(x->conf.hosts, host, q, true, false, mine, LT_NO_ERR))
        memset(mine, 0, sizeof *mine);
}

void lt_exposure_look(struct lt_exposure *x, const char *host, const struct lt_residency_host_quote *q,
                      const struct lt_hosts_host_view *view)
{
    const struct lt_verifier_host_keys *keys = lt_ref_value(view->keys);
    struct look l = {.x = x, .q = q, .view = view, .id = keys->id};
    struct lt_hosts_host_view mine = {0};
    struct digests policies = {0};
    struct lt_residency_header h;
    struct lt_err e = {0};

    if (lt_residency_header_parse(q->header, sizeof q->header, &h, LT_NO_ERR))
        return;
    if (lt_store_opened_by(x->conf.store, keys->id->ek_digest, add_policy, &policies, &e))
        lt_log(LT_LOG_ERROR, "store", "openers: %s", e.msg);
    for (size_t i = 0; i < policies.count; i++) {
        struct lt_ref *policy = policy_of(x, policies.d[i]);
        const struct lt_policy_guest *p = lt_tenant_policy_parsed(policy);
        if (p && !view->policy)
            need_document(x, host, q, p, &h, &mine);
        l.view = mine.keys ? &mine : view;
        if (p)
            look_at_policy(&l, policies.d[i], p);
        lt_ref_put(policy);
    }
    lt_hosts_host_view_free(&mine);
    free(policies.d);
    free(l.found.d);
}
