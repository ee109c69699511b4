#include "appraisal/checks/offline.h"

#include "appraisal/checks/round.h"
#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lt_slice slice(const struct lt_bundle_blob *b)
{
    return (struct lt_slice){b->p, b->n};
}

/* ---- documents ---- */

struct documents {
    struct lt_measured_documents view;
    struct lt_boot_policy *boot;
    struct {
        struct lt_buf bytes;
        struct lt_ima_table *table;
    } layer[LT_MAX_LAYERS];
};

static void documents_free(struct documents *d)
{
    lt_boot_policy_free(d->boot);
    for (unsigned i = 0; i < LT_MAX_LAYERS; i++) {
        lt_ima_table_close(d->layer[i].table);
        lt_buf_free(&d->layer[i].bytes);
    }
}

static const struct lt_bundle_blob *document(const struct lt_bundle *b, const uint8_t digest[LT_SHA256])
{
    for (size_t i = 0; i < b->policy_count; i++)
        if (!memcmp(b->policies[i].digest, digest, LT_SHA256))
            return &b->policies[i].bytes;
    return NULL;
}

/* A document that is none of its kind is as good as not there. */
static void open_documents(const struct lt_bundle *b, const struct lt_offline *o,
                           const struct lt_policy_measured *p, struct documents *d)
{
    const struct lt_bundle_blob *doc;
    struct lt_err e = {0};

    if (p->has_boot && (doc = document(b, p->boot)) && !lt_boot_policy_parse(doc->p, doc->n, &d->boot, &e)) {
        d->view.boot = d->boot;
        memcpy(d->view.boot_digest, p->boot, LT_SHA256);
    }
    for (unsigned i = 0; i < p->layer_count; i++) {
        struct lt_buf *bytes = &d->layer[i].bytes;
        doc = document(b, p->layer[i].policy);
        if (doc && !lt_ima_table_compile(doc->p, doc->n, o->policy_key, bytes, &e) &&
            !lt_ima_table_open(bytes->p, bytes->n, &d->layer[i].table, &e))
            d->view.layer[i] = d->layer[i].table;
    }
}

static void set_logs(struct lt_measured_logs *l, const struct lt_bundle_blob *ima,
                     const struct lt_boot_log *log, const struct documents *d, int64_t now, bool omitted)
{
    if (omitted && !log->replay.present)
        l->boot_log_trouble = "the boot log was left out of the bundle for want of room";
    if (omitted && !ima->p)
        l->ima_trouble = "the IMA list was left out of the bundle for want of room";
    l->boot_log = log;
    l->has_ima = ima->p;
    l->ima = slice(ima);
    l->documents = &d->view;
    l->now = now;
}

/* ---- openers ---- */

/* What a list of openers is judged by, of what a bundle has. Zeroed at first. */
struct openers {
    struct lt_checks_openers view;
    struct lt_openers list;
    size_t count; /* policies, whose documents have the same index */
    struct lt_policy_host **policy;
    struct lt_checks_openers_policy *held;
    struct documents *documents;
};

static void openers_free(struct openers *o)
{
    for (size_t i = 0; i < o->count; i++) {
        documents_free(&o->documents[i]);
        lt_policy_host_free(o->policy[i]);
    }
    free(o->documents);
    free(o->policy);
    free(o->held);
    lt_openers_free(&o->list);
}

/* Those of the guest policy's that the bundle carries. */
static void open_held(const struct lt_bundle *b, const struct lt_offline *o,
                      const struct lt_policy_digests *named, struct openers *out)
{
    for (size_t i = 0; i < b->policy_count; i++) {
        const struct lt_bundle_policy *doc = &b->policies[i];
        struct lt_policy_host **policy = &out->policy[out->count];
        if (!lt_policy_digests_have(named, doc->digest) ||
            lt_policy_host_parse(doc->bytes.p, doc->bytes.n, policy, LT_NO_ERR))
            continue;
        struct documents *d = &out->documents[out->count];
        struct lt_policy_measured boot = {.has_boot = (*policy)->measured.has_boot};
        memcpy(boot.boot, (*policy)->measured.boot, LT_SHA256);
        open_documents(b, o, &boot, d); /* layers say nothing of a state */
        out->held[out->count++] = (struct lt_checks_openers_policy){*policy, &d->view};
    }
}

static int open_openers(const struct lt_bundle *b, const struct lt_offline *o, struct openers *out,
                        struct lt_err *e)
{
    const struct lt_bundle_blob *bytes = &b->host.openers;

    out->view.trouble = "the bundle has none";
    if (!bytes->p)
        return 0;
    LT_TRY_IN(lt_openers_parse(bytes->p, bytes->n, &out->list, e), e, "openers in the bundle");
    out->view.list = &out->list;
    out->policy = lt_alloc(2 * b->policy_count + 1, sizeof *out->policy);
    out->held = lt_alloc(2 * b->policy_count + 1, sizeof *out->held);
    out->documents = lt_alloc(2 * b->policy_count + 1, sizeof *out->documents);
    if (o->policy) {
        open_held(b, o, &o->policy->host_policies, out);
        open_held(b, o, &o->policy->retired_host_policies, out);
    }
    out->view.policy = out->held;
    out->view.policy_count = out->count;
    return 0;
}

/* The document that the header names, if the bundle carries it. */
static int host_policy(const struct lt_bundle *b, struct lt_policy_host **out, struct lt_err *e)
{
    struct lt_residency_header h;

    *out = NULL;
    if (lt_residency_header_parse(b->host.quote.header, LT_RESIDENCY_HEADER, &h, LT_NO_ERR))
        return 0; /* check 5 says so */
    for (size_t i = 0; i < b->policy_count; i++)
        if (!memcmp(b->policies[i].digest, h.policy_digest, sizeof h.policy_digest))
            LT_TRY_IN(lt_policy_host_parse(b->policies[i].bytes.p, b->policies[i].bytes.n, out, e), e,
                      "host policy in the bundle");
    return 0;
}

static int certificate(const struct lt_bundle *b, const struct lt_offline *o,
                       struct lt_checks_identity_host *id, struct lt_err *e)
{
    const struct lt_bundle_certificates *c = &b->host.ek_certificates;
    struct lt_err why = {0};

    if (!o->roots || !c->count || id->fault.code) {
        snprintf(id->certificate_text, sizeof id->certificate_text, "EK certificate: %s",
                 o->roots ? "none in the bundle" : "chain not checked, no roots given");
        return 0;
    }
    id->certificate = LT_CHECKS_FACT_YES;
    int rc = lt_ek_certificates_check(o->roots, c->pem, c->count, &id->ek, o->now, &why);
    if (rc == LT_E_NO_MEMORY)
        return lt_fail(e, rc, "%s", why.msg);
    if (rc) {
        id->certificate = LT_CHECKS_FACT_NO;
        snprintf(id->certificate_text, sizeof id->certificate_text, "%.199s", why.msg);
    }
    return 0;
}

static int host_half(const struct lt_bundle *b, const struct lt_offline *o,
                     const struct lt_checks_guest_round *guest, struct lt_history_round_facts *f,
                     struct lt_verdict *v, struct lt_err *e)
{
    LT_AUTO(lt_checks_identity_host)
    struct lt_checks_identity_host *id = lt_checks_identity_host_new(slice(&b->host.ek), slice(&b->host.ak));
    LT_AUTO(lt_policy_host) struct lt_policy_host *policy = NULL;
    LT_AUTO(lt_boot_log) struct lt_boot_log *log = lt_boot_log_new(slice(&b->host.boot_log));
    __attribute__((cleanup(documents_free))) struct documents documents = {0};
    __attribute__((cleanup(openers_free))) struct openers openers = {0};

    if (!log)
        return lt_fail(e, LT_E_NO_MEMORY, "host's boot log: no memory");
    LT_TRY(host_policy(b, &policy, e));
    LT_TRY(certificate(b, o, id, e));
    LT_TRY(open_openers(b, o, &openers, e));
    openers.view.host = (const struct lt_checks_identity_host *const[]){id};
    openers.view.host_count = 1;
    if (policy)
        open_documents(b, o, &policy->measured, &documents);
    struct lt_checks_host_round round = {
        .guest = guest,
        .quote = &b->host.quote,
        .proof = &b->proof,
        .identity = id,
        .policy = policy,
        .openers = &openers.view,
    };
    set_logs(&round.logs, &b->host.ima, log, &documents, o->now, b->logs_omitted);
    lt_checks_appraise_host(&round, f, v);
    return 0;
}

int lt_offline_appraise(const struct lt_bundle *b, const struct lt_offline *o, struct lt_verdict *v,
                        struct lt_err *e)
{
    LT_AUTO(lt_checks_identity_guest)
    struct lt_checks_identity_guest *id =
        lt_checks_identity_guest_new(slice(&b->guest.ek), slice(&b->guest.ak));
    LT_AUTO(lt_boot_log) struct lt_boot_log *log = lt_boot_log_new(slice(&b->guest.boot_log));
    __attribute__((cleanup(documents_free))) struct documents documents = {0};
    struct lt_history_round_facts f;

    lt_verdict_init_offline(v);
    if (!log)
        return lt_fail(e, LT_E_NO_MEMORY, "guest's boot log: no memory");
    if (o->policy)
        open_documents(b, o, &o->policy->measured, &documents);
    struct lt_checks_guest_round round = {
        .identity = id,
        .attest = slice(&b->guest.attest),
        .signature = slice(&b->guest.signature),
        .pcrs = &b->guest.pcrs,
        .pubkey = b->guest.pubkey,
        .policy = o->policy,
    };
    set_logs(&round.logs, &b->guest.ima, log, &documents, o->now, b->logs_omitted);
    memcpy(round.tenant_id, b->tenant_id, sizeof round.tenant_id);
    memcpy(round.guest_uuid, b->guest.uuid, sizeof round.guest_uuid);
    memcpy(round.nonce, b->guest.nonce, sizeof b->guest.nonce);
    lt_checks_appraise_guest(&round, &f, v);
    if (b->has_host)
        LT_TRY(host_half(b, o, &round, &f, v, e));
    /* The bundle's own word for C must be what its evidence gives. */
    if (memcmp(f.commitment, b->commitment, sizeof f.commitment) &&
        lt_verdict_passed(v, LT_CHECK_GUEST_QUOTE) &&
        (lt_verdict_passed(v, LT_CHECK_BATCH_INCLUSION) || !b->has_host))
        lt_check_fault(v, LT_CHECK_BATCH_INCLUSION, "the bundle's commitment is not that of its evidence");
    lt_verdict_conclude(v, LT_VERDICT_LINK_RESIDENT, false);
    return 0;
}
