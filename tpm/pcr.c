#include "tpm/pcr.h"

#include <stdlib.h>
#include <string.h>

#define WHAT "PCR blob"
#define BANK_SLOTS 16  /* TPML_PCR_SELECTION: slots of 8 bytes */
#define LIST_DIGESTS 8 /* TPML_DIGEST: sizes of 2 bytes, buffers of 64 */
#define LIST_BYTES (4 + LIST_DIGESTS * (2 + LT_MAX_DIGEST))
#define HEAD_BYTES (4 + BANK_SLOTS * 8 + 4)
#define MAX_BLOB (HEAD_BYTES + LT_MAX_PCRS / LIST_DIGESTS * LIST_BYTES)
_Static_assert(MAX_BLOB == LT_MAX_PCR_BLOB, "the blob's ceiling");
#define PCR_BITS ((1u << LT_MAX_PCRS) - 1)

void lt_pcrs_digest(const struct lt_pcrs *p, uint16_t hash, uint8_t *out)
{
    struct lt_slice parts[LT_MAX_PCRS];
    size_t n = 0;

    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (p->mask >> i & 1)
            parts[n++] = (struct lt_slice){p->value[i], lt_hash_size(p->alg)};
    lt_hash(hash, parts, n, out);
}

void lt_pcr_extend(uint16_t alg, uint8_t *value, const void *digest)
{
    size_t n = lt_hash_size(alg);
    lt_hash(alg, (struct lt_slice[]){{value, n}, {digest, n}}, 2, value);
}

static int pcr_line(const char *line, size_t n, struct lt_pcrs *out, struct lt_err *e)
{
    static const uint16_t banks[] = {LT_HASH_SHA1, LT_HASH_SHA256, LT_HASH_SHA384, LT_HASH_SHA512};
    char hex[2 * LT_MAX_DIGEST + 1];
    unsigned pcr = 0;
    size_t at = 0;
    uint16_t alg = 0;

    for (; at < n && at < 2 && line[at] >= '0' && line[at] <= '9'; at++)
        pcr = 10 * pcr + (unsigned)(line[at] - '0');
    if (!at || at == n || line[at] != ' ' || pcr >= LT_MAX_PCRS)
        return lt_fail(e, LT_E_MALFORMED, "not 'N HEX' with a PCR below %u", LT_MAX_PCRS);
    for (size_t i = 0; i < sizeof banks / sizeof *banks; i++)
        if (n - at - 1 == 2 * lt_hash_size(banks[i]))
            alg = banks[i];
    if (!alg || (out->alg && out->alg != alg))
        return lt_fail(e, LT_E_MALFORMED, "PCR %u has %zu digits, which is no digest%s", pcr, n - at - 1,
                       out->alg ? " of the bank of the lines before" : "");
    if (out->mask >> pcr & 1)
        return lt_fail(e, LT_E_MALFORMED, "PCR %u twice", pcr);
    out->alg = alg;
    out->mask |= 1u << pcr;
    memcpy(hex, line + at + 1, n - at - 1);
    hex[n - at - 1] = 0;
    return lt_unhex(hex, out->value[pcr], lt_hash_size(alg), e);
}

int lt_pcrs_text_parse(struct lt_slice text, struct lt_pcrs *out, struct lt_err *e)
{
    const char *p = (const char *)text.p;
    unsigned number = 1;

    *out = (struct lt_pcrs){0};
    for (size_t at = 0; at < text.n; number++) {
        const char *end = memchr(p + at, '\n', text.n - at);
        size_t n = end ? (size_t)(end - p) - at : text.n - at;
        if (n)
            LT_TRY_IN(pcr_line(p + at, n, out, e), e, "line %u", number);
        at += n + 1;
    }
    return out->mask ? 0 : lt_fail(e, LT_E_MALFORMED, "no PCR value in it");
}

static void put_u32le(struct lt_buf *b, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        lt_buf_u8(b, (uint8_t)(v >> 8 * i));
}

static void put_zeros(struct lt_buf *b, size_t n)
{
    static const uint8_t zeros[(BANK_SLOTS - 1) * 8];
    for (size_t k; n; n -= k)
        lt_buf_put(b, zeros, k = n < sizeof zeros ? n : sizeof zeros);
}

int lt_pcr_blob_write(const struct lt_pcrs *p, struct lt_buf *b, struct lt_err *e)
{
    size_t size = lt_hash_size(p->alg);
    unsigned left = (unsigned)__builtin_popcount(p->mask);

    if (!size || !p->mask || p->mask & ~PCR_BITS)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": bank 0x%04x, PCRs 0x%x", p->alg, p->mask);
    put_u32le(b, 1);
    put_u32le(b, p->alg | 3u << 16 | p->mask << 24);
    put_u32le(b, p->mask >> 8);
    put_zeros(b, (BANK_SLOTS - 1) * 8);
    put_u32le(b, (left + LIST_DIGESTS - 1) / LIST_DIGESTS);
    for (unsigned pcr = 0; left;) {
        unsigned here = left < LIST_DIGESTS ? left : LIST_DIGESTS;
        put_u32le(b, here);
        for (unsigned k = 0; k < here; pcr++)
            if (p->mask >> pcr & 1) {
                lt_buf_u8(b, (uint8_t)size);
                lt_buf_u8(b, 0);
                lt_buf_put(b, p->value[pcr], size);
                put_zeros(b, LT_MAX_DIGEST - size);
                k++;
            }
        put_zeros(b, (LIST_DIGESTS - here) * (2 + LT_MAX_DIGEST));
        left -= here;
    }
    return lt_buf_ok(b, e);
}

static int parse(struct lt_reader *r, struct lt_pcrs *p, struct lt_err *e)
{
    struct lt_slice skipped;
    uint32_t banks, lists;
    uint8_t select[6];

    LT_TRY(lt_read_u32le(r, &banks, e));
    if (banks != 1)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": %u banks, must be 1", banks);
    LT_TRY(lt_read_u16le(r, &p->alg, e));
    LT_TRY(lt_read_copy(r, select, sizeof select, e));
    size_t size = lt_hash_size(p->alg);
    p->mask = (uint32_t)select[3] << 16 | (uint32_t)select[2] << 8 | select[1];
    if (!size || select[0] != 3 || !p->mask)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": bank 0x%04x, %u bytes of selection, PCRs 0x%x", p->alg,
                       select[0], p->mask);
    LT_TRY(lt_read_slice(r, (BANK_SLOTS - 1) * 8, &skipped, e));
    LT_TRY(lt_read_u32le(r, &lists, e));
    unsigned left = (unsigned)__builtin_popcount(p->mask);
    if (lists != (left + LIST_DIGESTS - 1) / LIST_DIGESTS)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": %u lists for %u PCRs", lists, left);
    unsigned pcr = 0;
    for (uint32_t i = 0; i < lists; i++) {
        uint32_t here;
        LT_TRY(lt_read_u32le(r, &here, e));
        if (here != (left < LIST_DIGESTS ? left : LIST_DIGESTS))
            return lt_fail(e, LT_E_MALFORMED, WHAT " at byte %zu: %u digests, %u PCRs left", r->at - 4, here,
                           left);
        for (uint32_t k = 0; k < here; k++, pcr++) {
            uint16_t n;
            while (!(p->mask >> pcr & 1))
                pcr++;
            LT_TRY(lt_read_u16le(r, &n, e));
            if (n != size)
                return lt_fail(e, LT_E_MALFORMED,
                               WHAT " at byte %zu: digest of %u bytes, the bank's have %zu", r->at - 2, n,
                               size);
            LT_TRY(lt_read_copy(r, p->value[pcr], size, e));
            LT_TRY(lt_read_slice(r, LT_MAX_DIGEST - size, &skipped, e));
        }
        LT_TRY(lt_read_slice(r, (LIST_DIGESTS - here) * (2 + LT_MAX_DIGEST), &skipped, e));
        left -= here;
    }
    return lt_reader_end(r, e);
}

/* What was skipped must be zeros, all of it: the blob must be the one that its own values make. */
static int check_canonical(const void *p, size_t n, const struct lt_pcrs *pcrs, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(MAX_BLOB);
    const uint8_t *in = p;

    LT_TRY(lt_pcr_blob_write(pcrs, &b, e));
    for (size_t i = 0; i < n; i++)
        if (b.p[i] != in[i])
            return lt_fail(e, LT_E_MALFORMED, WHAT " at byte %zu: 0x%02x in an unused place", i, in[i]);
    return 0;
}

int lt_pcr_blob_parse(const void *p, size_t n, struct lt_pcrs *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p, n, WHAT);

    *out = (struct lt_pcrs){0};
    int rc = parse(&r, out, e);
    if (!rc)
        rc = check_canonical(p, n, out, e);
    if (rc)
        *out = (struct lt_pcrs){0};
    return rc;
}
