#include "tenant/round.h"

#include "appraisal/checks/reason.h"
#include "common/alloc.h"
#include "common/ima_list.h"

#include <stdlib.h>
#include <string.h>

static void policy_free(void *p)
{
    struct lt_tenant_policy *x = p;
    lt_policy_guest_free(x->parsed);
    lt_documents_document_set_free(&x->documents);
    free(x->bytes);
    free(x);
}

int lt_tenant_policy_new(uint8_t *bytes, size_t n, struct lt_documents *d, bool strict, struct lt_ref **out,
                         struct lt_err *e)
{
    struct lt_tenant_policy *p = lt_new(struct lt_tenant_policy);
    struct lt_err why = {0};

    *out = NULL;
    p->bytes = bytes;
    p->n = n;
    int rc = lt_policy_guest_parse(bytes, n, &p->parsed, e);
    if (!rc && d && lt_documents_open(d, &p->parsed->measured, &p->documents, &why) && strict)
        rc = lt_fail(e, LT_E_CONFLICT, "%s; limetree guest document FILE brings it", why.msg);
    if (rc)
        policy_free(p);
    else
        *out = lt_ref_new(p, policy_free);
    return rc;
}

bool lt_tenant_policy_complete(const struct lt_ref *policy)
{
    const struct lt_tenant_policy *p = lt_ref_value(policy);
    return !p || p->documents.complete;
}

const struct lt_policy_guest *lt_tenant_policy_parsed(const struct lt_ref *policy)
{
    const struct lt_tenant_policy *p = lt_ref_value(policy);
    return p ? p->parsed : NULL;
}

void lt_tenant_round_free(struct lt_tenant_round *r)
{
    if (!r)
        return;
    lt_agent_free(&r->agent);
    lt_ref_put(r->identity);
    lt_ref_put(r->policy);
    if (r->has_quote)
        lt_quote_free(&r->quote);
    free(r->pubkey);
    lt_boot_log_free(r->boot_log);
    lt_ref_put(r->ima);
    lt_ref_put(r->host_quote);
    lt_hosts_host_view_free(&r->host);
    lt_ref_put(r->sealed);
    lt_ref_put(r->openers);
    free(r);
}

static int dup_text(const char *s, char **out, struct lt_err *e)
{
    *out = strdup(s);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "guest evidence: no memory");
}

/* Keylime's text, or the list without loss, from an agent that has it. */
static int read_list(const json_t *results, uint8_t **out, size_t *n, struct lt_err *e)
{
    const char *text;

    if (lt_json_has(results, "ima_measurement_list_b64"))
        return lt_json_base64(results, "ima_measurement_list_b64", LT_MAX_IMA_LOG, out, n, e);
    LT_TRY(lt_json_string(results, "ima_measurement_list", &text, e));
    LT_TRY(dup_text(text, (char **)out, e));
    *n = strlen(text);
    return 0;
}

/* Text does not go on as a binary list. */
static bool same_form(const struct lt_list *kept, struct lt_slice more)
{
    const struct lt_bundle_blob *had = lt_ref_value(kept->text);

    return !had || !more.n ||
           lt_ima_list_is_binary((struct lt_slice){had->p, kept->n}) == lt_ima_list_is_binary(more);
}

/* Where the list continues what is kept, both make the whole; a list that shrank comes from its beginning on.
 */
static int read_ima(struct lt_tenant_round *r, const json_t *results, struct lt_err *e)
{
    const struct lt_list *l = r->list;
    LT_AUTOFREE uint8_t *list = NULL;
    int64_t first = 0;
    size_t n;

    LT_TRY(read_list(results, &list, &n, e));
    if (lt_json_has(results, "ima_measurement_list_entry"))
        LT_TRY(lt_json_int(results, "ima_measurement_list_entry", 0, INT64_MAX, &first, e));
    if (first && (uint64_t)first != r->ima_asked)
        return lt_fail(e, LT_E_MALFORMED, "ima_measurement_list_entry: %lld, asked was %llu",
                       (long long)first, (unsigned long long)r->ima_asked);
    r->ima_first = first ? l->progress.next : 0;
    r->ima_kept = first ? l->n : 0;
    r->ima_broken = first && !same_form(l, (struct lt_slice){list, n});
    return lt_list_join(first ? l->text : NULL, r->ima_kept, list, n, &r->ima, e);
}

static int read_logs(struct lt_tenant_round *r, const json_t *results, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *log = NULL;
    size_t n = 0;

    if (lt_json_has(results, "mb_measurement_list"))
        LT_TRY(lt_json_base64(results, "mb_measurement_list", LT_MAX_BOOT_LOG, &log, &n, e));
    r->boot_log = lt_boot_log_new((struct lt_slice){log, n});
    if (!r->boot_log)
        return lt_fail(e, LT_E_NO_MEMORY, "boot log: no memory");
    return lt_json_has(results, "ima_measurement_list") || lt_json_has(results, "ima_measurement_list_b64")
               ? read_ima(r, results, e)
               : 0;
}

/* A list that continues one of an earlier boot is no list of this one: the next round asks for all. The
 * signature over the reset count is checked by check 1; here it only decides what is judged. */
static void check_boot(struct lt_tenant_round *r)
{
    struct lt_attest a;

    r->rebooted = r->list && r->list->text &&
                  !lt_attest_parse(r->quote.attest, r->quote.attest_n, &a, LT_NO_ERR) &&
                  a.clock.reset_count != r->list->reset_count;
    r->ima_broken |= r->rebooted && r->ima_first;
}

int lt_tenant_round_read_quote(struct lt_tenant_round *r, const char *body, size_t n, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_json_parse(body, n, LT_MAX_GUEST_REPLY, e);
    const char *quote, *pubkey;
    json_t *results;

    if (!j)
        return lt_fail_in(e, e->code, "guest's answer");
    int rc = lt_json_object(j, "results", &results, e);
    if (!rc)
        rc = lt_json_string(results, "quote", &quote, e);
    if (!rc && strlen(quote) > LT_MAX_QUOTE_STRING)
        rc = lt_fail(e, LT_E_TOO_LARGE, "quote: %zu characters > %d", strlen(quote), LT_MAX_QUOTE_STRING);
    if (!rc && lt_json_has(results, "pubkey")) {
        rc = lt_json_string(results, "pubkey", &pubkey, e);
        if (!rc && strlen(pubkey) > LT_MAX_PUBKEY)
            rc = lt_fail(e, LT_E_TOO_LARGE, "pubkey: %zu characters > %d", strlen(pubkey), LT_MAX_PUBKEY);
        if (!rc)
            rc = dup_text(pubkey, &r->pubkey, e);
    }
    if (!rc)
        rc = read_logs(r, results, e);
    if (!rc)
        rc = lt_quote_parse(quote, &r->quote, e);
    if (rc)
        return lt_fail_in(e, rc, "guest's answer");
    r->has_quote = true;
    check_boot(r);
    return 0;
}

int lt_tenant_round_check_item(const struct lt_tenant_round *r, const json_t *item, struct lt_err *e)
{
    uint8_t uuid[LT_UUID];

    LT_TRY(lt_json_uuid(item, "uuid", uuid, e));
    return memcmp(uuid, r->uuid, sizeof uuid) ? lt_fail(e, LT_E_MALFORMED, "it is for another guest") : 0;
}

static int read_error(const json_t *error, unsigned *retry_after_s, struct lt_err *e)
{
    const char *slug = json_string_value(json_object_get(error, "slug"));
    const char *message = json_string_value(json_object_get(error, "message"));
    json_int_t retry = json_integer_value(json_object_get(error, "retry_after"));

    *retry_after_s = retry > 0 && retry < 3600 ? (unsigned)retry : 0;
    (void)lt_fail(e, lt_err_from_slug(slug), "%s: %s", slug ? slug : "error",
                  message ? message : "no message");
    return lt_reason_said(e);
}

static int parse_answer(const json_t *j, struct lt_ref *const *quotes, size_t count, struct lt_proof *proof,
                        size_t *at, struct lt_err *e)
{
    int64_t n;

    LT_TRY(lt_json_int(j, "quote", 0, LT_MAX_PROOF_ITEMS * LT_MAX_CLAIMANTS, &n, e));
    if ((size_t)n >= count || !quotes[n])
        return lt_fail(e, LT_E_MALFORMED, "host quote %d is missing or malformed", (int)n);
    *at = (size_t)n;
    return lt_proof_from_json(j, proof, e);
}

int lt_tenant_round_read_answer(const json_t *j, struct lt_ref *const *quotes, size_t count,
                                struct lt_proof *proof, size_t *at, unsigned *retry_after_s, struct lt_err *e)
{
    if (lt_json_has(j, "error"))
        return read_error(json_object_get(j, "error"), retry_after_s, e);
    return parse_answer(j, quotes, count, proof, at, e) ? lt_reason_provider(e) : 0;
}

int lt_tenant_round_read_proof(struct lt_tenant_round *r, const json_t *item, struct lt_ref *const *quotes,
                               size_t count, size_t *at, struct lt_err *e)
{
    LT_TRY_IN(lt_tenant_round_check_item(r, item, e) ? lt_reason_provider(e) : 0, e, "provider's proof");
    LT_TRY_IN(lt_tenant_round_read_answer(item, quotes, count, &r->proof, at, &r->retry_after_s, e), e,
              "provider's proof");
    r->host_quote = lt_ref_get(quotes[*at]);
    r->has_proof = true;
    return 0;
}

/* The list, as check 3 is to see it: from where the replay stands, or whole where nothing is kept, or another
 * policy judged what is. */
static void guest_ima(const struct lt_tenant_round *r, const struct lt_tenant_policy *p,
                      struct lt_checks_guest_round *g)
{
    const struct lt_bundle_blob *all = lt_ref_value(r->ima);
    struct lt_measured_logs *l = &g->logs;
    uint8_t basis[LT_SHA256];

    if (r->ima_broken) {
        l->ima_trouble =
            "the IMA list continues one of an earlier boot, or of another form; the next round asks for all"
            " of it";
        return;
    }
    l->has_ima = all;
    if (!all)
        return;
    l->ima = (struct lt_slice){all->p, all->n};
    g->progress = r->list ? &r->list->progress : NULL;
    if (!p || !r->list)
        return;
    lt_list_basis(p->parsed->digest, &p->parsed->measured, l->now, basis);
    if (r->ima_first && !memcmp(basis, r->list->basis, sizeof basis)) {
        l->ima = (struct lt_slice){all->p + r->ima_kept, all->n - r->ima_kept};
        l->ima_first = r->ima_first;
    } else if (r->rebooted) {
        lt_list_clear(r->list);
    } /* else the whole list must go through what was matched before */
}

static struct lt_checks_guest_round guest_round(const struct lt_tenant_round *r, const struct lt_ref *policy)
{
    const struct lt_tenant_policy *p = lt_ref_value(policy);
    struct lt_checks_guest_round g = {
        .identity = lt_ref_value(r->identity),
        .required_pcrs = r->mask | 1u << LT_CHECKS_TRANSPORT_PCR,
        .attest = {r->quote.attest, r->quote.attest_n},
        .signature = {r->quote.signature, r->quote.signature_n},
        .pcrs = &r->quote.pcrs,
        .pubkey = r->pubkey,
        .logs = {.boot_log = r->boot_log, .documents = p ? &p->documents.view : NULL, .now = r->started},
        .policy = p ? p->parsed : NULL,
        .history = &r->history,
        .ek = &r->ek,
    };
    memcpy(g.tenant_id, r->tenant_id, sizeof g.tenant_id);
    memcpy(g.guest_uuid, r->uuid, sizeof g.guest_uuid);
    memcpy(g.nonce, r->nonce, sizeof r->nonce);
    return g;
}

void lt_tenant_round_appraise_guest(const struct lt_tenant_round *r, const struct lt_ref *policy,
                                    struct lt_history_round_facts *f, struct lt_verdict *v)
{
    struct lt_checks_guest_round g = guest_round(r, policy);

    guest_ima(r, lt_ref_value(policy), &g);
    lt_verdict_init(v);
    lt_checks_appraise_guest(&g, f, v);
}

void lt_tenant_round_keep_list(struct lt_tenant_round *r)
{
    const struct lt_tenant_policy *p = lt_ref_value(r->policy);
    const struct lt_bundle_blob *all = lt_ref_value(r->ima);
    struct lt_list *l = lt_take(&r->list);

    if (!l)
        return;
    /* Whatever went wrong, the next round begins at the beginning (keylime-api 6.3). */
    if (!all || !p || !p->parsed->measured.layer_count ||
        !lt_verdict_passed(&r->verdict, LT_CHECK_GUEST_POLICY)) {
        lt_list_clear(l);
        return;
    }
    const struct lt_slice kept = {all->p, (size_t)l->progress.bytes};
    if (l->progress.bytes > all->n || lt_ima_list_skip(kept, UINT64_MAX, &l->units) != kept.n) {
        lt_list_clear(l); /* a last line without its end would be told twice */
        return;
    }
    lt_ref_put(l->text);
    l->text = lt_ref_get(r->ima);
    l->n = kept.n;
    l->reset_count = r->facts.guest_clock.reset_count;
    lt_list_basis(p->parsed->digest, &p->parsed->measured, r->started, l->basis);
}

void lt_tenant_round_conclude(const struct lt_policy_guest *policy, struct lt_verdict *v)
{
    lt_verdict_conclude(v, lt_checks_least_link(policy), policy && policy->accept_boot_only);
}

void lt_tenant_round_appraise_unlinked(const struct lt_tenant_round *r, const struct lt_ref *policy,
                                       uint64_t window_ms, const char *why,
                                       const struct lt_history_round_facts *f, struct lt_verdict *v)
{
    struct lt_checks_guest_round g = guest_round(r, policy);
    const struct lt_checks_host_round h = {
        .guest = &g,
        .timed = true,
        .t1_ms = r->t1_ms,
        .t5_ms = r->answered_ms,
        .window_ms = window_ms,
        .nonce_used = r->nonce_used,
    };

    lt_checks_unlinked(&h, f, why, v);
    lt_tenant_round_conclude(g.policy, v);
}

void lt_tenant_round_appraise_half(const struct lt_tenant_round *r, const struct lt_tenant_host_half *half,
                                   const struct lt_ref *policy, uint64_t window_ms,
                                   const struct lt_tenant_caches *caches, struct lt_history_round_facts *f,
                                   struct lt_verdict *v)
{
    struct lt_checks_guest_round g = guest_round(r, policy);
    const struct lt_verifier_host_keys *keys = lt_ref_value(half->view->keys);
    const struct lt_verifier_host_document *document = lt_ref_value(half->view->policy);
    LT_TENANT_AUTOOPENERS struct lt_tenant_openers openers;

    lt_tenant_openers_fill(&openers, half->openers, r->sealed, half->view->policy);
    struct lt_checks_host_round h = {
        .guest = &g,
        .quote = lt_ref_value(half->quote),
        .proof = half->proof,
        .identity = keys->id,
        .policy = document ? document->parsed : NULL,
        .openers = &openers.in,
        .measured_cache = caches ? caches->measured : NULL,
        .timed = true,
        .t1_ms = r->t1_ms,
        .t5_ms = r->t5_ms,
        .window_ms = window_ms,
        .nonce_used = r->nonce_used,
        .history = half->history,
        .cache = caches ? caches->quotes : NULL,
    };

    lt_hosts_logs(half->view, r->started, &h.logs);
    lt_checks_appraise_host(&h, f, v);
    lt_tenant_round_conclude(g.policy, v);
}

void lt_tenant_round_appraise_host(const struct lt_tenant_round *r, const struct lt_ref *policy,
                                   uint64_t window_ms, const struct lt_tenant_caches *caches,
                                   struct lt_history_round_facts *f, struct lt_verdict *v)
{
    const struct lt_tenant_host_half half = {r->host_quote, &r->proof, &r->host, &r->host_history,
                                             r->openers};

    lt_tenant_round_appraise_half(r, &half, policy, window_ms, caches, f, v);
}
