/* What Keylime's API gives to judge a guest by, as documents and guest policies of ours. */
#include "appraisal/policy/from_keylime.h"
#include "appraisal/policy/log_kind.h"
#include "common/limits.h"
#include "tenant/keylime.h"
#include "tenant/keylime_conf.h"
#include "tenant/round.h"

#include <stdlib.h>
#include <string.h>

/* ---- documents ---- */

static int put(struct lt_tenant *t, const struct lt_from_keylime_document *d, bool runtime,
               struct lt_store_keylime_policy *out, struct lt_err *e)
{
    const char *key = runtime ? "runtime_policy" : "mb_policy";

    out->kind = runtime ? LT_STORE_KEYLIME_RUNTIME : LT_STORE_KEYLIME_BOOT;
    out->has_document = d->p;
    if (!d->p)
        return 0;
    if (lt_log_kind_is_runtime((struct lt_slice){d->p, d->n}) != runtime)
        return lt_fail(e, LT_E_MALFORMED, "%s: a document of another kind", key);
    LT_TRY_IN(lt_documents_put(t->documents, d->p, d->n, out->digest, e), e, "%s", key);
    return 0;
}

int lt_tenant_keylime_runtime(struct lt_tenant *t, struct lt_slice bytes, const char *key,
                              struct lt_store_keylime_policy *out, struct lt_err *e)
{
    const struct lt_from_keylime_in in = {.runtime = bytes, .runtime_key = key, .pinned_key = t->policy_key};
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime is;

    LT_TRY(lt_from_keylime(&in, &is, e));
    return put(t, &is.runtime, true, out, e);
}

int lt_tenant_keylime_boot(struct lt_tenant *t, const char *text, struct lt_store_keylime_policy *out,
                           struct lt_err *e)
{
    const struct lt_from_keylime_in in = {.boot = text};
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime is;

    LT_TRY(lt_from_keylime(&in, &is, e));
    return put(t, &is.boot, false, out, e);
}

void lt_tenant_keylime_forget(struct lt_tenant *t, const struct lt_store_keylime_policy *p)
{
    if (p->has_document)
        (void)!lt_documents_drop(t->documents, p->digest, LT_NO_ERR);
}

/* ---- guest policies ---- */

void lt_tenant_keylime_bytes_free(struct lt_tenant_keylime_bytes *b)
{
    free(b->p);
    *b = (struct lt_tenant_keylime_bytes){0};
}

/* Of a guest's documents the bytes; NULL where it has none. */
static int load(struct lt_tenant *t, const struct lt_store_keylime_policy *d, uint8_t **p, size_t *n,
                struct lt_err *e)
{
    *p = NULL;
    *n = 0;
    return d->has_document ? lt_store_policy_get(t->store, d->digest, p, n, e) : 0;
}

/* It reads, and all that it names is here. */
static int check(struct lt_tenant *t, const struct lt_from_keylime_document *policy, struct lt_err *e)
{
    struct lt_ref *parsed = NULL;
    uint8_t *copy = malloc(policy->n + 1);

    if (!copy)
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    memcpy(copy, policy->p, policy->n);
    copy[policy->n] = 0;
    int rc = lt_tenant_policy_new(copy, policy->n, t->documents, true, &parsed, e);
    lt_ref_put(parsed);
    return rc;
}

static int translate(struct lt_tenant *t, const struct lt_from_keylime_in *in,
                     const struct lt_store_keylime_policy *runtime, struct lt_tenant_keylime_bytes *out,
                     struct lt_err *e)
{
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime is;
    struct lt_store_keylime_policy other = {0};

    LT_TRY(lt_from_keylime(in, &is, e));
    if (is.runtime.p && memcmp(is.runtime.digest, runtime->digest, sizeof runtime->digest))
        LT_TRY(put(t, &is.runtime, true, &other, e)); /* with other keys than the policy's own */
    LT_TRY(check(t, &is.policy, e));
    *out = (struct lt_tenant_keylime_bytes){.p = lt_take(&is.policy.p), .n = is.policy.n};
    memcpy(out->digest, is.policy.digest, sizeof out->digest);
    return 0;
}

int lt_tenant_keylime_judged(struct lt_tenant *t, const struct lt_store_keylime_policy *const documents[],
                             const char *tpm_policy, const char *ima_keys,
                             struct lt_tenant_keylime_bytes *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *runtime = NULL, *boot = NULL;
    LT_JSON_AUTO json_t *accept = NULL, *hosts = NULL;
    const struct lt_tenant_keylime_conf conf = {t->conf->keylime_accept, t->conf->keylime_host_policies,
                                                !*t->conf->provider};
    size_t runtime_n, boot_n;

    *out = (struct lt_tenant_keylime_bytes){0};
    LT_TRY(lt_tenant_keylime_conf_read(&conf, &accept, &hosts, e));
    LT_TRY(load(t, documents[LT_STORE_KEYLIME_RUNTIME], &runtime, &runtime_n, e));
    LT_TRY(load(t, documents[LT_STORE_KEYLIME_BOOT], &boot, &boot_n, e));
    const struct lt_from_keylime_in in = {.tpm_policy = tpm_policy,
                                          .runtime = {runtime, runtime_n},
                                          .pinned_key = t->policy_key,
                                          .boot = (const char *)boot,
                                          .ima_keys = ima_keys,
                                          .accept = accept,
                                          .host_policies = json_array_size(hosts) ? hosts : NULL};
    return translate(t, &in, documents[LT_STORE_KEYLIME_RUNTIME], out, e);
}
