#include "common/limits.h"
#include "common/run/clock.h"
#include "tenant/guest_ek.h"
#include "tenant/round.h"

#include <stdlib.h>
#include <string.h>

#define BUNDLED 14 /* host policies that judge openers, beside the quoted one, count */

/* The bundle is a view over the round's own memory, never freed as a bundle. */

static struct lt_bundle_blob view(const void *p, size_t n)
{
    return (struct lt_bundle_blob){(uint8_t *)p, n};
}

static json_t *times(const struct lt_tenant_round *r)
{
    char started[32], received[32];

    lt_clock_wall_text(r->started, started);
    if (!r->t5_ms)
        return json_pack("{s:s}", "started", started);
    lt_clock_wall_text(r->received, received);
    return json_pack("{s:s, s:s, s:I}", "started", started, "received", received, "t5_minus_t1_ms",
                     (json_int_t)(r->t5_ms - r->t1_ms));
}

static void fill_host(const struct lt_tenant_round *r, struct lt_bundle *b, bool logs)
{
    const struct lt_verifier_host_keys *keys = lt_ref_value(r->host.keys);
    const struct lt_verifier_host_log *log = lt_ref_value(r->host.log);

    b->has_host = true;
    b->host.quote = *(const struct lt_residency_host_quote *)lt_ref_value(r->host_quote);
    b->host.ak = keys->ak;
    b->host.ek = keys->ek;
    b->host.ek_certificates = keys->certificates;
    const struct lt_verifier_host_ima *ima = lt_ref_value(r->host.ima);
    if (logs && log && log->log->replay.present)
        b->host.boot_log = view(log->log->bytes, log->log->n);
    if (logs && ima && ima->present)
        b->host.ima = ima->bytes;
    const struct lt_sealing_view *openers = lt_ref_value(r->openers);
    const struct lt_sealing_list *list = openers ? lt_ref_value(openers->list) : NULL;
    if (list)
        b->host.openers = view(list->bytes, list->n);
    b->proof = r->proof;
}

/* Both policies and the documents they name, and those that judge openers, each once. Documents are owned. */
struct documents {
    struct lt_bundle_policy list[2 + 2 * (1 + LT_MAX_LAYERS) + 2 * BUNDLED];
    size_t count, borrowed; /* the first ones are views */
};

static bool has(const struct documents *d, const uint8_t digest[LT_SHA256])
{
    for (size_t i = 0; i < d->count; i++)
        if (!memcmp(d->list[i].digest, digest, LT_SHA256))
            return true;
    return false;
}

static void add_policy(struct documents *d, const uint8_t digest[LT_SHA256], struct lt_bundle_blob bytes)
{
    if (has(d, digest))
        return;
    memcpy(d->list[d->count].digest, digest, LT_SHA256);
    d->list[d->count++].bytes = bytes;
    d->borrowed = d->count;
}

/* One that is too large, or gone, is left out: `limetree verify` names it. */
static void add_document(struct documents *d, struct lt_documents *from, const uint8_t digest[LT_SHA256])
{
    struct lt_bundle_policy *at = &d->list[d->count];

    if (has(d, digest) || lt_documents_bytes(from, digest, &at->bytes.p, &at->bytes.n, LT_NO_ERR))
        return;
    memcpy(at->digest, digest, LT_SHA256);
    d->count++;
}

static void add_documents(struct documents *d, struct lt_documents *from, const struct lt_policy_measured *p)
{
    if (p->has_boot)
        add_document(d, from, p->boot);
    for (unsigned i = 0; i < p->layer_count; i++)
        add_document(d, from, p->layer[i].policy);
}

/* What a state is judged by: the document and its boot policy. Views come first. */
static size_t add_states(const struct lt_sealing_view *v, struct documents *d)
{
    size_t n = v ? v->policy_count : 0;

    n = n < BUNDLED ? n : BUNDLED;
    for (size_t i = 0; i < n; i++) {
        const struct lt_verifier_host_document *one = lt_ref_value(v->policy[i]);
        add_policy(d, one->digest, view(one->bytes, one->n));
    }
    return n;
}

static void add_boots(const struct lt_sealing_view *v, size_t n, struct lt_documents *from,
                      struct documents *d)
{
    for (size_t i = 0; i < n; i++) {
        const struct lt_verifier_host_document *one = lt_ref_value(v->policy[i]);
        if (one->parsed->measured.has_boot)
            add_document(d, from, one->parsed->measured.boot);
    }
}

static void fill_policies(const struct lt_tenant_round *r, struct lt_documents *from, struct documents *d)
{
    const struct lt_tenant_policy *guest = lt_ref_value(r->policy);
    const struct lt_verifier_host_document *host = lt_ref_value(r->host.policy);
    const struct lt_sealing_view *openers = lt_ref_value(r->openers);

    if (guest)
        add_policy(d, guest->parsed->digest, view(guest->bytes, guest->n));
    if (host)
        add_policy(d, host->digest, view(host->bytes, host->n));
    size_t states = from ? add_states(openers, d) : 0;
    if (from && guest)
        add_documents(d, from, &guest->parsed->measured);
    if (from && host && host->parsed)
        add_documents(d, from, &host->parsed->measured);
    if (from)
        add_boots(openers, states, from, d);
}

static void documents_free(struct documents *d)
{
    for (size_t i = d->borrowed; i < d->count; i++)
        free(d->list[i].bytes.p);
}

static char *make(const struct lt_tenant_round *r, struct lt_documents *d, bool logs)
{
    __attribute__((cleanup(documents_free))) struct documents documents = {0};
    const struct lt_bundle_blob *ima = lt_ref_value(r->ima);

    fill_policies(r, d, &documents);
    struct lt_bundle b = {.policies = documents.list, .policy_count = documents.count};
    LT_JSON_AUTO json_t *when = times(r);
    LT_JSON_AUTO json_t *verdict = lt_verdict_to_json(&r->verdict, NULL);

    memcpy(b.tenant_id, r->tenant_id, sizeof b.tenant_id);
    memcpy(b.guest.uuid, r->uuid, sizeof b.guest.uuid);
    memcpy(b.guest.nonce, r->nonce, sizeof b.guest.nonce);
    b.guest.attest = view(r->quote.attest, r->quote.attest_n);
    b.guest.signature = view(r->quote.signature, r->quote.signature_n);
    b.guest.pcrs = r->quote.pcrs;
    b.guest.ak = view(r->agent.ak, r->agent.ak_n);
    b.guest.ek = view(r->agent.ek, r->agent.ek_n);
    b.guest.pubkey = r->pubkey;
    b.logs_omitted = !logs || r->dropped;
    if (logs && r->boot_log && r->boot_log->replay.present)
        b.guest.boot_log = view(r->boot_log->bytes, r->boot_log->n);
    if (logs && ima && !r->ima_broken)
        b.guest.ima = *ima;
    memcpy(b.commitment, r->facts.commitment, sizeof b.commitment);
    if (r->has_proof && r->host.keys)
        fill_host(r, &b, logs);
    b.times = when;
    b.verdict = verdict;
    lt_guest_ek_chain(r->agent.ekcert, &b.guest.ek_certificates);
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(&b);
    lt_tenant_cleanup_chain(&b.guest.ek_certificates);
    return j ? lt_json_dump(j) : NULL;
}

char *lt_tenant_round_bundle(const struct lt_tenant_round *r, struct lt_documents *d)
{
    return make(r, d, true);
}

char *lt_tenant_round_bundle_without(const struct lt_tenant_round *r)
{
    return make(r, NULL, false);
}
