#include "appraisal/checks/checks.h"

#include <string.h>

/* The blob's values are not signed; the selection and the digest over the values are. One bank, of SHA-256 or
 * SHA-384, and signed selection = selection of the blob = required set. The digest is made with the hash that
 * the key signs with (Part 3, 18.4). */
static void check_selection(const struct lt_checks_guest_round *in, const struct lt_attest *a,
                            struct lt_verdict *v)
{
    uint8_t digest[LT_MAX_DIGEST];
    const struct lt_pcrs *p = in->pcrs;
    uint16_t hash = in->identity->ak.scheme_hash;

    if (a->bank_count != 1 || (a->banks[0].alg != LT_HASH_SHA256 && a->banks[0].alg != LT_HASH_SHA384)) {
        lt_check_fault_of(v, LT_CHECK_GUEST_QUOTE, "bank",
                          "signed selection: %u banks, the first 0x%04x; must be sha256 or sha384 alone",
                          a->bank_count, a->bank_count ? a->banks[0].alg : 0);
        return;
    }
    if (p->alg != a->banks[0].alg) {
        lt_check_fault_of(v, LT_CHECK_GUEST_QUOTE, "bank",
                          "PCR values of bank 0x%04x, the signed selection is of 0x%04x", p->alg,
                          a->banks[0].alg);
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
    lt_pcrs_digest(p, hash, digest);
    if (!lt_slice_eq(a->pcr_digest, (struct lt_slice){digest, lt_hash_size(hash)}))
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "PCR values do not have the signed PCR digest");
}

/* Keylime binds the transport key by PCR 16 = H(0 | H(PEM text as received)), the bank's H. */
static void check_transport_key(const struct lt_checks_guest_round *in, struct lt_verdict *v)
{
    uint8_t event[LT_MAX_DIGEST], pcr[LT_MAX_DIGEST] = {0};
    size_t n = lt_hash_size(in->pcrs->alg);

    if (!in->pubkey) {
        lt_check_lack(v, LT_CHECK_GUEST_QUOTE, "transport-key",
                      "the transport key that PCR %d names is absent", LT_CHECKS_TRANSPORT_PCR);
        return;
    }
    if (!(in->pcrs->mask >> LT_CHECKS_TRANSPORT_PCR & 1)) {
        lt_check_fault_of(v, LT_CHECK_GUEST_QUOTE, "pcr-missing", "PCR %d is not in the quote",
                          LT_CHECKS_TRANSPORT_PCR);
        return;
    }
    if (!n)
        return; /* said of the selection */
    const struct lt_slice text = {(const uint8_t *)in->pubkey, strlen(in->pubkey)};
    lt_hash(in->pcrs->alg, &text, 1, event);
    lt_pcr_extend(in->pcrs->alg, pcr, event);
    if (memcmp(pcr, in->pcrs->value[LT_CHECKS_TRANSPORT_PCR], n))
        lt_check_fault_of(v, LT_CHECK_GUEST_QUOTE, "pcr-16",
                          "PCR %d does not name the transport key that came with the quote",
                          LT_CHECKS_TRANSPORT_PCR);
}

void lt_checks_guest_quote(struct lt_checks *c)
{
    const struct lt_checks_guest_round *in = c->guest;
    struct lt_verdict *v = c->v;
    const struct lt_checks_identity_guest *id = in->identity;
    struct lt_attest a;
    struct lt_err e = {0};

    if (id->fault.code) {
        lt_check_failed(v, LT_CHECK_GUEST_QUOTE, &id->fault);
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
        lt_check_failed(v, LT_CHECK_GUEST_QUOTE, &e);
        return;
    }
    c->f->guest_clock = a.clock;
    if (!lt_slice_eq(a.extra_data, (struct lt_slice){(const uint8_t *)in->nonce, strlen(in->nonce)}))
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "extraData is not the nonce of this round");
    if (!lt_slice_eq(a.qualified_signer, (struct lt_slice){id->qualified_signer.p, id->qualified_signer.n}))
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "qualifiedSigner is not that of an AK under this EK");
    check_selection(in, &a, v);
    check_transport_key(in, v);
    if (in->ek && in->ek->pinned == LT_CHECKS_FACT_NO)
        lt_check_gap(v, LT_CHECK_GUEST_QUOTE, "pinned-ek", "other-ek", "EK: not the one that is pinned");
    if (id->activated == LT_CHECKS_FACT_NO)
        lt_check_fault(v, LT_CHECK_GUEST_QUOTE, "AK: activation with the EK failed");
    else if (id->activated == LT_CHECKS_FACT_UNKNOWN)
        lt_check_lack(v, LT_CHECK_GUEST_QUOTE, "activation",
                      "AK: not activated with the EK by this verifier");
}
