#include "appraisal/checks/round.h"

#include <stdio.h>
#include <string.h>

/* The blob's values are not signed; the selection and the digest over the values are. One sha256 bank, and
 * signed selection = selection of the blob = required set. */
static void check_selection(const struct lt_checks_guest_round *in, const struct lt_attest *a,
                            struct lt_verdict *v)
{
    uint8_t digest[LT_SHA256];
    const struct lt_pcr_pcrs *p = in->pcrs;

    if (a->bank_count != 1 || a->banks[0].alg != LT_HASH_SHA256 || p->alg != LT_HASH_SHA256) {
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE,
                       "signed selection: %u banks, the first 0x%04x; must be sha256 alone", a->bank_count,
                       a->bank_count ? a->banks[0].alg : 0);
        return;
    }
    if (a->banks[0].mask != p->mask)
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "PCR values of mask 0x%06x, the signed selection is 0x%06x",
                       p->mask, a->banks[0].mask);
    if (!in->required_pcrs)
        lt_check_lack(v, LT_CHECK_GUEST_QUOTE, "required-pcrs", "which PCRs had to be quoted is not known");
    else if (a->banks[0].mask != in->required_pcrs)
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "signed selection 0x%06x, required is 0x%06x",
                       a->banks[0].mask, in->required_pcrs);
    lt_pcr_pcrs_digest(p, LT_HASH_SHA256, digest);
    if (!lt_slice_eq(a->pcr_digest, (struct lt_slice){digest, sizeof digest}))
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "PCR values do not have the signed PCR digest");
}

/* Keylime binds the transport key by PCR 16 = H(0 | H(PEM text as received)). */
static void check_transport_key(const struct lt_checks_guest_round *in, struct lt_verdict *v)
{
    uint8_t event[LT_SHA256], pcr[LT_SHA256] = {0};

    if (!in->pubkey) {
        lt_check_lack(v, LT_CHECK_GUEST_QUOTE, "transport-key",
                      "the transport key that PCR %d names is absent", LT_CHECKS_TRANSPORT_PCR);
        return;
    }
    if (!(in->pcrs->mask >> LT_CHECKS_TRANSPORT_PCR & 1)) {
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "PCR %d is not in the quote", LT_CHECKS_TRANSPORT_PCR);
        return;
    }
    lt_sha256(in->pubkey, strlen(in->pubkey), event);
    lt_pcr_extend(LT_HASH_SHA256, pcr, event);
    if (memcmp(pcr, in->pcrs->value[LT_CHECKS_TRANSPORT_PCR], sizeof pcr))
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE,
                       "PCR %d does not name the transport key that came with the quote",
                       LT_CHECKS_TRANSPORT_PCR);
}

static void check_quote(const struct lt_checks_guest_round *in, struct lt_history_round_facts *f,
                        struct lt_verdict *v)
{
    const struct lt_checks_guest_identity *id = in->identity;
    struct lt_attest a;
    struct lt_err e = {0};

    if (!lt_check_open(v, LT_CHECK_GUEST_QUOTE))
        return;
    if (id->fault.code) {
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "%s", id->fault.msg);
        return;
    }
    /* Signature before structure: what is not signed is not worth parsing. */
    if (in->attest.n > LT_MAX_ATTEST || in->signature.n > LT_MAX_SIGNATURE) {
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "attest of %zu bytes, signature of %zu", in->attest.n,
                       in->signature.n);
        return;
    }
    if (lt_signature_check(id->key, in->signature, in->attest, &e) ||
        lt_attest_parse(in->attest.p, in->attest.n, &a, &e)) {
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "%s", e.msg);
        return;
    }
    f->guest_clock = a.clock;
    if (!lt_slice_eq(a.extra_data, (struct lt_slice){(const uint8_t *)in->nonce, LT_RESIDENCY_NONCE}))
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "extraData is not the nonce of this round");
    if (!lt_slice_eq(a.qualified_signer, (struct lt_slice){id->qualified_signer, LT_TPM_NAME}))
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "qualifiedSigner is not that of an AK under this EK");
    check_selection(in, &a, v);
    check_transport_key(in, v);
    if (id->activated == LT_CHECKS_FACT_NO)
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "AK: activation with the EK failed");
    else if (id->activated == LT_CHECKS_FACT_UNKNOWN)
        lt_check_lack(v, LT_CHECK_GUEST_QUOTE, "activation",
                      "AK: not activated with the EK by this verifier");
    f->guest_genuine = lt_check_close(v, LT_CHECK_GUEST_QUOTE);
}

static void check_clock(const struct lt_checks_guest_round *in, const struct lt_history_round_facts *f,
                        struct lt_verdict *v)
{
    const struct lt_attest_clock_info *now = &f->guest_clock, *last;

    if (!lt_check_open(v, LT_CHECK_GUEST_CLOCK))
        return;
    if (!in->history) {
        lt_check_skip(v, LT_CHECK_GUEST_CLOCK, "no history of earlier rounds");
        return;
    }
    last = &in->history->clock;
    if (!in->history->has_clock)
        lt_check_note(v, LT_CHECK_GUEST_CLOCK, "first", "the first round: there is nothing to compare with");
    else if (lt_tpm_clock_compare(now, last) <= 0)
        lt_check_fault(v, LT_CHECK_GUEST_CLOCK,
                       "reset %u, restart %u, clock %llu ms is not above %u, %u, %llu ms of an earlier round",
                       now->reset_count, now->restart_count, (unsigned long long)now->clock_ms,
                       last->reset_count, last->restart_count, (unsigned long long)last->clock_ms);
    if (!now->safe)
        lt_check_note(v, LT_CHECK_GUEST_CLOCK, "safe",
                      "the vTPM says that its clock may have gone back at a hard stop");
    lt_check_close(v, LT_CHECK_GUEST_CLOCK);
}

/* Layers judge what the kernel measured, and the command line says what it measures: with that open, the list
 * says nothing of what was not asked for. Nor does it where nothing measured a command line (a BIOS, a loader
 * that measures nothing), unless the host says in the domain digest which one it gave. */
static void rest_on_boot(const struct lt_policy_guest *p, struct lt_measured_result *r)
{
    char *message = r->part[LT_MEASURED_PART_IMA].message, list[200];
    size_t n = sizeof r->part[LT_MEASURED_PART_IMA].message;
    uint32_t open = r->open & LT_MEASURED_PCRS_IMA;

    if (!p->measured.layer_count || p->accept_open_boot ||
        r->part[LT_MEASURED_PART_IMA].state != LT_MEASURED_GOOD)
        return;
    if (open)
        snprintf(message, n,
                 "the policy has layers and leaves %s open, so whoever chose the command line chose what IMA"
                 " measures; judge them, or accept \"open-boot\"",
                 lt_measured_list(open, list));
    else if (r->blind && !p->judges_domain)
        snprintf(message, n,
                 "the policy has layers, and PCR 8, 9 and 12 are zero: nothing measured the command line, so"
                 " whoever chose it chose what IMA measures; name \"domain\", or accept \"open-boot\"");
    else
        return;
    r->part[LT_MEASURED_PART_IMA].state = LT_MEASURED_LACKING;
}

/* One of the parts that a policy's own rules stand in was judged. */
static bool judged(const struct lt_measured_result *r)
{
    static const enum lt_measured_part rules[] = {LT_MEASURED_PART_PCRS, LT_MEASURED_PART_BOOT_POLICY,
                                                  LT_MEASURED_PART_IMA};

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (r->part[rules[i]].state == LT_MEASURED_GOOD || r->part[rules[i]].state == LT_MEASURED_BAD)
            return true;
    return false;
}

static void check_policy(const struct lt_checks_guest_round *in, struct lt_verdict *v)
{
    const struct lt_checks_logs *l = &in->logs;
    const struct lt_policy_guest *p = in->policy;
    struct lt_measured_result r;

    if (!lt_check_open(v, LT_CHECK_GUEST_POLICY))
        return;
    if (!p) {
        lt_check_skip(v, LT_CHECK_GUEST_POLICY, "no guest policy");
        return;
    }
    const struct lt_measured m = {
        .pcrs = in->pcrs,
        .boot_log = l->boot_log,
        .has_ima = l->has_ima,
        .ima = l->ima,
        .ima_first = l->ima_first,
        .progress = in->progress,
        .boot_log_trouble = l->boot_log_trouble,
        .ima_trouble = l->ima_trouble,
        .now = l->now,
    };
    lt_measured_appraise(&m, &p->pcrs, &p->measured, l->documents, p->digest, false, &r);
    rest_on_boot(p, &r);
    lt_measured_tell(&r, LT_CHECK_GUEST_POLICY, v);
    if (r.part[LT_MEASURED_PART_PCRS].state == LT_MEASURED_OMITTED &&
        r.part[LT_MEASURED_PART_BOOT_POLICY].state == LT_MEASURED_OMITTED &&
        r.part[LT_MEASURED_PART_IMA].state == LT_MEASURED_OMITTED)
        lt_check_lack(v, LT_CHECK_GUEST_POLICY, "rules",
                      "the guest policy judges nothing of what was measured");
    if (v->offline && !judged(&r) && r.part[LT_MEASURED_PART_BOOT_LOG].state != LT_MEASURED_BAD)
        lt_check_skip(v, LT_CHECK_GUEST_POLICY,
                      "nothing that the guest policy asks for is at hand to be judged");
    else
        lt_check_close(v, LT_CHECK_GUEST_POLICY);
}

void lt_checks_appraise_guest(const struct lt_checks_guest_round *in, struct lt_history_round_facts *f,
                              struct lt_verdict *v)
{
    memset(f, 0, sizeof *f);
    if (in->attest.n <= LT_MAX_ATTEST && in->signature.n <= LT_MAX_SIGNATURE) {
        lt_residency_evidence_digest(in->attest, in->signature, f->evidence);
        lt_residency_commitment(in->tenant_id, in->guest_uuid, in->identity->ek_digest, in->identity->ak_name,
                                in->nonce, f->evidence, f->commitment);
    }
    check_quote(in, f, v);
    check_clock(in, f, v);
    check_policy(in, v);
}
