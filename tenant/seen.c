#include "tenant/seen.h"

#include "common/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is remembered ---- */

static void sealed_free(void *p)
{
    struct lt_tenant_seen *s = p;

    lt_ref_put(s->last);
    free(s->retired);
    free(s->exposed);
    free(s);
}

static int load_retired(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_tenant_seen *out,
                        struct lt_err *e)
{
    LT_AUTOFREE struct lt_store_retired *list = NULL;
    size_t n;

    LT_TRY(lt_store_retired(s, uuid, &list, &n, e));
    out->retired = lt_alloc(n + 1, sizeof *out->retired);
    for (size_t i = 0; i < n; i++) {
        struct lt_checks_openers_retired *r = &out->retired[out->retired_count++];
        r->host = list[i].kind == LT_STORE_RETIRED_HOST;
        r->at = list[i].at;
        memcpy(r->digest, list[i].digest, sizeof r->digest);
    }
    return 0;
}

static int load_openers(struct lt_store *s, struct lt_sealing_cache *c, const uint8_t ek_digest[LT_SHA256],
                        struct lt_tenant_seen *out, struct lt_err *e)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o;

    LT_TRY(lt_store_openers(s, ek_digest, &o, e));
    memcpy(out->closed_at, o.closed, sizeof out->closed_at);
    out->exposed = lt_alloc(o.exposed_count + 1, sizeof *out->exposed);
    for (size_t i = 0; i < o.exposed_count; i++) {
        out->exposed[i].since = o.exposed[i].since;
        memcpy(out->exposed[i].host_ek_digest, o.exposed[i].host, LT_SHA256);
    }
    out->exposed_count = o.exposed_count;
    struct lt_err why;
    /* One that cannot be had must not pass for none: then a shorter list would do. */
    if (o.bytes && lt_sealing_list_new(c, o.bytes, o.n, &out->last, &why))
        snprintf(out->trouble, sizeof out->trouble,
                 "the list of openers that was seen last cannot be compared: %.180s", why.msg);
    return 0;
}

int lt_tenant_seen_load(struct lt_store *s, struct lt_sealing_cache *c, const uint8_t uuid[LT_UUID],
                        const uint8_t ek_digest[LT_SHA256], struct lt_ref **out, struct lt_err *e)
{
    struct lt_tenant_seen *x = lt_new(struct lt_tenant_seen);
    int rc = load_retired(s, uuid, x, e);

    *out = NULL;
    if (!rc)
        rc = load_openers(s, c, ek_digest, x, e);
    if (rc)
        sealed_free(x);
    else
        *out = lt_ref_new(x, sealed_free);
    return rc;
}

bool lt_tenant_seen_whole(const struct lt_ref *sealed)
{
    return !((const struct lt_tenant_seen *)lt_ref_value(sealed))->trouble[0];
}

struct lt_ref *lt_tenant_seen_last(const struct lt_ref *sealed)
{
    const struct lt_tenant_seen *x = lt_ref_value(sealed);

    return x ? x->last : NULL;
}

/* ---- what a record names ---- */

bool lt_tenant_seen_names(const struct lt_proof *proof, const uint8_t uuid[LT_UUID],
                          const uint8_t ek_digest[LT_SHA256], uint8_t digest[LT_SHA256])
{
    static const uint8_t none[LT_SHA256];
    struct lt_residency_record r;

    if (!proof->resident || lt_residency_record_parse(proof->record, proof->record_n, &r, LT_NO_ERR) ||
        r.version < 2 || !(r.flags & LT_RESIDENCY_BORN) || memcmp(r.guest_uuid, uuid, LT_UUID) ||
        memcmp(r.ek_digest, ek_digest, LT_SHA256))
        return false;
    memcpy(digest, r.openers_digest, LT_SHA256);
    return memcmp(digest, none, sizeof none) != 0;
}

/* ---- for the check ---- */

static void fill_hosts(struct lt_tenant_openers *o, const struct lt_sealing_view *v)
{
    o->host = lt_alloc(v->host_count + 1, sizeof(struct lt_checks_identity_host *));
    for (size_t i = 0; i < v->host_count; i++) {
        const struct lt_verifier_host_keys *k = lt_ref_value(v->host[i].keys);
        if (k)
            o->host[o->in.host_count++] = k->id;
    }
    o->in.host = o->host;
}

static void add_policy(struct lt_tenant_openers *o, const struct lt_ref *document)
{
    const struct lt_verifier_host_document *d = lt_ref_value(document);

    if (!d || !d->parsed)
        return;
    for (size_t i = 0; i < o->in.policy_count; i++)
        if (!memcmp(o->policy[i].policy->digest, d->digest, LT_SHA256))
            return;
    o->policy[o->in.policy_count++] = (struct lt_checks_openers_policy){d->parsed, &d->documents.view};
}

/* The quoted policy first: that is the one of most states. */
static void fill_policies(struct lt_tenant_openers *o, const struct lt_sealing_view *v,
                          const struct lt_ref *document)
{
    o->policy = lt_alloc(v->policy_count + 1, sizeof *o->policy);
    add_policy(o, document);
    for (size_t i = 0; i < v->policy_count; i++)
        add_policy(o, v->policy[i]);
    o->in.policy = o->policy;
}

static void fill_history(struct lt_checks_openers *in, const struct lt_tenant_seen *s)
{
    const struct lt_sealing_list *last = lt_ref_value(s->last);

    in->last = last ? &last->parsed : NULL;
    in->closed_at = s->closed_at;
    in->retired = s->retired;
    in->retired_count = s->retired_count;
    in->exposed = s->exposed;
    in->exposed_count = s->exposed_count;
}

static void fill_logs(struct lt_tenant_openers *o, const struct lt_sealing_view *v)
{
    o->log = lt_alloc(v->log_count + 1, sizeof(struct lt_boot_log *));
    for (size_t i = 0; i < v->log_count; i++)
        o->log[o->in.log_count++] = ((const struct lt_sealing_log *)lt_ref_value(v->log[i]))->log;
    o->in.log = o->log;
}

static void fill_view(struct lt_tenant_openers *o, const struct lt_sealing_view *v,
                      const struct lt_ref *document)
{
    const struct lt_sealing_list *l = lt_ref_value(v->list);

    o->in.list = l ? &l->parsed : NULL;
    o->in.trouble = l ? NULL : v->trouble;
    fill_hosts(o, v);
    fill_policies(o, v, document);
    fill_logs(o, v);
}

void lt_tenant_openers_fill(struct lt_tenant_openers *o, const struct lt_ref *view,
                            const struct lt_ref *sealed, const struct lt_ref *document)
{
    const struct lt_sealing_view *v = lt_ref_value(view);
    const struct lt_tenant_seen *s = lt_ref_value(sealed);

    memset(o, 0, sizeof *o);
    if (v)
        fill_view(o, v, document);
    if (!s)
        return;
    fill_history(&o->in, s);
    if (v && s->trouble[0]) {
        o->in.list = NULL;
        o->in.trouble = s->trouble;
    }
}

void lt_tenant_openers_free(struct lt_tenant_openers *o)
{
    free(o->host);
    free(o->policy);
    free(o->log);
    memset(o, 0, sizeof *o);
}
