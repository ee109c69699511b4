#include "tenant/round.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

static void policy_free(void *p)
{
    struct lt_policy *x = p;
    lt_guest_policy_free(x->parsed);
    free(x->bytes);
    free(x);
}

int lt_policy_new(uint8_t *bytes, size_t n, struct lt_ref **out, struct lt_err *e)
{
    struct lt_policy *p = calloc(1, sizeof *p);
    int rc =
        p ? lt_guest_policy_parse(bytes, n, &p->parsed, e) : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");

    *out = NULL;
    if (rc) {
        free(bytes);
        free(p);
        return rc;
    }
    p->bytes = bytes;
    p->n = n;
    *out = lt_ref_new(p, policy_free);
    return 0;
}

const struct lt_guest_policy *lt_policy_parsed(const struct lt_ref *policy)
{
    const struct lt_policy *p = lt_ref_value(policy);
    return p ? p->parsed : NULL;
}

void lt_round_free(struct lt_round *r)
{
    if (!r)
        return;
    lt_agent_free(&r->agent);
    lt_ref_put(r->identity);
    lt_ref_put(r->policy);
    if (r->has_quote)
        lt_quote_free(&r->quote);
    free(r->pubkey);
    free(r->boot_log.p);
    free(r->ima.p);
    lt_ref_put(r->host_quote);
    lt_host_view_free(&r->host);
    free(r);
}

static int dup_text(const char *s, char **out, struct lt_err *e)
{
    *out = strdup(s);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "guest evidence: no memory");
}

static int read_logs(struct lt_round *r, const json_t *results, struct lt_err *e)
{
    const char *ima;
    int rc = 0;

    if (lt_json_has(results, "mb_measurement_list"))
        rc = lt_json_base64(results, "mb_measurement_list", LT_MAX_BOOT_LOG, &r->boot_log.p, &r->boot_log.n,
                            e);
    if (rc || !lt_json_has(results, "ima_measurement_list"))
        return rc;
    rc = lt_json_string(results, "ima_measurement_list", &ima, e);
    if (!rc)
        rc = dup_text(ima, (char **)&r->ima.p, e);
    if (!rc)
        r->ima.n = strlen(ima);
    return rc;
}

int lt_round_read_quote(struct lt_round *r, const char *body, size_t n, struct lt_err *e)
{
    LT_AUTOJSON json_t *j = lt_json_parse(body, n, LT_MAX_GUEST_REPLY, e);
    const char *quote, *pubkey;
    json_t *results;

    int rc = j ? lt_json_object(j, "results", &results, e) : e->code;
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
        return lt_fail_in(e, "guest's answer");
    r->has_quote = true;
    lt_boot_replay((struct lt_slice){r->boot_log.p, r->boot_log.n}, &r->replay);
    return 0;
}

int lt_round_read_proof(struct lt_round *r, const json_t *item, struct lt_ref *const *quotes, size_t count,
                        struct lt_err *e)
{
    uint8_t uuid[LT_UUID];
    int64_t quote;
    int rc = lt_json_uuid(item, "uuid", uuid, e);

    if (!rc && memcmp(uuid, r->uuid, sizeof uuid))
        rc = lt_fail(e, LT_E_MALFORMED, "it is for another guest");
    if (!rc && lt_json_has(item, "error")) {
        const json_t *error = json_object_get(item, "error");
        const char *slug = json_string_value(json_object_get(error, "slug"));
        const char *message = json_string_value(json_object_get(error, "message"));
        json_int_t retry = json_integer_value(json_object_get(error, "retry_after"));
        r->retry_after_s = retry > 0 && retry < 3600 ? (unsigned)retry : 0;
        rc = lt_fail(e, LT_E_UNREACHABLE, "%s: %s", slug ? slug : "error", message ? message : "no message");
    }
    if (!rc)
        rc = lt_json_int(item, "quote", 0, LT_MAX_PROOF_ITEMS, &quote, e);
    if (!rc && ((size_t)quote >= count || !quotes[quote]))
        rc = lt_fail(e, LT_E_MALFORMED, "host quote %d is missing or malformed", (int)quote);
    if (!rc)
        rc = lt_proof_from_json(item, &r->proof, e);
    if (rc)
        return lt_fail_in(e, "provider's proof");
    r->host_quote = lt_ref_get(quotes[quote]);
    r->has_proof = true;
    return 0;
}

static struct lt_guest_round guest_round(const struct lt_round *r, const struct lt_guest_policy *policy)
{
    struct lt_guest_round g = {
        .identity = lt_ref_value(r->identity),
        .required_pcrs = r->mask | 1u << LT_TRANSPORT_PCR,
        .attest = {r->quote.attest, r->quote.attest_n},
        .signature = {r->quote.signature, r->quote.signature_n},
        .pcrs = &r->quote.pcrs,
        .pubkey = r->pubkey,
        .boot_log = r->replay.present ? &r->replay : NULL,
        .policy = policy,
        .history = &r->history,
    };
    memcpy(g.tenant_id, r->tenant_id, sizeof g.tenant_id);
    memcpy(g.guest_uuid, r->uuid, sizeof g.guest_uuid);
    memcpy(g.nonce, r->nonce, sizeof g.nonce);
    return g;
}

void lt_round_appraise_guest(const struct lt_round *r, const struct lt_guest_policy *policy,
                             struct lt_round_facts *f, struct lt_verdict *v)
{
    struct lt_guest_round g = guest_round(r, policy);

    lt_verdict_init(v);
    lt_appraise_guest(&g, f, v);
}

void lt_round_conclude(const struct lt_guest_policy *policy, struct lt_verdict *v)
{
    lt_verdict_conclude(v, policy && policy->accept_copyable, policy && policy->accept_boot_only);
}

void lt_round_appraise_host(const struct lt_round *r, const struct lt_guest_policy *policy,
                            uint64_t window_ms, struct lt_quote_cache *cache, struct lt_round_facts *f,
                            struct lt_verdict *v)
{
    struct lt_guest_round g = guest_round(r, policy);
    const struct lt_host_keys *keys = lt_ref_value(r->host.keys);
    const struct lt_host_document *document = lt_ref_value(r->host.policy);
    const struct lt_host_log *log = lt_ref_value(r->host.log);
    struct lt_host_round h = {
        .guest = &g,
        .quote = lt_ref_value(r->host_quote),
        .proof = &r->proof,
        .identity = keys->id,
        .policy = document ? document->parsed : NULL,
        .boot_log = log && log->replay.present ? &log->replay : NULL,
        .timed = true,
        .t1_ms = r->t1_ms,
        .t5_ms = r->t5_ms,
        .window_ms = window_ms,
        .nonce_used = r->nonce_used,
        .history = &r->host_history,
        .cache = cache,
    };

    lt_appraise_host(&h, f, v);
    lt_round_conclude(policy, v);
}

/* ---- the bundle: a view over the round's own memory, never freed as a bundle ---- */

static void split_certificates(const char *pem, struct lt_certificates *out)
{
    static const char end[] = "-----END CERTIFICATE-----\n";

    while (pem && *pem && out->count < LT_MAX_CERTIFICATES) {
        const char *stop = strstr(pem, end);
        if (!stop)
            break;
        stop += sizeof end - 1;
        out->pem[out->count] = strndup(pem, (size_t)(stop - pem));
        if (!out->pem[out->count])
            break;
        out->count++;
        pem = stop;
    }
}

static struct lt_blob view(const void *p, size_t n)
{
    return (struct lt_blob){(uint8_t *)p, n};
}

static json_t *times(const struct lt_round *r)
{
    char started[32], received[32];

    lt_wall_text(r->started, started);
    if (!r->t5_ms)
        return json_pack("{s:s}", "started", started);
    lt_wall_text(r->received, received);
    return json_pack("{s:s, s:s, s:I}", "started", started, "received", received, "t5_minus_t1_ms",
                     (json_int_t)(r->t5_ms - r->t1_ms));
}

static void fill_host(const struct lt_round *r, struct lt_bundle *b)
{
    const struct lt_host_keys *keys = lt_ref_value(r->host.keys);
    const struct lt_host_log *log = lt_ref_value(r->host.log);

    b->has_host = true;
    b->host.quote = *(const struct lt_host_quote *)lt_ref_value(r->host_quote);
    b->host.ak = keys->ak;
    b->host.ek = keys->ek;
    b->host.ek_certificates = keys->certificates;
    if (log && log->bytes.p)
        b->host.boot_log = log->bytes;
    b->proof = r->proof;
}

static size_t fill_policies(const struct lt_round *r, struct lt_bundle_policy out[2])
{
    const struct lt_policy *guest = lt_ref_value(r->policy);
    const struct lt_host_document *host = lt_ref_value(r->host.policy);
    size_t n = 0;

    if (guest) {
        memcpy(out[n].digest, guest->parsed->digest, LT_SHA256);
        out[n++].bytes = view(guest->bytes, guest->n);
    }
    if (host && (!n || memcmp(out[0].digest, host->digest, LT_SHA256))) {
        memcpy(out[n].digest, host->digest, LT_SHA256);
        out[n++].bytes = view(host->bytes, host->n);
    }
    return n;
}

char *lt_round_bundle(const struct lt_round *r)
{
    struct lt_bundle_policy policies[2];
    struct lt_bundle b = {.policies = policies, .policy_count = fill_policies(r, policies)};
    LT_AUTOJSON json_t *when = times(r);
    LT_AUTOJSON json_t *verdict = lt_verdict_to_json(&r->verdict, NULL);

    memcpy(b.tenant_id, r->tenant_id, sizeof b.tenant_id);
    memcpy(b.guest.uuid, r->uuid, sizeof b.guest.uuid);
    memcpy(b.guest.nonce, r->nonce, sizeof b.guest.nonce);
    b.guest.attest = view(r->quote.attest, r->quote.attest_n);
    b.guest.signature = view(r->quote.signature, r->quote.signature_n);
    b.guest.pcrs = r->quote.pcrs;
    b.guest.ak = view(r->agent.ak, r->agent.ak_n);
    b.guest.ek = view(r->agent.ek, r->agent.ek_n);
    b.guest.pubkey = r->pubkey;
    b.guest.boot_log = r->boot_log;
    b.guest.ima = r->ima;
    memcpy(b.commitment, r->facts.commitment, sizeof b.commitment);
    if (r->has_proof && r->host.keys)
        fill_host(r, &b);
    b.times = when;
    b.verdict = verdict;
    split_certificates(r->agent.ekcert, &b.guest.ek_certificates);
    LT_AUTOJSON json_t *j = lt_bundle_to_json(&b);
    for (unsigned i = 0; i < b.guest.ek_certificates.count; i++)
        free(b.guest.ek_certificates.pem[i]);
    return j ? lt_json_dump(j) : NULL;
}
