#include "provider/registry.h"

#include "common/alloc.h"
#include "common/limits.h"
#include "provider/claims.h"

#include "appraisal/boot/policy.h"
#include "appraisal/ima/table.h"

#include "common/run/log.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* Search trees of tsearch(3): balanced, so no choice of keys by outsiders makes them slow. A node's first
 * member is its key; guests and hosts are known by 16 bytes, policies by 32. */
struct guest {
    uint8_t uuid[16];
    bool has_tenant;
    uint8_t tenant[16];
    struct lt_claims claims;
    atomic_uint turn; /* of its claimants, when there are too many to ask all of them */
};
struct place {
    uint8_t id[16];
    struct lt_provider_host *host;
};
struct policy {
    uint8_t digest[32];
    size_t n;
    char bytes[];
};

struct lt_registry {
    struct lt_db *db;
    struct lt_provider_host_shared *shared;
    pthread_mutex_t writing; /* one change of store and memory at a time, so that both see the same order */
    pthread_rwlock_t lock;   /* guards the trees; never held while waiting for anything */
    void *guests, *hosts, *policies;
    size_t policy_bytes;
    uint64_t policies_max;        /* bytes */
    struct lt_db_skipped skipped; /* rows at the start */
    size_t guest_count, host_count;
};

static int compare16(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static int compare32(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

static void *find(void *const *root, const void *key, int (*compare)(const void *, const void *))
{
    void *const *node = tfind(key, root, compare);
    return node ? *node : NULL;
}

/* The guest, made if it is new. NULL: no room in the tree. Under the lock. */
static struct guest *guest_at(struct lt_registry *r, const uint8_t uuid[16])
{
    struct guest *g = find(&r->guests, uuid, compare16);

    if (g)
        return g;
    g = lt_new(struct guest);
    memcpy(g->uuid, uuid, 16);
    if (!tsearch(g, &r->guests, compare16)) {
        free(g);
        return NULL;
    }
    r->guest_count++;
    return g;
}

/* A guest that is nobody's and nowhere is not kept: hosts name guests, and must not fill our memory with
 * them. */
static void forget_if_idle(struct lt_registry *r, struct guest *g)
{
    if (g->has_tenant || g->claims.count)
        return;
    tdelete(g, &r->guests, compare16);
    r->guest_count--;
    lt_claims_free(&g->claims);
    free(g);
}

struct all {
    struct guest **guest;
    size_t count;
};

static void collect(const void *node, VISIT which, void *arg)
{
    struct all *a = arg;
    if (which == postorder || which == leaf)
        a->guest[a->count++] = *(struct guest *const *)node;
}

/* Every guest, for a walk that may forget some. guest NULL without memory; the caller frees it. Under the
 * lock. */
static struct all all_guests(struct lt_registry *r)
{
    struct all a = {.guest = calloc(r->guest_count + 1, sizeof *a.guest)};

    if (a.guest)
        twalk_r(r->guests, collect, &a);
    return a;
}

/* ---- places, from inventories ---- */

static struct lt_provider_host *host_at(struct lt_registry *r, const uint8_t id[16])
{
    struct place *p = find(&r->hosts, id, compare16);
    return p ? p->host : NULL;
}

/* What one inventory changes in the store. */
struct news {
    struct guest *guest; /* of which claims are told now */
    struct lt_registry_store_place *list;
    size_t count, room;
};

static void tell(void *arg, const struct lt_claim *c, bool kept)
{
    struct news *n = arg;

    if (!n->guest->has_tenant)
        return;
    if (n->count == n->room) {
        size_t more = n->room ? 2 * n->room : 16;
        struct lt_registry_store_place *list = realloc(n->list, more * sizeof *list);
        if (!list)
            return;
        n->list = list;
        n->room = more;
    }
    struct lt_registry_store_place *p = &n->list[n->count++];
    *p = (struct lt_registry_store_place){.gone = !kept};
    memcpy(p->uuid, n->guest->uuid, 16);
    memcpy(p->ek, c->ek, 32);
    memcpy(p->host, c->host, 16);
}

struct inventory {
    struct lt_registry *r;
    const uint8_t *host;
    const struct lt_provider_move *m;
    struct news news;
    bool contested;
};

static void arrive(struct inventory *i, const struct lt_residency_record *record)
{
    struct guest *g = guest_at(i->r, record->guest_uuid);

    if (!g)
        return;
    i->news.guest = g;
    lt_claims_arrive(&g->claims, i->host, record->ek_digest, i->m->quoted,
                     &(struct lt_claims_told){&i->news, tell});
    i->contested |= g->has_tenant && lt_claims_contested(&g->claims, i->host, record->ek_digest);
    forget_if_idle(i->r, g);
}

/* A guest that is gone keeps its last place if it is assigned: a proof with a null residency is evidence too.
 */
static void leave(struct inventory *i, struct guest *g, const uint8_t ek[32])
{
    uint32_t at;

    if (lt_residents_find(i->m->now, g->uuid, ek, &at))
        return;
    i->news.guest = g;
    lt_claims_leave(&g->claims, i->host, ek, i->m->quoted, g->has_tenant,
                    &(struct lt_claims_told){&i->news, tell});
}

static void leave_those(struct inventory *i, const struct lt_residents *was)
{
    for (uint32_t k = 0; was && k < was->count; k++) {
        struct guest *g = find(&i->r->guests, was->records[k].guest_uuid, compare16);
        if (!g)
            continue;
        leave(i, g, was->records[k].ek_digest);
        forget_if_idle(i->r, g);
    }
}

/* The first inventory since the start, or since it was enrolled anew: what is claimed for it comes from
 * before. */
static void leave_all(struct inventory *i)
{
    struct all a = all_guests(i->r);

    for (size_t k = 0; k < a.count; k++) {
        struct guest *g = a.guest[k];
        for (unsigned c = g->claims.count; c-- > 0;)
            /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): the host that moved is one */
            if (!memcmp(g->claims.list[c].host, i->host, 16)) {
                uint8_t ek[32];
                memcpy(ek, g->claims.list[c].ek, 32);
                leave(i, g, ek);
            }
        forget_if_idle(i->r, g);
    }
    free(a.guest);
}

static bool moved(void *arg, struct lt_provider_host *h, const struct lt_provider_move *m)
{
    struct inventory i = {.r = arg, .host = h->id, .m = m};

    pthread_rwlock_wrlock(&i.r->lock);
    if (host_at(i.r, h->id) != h) { /* deleted, or enrolled anew, while this was under way */
        pthread_rwlock_unlock(&i.r->lock);
        return false;
    }
    for (uint32_t k = 0; k < m->now->count; k++)
        arrive(&i, &m->now->records[k]);
    if (!m->seen || (m->quoted && !m->quoted_before))
        leave_all(&i);
    leave_those(&i, m->seen);
    if (m->quoted)
        leave_those(&i, m->quoted_before);
    pthread_rwlock_unlock(&i.r->lock);
    lt_registry_store_post_places(i.r->db, i.news.list, i.news.count);
    return i.contested;
}

/* ---- life ---- */

static int new_policy(const uint8_t digest[32], struct lt_slice bytes, struct policy **out, struct lt_err *e)
{
    struct policy *p = *out = malloc(sizeof *p + bytes.n);

    if (!p)
        return lt_fail(e, LT_E_NO_MEMORY, "policy of %zu bytes: no memory", bytes.n);
    memcpy(p->digest, digest, 32);
    if ((p->n = bytes.n))
        memcpy(p->bytes, bytes.p, bytes.n);
    return 0;
}

/* Takes p. The ceiling was kept when it was stored, but maybe not by this version. */
static int insert_policy(struct lt_registry *r, struct policy *p, struct lt_err *e)
{
    size_t n = p->n;

    if (n > r->policies_max - r->policy_bytes) { /* written by one thread at a time */
        free(p);
        return lt_fail(e, LT_E_TOO_LARGE, "policy of %zu bytes: all together are more than %llu", n,
                       (unsigned long long)r->policies_max);
    }
    pthread_rwlock_wrlock(&r->lock);
    struct policy **node = tsearch(p, &r->policies, compare32);
    pthread_rwlock_unlock(&r->lock);
    if (!node || *node != p)
        free(p);
    else
        r->policy_bytes += n;
    return node ? 0 : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
}

static int load_policy(void *arg, const uint8_t digest[32], struct lt_slice bytes, struct lt_err *e)
{
    struct policy *p;

    LT_TRY(new_policy(digest, bytes, &p, e));
    return insert_policy(arg, p, e);
}

/* Takes the place of a host with the same id. */
static int insert_host(struct lt_registry *r, struct lt_provider_host *h, struct lt_err *e)
{
    struct place *p = lt_new(struct place);
    struct lt_provider_host *old = NULL;
    memcpy(p->id, h->id, 16);
    p->host = lt_provider_host_ref(h);
    pthread_rwlock_wrlock(&r->lock);
    struct place **node = tsearch(p, &r->hosts, compare16);
    if (node && *node != p) {
        old = (*node)->host;
        (*node)->host = p->host;
        free(p);
    } else if (node) {
        r->host_count++;
    }
    pthread_rwlock_unlock(&r->lock);
    lt_provider_host_unref(old);
    if (!node) {
        lt_provider_host_unref(h);
        free(p);
        return lt_fail(e, LT_E_NO_MEMORY, "host: no memory");
    }
    return 0;
}

static int load_host(void *arg, const struct lt_registry_store_host *s, struct lt_err *e)
{
    struct lt_registry *r = arg;
    LT_JSON_AUTO json_t *certificates =
        lt_json_parse(s->certificates, strlen(s->certificates), LT_MAX_BODY_PROOFS, e);
    struct lt_public ek, ak;
    struct lt_provider_host *h = NULL;
    int rc = 0;

    if (!certificates || lt_public_parse(s->ek.p, s->ek.n, &ek, e) ||
        lt_public_parse(s->ak.p, s->ak.n, &ak, e) ||
        lt_provider_host_new(r->shared, s->address, &(struct lt_provider_host_keys){&ek, &ak, certificates},
                             s->policy, &h, e))
        rc = lt_fail_in(e, e->code, "stored host %.60s", s->address);
    else if (memcmp(h->id, s->id, sizeof s->id))
        rc = lt_fail(e, LT_E_INTERNAL, "stored host %.60s: its id is not its EK's", s->address);
    else
        rc = insert_host(r, h, e);
    lt_provider_host_unref(h);
    return rc;
}

static int load_guest(void *arg, const struct lt_registry_store_guest *g, struct lt_err *e)
{
    struct guest *at = guest_at(arg, g->uuid);

    if (!at)
        return lt_fail(e, LT_E_NO_MEMORY, "guest: no memory");
    at->has_tenant = g->has_tenant;
    memcpy(at->tenant, g->tenant, sizeof at->tenant);
    return 0;
}

static int load_place(void *arg, const struct lt_registry_store_place *p, struct lt_err *e)
{
    struct lt_registry *r = arg;
    struct guest *at = find(&r->guests, p->uuid, compare16);

    (void)e;
    if (at && host_at(r, p->host)) /* a claim may have been posted while its host was deleted */
        lt_claims_load(&at->claims, p->host, p->ek);
    return 0;
}

int lt_registry_open(const char *state_dir, struct lt_provider_host_shared *shared, struct lt_registry **out,
                     struct lt_err *e)
{
    struct lt_registry *r = lt_new(struct lt_registry);

    *out = NULL;
    pthread_mutex_init(&r->writing, NULL);
    pthread_rwlock_init(&r->lock, NULL);
    r->shared = shared;
    r->policies_max = shared->documents_max ? shared->documents_max : LT_MAX_POLICIES_KEPT;
    shared->arg = r;
    shared->moved = moved;
    int rc = lt_registry_store_open(state_dir, &shared->space, &r->db, e);
    if (!rc)
        rc = lt_registry_store_load(
            r->db, &(struct lt_registry_store_sink){r, load_host, load_policy, load_guest, load_place},
            &r->skipped, e);
    if (rc)
        lt_registry_close(r);
    else
        *out = r;
    return rc;
}

static void free_place(void *node)
{
    struct place *p = node;

    if (p)
        lt_provider_host_unref(p->host);
    free(p);
}

static void free_guest(void *node)
{
    struct guest *g = node;
    lt_claims_free(&g->claims);
    free(g);
}

void lt_registry_close(struct lt_registry *r)
{
    if (!r)
        return;
    tdestroy(r->hosts, free_place);
    tdestroy(r->guests, free_guest);
    tdestroy(r->policies, free);
    lt_db_close(r->db);
    pthread_rwlock_destroy(&r->lock);
    pthread_mutex_destroy(&r->writing);
    free(r);
}

/* ---- hosts ---- */

struct lt_provider_host *lt_registry_host(struct lt_registry *r, const uint8_t id[16])
{
    pthread_rwlock_rdlock(&r->lock);
    struct lt_provider_host *h = host_at(r, id);
    if (h)
        lt_provider_host_ref(h);
    pthread_rwlock_unlock(&r->lock);
    return h;
}

static void list_host(const void *node, VISIT which, void *arg)
{
    struct lt_registry_host_list *l = arg;
    if (which == postorder || which == leaf)
        l->host[l->count++] = lt_provider_host_ref((*(struct place *const *)node)->host);
}

struct lt_registry_host_list *lt_registry_hosts(struct lt_registry *r)
{
    pthread_rwlock_rdlock(&r->lock);
    struct lt_registry_host_list *l = calloc(1, sizeof *l + r->host_count * sizeof *l->host);
    if (l)
        twalk_r(r->hosts, list_host, l);
    pthread_rwlock_unlock(&r->lock);
    return l;
}

void lt_registry_host_list_free(struct lt_registry_host_list **l)
{
    for (size_t i = 0; *l && i < (*l)->count; i++)
        lt_provider_host_unref((*l)->host[i]);
    free(*l);
}

/* Enrolled anew: with the policy it has now, not with that of when this began. Under r->writing. */
static void take_policy(struct lt_registry *r, struct lt_provider_host *h, uint8_t policy[32])
{
    struct lt_provider_host *known = lt_registry_host(r, h->id);

    lt_provider_host_policy(known ? known : h, policy);
    lt_provider_host_set_policy(h, policy);
    lt_provider_host_unref(known);
}

int lt_registry_put_host(struct lt_registry *r, struct lt_provider_host *h, struct lt_err *e)
{
    LT_AUTOFREE char *certificates = lt_json_dump(h->certificates);
    struct lt_registry_store_host s = {.address = h->address,
                                       .certificates = certificates,
                                       .ek = {h->ek.raw, h->ek.raw_n},
                                       .ak = {h->ak.raw, h->ak.raw_n}};

    if (!certificates)
        return lt_fail(e, LT_E_NO_MEMORY, "host: no memory");
    memcpy(s.id, h->id, 16);
    pthread_mutex_lock(&r->writing);
    take_policy(r, h, s.policy);
    int rc = lt_registry_store_put_host(r->db, &s, e);
    if (!rc)
        rc = insert_host(r, h, e);
    pthread_mutex_unlock(&r->writing);
    return rc;
}

/* Forgets that guests were on this host. Under the lock. */
static void empty_host(struct lt_registry *r, const uint8_t id[16])
{
    struct all a = all_guests(r);

    for (size_t i = 0; i < a.count; i++) {
        lt_claims_drop_host(&a.guest[i]->claims, id);
        forget_if_idle(r, a.guest[i]);
    }
    free(a.guest);
}

int lt_registry_drop_host(struct lt_registry *r, const uint8_t id[16], struct lt_err *e)
{
    struct place *p = NULL;
    int rc;

    pthread_mutex_lock(&r->writing);
    struct lt_provider_host *h = lt_registry_host(r, id);
    rc = h ? lt_registry_store_drop_host(r->db, id, e) : lt_fail(e, LT_E_NOT_FOUND, "no such host");
    if (!rc) {
        pthread_rwlock_wrlock(&r->lock);
        p = find(&r->hosts, id, compare16);
        tdelete(id, &r->hosts, compare16);
        r->host_count--;
        empty_host(r, id);
        pthread_rwlock_unlock(&r->lock);
        free_place(p);
    }
    pthread_mutex_unlock(&r->writing);
    lt_provider_host_unref(h);
    return rc;
}

/* ---- policies ---- */

/* Of PCRs that a host quote has. */
static int parse_host_policy(struct lt_slice bytes, struct lt_policy_host **out, struct lt_err *e)
{
    *out = NULL;
    if (bytes.n > LT_MAX_HOST_POLICY)
        return lt_fail(e, LT_E_TOO_LARGE, "host policy: %zu bytes > %u", bytes.n, LT_MAX_HOST_POLICY);
    LT_TRY(lt_policy_host_parse(bytes.p, bytes.n, out, e));
    const struct lt_policy_host *p = *out;
    if (p->pcrs.mask & ~LT_RESIDENCY_HOST_PCR_MASK)
        return lt_fail(e, LT_E_MALFORMED, "policy: PCRs 0x%06x, a host quotes 0 to 15", p->pcrs.mask);
    for (int i = 0; i < LT_MAX_PCRS; i++)
        if (p->pcrs.mask >> i & 1 && !p->pcrs.accepted[i].count)
            return lt_fail(e, LT_E_MALFORMED, "policy: PCR %d has no accepted value", i);
    return 0;
}

/* Documents of the other kinds; an envelope is opened by who holds the key it is pinned to. */
static bool is_document(struct lt_slice bytes)
{
    LT_AUTOBUF struct lt_buf table = LT_BUF(LT_MAX_IMA_TABLE);
    struct lt_boot_policy *boot = NULL;
    struct lt_err e = {0};

    if (bytes.n <= LT_MAX_BOOT_POLICY && !lt_boot_policy_parse(bytes.p, bytes.n, &boot, &e)) {
        lt_boot_policy_free(boot);
        return true;
    }
    if (!lt_ima_table_compile(bytes.p, bytes.n, NULL, &table, &e))
        return true;
    LT_JSON_AUTO json_t *j =
        bytes.n <= LT_MAX_ENVELOPE ? lt_json_parse(bytes.p, bytes.n, LT_MAX_ENVELOPE, &e) : NULL;
    return lt_json_has(j, "payload") && lt_json_has(j, "payloadType") && lt_json_has(j, "signatures");
}

static int check_policy(struct lt_slice bytes, struct lt_err *e)
{
    LT_AUTO(lt_policy_host) struct lt_policy_host *p = NULL;

    /* {} would be a policy of both kinds, and judge nothing. */
    LT_JSON_AUTO json_t *j = bytes.n < 64 ? lt_json_parse(bytes.p, bytes.n, 64, e) : NULL;
    if (bytes.n < 64 && !json_object_size(j))
        return lt_fail(e, LT_E_MALFORMED, "policy: it says nothing");
    if (!parse_host_policy(bytes, &p, e) || is_document(bytes))
        return 0;
    return lt_fail_in(e, e->code, "no runtime policy, no boot policy, and as a host policy");
}

static int check_known(struct lt_registry *r, const uint8_t digest[32], const char *what, struct lt_err *e)
{
    char hex[65];

    pthread_rwlock_rdlock(&r->lock);
    bool known = find(&r->policies, digest, compare32);
    pthread_rwlock_unlock(&r->lock);
    lt_hex(digest, 32, hex);
    return known
               ? 0
               : lt_fail(e, LT_E_CONFLICT,
                         "%s: document %s is not here ('limetree host document FILE' brings it)", what, hex);
}

/* Fetched by tenants and judged by them: a host policy whose documents are missing would make nobody trusted.
 */
static int check_usable(struct lt_registry *r, const uint8_t digest[32], struct lt_err *e)
{
    LT_AUTO(lt_policy_host) struct lt_policy_host *p = NULL;
    LT_AUTOFREE char *bytes = NULL;
    size_t n = 0;

    LT_TRY(lt_registry_policy(r, digest, &bytes, &n, e));
    LT_TRY(parse_host_policy((struct lt_slice){(const uint8_t *)bytes, n}, &p, e));
    if (p->measured.has_boot)
        LT_TRY(check_known(r, p->measured.boot, "boot", e));
    for (unsigned i = 0; i < p->measured.layer_count; i++)
        LT_TRY(check_known(r, p->measured.layer[i].policy, p->measured.layer[i].name, e));
    return 0;
}

int lt_registry_put_policy(struct lt_registry *r, struct lt_slice bytes, uint8_t digest[32], struct lt_err *e)
{
    struct policy *p;

    LT_TRY(check_policy(bytes, e));
    if (!lt_db_fits(r->db, bytes.n))
        return lt_fail(e, LT_E_BUSY, "document of %zu bytes: the disk of the state directory is almost full",
                       bytes.n);
    lt_sha256(bytes.p, bytes.n, digest);
    LT_TRY(new_policy(digest, bytes, &p, e));
    pthread_mutex_lock(&r->writing);
    int rc = lt_registry_store_put_policy(r->db, digest, bytes, r->policies_max, e);
    if (rc)
        free(p);
    else
        rc = insert_policy(r, p, e);
    pthread_mutex_unlock(&r->writing);
    return rc;
}

/* Who names a document: hosts as their policy, host policies as layer or boot policy. */
struct naming {
    const uint8_t *digest;
    char who[80]; /* "": nobody */
};

static void name_host(const void *node, VISIT which, void *arg)
{
    struct naming *n = arg;
    uint8_t policy[32];
    char id[2 * LT_RESIDENCY_HOST_ID + 1];

    if (*n->who || (which != postorder && which != leaf))
        return;
    struct lt_provider_host *h = (*(struct place *const *)node)->host;
    lt_provider_host_policy(h, policy);
    lt_hex(h->id, sizeof h->id, id);
    if (!memcmp(policy, n->digest, sizeof policy))
        snprintf(n->who, sizeof n->who, "host %s", id);
}

static bool names(const struct policy *p, const uint8_t digest[32])
{
    LT_AUTO(lt_policy_host) struct lt_policy_host *parsed = NULL;
    struct lt_slice bytes = {(const uint8_t *)p->bytes, p->n};
    bool found = false;

    if (!memcmp(p->digest, digest, 32) || parse_host_policy(bytes, &parsed, LT_NO_ERR))
        return false;
    found = parsed->measured.has_boot && !memcmp(parsed->measured.boot, digest, 32);
    for (unsigned i = 0; i < parsed->measured.layer_count; i++)
        found |= !memcmp(parsed->measured.layer[i].policy, digest, 32);
    return found;
}

static void name_policy(const void *node, VISIT which, void *arg)
{
    struct naming *n = arg;
    const struct policy *p;
    char hex[65];

    if (*n->who || (which != postorder && which != leaf))
        return;
    p = *(struct policy *const *)node;
    if (!names(p, n->digest))
        return;
    lt_hex(p->digest, 32, hex);
    snprintf(n->who, sizeof n->who, "policy %s", hex);
}

/* Under r->writing: nobody begins to name it meanwhile, and nobody else changes the trees. */
static int check_unnamed(struct lt_registry *r, const uint8_t digest[32], struct lt_err *e)
{
    struct naming n = {.digest = digest};
    char hex[65];

    lt_hex(digest, 32, hex);
    twalk_r(r->hosts, name_host, &n);
    twalk_r(r->policies, name_policy, &n);
    return *n.who ? lt_fail(e, LT_E_CONFLICT, "document %s is named by %s", hex, n.who) : 0;
}

int lt_registry_drop_policy(struct lt_registry *r, const uint8_t digest[32], struct lt_err *e)
{
    pthread_mutex_lock(&r->writing);
    int rc = check_unnamed(r, digest, e);
    if (!rc)
        rc = lt_registry_store_drop_policy(r->db, digest, e);
    if (!rc) {
        pthread_rwlock_wrlock(&r->lock);
        struct policy *p =
            find(&r->policies, digest, compare32); /* NULL: one that was left out at the start */
        if (p)
            tdelete(digest, &r->policies, compare32);
        r->policy_bytes -= p ? p->n : 0;
        pthread_rwlock_unlock(&r->lock);
        free(p);
    }
    pthread_mutex_unlock(&r->writing);
    return rc;
}

void lt_registry_status(struct lt_registry *r, struct lt_db_health *health, struct lt_db_skipped *skipped)
{
    lt_db_health(r->db, health);
    *skipped = r->skipped; /* never changed after the start */
}

int lt_registry_policy(struct lt_registry *r, const uint8_t digest[32], char **out, size_t *n,
                       struct lt_err *e)
{
    *out = NULL;
    pthread_rwlock_rdlock(&r->lock);
    const struct policy *p = find(&r->policies, digest, compare32);
    if (p && (*out = malloc(p->n + 1)))
        memcpy(*out, p->bytes, *n = p->n);
    pthread_rwlock_unlock(&r->lock);
    if (!p)
        return lt_fail(e, LT_E_NOT_FOUND, "no such policy");
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
}

int lt_registry_set_policy(struct lt_registry *r, const uint8_t host[16], const uint8_t digest[32],
                           struct lt_err *e)
{
    struct lt_provider_host *h;
    int rc;

    pthread_mutex_lock(&r->writing);
    h = lt_registry_host(r, host);
    rc = h ? check_usable(r, digest, e) : lt_fail(e, LT_E_NOT_FOUND, "no such host");
    if (!rc)
        rc = lt_registry_store_set_policy(r->db, host, digest, e);
    if (!rc)
        lt_provider_host_set_policy(h, digest);
    pthread_mutex_unlock(&r->writing);
    lt_provider_host_unref(h);
    return rc;
}

/* ---- guests ---- */

static void describe(const struct guest *g, struct lt_registry_store_guest *out)
{
    const struct lt_claim *c = lt_claims_place(&g->claims);

    *out = (struct lt_registry_store_guest){.has_tenant = g->has_tenant, .has_host = c};
    memcpy(out->uuid, g->uuid, 16);
    memcpy(out->tenant, g->tenant, 16);
    if (c)
        memcpy(out->host, c->host, 16);
}

bool lt_registry_guest(struct lt_registry *r, const uint8_t uuid[16], struct lt_registry_store_guest *out)
{
    *out = (struct lt_registry_store_guest){0};
    memcpy(out->uuid, uuid, 16);
    pthread_rwlock_rdlock(&r->lock);
    const struct guest *g = find(&r->guests, uuid, compare16);
    if (g)
        describe(g, out);
    pthread_rwlock_unlock(&r->lock);
    return g;
}

struct lt_registry_store_guest *lt_registry_guests(struct lt_registry *r, size_t *count)
{
    pthread_rwlock_rdlock(&r->lock);
    struct all a = all_guests(r);
    struct lt_registry_store_guest *out = calloc(a.count + 1, sizeof *out);
    for (size_t i = 0; out && i < a.count; i++)
        describe(a.guest[i], &out[i]);
    pthread_rwlock_unlock(&r->lock);
    *count = out ? a.count : 0;
    free(a.guest);
    return out;
}

/* Of a guest that is somebody's now the store keeps what was known of it before. */
static void post_claims(struct lt_registry *r, struct guest *g)
{
    struct news n = {.guest = g};

    for (unsigned i = 0; i < g->claims.count; i++)
        if (g->claims.list[i].is & (LT_CLAIM_QUOTED | LT_CLAIM_LAST))
            tell(&n, &g->claims.list[i], true);
    lt_registry_store_post_places(r->db, n.list, n.count);
}

static int set_tenant(struct lt_registry *r, const uint8_t uuid[16], const struct lt_registry_store_guest *is,
                      struct lt_err *e)
{
    struct guest *g = guest_at(r, uuid);

    if (!g)
        return lt_fail(e, LT_E_NO_MEMORY, "guest: no memory");
    g->has_tenant = is->has_tenant;
    memcpy(g->tenant, is->tenant, sizeof g->tenant);
    if (g->has_tenant)
        post_claims(r, g);
    else
        lt_claims_forget_last(&g->claims);
    forget_if_idle(r, g);
    return 0;
}

int lt_registry_assign(struct lt_registry *r, const uint8_t uuid[16], const uint8_t *tenant, struct lt_err *e)
{
    struct lt_registry_store_guest g;
    int rc = 0;

    pthread_mutex_lock(&r->writing);
    if (!lt_registry_guest(r, uuid, &g) && !tenant)
        rc = lt_fail(e, LT_E_NOT_FOUND, "no such guest");
    g.has_tenant = tenant;
    memcpy(g.tenant, tenant ? tenant : (const uint8_t[16]){0}, sizeof g.tenant);
    if (!rc)
        rc = lt_registry_store_put_guest(r->db, &g, e);
    if (!rc) {
        pthread_rwlock_wrlock(&r->lock);
        rc = set_tenant(r, uuid, &g, e);
        pthread_rwlock_unlock(&r->lock);
    }
    pthread_mutex_unlock(&r->writing);
    return rc;
}

void lt_registry_lock(struct lt_registry *r)
{
    pthread_rwlock_rdlock(&r->lock);
}

/* Claims of hosts that are not enrolled any more went with them; one that is named may never have been. */
static unsigned resolve(struct lt_registry *r, uint8_t (*ids)[16], unsigned n, struct lt_registry_places *out)
{
    for (unsigned i = 0; i < n; i++) {
        struct lt_provider_host *h = host_at(r, ids[i]);
        if (h)
            out->host[out->count++] = h;
    }
    return out->count;
}

enum lt_registry_place lt_registry_places(struct lt_registry *r, const struct lt_registry_sought *s,
                                          const uint8_t tenant[16], bool last_try,
                                          struct lt_registry_places *out)
{
    struct guest *g = find(&r->guests, s->uuid, compare16);
    const uint8_t *named = s->has_host && host_at(r, s->host) ? s->host : NULL;
    uint8_t ids[LT_MAX_CLAIMANTS][16];

    out->count = 0;
    if (!g || !g->has_tenant || memcmp(g->tenant, tenant, 16))
        return LT_REGISTRY_PLACE_FOREIGN;
    unsigned turn = atomic_fetch_add(&g->turn, 1);
    unsigned n = lt_claims_pick(&g->claims, s->has_ek ? s->ek : NULL, named, turn, ids);
    if (!n && s->has_ek && last_try)
        n = lt_claims_pick(&g->claims, NULL, NULL, turn, ids);
    return resolve(r, ids, n, out) ? LT_REGISTRY_PLACE_HOST : LT_REGISTRY_PLACE_NOWHERE;
}

bool lt_registry_is_of(struct lt_registry *r, const uint8_t uuid[16], const uint8_t tenant[16])
{
    const struct guest *g = find(&r->guests, uuid, compare16);

    return g && g->has_tenant && !memcmp(g->tenant, tenant, 16);
}

void lt_registry_unlock(struct lt_registry *r)
{
    pthread_rwlock_unlock(&r->lock);
}
