/* verify/identity and verify/evidence: somebody brings a quote, and is told what our checks say of it
 * (appraisal/checks/single.h). They change nothing. Keylime has them public; here they are the admin's, one
 * at a time and under ceilings, since each may cost as much as a round. */
#include "appraisal/checks/single.h"
#include "appraisal/policy/from_keylime.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "keylime/add.h"
#include "keylime/algs.h"
#include "keylime/events.h"
#include "keylime/quote.h"
#include "tenant/keylime.h"
#include "tenant/keylime_conf.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What was brought; evidence borrows from the rest. */
struct brought {
    struct lt_single evidence;
    struct lt_quote quote;
    struct lt_agent agent; /* of verify/identity */
    uint8_t *ek, *ak, *log;
    struct lt_boot_log *boot_log;
    struct lt_from_keylime policy;
};

static void brought_free(struct brought *b)
{
    lt_quote_free(&b->quote);
    lt_agent_free(&b->agent);
    free(b->ek);
    free(b->ak);
    free(b->log);
    lt_boot_log_free(b->boot_log);
    lt_from_keylime_free(&b->policy);
}

/* The bank, and the hash of the signature, that the caller names are the quote's. */
static int take_quote(struct brought *b, const char *text, const char *hash_alg, struct lt_err *e)
{
    LT_TRY_IN(lt_quote_parse(text, &b->quote, e), e, "quote");
    if (strcmp(hash_alg, lt_algs_hash_name(b->quote.pcrs.alg)))
        return lt_fail(e, LT_E_MALFORMED, "hash_alg: %.16s, and the quote is of %s", hash_alg,
                       lt_algs_hash_name(b->quote.pcrs.alg));
    b->evidence.attest = (struct lt_slice){b->quote.attest, b->quote.attest_n};
    b->evidence.signature = (struct lt_slice){b->quote.signature, b->quote.signature_n};
    b->evidence.pcrs = &b->quote.pcrs;
    return 0;
}

/* ---- one at a time ---- */

static atomic_flag busy = ATOMIC_FLAG_INIT;

static int judge(const struct brought *b, struct lt_verdict *v, struct lt_err *e)
{
    if (atomic_flag_test_and_set(&busy))
        return lt_fail(e, LT_E_BUSY, "another quote is being verified");
    int rc = lt_single_judge(&b->evidence, v, e);
    atomic_flag_clear(&busy);
    return rc;
}

/* ---- what is said of it ---- */

static json_t *reasons(const struct lt_verdict *v)
{
    json_t *list = json_array();

    for (int c = LT_CHECK_GUEST_QUOTE; c <= LT_CHECK_GUEST_POLICY; c++)
        if (v->check[c].state == LT_CHECK_NOT_PASSED)
            json_array_append_new(list, lt_json_new_text(v->check[c].message));
    return list;
}

static json_t *failure(const char *check, const char *message)
{
    char id[LT_EVENTS_ID];

    lt_events_id(check, NULL, id);
    return json_pack("{s:s, s:{s:o}}", "type", id, "context", "message", lt_json_new_text(message));
}

static void add_failures(const struct lt_verdict *v, json_t *list)
{
    for (int c = LT_CHECK_GUEST_QUOTE; c <= LT_CHECK_GUEST_POLICY; c++)
        if (v->check[c].state == LT_CHECK_NOT_PASSED)
            json_array_append_new(list, failure(lt_check_slug((enum lt_check)c), v->check[c].message));
}

/* What the verdict leaves out of what was asked for, for the last two of those reasons a quote is not valid.
 */
static void add_left_out(const struct lt_verdict *v, json_t *list)
{
    for (unsigned i = 0; i < v->part_count; i++)
        if (v->parts[i].check == LT_CHECK_GUEST_POLICY && !v->parts[i].note)
            json_array_append_new(list, failure(lt_check_slug(v->parts[i].check), v->parts[i].message));
    if (v->check[LT_CHECK_GUEST_POLICY].state == LT_CHECK_NOT_MADE)
        json_array_append_new(list, failure("guest-policy", v->check[LT_CHECK_GUEST_POLICY].message));
}

/* ---- verify/identity ---- */

static int query(const struct lt_http_req *req, const char *key, const char **out, struct lt_err *e)
{
    *out = lt_http_req_query(req, key);
    return *out && **out ? 0 : lt_fail(e, LT_E_MALFORMED, "%s is missing", key);
}

static int bring_identity(struct lt_tenant *t, const struct lt_http_req *req, struct brought *b,
                          struct lt_err *e)
{
    const char *id, *quote, *hash_alg;

    LT_TRY(query(req, "agent_uuid", &id, e));
    LT_TRY(query(req, "quote", &quote, e));
    LT_TRY(query(req, "nonce", &b->evidence.nonce, e));
    LT_TRY(query(req, "hash_alg", &hash_alg, e));
    LT_TRY(lt_store_agent_get(t->store, id, &b->agent, e));
    b->evidence.ek = (struct lt_slice){b->agent.ek, b->agent.ek_n};
    b->evidence.ak = (struct lt_slice){b->agent.ak, b->agent.ak_n};
    b->evidence.activated = true; /* the registrar keeps nothing else */
    return take_quote(b, quote, hash_alg, e);
}

static int get_identity(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    __attribute__((cleanup(brought_free))) struct brought b = {0};
    struct lt_verdict v;

    LT_TRY(bring_identity(t, req, &b, e));
    LT_TRY(judge(&b, &v, e));
    *results = lt_single_valid(&b.evidence, &v) ? json_pack("{s:i}", "valid", 1)
                                                : json_pack("{s:i, s:o}", "valid", 0, "reason", reasons(&v));
    return 0;
}

void lt_tenant_keylime_get_identity(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, get_identity, 200);
}

/* ---- verify/evidence ---- */

static int text(const json_t *data, const char *key, const char **out, struct lt_err *e)
{
    *out = NULL;
    return lt_json_has(data, key) ? lt_json_string(data, key, out, e) : 0;
}

static int bring_keys(const json_t *data, struct brought *b, struct lt_err *e)
{
    const char *quote, *hash_alg;

    LT_TRY(lt_json_base64(data, "tpm_ek", LT_MAX_PUBLIC, &b->ek, &b->evidence.ek.n, e));
    LT_TRY(lt_json_base64(data, "tpm_ak", LT_MAX_PUBLIC, &b->ak, &b->evidence.ak.n, e));
    b->evidence.ek.p = b->ek;
    b->evidence.ak.p = b->ak;
    LT_TRY(lt_json_string(data, "nonce", &b->evidence.nonce, e));
    LT_TRY(lt_json_string(data, "quote", &quote, e));
    LT_TRY(lt_json_string(data, "hash_alg", &hash_alg, e));
    return take_quote(b, quote, hash_alg, e);
}

static int bring_logs(const json_t *data, struct brought *b, struct lt_err *e)
{
    struct lt_measured_logs *logs = &b->evidence.logs;
    const char *list;
    size_t n;

    LT_TRY(lt_add_document(data, "mb_log", LT_MAX_BOOT_LOG, &b->log, &n, e));
    if (b->log && !(b->boot_log = lt_boot_log_new((struct lt_slice){b->log, n})))
        return lt_fail(e, LT_E_NO_MEMORY, "mb_log: no memory");
    LT_TRY(text(data, "ima_measurement_list", &list, e));
    logs->boot_log = b->boot_log;
    logs->has_ima = list;
    if (list)
        logs->ima = (struct lt_slice){(const uint8_t *)list, strlen(list)};
    logs->now = lt_clock_wall_s();
    return 0;
}

static int bring_policy(struct lt_tenant *t, const json_t *data, struct brought *b, struct lt_err *e)
{
    const struct lt_tenant_keylime_conf conf = {t->conf->keylime_accept, t->conf->keylime_host_policies,
                                                !*t->conf->provider};
    LT_JSON_AUTO json_t *accept = NULL, *hosts = NULL;
    struct lt_from_keylime_in in = {.pinned_key = t->policy_key};
    const char *runtime;

    LT_TRY(text(data, "tpm_policy", &in.tpm_policy, e));
    LT_TRY(text(data, "runtime_policy", &runtime, e));
    LT_TRY(text(data, "mb_policy", &in.boot, e));
    if (!in.tpm_policy && !runtime && !in.boot)
        return lt_fail(e, LT_E_MALFORMED, "one of tpm_policy, runtime_policy and mb_policy is needed");
    if (runtime)
        in.runtime = (struct lt_slice){(const uint8_t *)runtime, strlen(runtime)};
    LT_TRY(lt_tenant_keylime_conf_read(&conf, &accept, &hosts, e));
    in.accept = accept;
    LT_TRY(lt_from_keylime(&in, &b->policy, e));
    b->evidence.policy = (struct lt_slice){b->policy.policy.p, b->policy.policy.n};
    b->evidence.runtime = (struct lt_slice){b->policy.runtime.p, b->policy.runtime.n};
    b->evidence.boot = (struct lt_slice){b->policy.boot.p, b->policy.boot.n};
    b->evidence.pinned = t->policy_key;
    return 0;
}

static int bring_evidence(struct lt_tenant *t, const json_t *body, struct brought *b, struct lt_err *e)
{
    const char *type;
    json_t *data;

    LT_TRY(lt_json_string(body, "type", &type, e));
    if (strcmp(type, "tpm"))
        return lt_fail(e, LT_E_UNSUPPORTED, "type: %.16s; only tpm is judged here", type);
    LT_TRY(lt_json_object(body, "data", &data, e));
    LT_TRY(bring_keys(data, b, e));
    LT_TRY(bring_logs(data, b, e));
    return bring_policy(t, data, b, e);
}

static int post_evidence(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    __attribute__((cleanup(brought_free))) struct brought b = {0};
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, e);
    struct lt_verdict v;

    if (!body)
        return e->code;
    LT_TRY(bring_evidence(t, body, &b, e));
    LT_TRY(judge(&b, &v, e));
    bool valid = lt_single_valid(&b.evidence, &v);
    json_t *failures = json_array();
    add_failures(&v, failures);
    if (!valid && !json_array_size(failures))
        add_left_out(&v, failures);
    *results = json_pack("{s:b, s:{}, s:o}", "valid", valid, "claims", "failures", failures);
    return 0;
}

void lt_tenant_keylime_post_evidence(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, post_evidence, 200);
}
