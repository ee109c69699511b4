#include "appraisal/checks/round.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the checks hand on to one another. */
struct chain {
    const struct lt_checks_host_round *in;
    struct lt_history_round_facts *f;
    struct lt_verdict *v;
    struct lt_residency_header header;
    struct lt_attest attest;
    struct lt_residency_record record;
};

static struct lt_slice slice(const void *p, size_t n)
{
    return (struct lt_slice){p, n};
}

/* ---- 5 ---- */

struct lt_result_cache *lt_appraisal_quote_cache_new(void)
{
    return lt_result_cache_new(128, 8, 0);
}

void lt_appraisal_quote_key(const struct lt_residency_host_quote *q, const uint8_t ak_name[LT_TPM_NAME],
                            uint8_t out[LT_SHA256])
{
    uint8_t pcrs[8 + LT_MAX_PCRS * LT_MAX_DIGEST] = {0}, length[5][4];
    size_t n = 8, size = lt_hash_size(q->pcrs.alg);

    lt_put_u32(pcrs, q->pcrs.alg);
    lt_put_u32(pcrs + 4, q->pcrs.mask);
    for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
        if (q->pcrs.mask >> i & 1) {
            memcpy(pcrs + n, q->pcrs.value[i], size);
            n += size;
        }
    }
    const struct lt_slice items[5] = {
        {q->header, LT_RESIDENCY_HEADER}, {q->attest, q->attest_n}, {q->signature, q->signature_n}, {pcrs, n},
        {ak_name, LT_TPM_NAME},
    };
    struct lt_slice parts[10];
    for (unsigned i = 0; i < 5; i++) {
        lt_put_u32(length[i], (uint32_t)items[i].n);
        parts[2 * i] = (struct lt_slice){length[i], sizeof length[i]};
        parts[2 * i + 1] = items[i];
    }
    lt_hash(LT_HASH_SHA256, parts, 10, out);
}

static int quote_parts(struct chain *c, struct lt_err *e)
{
    static const uint8_t selection[] = {0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0xff, 0x00}; /* sha256, PCR 0-15 */
    const struct lt_residency_host_quote *q = c->in->quote;
    const struct lt_checks_host_identity *id = c->in->identity;
    uint8_t digest[LT_SHA256], key[LT_SHA256];

    if (id->key_fault.code)
        return lt_fail(e, id->key_fault.code, "%s", id->key_fault.msg);
    if (lt_residency_header_parse(q->header, LT_RESIDENCY_HEADER, &c->header, e) ||
        lt_attest_parse(q->attest, q->attest_n, &c->attest, e))
        return e->code;
    lt_appraisal_quote_key(q, id->ak_name, key);
    if (c->in->cache && lt_result_cache_get(c->in->cache, key, NULL))
        return 0;
    if (lt_signature_check(id->key, slice(q->signature, q->signature_n), slice(q->attest, q->attest_n), e))
        return e->code;
    lt_sha256(q->header, LT_RESIDENCY_HEADER, digest);
    if (!lt_slice_eq(c->attest.extra_data, slice(digest, sizeof digest)))
        return lt_fail(e, LT_E_REFUSED, "extraData is not H(header)");
    if (!lt_slice_eq(c->attest.selection_raw, slice(selection, sizeof selection)))
        return lt_fail(e, LT_E_REFUSED, "signed selection is not sha256, PCR 0-15");
    if (q->pcrs.alg != LT_HASH_SHA256 || q->pcrs.mask != LT_RESIDENCY_HOST_PCR_MASK)
        return lt_fail(e, LT_E_REFUSED, "PCR values of bank 0x%04x, mask 0x%06x", q->pcrs.alg, q->pcrs.mask);
    lt_pcr_pcrs_digest(&q->pcrs, LT_HASH_SHA256, digest);
    if (!lt_slice_eq(c->attest.pcr_digest, slice(digest, sizeof digest)))
        return lt_fail(e, LT_E_REFUSED, "PCR values do not have the signed PCR digest");
    if (c->header.flags & ~(uint32_t)LT_RESIDENCY_HEADER_FLAGS)
        return lt_fail(e, LT_E_REFUSED, "header flags 0x%x: not all known", c->header.flags);
    if (c->in->cache)
        lt_result_cache_put(c->in->cache, key, NULL);
    return 0;
}

static void check_quote(struct chain *c)
{
    struct lt_err e = {0};

    if (!lt_check_open(c->v, LT_CHECK_HOST_QUOTE))
        return;
    if (quote_parts(c, &e))
        lt_check_fault(c->v, LT_CHECK_HOST_QUOTE, "%s", e.msg);
    if (!lt_check_close(c->v, LT_CHECK_HOST_QUOTE))
        return;
    c->f->host_clock = c->attest.clock;
    memcpy(c->f->host_ak_name, c->in->identity->ak_name, LT_TPM_NAME);
    memcpy(c->f->host_id, c->header.host_id, LT_RESIDENCY_HOST_ID);
    c->v->has_host = c->v->has_batch = true;
    memcpy(c->v->host_id, c->header.host_id, LT_RESIDENCY_HOST_ID);
    c->v->batch_n = c->header.n;
    c->v->batch_seq = c->header.batch_seq;
}

/* ---- 4 ---- */

static void check_inclusion(struct chain *c)
{
    uint8_t leaf[LT_MERKLE_NODE];
    struct lt_err e = {0};

    if (!lt_check_open(c->v, LT_CHECK_BATCH_INCLUSION))
        return;
    lt_merkle_leaf(c->f->commitment, sizeof c->f->commitment, leaf);
    if (lt_merkle_verify(leaf, &c->in->proof->batch, c->header.n, c->header.batch_root, &e))
        lt_check_fault(c->v, LT_CHECK_BATCH_INCLUSION, "own commitment is not in the batch: %s", e.msg);
    lt_check_close(c->v, LT_CHECK_BATCH_INCLUSION);
}

/* ---- 6 ---- */

/* What the tenant did not find out disproves nothing: only a fact that speaks against the host is a fault. */
static void check_activation(struct chain *c)
{
    enum lt_checks_fact f = c->in->identity->activated;

    if (f == LT_CHECKS_FACT_NO)
        lt_check_fault(c->v, LT_CHECK_HOST_IDENTITY, "AK: activation with the EK failed");
    else if (f == LT_CHECKS_FACT_UNKNOWN)
        lt_check_lack(c->v, LT_CHECK_HOST_IDENTITY, "activation",
                      "AK: not activated with the EK by this verifier");
}

static void check_certificate(struct chain *c)
{
    const struct lt_checks_host_identity *id = c->in->identity;
    const char *text = id->certificate_text;

    if (id->certificate == LT_CHECKS_FACT_NO)
        lt_check_fault(c->v, LT_CHECK_HOST_IDENTITY, "%s", *text ? text : "EK certificate: chain refused");
    else if (id->certificate == LT_CHECKS_FACT_UNKNOWN)
        lt_check_gap(c->v, LT_CHECK_HOST_IDENTITY, "certificate", id->certificate_gap, "%s",
                     *text ? text : "EK certificate: chain not checked");
}

static void check_registry(struct chain *c)
{
    const struct lt_checks_host_identity *id = c->in->identity;
    char host[2 * LT_RESIDENCY_HOST_ID + 1];

    lt_hex(id->host_id, LT_RESIDENCY_HOST_ID, host);
    if (id->in_registry == LT_CHECKS_FACT_NO)
        lt_check_gap(c->v, LT_CHECK_HOST_IDENTITY, "registry", "not-in-registry",
                     "host %s: its EK is not in the pinned registry; if it belongs there, add it (limetree "
                     "host registry"
                     " shows the provider's list) and send limetree-tenant a HUP",
                     host);
    else if (id->in_registry == LT_CHECKS_FACT_UNKNOWN)
        lt_check_lack(c->v, LT_CHECK_HOST_IDENTITY, "registry", "no registry to look the EK up in");
}

static void check_identity(struct chain *c)
{
    const struct lt_checks_host_identity *id = c->in->identity;
    struct lt_verdict *v = c->v;

    if (!lt_check_open(v, LT_CHECK_HOST_IDENTITY))
        return;
    if (id->fault.code)
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "%s", id->fault.msg);
    if (!lt_slice_eq(c->attest.qualified_signer, slice(id->qualified_signer, LT_TPM_NAME)))
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "qualifiedSigner is not that of an AK under this EK");
    if (memcmp(c->in->quote->pcrs.value[LT_RESIDENCY_AK_PCR], id->ak_pcr, sizeof id->ak_pcr))
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "PCR %d does not name this AK", LT_RESIDENCY_AK_PCR);
    if (memcmp(c->header.host_id, id->host_id, LT_RESIDENCY_HOST_ID))
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "host_id in the header is not that of this EK");
    check_activation(c);
    check_certificate(c);
    check_registry(c);
    c->f->host_genuine = lt_check_close(v, LT_CHECK_HOST_IDENTITY);
}

/* ---- 7 ---- */

/* False: the check is not made (section 5: policy_digest outside the accepted set). */
static bool policy_accepted(struct chain *c)
{
    const struct lt_policy_guest *own = c->in->guest->policy;
    char digest[2 * LT_SHA256 + 1];

    lt_hex(c->header.policy_digest, LT_SHA256, digest);
    if (!own) {
        lt_check_lack(c->v, LT_CHECK_HOST_POLICY, "accepted-policies", "no set of accepted host policies");
        return true;
    }
    if (lt_policy_digests_have(&own->host_policies, c->header.policy_digest))
        return true;
    /* Offline nobody can run another round: a set that was given and does not hold is a failure. */
    if (c->v->offline)
        lt_check_fault(c->v, LT_CHECK_HOST_POLICY, "host policy %s is not accepted", digest);
    else
        lt_check_skip(c->v, LT_CHECK_HOST_POLICY, "host policy %s is not accepted", digest);
    return c->v->offline;
}

/* What the level `appraised` lacks (section 5): boot PCRs that nothing judges, and programs that a host's
 * word rests on and the list does not show. */
static void say_missing(struct lt_verdict *v, unsigned programs, uint32_t open, bool blind)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{LT_MEASURED_PROGRAM_AGENT, "limetree-agent"},
                 {LT_MEASURED_PROGRAM_LIBVIRT, "libvirtd or virtqemud"},
                 {LT_MEASURED_PROGRAM_QEMU, "qemu-system-*"},
                 {LT_MEASURED_PROGRAM_SWTPM, "swtpm"},
                 {LT_MEASURED_PROGRAM_LIBRARIES, "their libraries (lib*.so*)"}};
    char missing[160] = "", list[200];
    size_t n = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!(programs & names[i].bit))
            n += (size_t)snprintf(missing + n, sizeof missing - n, "%s%s", n ? ", " : "", names[i].name);
    if (open)
        lt_check_omit(v, LT_CHECK_HOST_POLICY, "level",
                      "open, though it decides over the code that runs: %s; boot-only",
                      lt_measured_list(open, list));
    if (blind)
        lt_check_omit(v, LT_CHECK_HOST_POLICY, "level",
                      "PCR 8, 9 and 12 are zero: nothing measured the kernel's command line; boot-only");
    if (!n)
        return;
    lt_check_omit(v, LT_CHECK_HOST_POLICY, "programs",
                  "the host's IMA list does not show, as allowed by a layer: %s; boot-only", missing);
}

/* One host, one policy and the same logs: judged once for all guests. A result with something lacking is not
 * kept. */
static void appraise(struct chain *c, const struct lt_policy_host *p, struct lt_measured_result *r)
{
    static const struct lt_measured_documents none;
    const struct lt_checks_logs *l = &c->in->logs;
    const struct lt_measured_documents *d = l->documents ? l->documents : &none;
    const struct lt_pcr_pcrs *pcrs = &c->in->quote->pcrs;
    struct lt_result_cache *cache = c->in->measured_cache;
    uint8_t key[LT_SHA256];
    const struct lt_measured m = {
        .pcrs = pcrs,
        .boot_log = l->boot_log,
        .has_ima = l->has_ima,
        .ima = l->ima,
        .ima_first = l->ima_first,
        .boot_log_trouble = l->boot_log_trouble,
        .ima_trouble = l->ima_trouble,
        .now = l->now,
    };
    /* Only logs with a digest can be told apart. */
    if ((l->boot_log && !l->boot_log_digest) || (l->has_ima && !l->ima_digest) || l->ima_first)
        cache = NULL;
    if (cache) {
        lt_measured_key(c->in->identity->ak_name, pcrs, p->digest, &p->measured, d,
                        l->boot_log ? l->boot_log_digest : NULL, l->has_ima ? l->ima_digest : NULL, l->now,
                        key);
        if (lt_result_cache_get(cache, key, r))
            return;
    }
    lt_measured_appraise(&m, &p->pcrs, &p->measured, d, p->digest, true, r);
    for (int i = 0; i < LT_MEASURED_PARTS; i++)
        if (r->part[i].state == LT_MEASURED_LACKING)
            cache = NULL;
    if (cache)
        lt_result_cache_put(cache, key, r);
}

static void check_policy(struct chain *c)
{
    static const struct lt_policy_host nothing;
    const struct lt_policy_host *policy = c->in->policy;
    struct lt_verdict *v = c->v;
    struct lt_measured_result r;

    if (!lt_check_open(v, LT_CHECK_HOST_POLICY) || !policy_accepted(c))
        return;
    bool at_hand = policy && !memcmp(policy->digest, c->header.policy_digest, LT_SHA256);
    appraise(c, at_hand ? policy : &nothing, &r);
    if (!at_hand) { /* the boot log must match all the same */
        lt_check_lack(v, LT_CHECK_HOST_POLICY, "policy",
                      "the host policy that the header names is not at hand");
        for (int i = 0; i < LT_MEASURED_PARTS; i++)
            if (i != LT_MEASURED_PART_BOOT_LOG)
                r.part[i].state = LT_MEASURED_GOOD;
        r.open = 0; /* nobody knows */
        r.blind = false;
    } else if (!policy->pcrs.mask && r.part[LT_MEASURED_PART_BOOT_POLICY].state == LT_MEASURED_OMITTED) {
        lt_check_lack(v, LT_CHECK_HOST_POLICY, "pcrs",
                      "the host policy names no PCR: nothing of the host's boot is judged");
        r.part[LT_MEASURED_PART_PCRS].state = LT_MEASURED_GOOD; /* told */
    }
    lt_measured_tell(&r, LT_CHECK_HOST_POLICY, v);
    bool whole = r.programs == LT_MEASURED_PROGRAMS && !(r.open & LT_MEASURED_PCRS_DECISIVE) && !r.blind;
    if (at_hand && policy->measured.layer_count && r.part[LT_MEASURED_PART_IMA].state == LT_MEASURED_GOOD &&
        !whole)
        say_missing(v, r.programs, r.open & LT_MEASURED_PCRS_DECISIVE, r.blind);
    if (lt_check_close(v, LT_CHECK_HOST_POLICY))
        v->level = whole ? LT_VERDICT_LEVEL_APPRAISED : LT_VERDICT_LEVEL_BOOT_ONLY;
}

/* ---- 8 ---- */

/* Null and paused are a new round's business once, leaving always (section 5, "What a failure means"). */
static void absent(struct chain *c, enum lt_history_absence why, const char *message)
{
    const struct lt_history_guest *h = c->in->guest->history;
    bool again = why != LT_HISTORY_ABSENT_LEAVING && h && h->absent_before;

    c->f->absence = why;
    lt_check_fault(c->v, LT_CHECK_RESIDENCY, "%s%s", message, again ? ", for the second time" : "");
    if (!again)
        c->v->check[LT_CHECK_RESIDENCY].weight = LT_CHECK_WEIGHT_UNCHECKED;
}

static void expected(struct chain *c, const char *part, bool judged, const struct lt_policy_digests *accepted,
                     const uint8_t digest[32])
{
    char is[2 * LT_SHA256 + 1];

    if (!judged) {
        lt_check_omit(c->v, LT_CHECK_RESIDENCY, part, "the policy expects no %s digest", part);
        return;
    }
    lt_hex(digest, LT_SHA256, is);
    if (!lt_policy_digests_have(accepted, digest))
        lt_check_fault(c->v, LT_CHECK_RESIDENCY, "%s digest %s is not among the %zu of the policy", part, is,
                       accepted->count);
}

static void check_against_policy(struct chain *c)
{
    const struct lt_policy_guest *p = c->in->guest->policy;
    struct lt_verdict *v = c->v;

    v->tainted = c->record.flags & LT_RESIDENCY_TAINTED;
    if (!p) {
        lt_check_lack(v, LT_CHECK_RESIDENCY, "expected",
                      "no policy: firmware, domain and taint are not judged");
        return;
    }
    expected(c, "firmware", p->judges_firmware, &p->firmware, c->record.firmware_digest);
    expected(c, "domain", p->judges_domain, &p->domain, c->record.domain_digest);
    if (v->tainted && !p->accept_tainted)
        lt_check_fault(v, LT_CHECK_RESIDENCY, "the domain is tainted, which the policy does not accept");
    else if (v->tainted)
        lt_check_note(v, LT_CHECK_RESIDENCY, "tainted",
                      "the domain is tainted; the policy accepts that by name");
}

/* A guest may turn up on another host handed over by the last one, or freshly booted; else it is a copy. */
static void check_host_change(struct chain *c)
{
    const struct lt_history_guest *h = c->in->guest->history;

    if (!h) {
        lt_check_lack(c->v, LT_CHECK_RESIDENCY, "history", "no history: a change of host is not judged");
        return;
    }
    if (!h->has_accepted || !memcmp(h->accepted_ak_name, c->f->host_ak_name, LT_TPM_NAME) ||
        c->f->guest_clock.reset_count > h->accepted_clock.reset_count)
        return;
    if (!(c->record.flags & LT_RESIDENCY_MOVED_IN) ||
        memcmp(c->record.previous_host_ak_name, h->accepted_ak_name, LT_TPM_NAME))
        lt_check_fault(
            c->v, LT_CHECK_RESIDENCY,
            "on another host than before, not handed over by it, and the guest has not been reset");
}

/* Any host can list this UUID with an EK of its own: that says no more of the guest than a null. From the
 * host that was accepted last it says that another vTPM runs there under this UUID. */
static void other_ek(struct chain *c)
{
    const struct lt_history_guest *h = c->in->guest->history;
    bool its_host = h && h->has_accepted && !memcmp(h->accepted_ak_name, c->f->host_ak_name, LT_TPM_NAME);

    if (its_host || c->v->check[LT_CHECK_RESIDENCY].state == LT_CHECK_NOT_PASSED)
        lt_check_fault(c->v, LT_CHECK_RESIDENCY, "the record is of another EK");
    else
        absent(c, LT_HISTORY_ABSENT_NULL, "the record is of another EK");
}

static void check_record(struct chain *c)
{
    const struct lt_proof *proof = c->in->proof;
    const struct lt_residency_record *r = &c->record;
    struct lt_verdict *v = c->v;
    uint8_t leaf[LT_MERKLE_NODE];
    struct lt_err e = {0};

    lt_merkle_leaf(proof->record, LT_RESIDENCY_RECORD, leaf);
    if (lt_residency_record_parse(proof->record, LT_RESIDENCY_RECORD, &c->record, &e) ||
        lt_merkle_verify(leaf, &proof->residency, c->header.m, c->header.inventory_root, &e)) {
        lt_check_fault(v, LT_CHECK_RESIDENCY, "%s", e.msg);
        return;
    }
    if (memcmp(r->guest_uuid, c->in->guest->guest_uuid, LT_UUID))
        lt_check_fault(v, LT_CHECK_RESIDENCY, "the record is of another guest");
    if (memcmp(r->ek_digest, c->in->guest->identity->ek_digest, sizeof r->ek_digest)) {
        other_ek(c);
        return;
    }
    if (r->flags & ~(uint32_t)LT_RESIDENCY_RECORD_FLAGS)
        lt_check_fault(v, LT_CHECK_RESIDENCY, "record flags 0x%x: not all known", r->flags);
    if (!(r->flags & (LT_RESIDENCY_RUNNING | LT_RESIDENCY_PAUSED)))
        lt_check_fault(v, LT_CHECK_RESIDENCY, "the guest is not running");
    check_against_policy(c);
    check_host_change(c);
    if (v->check[LT_CHECK_RESIDENCY].state == LT_CHECK_NOT_PASSED) /* not only because of what follows */
        return;
    if (r->flags & LT_RESIDENCY_MIGRATING_OUT)
        absent(c, LT_HISTORY_ABSENT_LEAVING, "the guest is being migrated to another host");
    else if (r->flags & LT_RESIDENCY_PAUSED)
        absent(c, LT_HISTORY_ABSENT_PAUSED, "the guest is paused");
}

static void check_residency(struct chain *c)
{
    struct lt_verdict *v = c->v;

    if (!lt_check_open(v, LT_CHECK_RESIDENCY))
        return;
    if (c->in->proof->resident)
        check_record(c);
    else
        absent(c, LT_HISTORY_ABSENT_NULL,
               c->header.flags & LT_RESIDENCY_EK_COLLISION
                   ? "not among the host's residents, where one EK is there twice"
                   : "not among the host's residents");
    if (!lt_check_close(v, LT_CHECK_RESIDENCY))
        return;
    c->f->resident = true;
    memcpy(c->f->incarnation, c->record.incarnation, LT_RESIDENCY_INCARNATION);
    v->link = (c->record.flags & LT_RESIDENCY_BORN) && (c->record.flags & LT_RESIDENCY_SEALED)
                  ? LT_VERDICT_LINK_RESIDENT
                  : LT_VERDICT_LINK_COPYABLE;
}

/* ---- 9, 10, 11 ---- */

static void check_clock(struct chain *c)
{
    const struct lt_attest_clock_info *now = &c->attest.clock;
    const struct lt_residency_record *r = &c->record;
    struct lt_attest_clock_info last;

    if (!lt_check_open(c->v, LT_CHECK_HOST_CLOCK))
        return;
    if (now->reset_count != r->start_reset || now->restart_count != r->start_restart)
        lt_check_fault(c->v, LT_CHECK_HOST_CLOCK, "record of reset %u, restart %u; the host is at %u, %u",
                       r->start_reset, r->start_restart, now->reset_count, now->restart_count);
    if (r->start_clock_ms > now->clock_ms)
        lt_check_fault(c->v, LT_CHECK_HOST_CLOCK,
                       "record starts at clock %" PRIu64 " ms, the quote is of %" PRIu64 " ms",
                       r->start_clock_ms, now->clock_ms);
    if (!c->in->history)
        lt_check_lack(c->v, LT_CHECK_HOST_CLOCK, "history", "no history of this host's quotes");
    else if (lt_history_host_at(c->in->history, c->in->t1_ms, &last) && lt_tpm_clock_compare(now, &last) < 0)
        lt_check_fault(c->v, LT_CHECK_HOST_CLOCK,
                       "reset %u, restart %u, clock %" PRIu64 " ms is below %u, %u, %" PRIu64
                       " ms of a quote received before this round",
                       now->reset_count, now->restart_count, now->clock_ms, last.reset_count,
                       last.restart_count, last.clock_ms);
    lt_check_close(c->v, LT_CHECK_HOST_CLOCK);
}

static void check_window(struct chain *c)
{
    const struct lt_checks_host_round *in = c->in;

    if (!lt_check_open(c->v, LT_CHECK_WINDOW))
        return;
    if (in->nonce_used)
        lt_check_fault(c->v, LT_CHECK_WINDOW, "the nonce was used in an earlier round");
    if (in->t5_ms < in->t1_ms || in->t5_ms - in->t1_ms > in->window_ms)
        lt_check_fault(c->v, LT_CHECK_WINDOW,
                       "from %" PRIu64 " ms to %" PRIu64 " ms: longer than %" PRIu64 " ms", in->t1_ms,
                       in->t5_ms, in->window_ms);
    lt_check_close(c->v, LT_CHECK_WINDOW);
}

/* Resident before the guest evidence was made: seen by an earlier round, or since long enough before this
 * one. A TPM's clock may be off by a third or so either way; twice the round and two seconds cover that. */
static void check_sandwich(struct chain *c)
{
    const struct lt_checks_host_round *in = c->in;
    const struct lt_history_guest *h = in->guest->history;

    if (!lt_check_open(c->v, LT_CHECK_SANDWICH))
        return;
    bool seen = h && h->has_accepted && !memcmp(h->accepted_ak_name, c->f->host_ak_name, LT_TPM_NAME) &&
                !memcmp(h->accepted_incarnation, c->record.incarnation, LT_RESIDENCY_INCARNATION);
    uint64_t here_ms = c->attest.clock.clock_ms - c->record.start_clock_ms; /* check 9: not negative */
    uint64_t round_ms = in->t5_ms - in->t1_ms;
    bool long_enough = in->t5_ms >= in->t1_ms && round_ms < UINT64_MAX / 4 && here_ms >= 2 * round_ms + 2000;
    if (!seen && !long_enough)
        lt_check_fault(c->v, LT_CHECK_SANDWICH,
                       "this incarnation is %" PRIu64 " ms old, the round took %" PRIu64
                       " ms, and no earlier round saw it",
                       here_ms, round_ms);
    lt_check_close(c->v, LT_CHECK_SANDWICH);
}

void lt_checks_appraise_host(const struct lt_checks_host_round *in, struct lt_history_round_facts *f,
                             struct lt_verdict *v)
{
    struct chain c = {.in = in, .f = f, .v = v};

    check_quote(&c);
    check_inclusion(&c);
    check_identity(&c);
    check_policy(&c);
    check_residency(&c);
    check_clock(&c);
    if (in->timed) {
        check_window(&c);
        check_sandwich(&c);
    } else {
        lt_check_skip(v, LT_CHECK_WINDOW, "the times of the round are not one's own");
        lt_check_skip(v, LT_CHECK_SANDWICH, "the times and earlier rounds are not one's own");
    }
    f->accepted = true;
    for (enum lt_check k = LT_CHECK_BATCH_INCLUSION; k <= LT_CHECK_HOST_CLOCK; k++)
        f->accepted = f->accepted && lt_verdict_passed(v, k);
}
