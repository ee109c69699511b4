#include "appraisal/bootlog.h"

#include <string.h>

#define EV_NO_ACTION 3
#define MAX_ALGS 16 /* banks a log may announce, count */
#define BANKS (sizeof((struct lt_boot_replay *)0)->bank / sizeof *((struct lt_boot_replay *)0)->bank)

static const char spec_id[16] = "Spec ID Event03";
static const char startup_locality[16] = "StartupLocality";

/* What the Spec ID event announces: every later event carries exactly these digests. */
struct format {
    unsigned count;
    uint16_t alg[MAX_ALGS], size[MAX_ALGS];
};

static int algorithms(struct lt_reader *r, struct format *f, struct lt_boot_replay *out, struct lt_err *e)
{
    uint32_t count;
    int rc = lt_read_u32le(r, &count, e);

    if (rc)
        return rc;
    if (count < 1 || count > MAX_ALGS)
        return lt_fail(e, LT_E_MALFORMED, "%u digest algorithms, not 1 to %d", count, MAX_ALGS);
    for (f->count = 0; f->count < count; f->count++) {
        uint16_t alg, size;
        if ((rc = lt_read_u16le(r, &alg, e)) || (rc = lt_read_u16le(r, &size, e)))
            return rc;
        size_t known = lt_hash_size(alg);
        if (size < 1 || size > LT_MAX_DIGEST || (known && size != known))
            return lt_fail(e, LT_E_MALFORMED, "algorithm 0x%04x: digests of %u bytes", alg, size);
        for (unsigned i = 0; i < f->count; i++)
            if (f->alg[i] == alg)
                return lt_fail(e, LT_E_MALFORMED, "algorithm 0x%04x announced twice", alg);
        f->alg[f->count] = alg;
        f->size[f->count] = size;
        if (known && out->bank_count < BANKS)
            out->bank[out->bank_count++].alg = alg;
    }
    return 0;
}

/* TCG_PCR_EVENT (SHA-1 form) with TCG_EfiSpecIDEvent in it. */
static int first_event(struct lt_reader *r, struct format *f, struct lt_boot_replay *out, struct lt_err *e)
{
    uint32_t pcr, type, size;
    uint8_t vendor_n;
    struct lt_slice digest, data, skip;
    int rc;

    if ((rc = lt_read_u32le(r, &pcr, e)) || (rc = lt_read_u32le(r, &type, e)) ||
        (rc = lt_read_slice(r, 20, &digest, e)) || (rc = lt_read_u32le(r, &size, e)) ||
        (rc = lt_read_slice(r, size, &data, e)))
        return rc;
    if (pcr || type != EV_NO_ACTION || data.n < sizeof spec_id || memcmp(data.p, spec_id, sizeof spec_id))
        return lt_fail(e, LT_E_UNSUPPORTED, "not a crypto-agile log: no Spec ID Event03 at its start");
    struct lt_reader d = lt_reader(data.p, data.n, "Spec ID event");
    if ((rc = lt_read_slice(&d, sizeof spec_id + 8, &skip, e)) || (rc = algorithms(&d, f, out, e)) ||
        (rc = lt_read_u8(&d, &vendor_n, e)) || (rc = lt_read_slice(&d, vendor_n, &skip, e)))
        return rc;
    return lt_reader_end(&d, e);
}

/* No-action event of PCR 0: TPM2_Startup came from another locality, so PCR 0 did not start at zero. */
static int locality(struct lt_slice data, const bool *extended, struct lt_boot_replay *out, struct lt_err *e)
{
    if (data.n != sizeof startup_locality + 1 || memcmp(data.p, startup_locality, sizeof startup_locality))
        return 0;
    uint8_t from = data.p[sizeof startup_locality];
    if (*extended || from > 4)
        return lt_fail(e, LT_E_MALFORMED, "StartupLocality %u%s", from,
                       *extended ? " after PCR 0 was extended" : "");
    for (unsigned b = 0; b < out->bank_count; b++)
        out->bank[b].value[0][lt_hash_size(out->bank[b].alg) - 1] = from;
    return 0;
}

static int event(struct lt_reader *r, const struct format *f, bool *extended, struct lt_boot_replay *out,
                 struct lt_err *e)
{
    struct lt_slice digest[MAX_ALGS] = {{0}}, data;
    uint32_t pcr, type, count, size;
    int rc;

    if ((rc = lt_read_u32le(r, &pcr, e)) || (rc = lt_read_u32le(r, &type, e)) ||
        (rc = lt_read_u32le(r, &count, e)))
        return rc;
    if (count != f->count)
        return lt_fail(e, LT_E_MALFORMED, "%u digests at byte %zu, the log announced %u", count, r->at,
                       f->count);
    for (unsigned i = 0; i < count; i++) {
        uint16_t alg;
        unsigned k = 0;
        if ((rc = lt_read_u16le(r, &alg, e)))
            return rc;
        while (k < f->count && f->alg[k] != alg)
            k++;
        if (k == f->count || digest[k].p)
            return lt_fail(e, LT_E_MALFORMED, "digest of algorithm 0x%04x at byte %zu: %s", alg, r->at,
                           k == f->count ? "not announced" : "twice");
        if ((rc = lt_read_slice(r, f->size[k], &digest[k], e)))
            return rc;
    }
    if ((rc = lt_read_u32le(r, &size, e)) || (rc = lt_read_slice(r, size, &data, e)))
        return rc;
    if (type == EV_NO_ACTION)
        return pcr ? 0 : locality(data, extended, out, e);
    if (pcr >= LT_MAX_PCRS)
        return lt_fail(e, LT_E_MALFORMED, "PCR %u at byte %zu", pcr, r->at);
    if (pcr >= LT_BOOT_PCRS)
        return 0;
    *extended = *extended || pcr == 0;
    for (unsigned b = 0; b < out->bank_count; b++)
        for (unsigned k = 0; k < f->count; k++)
            if (f->alg[k] == out->bank[b].alg)
                lt_pcr_extend(out->bank[b].alg, out->bank[b].value[pcr], digest[k].p);
    return 0;
}

static int replay(struct lt_slice log, struct lt_boot_replay *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(log.p, log.n, "boot log");
    struct format f = {0};
    bool extended = false;

    if (log.n > LT_MAX_BOOT_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "boot log: %zu bytes > %u", log.n, LT_MAX_BOOT_LOG);
    if (first_event(&r, &f, out, e))
        return lt_fail_in(e, "boot log event 0");
    for (out->events = 1; lt_reader_left(&r); out->events++) {
        if (out->events == LT_MAX_BOOT_EVENTS)
            return lt_fail(e, LT_E_TOO_LARGE, "boot log: more than %u events", LT_MAX_BOOT_EVENTS);
        size_t start = r.at;
        if (event(&r, &f, &extended, out, e))
            return lt_fail_in(e, "boot log event %u (from byte %zu)", out->events, start);
    }
    return 0;
}

void lt_boot_replay(struct lt_slice log, struct lt_boot_replay *out)
{
    memset(out, 0, sizeof *out);
    out->present = log.p;
    if (log.p)
        (void)!replay(log, out, &out->fault);
}

int lt_boot_replay_match(const struct lt_boot_replay *r, const struct lt_pcrs *quoted, struct lt_err *e)
{
    char is[2 * LT_MAX_DIGEST + 1], quote[2 * LT_MAX_DIGEST + 1];
    unsigned b = 0;

    if (r->fault.code)
        return lt_fail(e, r->fault.code, "%s", r->fault.msg);
    while (b < r->bank_count && r->bank[b].alg != quoted->alg)
        b++;
    if (b == r->bank_count)
        return lt_fail(e, LT_E_REFUSED, "boot log: no digests of the quoted bank 0x%04x", quoted->alg);
    size_t n = lt_hash_size(quoted->alg);
    for (unsigned i = 0; i < LT_BOOT_PCRS; i++) {
        if (!(quoted->mask >> i & 1) || !memcmp(r->bank[b].value[i], quoted->value[i], n))
            continue;
        lt_hex(r->bank[b].value[i], n, is);
        lt_hex(quoted->value[i], n, quote);
        return lt_fail(e, LT_E_REFUSED, "boot log: %u events replay PCR %u to %s, quoted is %s", r->events, i,
                       is, quote);
    }
    return 0;
}
