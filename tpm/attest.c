#include "tpm/attest.h"

#include "common/limits.h"

#include <string.h>

#define WHAT "TPMS_ATTEST"
#define MAX_NAME (2 + LT_MAX_DIGEST)
#define MAX_DATA (2 + LT_MAX_DIGEST) /* TPM2B_DATA holds a TPMT_HA (Part 2, 10.4.3) */

/* TPMS_CLOCK_INFO (Part 2, 10.11.1) */
static int parse_clock(struct lt_reader *r, struct lt_attest_clock_info *c, struct lt_err *e)
{
    uint8_t safe;

    LT_TRY(lt_read_u64(r, &c->clock_ms, e));
    LT_TRY(lt_read_u32(r, &c->reset_count, e));
    LT_TRY(lt_read_u32(r, &c->restart_count, e));
    LT_TRY(lt_read_u8(r, &safe, e));
    if (safe > 1)
        return lt_fail(e, LT_E_MALFORMED, WHAT " at byte %zu: safe is %u, not yes or no", r->at - 1, safe);
    c->safe = safe;
    return 0;
}

static int parse_bank(struct lt_reader *r, struct lt_tpm_pcr_selection *s, struct lt_err *e)
{
    struct lt_slice bits;

    LT_TRY(lt_read_u16(r, &s->alg, e));
    LT_TRY(lt_read_u8(r, &s->select_size, e));
    if (s->select_size < 1 || s->select_size > 4)
        return lt_fail(e, LT_E_MALFORMED, WHAT " at byte %zu: PCR selection of %u bytes", r->at - 1,
                       s->select_size);
    LT_TRY(lt_read_slice(r, s->select_size, &bits, e));
    for (size_t i = 0; i < bits.n; i++)
        s->mask |= (uint32_t)bits.p[i] << 8 * i;
    return 0;
}

static int parse(struct lt_reader *r, struct lt_attest *a, struct lt_err *e)
{
    uint32_t magic;
    uint16_t type;

    LT_TRY(lt_read_u32(r, &magic, e));
    if (magic != LT_TPM_GENERATED)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": magic 0x%08x, not made by a TPM", magic);
    LT_TRY(lt_read_u16(r, &type, e));
    if (type != LT_TPM_ST_ATTEST_QUOTE)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": type 0x%04x, not a quote", type);
    LT_TRY(lt_read_slice16(r, MAX_NAME, &a->qualified_signer, e));
    LT_TRY(lt_read_slice16(r, MAX_DATA, &a->extra_data, e));
    LT_TRY(parse_clock(r, &a->clock, e));
    LT_TRY(lt_read_u64(r, &a->firmware_version, e));
    size_t start = r->at;
    LT_TRY(lt_read_u32(r, &a->bank_count, e));
    if (a->bank_count > sizeof a->banks / sizeof *a->banks)
        return lt_fail(e, LT_E_MALFORMED, WHAT " at byte %zu: %u PCR banks", start, a->bank_count);
    for (uint32_t i = 0; i < a->bank_count; i++)
        LT_TRY(parse_bank(r, &a->banks[i], e));
    a->selection_raw = (struct lt_slice){r->p + start, r->at - start};
    LT_TRY(lt_read_slice16(r, LT_MAX_DIGEST, &a->pcr_digest, e));
    return lt_reader_end(r, e);
}

int lt_attest_parse(const void *p, size_t n, struct lt_attest *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p, n, WHAT);

    *out = (struct lt_attest){0};
    int rc = n > LT_MAX_ATTEST ? lt_fail(e, LT_E_MALFORMED, WHAT ": %zu bytes > %d", n, LT_MAX_ATTEST)
                               : parse(&r, out, e);
    if (rc)
        *out = (struct lt_attest){0};
    return rc;
}

int lt_tpm_clock_compare(const struct lt_attest_clock_info *a, const struct lt_attest_clock_info *b)
{
    if (a->reset_count != b->reset_count)
        return a->reset_count < b->reset_count ? -1 : 1;
    if (a->restart_count != b->restart_count)
        return a->restart_count < b->restart_count ? -1 : 1;
    return a->clock_ms < b->clock_ms ? -1 : a->clock_ms > b->clock_ms;
}
