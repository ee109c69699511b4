#include "tenant/host_fetch.h"

#include "appraisal/checks/reason.h"
#include "common/alloc.h"

#include "common/run/log.h"
#include "residency/activation.h"
#include "residency/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_REPLY_WEIGHT 3 /* body, its copy, what is made of it */

int lt_host_fetch_host_call(const struct lt_host_fetch_host_source *p, const char *method, const char *path,
                            const char *body, size_t max, struct lt_http_reply *reply, struct lt_err *e)
{
    char url[LT_MAX_URL];
    int n = snprintf(url, sizeof url, "%s/federation/v1/%s", p->url, path);
    struct lt_http_request q = {.method = method,
                                .url = url,
                                .body = body,
                                .body_n = body ? strlen(body) : 0,
                                .timeout_ms = p->timeout_ms,
                                .weight = HOST_REPLY_WEIGHT,
                                .max_reply = max};

    if (n < 0 || (size_t)n >= sizeof url)
        return lt_fail(e, LT_E_TOO_LARGE, "%s: URL too long", path);
    if (!lt_http_call(p->client, &q, reply, e))
        return 0;
    lt_reason_provider(e);
    return lt_fail_in(e, e->code, "provider, %s", path);
}

static json_t *call_json(const struct lt_host_fetch_host_source *p, const char *method, const char *path,
                         const char *body, struct lt_err *e)
{
    struct lt_http_reply reply = {0};
    json_t *j = NULL;

    if (!lt_host_fetch_host_call(p, method, path, body, LT_MAX_BODY_PROOFS, &reply, e)) {
        j = lt_http_json(&reply, 200, lt_residency_error_read, e);
        if (!j) {
            (void)(reply.status == 200 ? lt_reason_provider(e) : lt_reason_said(e));
            if (e->code == LT_E_NOT_FOUND) /* the host, of which it handed on a quote */
                e->code = LT_E_PROVIDER_REFUSED;
            lt_fail_in(e, e->code, "provider, %s", path);
        }
        free((char *)reply.body);
        lt_budget_give(p->memory, reply.charge); /* trees of at most LT_MAX_BODY_PROOFS are not counted */
    }
    return j;
}

/* ---- keys ---- */

static int read_certificates(const json_t *j, struct lt_bundle_certificates *out, struct lt_err *e)
{
    json_t *list;
    int rc = lt_json_array(j, "ek_certificates", LT_MAX_CERTIFICATES, &list, e);

    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (!s || strlen(s) > 2 * LT_MAX_CERTIFICATE)
            rc = lt_fail(e, LT_E_MALFORMED, "ek_certificates[%zu]: no PEM text of at most %d bytes", i,
                         2 * LT_MAX_CERTIFICATE);
        else if (!(out->pem[out->count] = strdup(s)))
            rc = lt_fail(e, LT_E_NO_MEMORY, "ek_certificates: no memory");
        else
            out->count++;
    }
    return rc;
}

static int read_keys(const json_t *j, struct lt_verifier_host_keys *k, struct lt_err *e)
{
    int rc = lt_json_base64(j, "ak", LT_MAX_PUBLIC, &k->ak.p, &k->ak.n, e);

    if (!rc)
        rc = lt_json_base64(j, "ek", LT_MAX_PUBLIC, &k->ek.p, &k->ek.n, e);
    if (!rc)
        rc = read_certificates(j, &k->certificates, e);
    return rc;
}

/* protocol.md section 4, "Host identity". */
static int activate(const struct lt_host_fetch_host_source *p, const char *host,
                    struct lt_checks_identity_host *id, struct lt_err *e)
{
    __attribute__((cleanup(lt_activation_end))) struct lt_activation a = {0};
    char path[96];

    LT_TRY(lt_activation_begin(&id->ek, id->ak_name, id->host_id, &a, e));
    snprintf(path, sizeof path, "hosts/%s/activations", host);
    LT_JSON_AUTO json_t *reply = call_json(p, "POST", path, a.body, e);
    LT_TRY_IN(reply ? lt_activation_check(&a, reply, e) : e->code, e, "activation");
    id->activated = LT_CHECKS_FACT_YES;
    return 0;
}

/* host_id is a hash of the EK: the provider's word is not needed for it. */
static int check_ek(const char *host, const struct lt_verifier_host_keys *k, struct lt_err *e)
{
    char is[2 * LT_RESIDENCY_HOST_ID + 1];
    uint8_t id[LT_RESIDENCY_HOST_ID];
    struct lt_public ek;

    LT_TRY_IN(lt_public_parse(k->ek.p, k->ek.n, &ek, e), e, "provider, hosts/%s: EK", host);
    LT_TRY_IN(lt_residency_host_id(&ek, id, e), e, "provider, hosts/%s: EK", host);
    lt_hex(id, sizeof id, is);
    return strcmp(is, host) ? lt_fail(e, LT_E_PROVIDER_REFUSED,
                                      "provider, hosts/%s: the EK shown is that of host %s", host, is)
                            : 0;
}

static bool activated_before(const struct lt_verifier_host_keys *had, const struct lt_verifier_host_keys *k)
{
    return had && had->id->activated == LT_CHECKS_FACT_YES && lt_verifier_host_keys_same(had, k);
}

static int get_keys(void *arg, const char *host, const struct lt_verifier_trust *trust,
                    const struct lt_verifier_host_keys *had, bool activate_it, struct lt_ref **out,
                    struct lt_err *e)
{
    const struct lt_host_fetch_host_source *p = arg;
    struct lt_verifier_host_keys *k = lt_verifier_host_keys_new(p->memory);
    struct lt_err why = {0};
    char path[64];

    *out = NULL;
    snprintf(path, sizeof path, "hosts/%s", host);
    LT_JSON_AUTO json_t *j = call_json(p, "GET", path, NULL, e);
    int rc = j ? read_keys(j, k, e) : e->code;
    if (j && rc)
        rc = lt_reason_provider(e);
    if (!rc)
        rc = check_ek(host, k, e);
    if (!rc && lt_verifier_host_keys_identify(k, e))
        rc = lt_fail_in(e, e->code, "host %s", host);
    if (rc) {
        lt_verifier_host_keys_free(k);
        return rc;
    }
    lt_verifier_trust_judge(trust, &k->certificates, k->id);
    if (activated_before(had, k))
        k->id->activated = LT_CHECKS_FACT_YES;
    else if (activate_it && !k->id->fault.code && activate(p, host, k->id, &why))
        lt_log(LT_LOG_WARNING, "host-not-activated", "host %s: %s", host, why.msg);
    *out = lt_verifier_host_keys_share(k);
    return 0;
}

/* ---- documents and logs ---- */

static void path_of(const struct lt_host_source_question *q, char out[96])
{
    char digest[2 * LT_SHA256 + 1];

    switch (q->kind) {
    case LT_HOST_SOURCE_DOCUMENT:
        lt_hex(q->digest, LT_SHA256, digest);
        snprintf(out, 96, "policies/%s", digest);
        break;
    case LT_HOST_SOURCE_BOOT_LOG:
        snprintf(out, 96, "hosts/%s/boot-log", q->host);
        break;
    case LT_HOST_SOURCE_IMA:
        snprintf(out, 96, "hosts/%s/ima?first=%llu", q->host, (unsigned long long)q->first);
        break;
    case LT_HOST_SOURCE_OPENERS:
        lt_hex(q->digest, LT_SHA256, digest);
        snprintf(out, 96, "openers/%s", digest);
        break;
    }
}

static int get_bytes(void *arg, const struct lt_host_source_question *q, struct lt_host_source_bytes *out,
                     struct lt_err *e)
{
    const struct lt_host_fetch_host_source *p = arg;
    struct lt_http_reply reply = {0};
    char path[96];

    path_of(q, path);
    LT_TRY(lt_host_fetch_host_call(p, "GET", path, NULL, q->max, &reply, e));
    if (reply.status != 200) {
        LT_JSON_AUTO json_t *none = lt_http_json(&reply, 200, lt_residency_error_read, e);
        free((char *)reply.body);
        lt_budget_give(p->memory, reply.charge);
        return e->code ? e->code : lt_fail(e, LT_E_PROVIDER_REFUSED, "provider, %s: no answer", path);
    }
    const char *first = lt_http_reply_header(&reply, "X-Ima-First"); /* docs/api.md */
    *out = (struct lt_host_source_bytes){
        {(uint8_t *)reply.body, reply.n}, first ? strtoull(first, NULL, 10) : 0, reply.charge};
    return 0;
}

struct lt_host_source lt_host_fetch_source(struct lt_host_fetch_host_source *p)
{
    return (struct lt_host_source){.arg = p, .memory = p->memory, .keys = get_keys, .get = get_bytes};
}
