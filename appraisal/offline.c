#include "appraisal/offline.h"

#include "appraisal/chain.h"

#include <stdio.h>
#include <string.h>

static void cleanup_guest(struct lt_guest_identity **id)
{
    lt_guest_identity_free(*id);
}

static void cleanup_host(struct lt_host_identity **id)
{
    lt_host_identity_free(*id);
}

static void cleanup_policy(struct lt_host_policy **p)
{
    lt_host_policy_free(*p);
}

static struct lt_slice slice(const struct lt_blob *b)
{
    return (struct lt_slice){b->p, b->n};
}

/* The document that the header names, if the bundle carries it. */
static int host_policy(const struct lt_bundle *b, struct lt_host_policy **out, struct lt_err *e)
{
    struct lt_header h;

    *out = NULL;
    if (lt_header_parse(b->host.quote.header, LT_HEADER, &h, NULL))
        return 0; /* check 5 says so */
    for (size_t i = 0; i < b->policy_count; i++)
        if (!memcmp(b->policies[i].digest, h.policy_digest, sizeof h.policy_digest) &&
            lt_host_policy_parse(b->policies[i].bytes.p, b->policies[i].bytes.n, out, e))
            return lt_fail_in(e, "host policy in the bundle");
    return 0;
}

static void certificate(const struct lt_bundle *b, const struct lt_offline *o, struct lt_host_identity *id)
{
    const struct lt_certificates *c = &b->host.ek_certificates;
    struct lt_err e = {0};

    if (!o->roots || !c->count || id->fault.code) {
        snprintf(id->certificate_text, sizeof id->certificate_text, "EK certificate: %s",
                 o->roots ? "none in the bundle" : "chain not checked, no roots given");
        return;
    }
    id->certificate = LT_FACT_YES;
    if (lt_ek_certificates_check(o->roots, c->pem, c->count, &id->ek, o->now, &e)) {
        id->certificate = LT_FACT_NO;
        snprintf(id->certificate_text, sizeof id->certificate_text, "%.199s", e.msg);
    }
}

static int host_half(const struct lt_bundle *b, const struct lt_offline *o,
                     const struct lt_guest_round *guest, struct lt_round_facts *f, struct lt_verdict *v,
                     struct lt_err *e)
{
    __attribute__((cleanup(cleanup_host))) struct lt_host_identity *id =
        lt_host_identity_new(slice(&b->host.ek), slice(&b->host.ak));
    __attribute__((cleanup(cleanup_policy))) struct lt_host_policy *policy = NULL;
    struct lt_boot_replay log;

    if (!id)
        return lt_fail(e, LT_E_NO_MEMORY, "host identity: no memory");
    LT_TRY(host_policy(b, &policy, e));
    certificate(b, o, id);
    lt_boot_replay(slice(&b->host.boot_log), &log);
    struct lt_host_round round = {
        .guest = guest,
        .quote = &b->host.quote,
        .proof = &b->proof,
        .identity = id,
        .policy = policy,
        .boot_log = &log,
    };
    lt_appraise_host(&round, f, v);
    return 0;
}

int lt_appraise_bundle(const struct lt_bundle *b, const struct lt_offline *o, struct lt_verdict *v,
                       struct lt_err *e)
{
    __attribute__((cleanup(cleanup_guest))) struct lt_guest_identity *id =
        lt_guest_identity_new(slice(&b->guest.ek), slice(&b->guest.ak));
    struct lt_boot_replay log;
    struct lt_round_facts f;

    lt_verdict_init_offline(v);
    if (!id)
        return lt_fail(e, LT_E_NO_MEMORY, "guest identity: no memory");
    lt_boot_replay(slice(&b->guest.boot_log), &log);
    struct lt_guest_round round = {
        .identity = id,
        .attest = slice(&b->guest.attest),
        .signature = slice(&b->guest.signature),
        .pcrs = &b->guest.pcrs,
        .pubkey = b->guest.pubkey,
        .boot_log = &log,
        .policy = o->policy,
    };
    memcpy(round.tenant_id, b->tenant_id, sizeof round.tenant_id);
    memcpy(round.guest_uuid, b->guest.uuid, sizeof round.guest_uuid);
    memcpy(round.nonce, b->guest.nonce, sizeof round.nonce);
    lt_appraise_guest(&round, &f, v);
    if (b->has_host)
        LT_TRY(host_half(b, o, &round, &f, v, e));
    /* The bundle's own word for C must be what its evidence gives. */
    if (memcmp(f.commitment, b->commitment, sizeof f.commitment) && lt_verdict_passed(v, LT_GUEST_QUOTE) &&
        (lt_verdict_passed(v, LT_BATCH_INCLUSION) || !b->has_host))
        lt_check_fault(v, LT_BATCH_INCLUSION, "the bundle's commitment is not that of its evidence");
    lt_verdict_conclude(v, false, false);
    return 0;
}
