#include "appraisal/bootlog.h"

#include "appraisal/bootevent.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ALGS 16 /* banks a log may announce, count */

static const char spec_id[16] = "Spec ID Event03";
static const char startup_locality[16] = "StartupLocality";

/* What the Spec ID event announces: every later event carries exactly these digests. */
struct format {
    bool sha1_only; /* TCG 1.2: one digest, no announcement */
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
        if (known && out->bank_count < LT_BOOT_BANKS)
            out->bank[out->bank_count++].alg = alg;
    }
    return 0;
}

/* TCG_PCR_EVENT: pcr, type, SHA-1, length, data. */
static int old_event(struct lt_reader *r, struct lt_boot_event *ev, struct lt_err *e)
{
    uint32_t size;

    ev->digest_count = 1;
    ev->digest[0].alg = LT_HASH_SHA1;
    LT_TRY(lt_read_u32le(r, &ev->pcr, e));
    LT_TRY(lt_read_u32le(r, &ev->type, e));
    LT_TRY(lt_read_slice(r, 20, &ev->digest[0].value, e));
    LT_TRY(lt_read_u32le(r, &size, e));
    return lt_read_slice(r, size, &ev->data, e);
}

/* TCG_EfiSpecIDEvent in an old event announces the new form; anything else is already an event of the old
 * one. */
static int first_event(struct lt_reader *r, struct format *f, struct lt_boot_event *ev,
                       struct lt_boot_replay *out, struct lt_err *e)
{
    uint8_t vendor_n;
    struct lt_slice skip;

    LT_TRY(old_event(r, ev, e));
    if (ev->data.n < sizeof spec_id || memcmp(ev->data.p, spec_id, sizeof spec_id)) {
        f->sha1_only = true;
        out->bank[out->bank_count++].alg = LT_HASH_SHA1;
        return 0;
    }
    if (ev->pcr || ev->type != LT_EV_NO_ACTION)
        return lt_fail(e, LT_E_MALFORMED, "Spec ID Event03 in PCR %u as type 0x%x", ev->pcr, ev->type);
    struct lt_reader d = lt_reader(ev->data.p, ev->data.n, "Spec ID event");
    LT_TRY(lt_read_slice(&d, sizeof spec_id + 8, &skip, e));
    LT_TRY(algorithms(&d, f, out, e));
    LT_TRY(lt_read_u8(&d, &vendor_n, e));
    LT_TRY(lt_read_slice(&d, vendor_n, &skip, e));
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

/* TCG_PCR_EVENT2: pcr, type, a digest for each announced algorithm, length, data. */
static int new_event(struct lt_reader *r, const struct format *f, struct lt_boot_event *ev, struct lt_err *e)
{
    uint32_t count, size, seen = 0;

    LT_TRY(lt_read_u32le(r, &ev->pcr, e));
    LT_TRY(lt_read_u32le(r, &ev->type, e));
    LT_TRY(lt_read_u32le(r, &count, e));
    if (count != f->count)
        return lt_fail(e, LT_E_MALFORMED, "%u digests at byte %zu, the log announced %u", count, r->at,
                       f->count);
    for (unsigned i = 0; i < count; i++) {
        struct lt_slice value;
        uint16_t alg;
        unsigned k = 0;
        LT_TRY(lt_read_u16le(r, &alg, e));
        while (k < f->count && f->alg[k] != alg)
            k++;
        if (k == f->count || seen >> k & 1)
            return lt_fail(e, LT_E_MALFORMED, "digest of algorithm 0x%04x at byte %zu: %s", alg, r->at,
                           k == f->count ? "not announced" : "twice");
        seen |= 1u << k;
        LT_TRY(lt_read_slice(r, f->size[k], &value, e));
        if (lt_hash_size(alg) && ev->digest_count < LT_BOOT_BANKS)
            ev->digest[ev->digest_count++] = (struct lt_boot_digest){alg, value};
    }
    LT_TRY(lt_read_u32le(r, &size, e));
    return lt_read_slice(r, size, &ev->data, e);
}

static int extend(const struct lt_boot_event *ev, bool *extended, struct lt_boot_replay *out,
                  struct lt_err *e)
{
    if (ev->type == LT_EV_NO_ACTION)
        return ev->pcr ? 0 : locality(ev->data, extended, out, e);
    if (ev->pcr >= LT_MAX_PCRS)
        return lt_fail(e, LT_E_MALFORMED, "PCR %u", ev->pcr);
    if (ev->pcr >= LT_BOOT_REPLAYED)
        return 0;
    *extended = *extended || ev->pcr == 0;
    for (unsigned b = 0; b < out->bank_count; b++)
        for (unsigned k = 0; k < ev->digest_count; k++)
            if (ev->digest[k].alg == out->bank[b].alg)
                lt_pcr_extend(out->bank[b].alg, out->bank[b].value[ev->pcr], ev->digest[k].value.p);
    return 0;
}

/* Room for one more; grows by doubling up to LT_MAX_BOOT_EVENTS, which the caller keeps. */
static int keep(struct lt_boot_log *l, const struct lt_boot_event *ev, struct lt_err *e)
{
    if (!(l->count & (l->count - 1)) && (!l->count || l->count >= 64)) {
        struct lt_boot_event *more =
            reallocarray(l->event, l->count ? 2 * (size_t)l->count : 64, sizeof *more);
        if (!more)
            return lt_fail(e, LT_E_NO_MEMORY, "no memory for %u events", l->count);
        l->event = more;
    }
    l->event[l->count++] = *ev;
    return 0;
}

/* log is kept in l, if there is one. */
static int replay(struct lt_slice log, struct lt_boot_replay *out, struct lt_boot_log *l, struct lt_err *e)
{
    struct lt_reader r = lt_reader(log.p, log.n, "boot log");
    struct format f = {0};
    bool extended = false;

    if (log.n > LT_MAX_BOOT_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "boot log: %zu bytes > %u", log.n, LT_MAX_BOOT_LOG);
    do {
        struct lt_boot_event ev = {.number = out->events, .offset = r.at};
        int rc;
        if (out->events == LT_MAX_BOOT_EVENTS)
            return lt_fail(e, LT_E_TOO_LARGE, "boot log: more than %u events", LT_MAX_BOOT_EVENTS);
        if (!out->events)
            rc = first_event(&r, &f, &ev, out, e);
        else
            rc = f.sha1_only ? old_event(&r, &ev, e) : new_event(&r, &f, &ev, e);
        if (rc || extend(&ev, &extended, out, e) || (l && keep(l, &ev, e)))
            return ev.number ? lt_fail_in(e, "boot log event %u (from byte %zu)", ev.number, ev.offset)
                             : lt_fail_in(e, "boot log event 0");
        if (l)
            l->sha1_only = f.sha1_only;
        out->events++;
    } while (lt_reader_left(&r));
    return 0;
}

void lt_boot_replay(struct lt_slice log, struct lt_boot_replay *out)
{
    memset(out, 0, sizeof *out);
    out->present = log.p;
    if (log.p)
        (void)!replay(log, out, NULL, &out->fault);
}

struct lt_boot_log *lt_boot_log_new(struct lt_slice log)
{
    struct lt_boot_log *l = calloc(1, sizeof *l);
    if (!l || !log.p)
        return l;
    l->replay.present = true;
    /* What is too large is refused before it is copied. */
    if (log.n <= LT_MAX_BOOT_LOG) {
        if (!(l->bytes = malloc(log.n ? log.n : 1))) {
            lt_boot_log_free(l);
            return NULL;
        }
        memcpy(l->bytes, log.p, log.n);
        l->n = log.n;
        log.p = l->bytes;
    }
    if (replay(log, &l->replay, l, &l->replay.fault) == LT_E_NO_MEMORY) {
        lt_boot_log_free(l);
        return NULL;
    }
    return l;
}

void lt_boot_log_free(struct lt_boot_log *l)
{
    if (!l)
        return;
    free(l->event);
    free(l->bytes);
    free(l);
}

const uint8_t *lt_boot_replay_value(const struct lt_boot_replay *r, uint16_t bank, unsigned pcr)
{
    for (unsigned b = 0; b < r->bank_count && pcr < LT_BOOT_REPLAYED; b++)
        if (r->bank[b].alg == bank)
            return r->bank[b].value[pcr];
    return NULL;
}

unsigned lt_boot_aggregate(const struct lt_boot_replay *r, uint16_t bank, uint8_t out[2][LT_MAX_DIGEST])
{
    struct lt_slice parts[LT_BOOT_PCRS];

    if (r->fault.code || !r->present || !lt_boot_replay_value(r, bank, 0))
        return 0;
    for (unsigned i = 0; i < LT_BOOT_PCRS; i++)
        parts[i] = (struct lt_slice){lt_boot_replay_value(r, bank, i), lt_hash_size(bank)};
    lt_hash(bank, parts, 8, out[0]);
    lt_hash(bank, parts, LT_BOOT_PCRS, out[1]);
    return 2;
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
