#include "appraisal/checks/host_quote.h"

#include "appraisal/checks/checks.h"

#include <string.h>

static struct lt_slice slice(const void *p, size_t n)
{
    return (struct lt_slice){p, n};
}

static int parse(const struct lt_residency_host_quote *q, struct lt_residency_header *h, struct lt_attest *a,
                 struct lt_err *e)
{
    LT_TRY(lt_residency_header_parse(q->header, LT_RESIDENCY_HEADER, h, e));
    return lt_attest_parse(q->attest, q->attest_n, a, e);
}

static int prove(const struct lt_residency_host_quote *q, const struct lt_signature_key *ak,
                 const struct lt_residency_header *h, const struct lt_attest *a, struct lt_err *e)
{
    uint8_t digest[LT_SHA256];

    LT_TRY(lt_signature_check(ak, slice(q->signature, q->signature_n), slice(q->attest, q->attest_n), e));
    lt_sha256(q->header, LT_RESIDENCY_HEADER, digest);
    if (!lt_slice_eq(a->extra_data, slice(digest, sizeof digest)))
        return lt_fail(e, LT_E_MALFORMED, "extraData is not H(header)");
    if (!lt_slice_eq(a->selection_raw, slice(lt_residency_selection, sizeof lt_residency_selection)))
        return lt_fail(e, LT_E_MALFORMED, "signed selection is not sha256, PCR 0-15");
    if (q->pcrs.alg != LT_HASH_SHA256 || q->pcrs.mask != LT_RESIDENCY_HOST_PCR_MASK)
        return lt_fail(e, LT_E_MALFORMED, "PCR values of bank 0x%04x, mask 0x%06x", q->pcrs.alg,
                       q->pcrs.mask);
    lt_pcrs_digest(&q->pcrs, LT_HASH_SHA256, digest);
    if (!lt_slice_eq(a->pcr_digest, slice(digest, sizeof digest)))
        return lt_fail(e, LT_E_MALFORMED, "PCR values do not have the signed PCR digest");
    if (h->flags & ~(uint32_t)LT_RESIDENCY_HEADER_FLAGS)
        return lt_fail(e, LT_E_MALFORMED, "header flags 0x%x: not all known", h->flags);
    return 0;
}

int lt_host_quote_check(const struct lt_residency_host_quote *q, const struct lt_signature_key *ak,
                        struct lt_residency_header *h, struct lt_attest *a, struct lt_err *e)
{
    LT_TRY(parse(q, h, a, e));
    return prove(q, ak, h, a, e);
}

struct lt_result_cache *lt_host_quote_cache_new(void)
{
    return lt_result_cache_new(128, 8, 0);
}

void lt_host_quote_key(const struct lt_residency_host_quote *q, const uint8_t ak_name[LT_TPM_NAME],
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

/* A quote that many guests share is proved once. */
static int check(struct lt_checks *c, struct lt_err *e)
{
    const struct lt_residency_host_quote *q = c->host->quote;
    const struct lt_checks_identity_host *id = c->host->identity;
    struct lt_result_cache *cache = c->host->cache;
    uint8_t key[LT_SHA256];

    if (id->key_fault.code)
        return lt_fail(e, id->key_fault.code, "%s", id->key_fault.msg);
    if (!cache)
        return lt_host_quote_check(q, id->key, &c->header, &c->attest, e);
    LT_TRY(parse(q, &c->header, &c->attest, e));
    lt_host_quote_key(q, id->ak_name, key);
    if (lt_result_cache_get(cache, key, NULL))
        return 0;
    LT_TRY(prove(q, id->key, &c->header, &c->attest, e));
    lt_result_cache_put(cache, key, NULL);
    return 0;
}

void lt_checks_host_quote(struct lt_checks *c)
{
    struct lt_err e = {0};

    if (check(c, &e)) {
        lt_check_failed(c->v, LT_CHECK_HOST_QUOTE, &e);
        return;
    }
    c->f->host_clock = c->attest.clock;
    memcpy(c->f->host_ak_name, c->host->identity->ak_name, LT_TPM_NAME);
    memcpy(c->f->host_id, c->header.host_id, LT_RESIDENCY_HOST_ID);
    c->v->has_host = c->v->has_batch = true;
    memcpy(c->v->host_id, c->header.host_id, LT_RESIDENCY_HOST_ID);
    c->v->batch_n = c->header.n;
    c->v->batch_seq = c->header.batch_seq;
}
