#include "provider/evidence.h"

#include "common/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lt_provider_host *find(const struct lt_evidence *s, const char *name, struct lt_err *e)
{
    uint8_t id[LT_RESIDENCY_HOST_ID];
    struct lt_provider_host *h = lt_unhex(name, id, sizeof id, e) ? NULL : lt_registry_host(s->registry, id);

    if (!h)
        (void)lt_fail(e, LT_E_NOT_FOUND, "host %s: not enrolled", name);
    return h;
}

/* ---- keys ---- */

static int copy_blob(const struct lt_public *p, struct lt_bundle_blob *out, struct lt_err *e)
{
    out->p = malloc(p->raw_n + 1);
    if (!out->p)
        return lt_fail(e, LT_E_NO_MEMORY, "keys: no memory");
    memcpy(out->p, p->raw, out->n = p->raw_n);
    return 0;
}

static int fill(const struct lt_provider_host *h, struct lt_verifier_host_keys *k, struct lt_err *e)
{
    const json_t *text;
    size_t i;

    LT_TRY(copy_blob(&h->ek, &k->ek, e));
    LT_TRY(copy_blob(&h->ak, &k->ak, e));
    json_array_foreach(h->certificates, i, text)
    {
        if (k->certificates.count == LT_MAX_CERTIFICATES)
            break;
        k->certificates.pem[k->certificates.count] = strdup(json_string_value(text));
        if (!k->certificates.pem[k->certificates.count++])
            return lt_fail(e, LT_E_NO_MEMORY, "keys: no memory");
    }
    return lt_verifier_host_keys_identify(k, e);
}

/* Enrolment activated the AK, and the list that tenants pin is made of this registry. */
static int get_keys(void *arg, const char *host, const struct lt_verifier_trust *trust,
                    const struct lt_verifier_host_keys *had, bool activate, struct lt_ref **out,
                    struct lt_err *e)
{
    const struct lt_evidence *s = arg;
    struct lt_provider_host *h = find(s, host, e);

    (void)had, (void)activate;
    *out = NULL;
    if (!h)
        return e->code;
    struct lt_verifier_host_keys *k = lt_verifier_host_keys_new(s->memory);
    int rc = fill(h, k, e);
    lt_provider_host_unref(h);
    if (rc) {
        lt_verifier_host_keys_free(k);
        return lt_fail_in(e, rc, "host %s", host);
    }
    lt_verifier_trust_judge(trust, &k->certificates, k->id);
    k->id->activated = k->id->in_registry = LT_CHECKS_FACT_YES;
    *out = lt_verifier_host_keys_share(k);
    return 0;
}

/* ---- documents and logs ---- */

static int get_document(const struct lt_evidence *s, const struct lt_host_source_question *q,
                        struct lt_host_source_bytes *out, struct lt_err *e)
{
    char *bytes;
    size_t n;

    LT_TRY(lt_registry_policy(s->registry, q->digest, &bytes, &n, e));
    out->b = (struct lt_bundle_blob){(uint8_t *)bytes, n};
    if (n <= q->max)
        return 0;
    free(lt_take(&out->b.p));
    return lt_fail(e, LT_E_TOO_LARGE, "document: %zu bytes > %zu", n, q->max);
}

static int get_log(const struct lt_evidence *s, const struct lt_host_source_question *q,
                   struct lt_host_source_bytes *out, struct lt_err *e)
{
    struct lt_provider_host *h = find(s, q->host, e);
    struct lt_peer peer = {.has_host = true};
    struct lt_net_bytes got;
    char name[40] = "boot-log";

    if (!h)
        return e->code;
    if (q->kind == LT_HOST_SOURCE_IMA)
        snprintf(name, sizeof name, "ima?first=%llu", (unsigned long long)q->first);
    memcpy(peer.host_id, h->id, sizeof peer.host_id);
    int rc = lt_net_get(
        h->shared->net,
        &(struct lt_net_request){.method = "GET", .address = h->address, .name = name, .max_reply = q->max},
        &peer, &got, e);
    lt_provider_host_unref(h);
    if (!rc)
        *out = (struct lt_host_source_bytes){.b = {got.p, got.n}, .ima_first = got.ima_first};
    return rc;
}

static int get_bytes(void *arg, const struct lt_host_source_question *q, struct lt_host_source_bytes *out,
                     struct lt_err *e)
{
    *out = (struct lt_host_source_bytes){0};
    if (q->kind == LT_HOST_SOURCE_OPENERS) /* nobody judges a guest's here */
        return lt_fail(e, LT_E_UNSUPPORTED, "openers: not of a host by itself");
    return q->kind == LT_HOST_SOURCE_DOCUMENT ? get_document(arg, q, out, e) : get_log(arg, q, out, e);
}

struct lt_host_source lt_evidence_source(struct lt_evidence *s)
{
    return (struct lt_host_source){
        .arg = s, .memory = s->memory, .own = true, .keys = get_keys, .get = get_bytes};
}
