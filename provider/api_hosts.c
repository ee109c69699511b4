#include "provider/api.h"

#include "common/alloc.h"
#include "common/ref.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "provider/enrol.h"

#include <stdlib.h>
#include <string.h>

static void add_health(json_t *j, struct lt_provider_host *h)
{
    LT_JSON_AUTO json_t *health = lt_health_json(&h->health, lt_clock_ms());

    json_object_update(j, health);
}

/* ---- states of now ---- */

/* Counted references: whoever answers late finds it still there. */
struct gathering {
    struct lt_ref_count refs;
    pthread_mutex_t lock;
    pthread_cond_t news;
    unsigned left;
};

static void leave(struct gathering *g)
{
    if (!lt_ref_leave(&g->refs))
        return;
    pthread_cond_destroy(&g->news);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void one_checked(void *arg)
{
    struct gathering *g = arg;

    pthread_mutex_lock(&g->lock);
    if (!--g->left)
        pthread_cond_signal(&g->news);
    pthread_mutex_unlock(&g->lock);
    leave(g);
}

static struct gathering *gather(void)
{
    struct gathering *g = lt_new(struct gathering);
    lt_ref_start(&g->refs, 1);
    pthread_mutex_init(&g->lock, NULL);
    lt_cond_init(&g->news);
    return g;
}

/* Counted before it is asked: the answer may be there at once. */
static void ask_one(struct gathering *g, struct lt_provider_host *h)
{
    pthread_mutex_lock(&g->lock);
    g->left++;
    pthread_mutex_unlock(&g->lock);
    lt_ref_join(&g->refs, 1);
    bool unknown = !strcmp(lt_health_word(&h->health, lt_clock_ms()), "unknown");
    if (!lt_provider_host_check(h, unknown ? 0 : LT_PROVIDER_LISTED_AGE_MS, one_checked, g))
        one_checked(g);
}

void lt_provider_api_check(struct lt_provider_host *const *hosts, size_t count)
{
    struct gathering *g = gather();
    uint64_t until = lt_clock_ms() + LT_PROVIDER_LISTED_WAIT_MS;

    for (size_t i = 0; i < count; i++)
        ask_one(g, hosts[i]);
    pthread_mutex_lock(&g->lock);
    while (g->left && lt_cond_until(&g->news, &g->lock, until))
        ;
    pthread_mutex_unlock(&g->lock);
    leave(g);
}

/* ---- routes ---- */

/* Null where the store cannot be read: the log says why. */
static void add_verdict(json_t *j, struct lt_provider *p, struct lt_provider_host *h)
{
    json_t *verdict = NULL;
    struct lt_err e = {0};

    if (lt_provider_rounds_verdict(p->rounds, h, &verdict, &e))
        lt_log(LT_LOG_ERROR, "store", "host %s: %s", h->address, e.msg);
    json_object_set_new(j, "verdict", verdict ? verdict : json_null());
}

static void reply_host(struct lt_http_req *req, struct lt_provider *p, struct lt_provider_host *h)
{
    uint8_t policy[32];

    lt_provider_host_policy(h, policy);
    json_t *j = json_pack("{s:o, s:o, s:o, s:O, s:o}", "host", lt_json_new_hex(h->id, sizeof h->id), "ak",
                          lt_json_new_base64(h->ak.raw, h->ak.raw_n), "ek",
                          lt_json_new_base64(h->ek.raw, h->ek.raw_n), "ek_certificates", h->certificates,
                          "policy", lt_json_new_hex(policy, sizeof policy));
    if (lt_http_req_peer(req)->roles & LT_PEER_ROLE_OPERATOR) {
        json_object_set_new(j, "address", json_string(h->address));
        add_health(j, h);
        add_verdict(j, p, h);
    }
    lt_http_reply_json(req, 200, j);
}

void lt_provider_api_host_get(struct lt_http_req *req, void *app)
{
    struct lt_provider_host *h = lt_provider_api_host(app, req);

    if (h)
        reply_host(req, app, h);
    lt_provider_host_unref(h);
}

/* An operator's: the state is of now. */
void lt_provider_api_host_show(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_provider_host *h = lt_provider_api_host(p, req);

    if (h) {
        lt_provider_api_check(&h, 1);
        reply_host(req, p, h);
    }
    lt_provider_host_unref(h);
}

void lt_provider_api_host_list(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(p->registry);
    json_t *list = json_array();
    uint8_t policy[32];

    if (hosts)
        lt_provider_api_check(hosts->host, hosts->count);
    for (size_t i = 0; hosts && i < hosts->count; i++) {
        struct lt_provider_host *h = hosts->host[i];
        struct lt_residents *r = lt_provider_host_residents(h);
        lt_provider_host_policy(h, policy);
        json_t *j = json_pack("{s:o, s:s, s:o, s:i}", "host", lt_json_new_hex(h->id, sizeof h->id), "address",
                              h->address, "policy", lt_json_new_hex(policy, sizeof policy), "guests",
                              r ? (int)r->count : 0);
        add_health(j, h);
        add_verdict(j, p, h);
        json_array_append_new(list, j);
        lt_residents_unref(r);
    }
    lt_http_reply_json(req, 200, json_pack("{s:o}", "hosts", list));
}

void lt_provider_api_registry(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(p->registry);
    json_t *list = json_array();

    for (size_t i = 0; hosts && i < hosts->count; i++) {
        const struct lt_provider_host *h = hosts->host[i];
        json_array_append_new(list,
                              json_pack("{s:o, s:o}", "host", lt_json_new_hex(h->id, sizeof h->id),
                                        "ek_digest", lt_json_new_hex(h->ek_digest, sizeof h->ek_digest)));
    }
    lt_http_reply_json(req, 200, json_pack("{s:s, s:o}", "format", "limetree-registry/1", "hosts", list));
}

void lt_provider_api_host_enrol(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    static const char *const keys[] = {"address", "ek_digest", "intermediates", NULL};
    struct lt_err e = {0};
    struct lt_provider_host *h = NULL;
    uint8_t digest[32];
    const char *address;
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    bool given = lt_json_has(j, "ek_digest");
    json_t *intermediates = NULL;

    if (!j || lt_json_only(j, keys, &e) || lt_json_string(j, "address", &address, &e) ||
        (given && lt_json_hex(j, "ek_digest", digest, sizeof digest, &e)) ||
        (lt_json_has(j, "intermediates") &&
         lt_json_array(j, "intermediates", LT_MAX_CERTIFICATES - 1, &intermediates, &e)) ||
        lt_enrol(p->registry, &p->shared, address, given ? digest : NULL, intermediates, &h, &e)) {
        lt_provider_api_fail(req, &e);
        return;
    }
    lt_provider_rounds_add(p->rounds, h->id);
    lt_http_reply_json(req, 201,
                       json_pack("{s:o, s:o}", "host", lt_json_new_hex(h->id, sizeof h->id), "ek_digest",
                                 lt_json_new_hex(h->ek_digest, sizeof h->ek_digest)));
    lt_provider_host_unref(h);
}

void lt_provider_api_host_drop(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_provider_host *h = lt_provider_api_host(p, req);
    struct lt_err e = {0};

    if (!h)
        return;
    if (lt_registry_drop_host(p->registry, h->id, &e)) {
        lt_provider_api_fail(req, &e);
    } else {
        lt_provider_rounds_remove(p->rounds, h->id);
        lt_http_reply_json(req, 200, json_object());
    }
    lt_provider_host_unref(h);
}

void lt_provider_api_host_set_policy(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    static const char *const keys[] = {"policy", NULL};
    struct lt_err e = {0};
    uint8_t digest[32];
    struct lt_provider_host *h = lt_provider_api_host(p, req);

    if (!h)
        return;
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    if (!j || lt_json_only(j, keys, &e) || lt_json_hex(j, "policy", digest, sizeof digest, &e) ||
        lt_registry_set_policy(p->registry, h->id, digest, &e)) {
        lt_provider_api_fail(req, &e);
    } else {
        lt_provider_rounds_add(p->rounds, h->id);
        lt_http_reply_json(req, 200, json_object());
    }
    lt_provider_host_unref(h);
}

void lt_provider_api_host_learn(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_provider_host *h = lt_provider_api_host(p, req);
    static const char *const keys[] = {"ima", NULL};
    struct lt_err e = {0};
    uint8_t digest[32];

    if (!h)
        return;
    /* No body is as good as {}. */
    LT_JSON_AUTO json_t *j = lt_http_req_body(req).n ? lt_http_req_json(req, &e) : json_object();
    const json_t *ima = json_object_get(j, "ima");
    if (!j || lt_json_only(j, keys, &e) ||
        (ima && !json_is_boolean(ima) && lt_fail(&e, LT_E_MALFORMED, "ima: true or false is needed")) ||
        lt_provider_learn(p->registry, h, json_is_true(ima), digest, &e)) {
        lt_provider_api_fail(req, &e);
    } else {
        lt_provider_rounds_add(p->rounds, h->id);
        lt_http_reply_json(req, 201, json_pack("{s:o}", "digest", lt_json_new_hex(digest, sizeof digest)));
    }
    lt_provider_host_unref(h);
}

void lt_provider_api_host_clear(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_provider_host *h = lt_provider_api_host(p, req);
    struct lt_err e = {0};

    if (!h)
        return;
    if (lt_provider_rounds_clear(p->rounds, h->id, &e))
        lt_provider_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, json_object());
    lt_provider_host_unref(h);
}

void lt_provider_api_revocations(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    json_t *list = NULL;
    struct lt_err e = {0};

    if (lt_provider_rounds_revocations(p->rounds, &list, &e))
        lt_provider_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, list);
}

static int read_ids(const json_t *j, uint8_t (**out)[LT_RESIDENCY_HOST_ID], size_t *count, struct lt_err *e)
{
    json_t *list;
    size_t n;

    LT_TRY(lt_json_array(j, "hosts", LT_MAX_HOSTS, &list, e));
    *out = lt_alloc(json_array_size(list) + 1, sizeof **out);
    for (n = 0; n < json_array_size(list); n++) {
        const char *id = json_string_value(json_array_get(list, n));
        if (!id)
            return lt_fail(e, LT_E_MALFORMED, "hosts, %zu: not a text", n);
        LT_TRY_IN(lt_unhex(id, (*out)[n], sizeof **out, e), e, "hosts, %zu", n);
    }
    *count = n;
    return 0;
}

/* {"hosts":null} and {}: all. */
void lt_provider_api_rounds_ask(struct lt_http_req *req, void *app)
{
    static const char *const keys[] = {"hosts", NULL};
    struct lt_provider *p = app;
    LT_AUTOFREE uint8_t(*ids)[LT_RESIDENCY_HOST_ID] = NULL;
    struct lt_err e = {0};
    size_t count = 0;
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);

    if (!j || lt_json_only(j, keys, &e) || (lt_json_has(j, "hosts") && read_ids(j, &ids, &count, &e)))
        lt_provider_api_fail(req, &e);
    else if (!lt_provider_rounds_ask(p->rounds, (const uint8_t(*)[LT_RESIDENCY_HOST_ID])ids, count))
        lt_provider_api_fail(req, (lt_fail(&e, LT_E_NOT_FOUND, "one of the hosts is not enrolled"), &e));
    else
        lt_http_reply_json(req, 202, json_object());
}
