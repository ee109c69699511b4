#include "provider/api.h"

#include "appraisal/boot/policy.h"
#include "appraisal/policy/policy.h"
#include "common/alloc.h"
#include "common/run/clock.h"
#include "residency/openers.h"
#include "residency/proof.h"

#include <stdlib.h>
#include <string.h>

static void not_found(struct lt_http_req *req, const char *text)
{
    struct lt_err e = {0};

    (void)lt_fail(&e, LT_E_NOT_FOUND, "%s", text);
    lt_provider_api_fail(req, &e);
}

/* NULL: an operator, who sees all. */
static const uint8_t *tenant_of(const struct lt_http_req *req)
{
    const struct lt_peer *peer = lt_http_req_peer(req);

    return peer->roles & LT_PEER_ROLE_OPERATOR ? NULL : peer->tenant_id;
}

/* ---- openers ---- */

#define NO_OPENERS "no such openers"

static int check_openers(struct lt_slice bytes, const uint8_t *digest, struct lt_err *e)
{
    uint8_t is[LT_SHA256];

    lt_sha256(bytes.p, bytes.n, is);
    return memcmp(is, digest, sizeof is) ? lt_fail(e, LT_E_REFUSED, "what came has another digest") : 0;
}

static void keep_openers(void *cache, const uint8_t *digest, struct lt_http_shared *bytes)
{
    lt_kept_put(cache, digest, bytes);
}

static const struct lt_seek_kind openers = {
    .max = LT_MAX_OPENERS_BYTES, .check = check_openers, .keep = keep_openers, .none = NO_OPENERS};

/* A record of one of the tenant's guests names that list. */
static bool names(struct lt_registry *registry, const struct lt_residents *r, const uint8_t digest[LT_SHA256],
                  const uint8_t *tenant)
{
    const uint32_t *place;
    uint32_t n = lt_residents_of_openers(r, digest, &place);
    bool is = n && !tenant;

    if (!n || is)
        return is;
    lt_registry_lock(registry);
    for (uint32_t i = 0; i < n && !is; i++)
        is = lt_registry_is_of(registry, r->records[place[i]].guest_uuid, tenant);
    lt_registry_unlock(registry);
    return is;
}

struct owner {
    struct lt_registry *registry;
    const uint8_t *tenant;
};

static bool is_of(void *arg, const uint8_t uuid[16])
{
    const struct owner *o = arg;

    if (!o->tenant)
        return true;
    lt_registry_lock(o->registry);
    bool is = lt_registry_is_of(o->registry, uuid, o->tenant);
    lt_registry_unlock(o->registry);
    return is;
}

enum when { QUOTED, SHOWN, BEFORE, WHENS };

static bool host_names(struct lt_registry *registry, struct lt_provider_host *h, enum when when,
                       const uint8_t digest[LT_SHA256], const uint8_t *tenant)
{
    if (when == BEFORE)
        return lt_provider_host_named(h, digest, is_of, &(struct owner){registry, tenant});
    LT_AUTO(lt_residents)
    struct lt_residents *r = when == QUOTED ? lt_provider_host_quoted(h) : lt_provider_host_residents(h);
    return names(registry, r, digest, tenant);
}

/* The hosts that name it: those in quotes, else those that merely show it, else those that did until lately:
 * the quote that the tenant judges may be older than a reseal. */
static unsigned who_names(struct lt_registry *registry, const struct lt_registry_host_list *hosts,
                          const uint8_t digest[LT_SHA256], const uint8_t *tenant,
                          struct lt_provider_host **out)
{
    unsigned n = 0;

    for (enum when when = QUOTED; when < WHENS && !n; when++)
        for (size_t i = 0; i < hosts->count; i++)
            if (host_names(registry, hosts->host[i], when, digest, tenant))
                out[n++] = hosts->host[i];
    return n;
}

/* More than are asked take turns, so that nobody can be kept out by numbers. */
static void choose(struct lt_provider *p, const uint8_t digest[LT_SHA256], const uint8_t *tenant,
                   struct lt_seek_question *q)
{
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(p->registry);

    if (!hosts)
        return;
    LT_AUTOFREE struct lt_provider_host **found =
        lt_alloc(hosts->count + 1, sizeof(struct lt_provider_host *));
    unsigned n = who_names(p->registry, hosts, digest, tenant, found);
    unsigned from = n > LT_MAX_CLAIMANTS ? atomic_fetch_add(&p->turn, 1) % n : 0;
    while (q->count < n && q->count < LT_MAX_CLAIMANTS) {
        q->host[q->count] = lt_provider_host_ref(found[(from + q->count) % n]);
        q->count++;
    }
}

/* ?host=ID of an operator's: whatever its records name, it is asked. A vTPM that does not run is in none. */
static bool choose_named(struct lt_provider *p, const struct lt_http_req *req, struct lt_seek_question *q)
{
    const char *host = lt_http_req_query(req, "host");
    uint8_t id[LT_RESIDENCY_HOST_ID];

    if (!host)
        return false;
    if (!lt_unhex(host, id, sizeof id, LT_NO_ERR) && (q->host[0] = lt_registry_host(p->registry, id)))
        q->count = 1;
    return true;
}

void lt_provider_api_openers(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    const uint8_t *tenant = tenant_of(req);
    struct lt_seek_question q = {.kind = &openers};
    char hex[2 * LT_SHA256 + 1];

    if (lt_unhex(lt_http_req_arg(req, 0), q.key, sizeof q.key, LT_NO_ERR)) {
        not_found(req, NO_OPENERS);
        return;
    }
    lt_hex(q.key, sizeof q.key, hex);
    snprintf(q.name, sizeof q.name, "openers/%s", hex);
    memcpy(q.tenant, tenant ? tenant : (const uint8_t[16]){0}, sizeof q.tenant);
    if (tenant || !choose_named(p, req, &q))
        choose(p, q.key, tenant, &q);
    struct lt_http_shared *had = q.count ? lt_kept_get(p->openers, q.key) : NULL;
    if (!had) {
        lt_seek_ask(p->seek, req, &q);
        return;
    }
    lt_http_reply_shared(req, 200, "application/octet-stream", had, 0);
    lt_http_shared_unref(had);
    for (unsigned i = 0; i < q.count; i++)
        lt_provider_host_unref(q.host[i]);
}

/* ---- escrow copies ---- */

/* Its frame names the vTPM (vtpm/seal/escrow.h); whether it opens, the tenant alone can see. */
static int check_escrow(struct lt_slice bytes, const uint8_t *uuid, struct lt_err *e)
{
    static const uint8_t tag[16] = "LT1:ESCROW";
    struct lt_reader r = lt_reader(bytes.p, bytes.n, "escrow copy");
    uint16_t version;

    LT_TRY(lt_read_expect(&r, tag, sizeof tag, e));
    LT_TRY(lt_read_u16(&r, &version, e));
    return lt_read_expect(&r, uuid, LT_UUID, e);
}

static const struct lt_seek_kind escrow = {
    .max = LT_MAX_ESCROW, .check = check_escrow, .none = "no host has an escrow copy of this guest's vTPM"};

/* ?host=ID: the one that the tenant believes has it, to be asked first. */
static bool read_host(const struct lt_http_req *req, struct lt_registry_sought *s)
{
    const char *host = lt_http_req_query(req, "host");

    s->has_host = host;
    return !host || !lt_unhex(host, s->host, sizeof s->host, LT_NO_ERR);
}

void lt_provider_api_escrow(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    const uint8_t *tenant = lt_http_req_peer(req)->tenant_id;
    struct lt_seek_question q = {.kind = &escrow};
    struct lt_registry_sought sought = {0};
    struct lt_registry_places places;
    char uuid[LT_UUID_TEXT];

    if (lt_uuid_parse(lt_http_req_arg(req, 0), sought.uuid, LT_NO_ERR) || !read_host(req, &sought)) {
        not_found(req, "no such guest");
        return;
    }
    lt_registry_lock(p->registry);
    enum lt_registry_place place = lt_registry_places(p->registry, &sought, tenant, true, &places);
    while (place == LT_REGISTRY_PLACE_HOST && q.count < places.count) {
        q.host[q.count] = lt_provider_host_ref(places.host[q.count]);
        q.count++;
    }
    lt_registry_unlock(p->registry);
    if (place == LT_REGISTRY_PLACE_FOREIGN) {
        not_found(req, "no such guest");
        return;
    }
    lt_uuid_format(sought.uuid, uuid);
    snprintf(q.name, sizeof q.name, "guests/%s/escrow", uuid);
    memcpy(q.key, sought.uuid, LT_UUID);
    memcpy(q.tenant, tenant, sizeof q.tenant);
    lt_seek_ask(p->seek, req, &q);
}

/* ---- a host's vault ---- */

/* Takes body (NULL: none). The host's errors are told as it says them. */
static void forward(struct lt_http_req *req, struct lt_provider_host *h, const struct lt_net_request *ask,
                    json_t *body)
{
    LT_AUTOFREE char *text = body ? lt_json_dump(body) : NULL;
    struct lt_net_request r = *ask;
    struct lt_peer peer = {.has_host = true};
    struct lt_err e = {0};

    json_decref(body);
    memcpy(peer.host_id, h->id, sizeof peer.host_id);
    r.address = h->address;
    r.body = text;
    r.body_n = text ? strlen(text) : 0;
    r.timeout_ms = LT_PROVIDER_VAULT_TIMEOUT_MS;
    r.max_reply = LT_MAX_HOST_REPLY;
    json_t *j = lt_net_call(h->shared->net, &r, &peer, &e);
    if (e.code == LT_E_UNREACHABLE || e.code == LT_E_TIMEOUT)
        e.code = LT_E_HOST_UNREACHABLE;
    if (j)
        lt_http_reply_json(req, r.want, j);
    else
        lt_provider_api_fail(req, &e);
}

void lt_provider_api_host_vault(struct lt_http_req *req, void *app)
{
    struct lt_provider_host *h = lt_provider_api_host(app, req);

    if (h)
        forward(req, h, &(struct lt_net_request){.method = "GET", .name = "vault", .want = 200}, NULL);
    lt_provider_host_unref(h);
}

/* What the boot policy of the host's policy judges, if it has one. */
static int add_boot(struct lt_registry *r, const struct lt_policy_measured *m, uint32_t *mask,
                    struct lt_err *e)
{
    LT_AUTO(lt_boot_policy) struct lt_boot_policy *boot = NULL;
    LT_AUTOFREE char *bytes = NULL;
    size_t n;

    if (!m->has_boot)
        return 0;
    LT_TRY(lt_registry_policy(r, m->boot, &bytes, &n, e));
    LT_TRY(lt_boot_policy_parse(bytes, n, &boot, e));
    *mask |= lt_boot_policy_judges(boot);
    return 0;
}

/* The least a state holds, and what the host's published policy judges: it accepts no state that lacks that.
 */
static int default_bitmap(struct lt_registry *registry, struct lt_provider_host *h, uint32_t *out,
                          struct lt_err *e)
{
    static const uint8_t none[LT_SHA256];
    LT_AUTO(lt_policy_host) struct lt_policy_host *policy = NULL;
    LT_AUTOFREE char *bytes = NULL;
    uint8_t digest[LT_SHA256];
    size_t n;

    *out = LT_OPENERS_STATE_MIN;
    lt_provider_host_policy(h, digest);
    if (!memcmp(digest, none, sizeof none))
        return 0;
    LT_TRY(lt_registry_policy(registry, digest, &bytes, &n, e));
    LT_TRY(lt_policy_host_parse(bytes, n, &policy, e));
    LT_TRY(add_boot(registry, &policy->measured, out, e));
    *out = (*out | policy->pcrs.mask) & ~LT_OPENERS_STATE_NEVER;
    return 0;
}

/* {"bitmap":"00005395"}; {} and null: default_bitmap. A new object for the host, or NULL. */
static json_t *read_seal(const struct lt_http_req *req, struct lt_registry *registry,
                         struct lt_provider_host *h, struct lt_err *e)
{
    static const char *const keys[] = {"bitmap", NULL};
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, e);
    uint8_t raw[4];
    uint32_t bitmap;

    if (!j || lt_json_only(j, keys, e))
        return NULL;
    if (lt_json_has(j, "bitmap") && lt_json_hex(j, "bitmap", raw, sizeof raw, e))
        return NULL;
    if (!lt_json_has(j, "bitmap")) {
        if (default_bitmap(registry, h, &bitmap, e))
            return NULL;
        lt_put_u32(raw, bitmap);
    }
    return json_pack("{s:o}", "bitmap", lt_json_new_hex(raw, sizeof raw));
}

void lt_provider_api_host_seal(struct lt_http_req *req, void *app)
{
    struct lt_provider *p = app;
    struct lt_provider_host *h = lt_provider_api_host(p, req);
    struct lt_err e = {0};

    if (!h)
        return;
    json_t *body = read_seal(req, p->registry, h, &e);
    if (body)
        forward(req, h, &(struct lt_net_request){.method = "POST", .name = "vault/seal", .want = 201}, body);
    else
        lt_provider_api_fail(req, &e);
    lt_provider_host_unref(h);
}

/* The host judges what stands behind the keys. */
void lt_provider_api_host_reseal(struct lt_http_req *req, void *app)
{
    static const char *const keys[] = {"add", "drop", NULL};
    struct lt_provider_host *h = lt_provider_api_host(app, req);
    struct lt_err e = {0};

    if (!h)
        return;
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    if (!j || lt_json_only(j, keys, &e))
        lt_provider_api_fail(req, &e);
    else
        forward(req, h, &(struct lt_net_request){.method = "POST", .name = "vault/reseal", .want = 200},
                json_incref(j));
    lt_provider_host_unref(h);
}

/* Of its last good quote; one is asked for first. */
void lt_provider_api_host_pcrs(struct lt_http_req *req, void *app)
{
    struct lt_provider_host *h = lt_provider_api_host(app, req);
    struct lt_provider_host_pcrs last;

    if (!h)
        return;
    lt_provider_api_check(&h, 1);
    if (lt_provider_host_pcrs(h, &last))
        lt_http_reply_json(req, 200,
                           json_pack("{s:o, s:I, s:I}", "pcrs", lt_residency_pcrs_to_json(&last.pcrs),
                                     "age_ms", (json_int_t)(lt_clock_ms() - last.at_ms), "seq",
                                     (json_int_t)last.seq));
    else
        not_found(req, "this host has given no good quote since the provider started");
    lt_provider_host_unref(h);
}
