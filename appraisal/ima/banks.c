#include "appraisal/ima/banks.h"

#include "appraisal/ima/line.h"
#include "tpm/pcr.h"

#include <inttypes.h>
#include <string.h>

static const uint16_t banks[LT_IMA_BANKS] = {LT_HASH_SHA1, LT_HASH_SHA256, LT_HASH_SHA384, LT_HASH_SHA512};

static int one(const struct lt_ima_line *l, struct lt_ima_replay *out, struct lt_err *e)
{
    uint8_t digest[LT_IMA_BANKS][LT_MAX_DIGEST], padded[LT_MAX_DIGEST] = {0};
    const size_t sha1 = lt_hash_size(LT_HASH_SHA1);

    if (l->pcr != LT_IMA_PCR)
        return lt_fail(e, LT_E_MALFORMED, "it is of PCR %u, not %d", l->pcr, LT_IMA_PCR);
    if (!l->violation && !l->proved)
        return lt_fail(e, LT_E_MALFORMED, "its template hash is not that of its content");
    memset(digest, 0xff, sizeof digest); /* what a violation extends */
    for (int b = 0; b < LT_IMA_BANKS && !l->violation; b++)
        lt_hash(banks[b], &l->data, 1, digest[b]);
    memcpy(padded, digest[0], sha1);
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
    struct lt_ima_walk w = lt_ima_walk(list);
    struct lt_ima_line line;
    bool more = true;

    memset(out, 0, sizeof *out);
    for (int b = 0; b < LT_IMA_BANKS; b++)
        out->bank[b].alg = banks[b];
    if (list.n > LT_MAX_IMA_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "IMA list of %zu bytes, at most %u are read", list.n,
                       LT_MAX_IMA_LOG);
    for (size_t from = 0;; from = w.at) {
        int rc = lt_ima_walk_next(&w, &line, &more, e);
        if (!rc && more)
            rc = one(&line, out, e);
        if (rc)
            return lt_fail_in(e, rc, "IMA entry %" PRIu64 " at byte %zu", out->entries, from);
        if (!more)
            return 0;
    }
}
