#include "appraisal/imareplay.h"

#include "appraisal/imaline.h"
#include "tpm/pcr.h"

#include <inttypes.h>
#include <string.h>

static const uint16_t banks[LT_IMA_BANKS] = {LT_HASH_SHA1, LT_HASH_SHA256, LT_HASH_SHA384, LT_HASH_SHA512};

/* The column is the hash of the template data, in the algorithm that its width tells. */
static int check_column(const struct lt_ima_line *l, uint8_t digest[LT_IMA_BANKS][LT_MAX_DIGEST],
                        struct lt_err *e)
{
    uint8_t shown[LT_MAX_DIGEST];

    for (int b = 0; b < LT_IMA_BANKS; b++) {
        size_t n = lt_hash_size(banks[b]);
        if (l->column.n != 2 * n)
            continue;
        if (lt_ima_line_unhex(l->column.p, n, shown) && !memcmp(shown, digest[b], n))
            return 0;
        return lt_fail(e, LT_E_MALFORMED, "its template hash is not that of its content");
    }
    return lt_fail(e, LT_E_MALFORMED, "its template hash has %zu digits", l->column.n);
}

static int one(const struct lt_ima_line *l, struct lt_ima_replay *out, struct lt_err *e)
{
    const struct lt_slice data = {l->data, l->data_n};
    uint8_t digest[LT_IMA_BANKS][LT_MAX_DIGEST], padded[LT_MAX_DIGEST] = {0};

    if (l->pcr != LT_IMA_PCR)
        return lt_fail(e, LT_E_MALFORMED, "it is of PCR %u, not %d", l->pcr, LT_IMA_PCR);
    for (int b = 0; b < LT_IMA_BANKS && !l->violation; b++)
        lt_hash(banks[b], &data, 1, digest[b]);
    if (!l->violation)
        LT_TRY(check_column(l, digest, e));
    if (l->violation) { /* extended with ones */
        memset(digest, 0xff, sizeof digest);
        memset(padded, 0xff, sizeof padded);
    } else {
        memcpy(padded, digest[0], lt_hash_size(LT_HASH_SHA1));
    }
    for (int b = 0; b < LT_IMA_BANKS; b++) {
        lt_pcr_extend(banks[b], out->bank[b].value, digest[b]);
        lt_pcr_extend(banks[b], out->bank[b].padded, padded);
    }
    out->violations += l->violation;
    out->entries++;
    return 0;
}

int lt_ima_replay(struct lt_slice list, struct lt_ima_replay *out, struct lt_err *e)
{
    struct lt_ima_line line;
    struct lt_slice text;
    size_t at = 0, from = 0;

    memset(out, 0, sizeof *out);
    for (int b = 0; b < LT_IMA_BANKS; b++)
        out->bank[b].alg = banks[b];
    if (list.n > LT_MAX_IMA_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "IMA list of %zu bytes, at most %u are read", list.n,
                       LT_MAX_IMA_LOG);
    for (; lt_ima_line_next(list, &at, &text); from = at)
        if (lt_ima_line_parse(text, &line, e) || one(&line, out, e))
            return lt_fail_in(e, "IMA entry %" PRIu64 " at byte %zu", out->entries, from);
    return 0;
}
