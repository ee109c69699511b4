#include "appraisal/boot/log.h"

#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ALGS 16 /* banks a log may announce, count */

static const char spec_id[16] = "Spec ID Event03";
static const char startup_locality[16] = "StartupLocality";

/* What the Spec ID event announces: later events carry these digests, or some of them (Windows, some
 * firmware). */
struct format {
    bool sha1_only; /* TCG 1.2: one digest, no announcement */
    unsigned count;
    uint16_t alg[MAX_ALGS], size[MAX_ALGS];
};

/* What is known between two events. */
struct state {
    bool started;     /* PCR 0 was extended, or its start is known */
    bool extended;    /* PCR 0 was extended */
    unsigned spoiled; /* banks that an extending event has no digest of, bits */
};

static int algorithms(struct lt_reader *r, struct format *f, struct lt_boot_replay *out, struct lt_err *e)
{
    uint32_t count;

    LT_TRY(lt_read_u32le(r, &count, e));
    if (count < 1 || count > MAX_ALGS)
        return lt_fail(e, LT_E_MALFORMED, "%u digest algorithms, not 1 to %d", count, MAX_ALGS);
    for (f->count = 0; f->count < count; f->count++) {
        uint16_t alg, size;
        LT_TRY(lt_read_u16le(r, &alg, e));
        LT_TRY(lt_read_u16le(r, &size, e));
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
    if (ev->pcr || ev->type != LT_BOOT_EV_NO_ACTION)
        return lt_fail(e, LT_E_MALFORMED, "Spec ID Event03 in PCR %u as type 0x%x", ev->pcr, ev->type);
    struct lt_reader d = lt_reader(ev->data.p, ev->data.n, "Spec ID event");
    LT_TRY(lt_read_slice(&d, sizeof spec_id + 8, &skip, e));
    LT_TRY(algorithms(&d, f, out, e));
    LT_TRY(lt_read_u8(&d, &vendor_n, e));
    LT_TRY(lt_read_slice(&d, vendor_n, &skip, e));
    return lt_reader_end(&d, e);
}

static void start_at(struct lt_boot_replay *out, unsigned locality)
{
    out->locality = locality;
    for (unsigned b = 0; b < out->bank_count; b++)
        memcpy(out->bank[b].value[0], out->bank[b].from[locality], LT_MAX_DIGEST);
}

/* No-action event of PCR 0: TPM2_Startup came from another locality, so PCR 0 did not start at zero. */
static int locality(struct lt_slice data, struct state *s, struct lt_boot_replay *out, struct lt_err *e)
{
    if (data.n != sizeof startup_locality + 1 || memcmp(data.p, startup_locality, sizeof startup_locality))
        return 0;
    uint8_t from = data.p[sizeof startup_locality];
    if (s->extended || from >= LT_BOOT_LOCALITIES)
        return lt_fail(e, LT_E_MALFORMED, "StartupLocality %u%s", from,
                       s->extended ? " after PCR 0 was extended" : "");
    s->started = true;
    start_at(out, from);
    return 0;
}

/* TCG_PCR_EVENT2: pcr, type, digests of announced algorithms, length, data. */
static int new_event(struct lt_reader *r, const struct format *f, struct lt_boot_event *ev, struct lt_err *e)
{
    uint32_t count, size, seen = 0;

    LT_TRY(lt_read_u32le(r, &ev->pcr, e));
    LT_TRY(lt_read_u32le(r, &ev->type, e));
    LT_TRY(lt_read_u32le(r, &count, e));
    if (count > f->count || (!count && ev->type != LT_BOOT_EV_NO_ACTION))
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

static void extend_bank(struct lt_boot_replay *out, unsigned b, unsigned pcr, const uint8_t *digest)
{
    uint16_t alg = out->bank[b].alg;

    lt_pcr_extend(alg, out->bank[b].value[pcr], digest);
    for (unsigned i = 0; i < LT_BOOT_LOCALITIES && !pcr; i++)
        lt_pcr_extend(alg, out->bank[b].from[i], digest);
}

static int extend(const struct lt_boot_event *ev, struct state *s, struct lt_boot_replay *out,
                  struct lt_err *e)
{
    if (ev->type == LT_BOOT_EV_NO_ACTION)
        return ev->pcr ? 0 : locality(ev->data, s, out, e);
    if (ev->pcr >= LT_MAX_PCRS)
        return lt_fail(e, LT_E_MALFORMED, "PCR %u", ev->pcr);
    if (!ev->pcr && !s->started && ev->type == LT_BOOT_EV_EFI_HCRTM_EVENT)
        start_at(out, 4); /* Platform Firmware Profile 3.3.4: an H-CRTM sequence came before TPM2_Startup */
    s->started = s->started || !ev->pcr;
    s->extended = s->extended || !ev->pcr;
    for (unsigned b = 0; b < out->bank_count; b++) {
        const uint8_t *digest = lt_boot_digest(ev, out->bank[b].alg);
        if (!digest)
            s->spoiled |= 1u << b;
        else if (ev->pcr < LT_BOOT_REPLAYED)
            extend_bank(out, b, ev->pcr, digest);
    }
    return 0;
}

/* PCR 0 before the first event. */
static void begin(struct lt_boot_replay *out)
{
    for (unsigned b = 0; b < out->bank_count; b++)
        for (unsigned i = 0; i < LT_BOOT_LOCALITIES; i++)
            out->bank[b].from[i][lt_hash_size(out->bank[b].alg) - 1] = (uint8_t)i;
}

/* A bank that not every extending event has a digest of proves nothing of those that lack it. */
static void drop_spoiled(struct lt_boot_replay *out, unsigned spoiled)
{
    unsigned kept = 0;

    for (unsigned b = 0; b < out->bank_count; b++)
        if (!(spoiled >> b & 1))
            out->bank[kept++] = out->bank[b];
    out->bank_count = kept;
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
static int events(struct lt_slice log, struct state *s, struct lt_boot_replay *out, struct lt_boot_log *l,
                  struct lt_err *e)
{
    struct lt_reader r = lt_reader(log.p, log.n, "boot log");
    struct format f = {0};

    do {
        struct lt_boot_event ev = {.number = out->events, .offset = r.at};
        int rc;
        if (out->events == LT_MAX_BOOT_EVENTS)
            return lt_fail(e, LT_E_TOO_LARGE, "boot log: more than %u events", LT_MAX_BOOT_EVENTS);
        if (!out->events)
            rc = first_event(&r, &f, &ev, out, e);
        else
            rc = f.sha1_only ? old_event(&r, &ev, e) : new_event(&r, &f, &ev, e);
        if (!out->events)
            begin(out);
        if (rc || extend(&ev, s, out, e) || (l && keep(l, &ev, e)))
            return ev.number
                       ? lt_fail_in(e, e->code, "boot log event %u (from byte %zu)", ev.number, ev.offset)
                       : lt_fail_in(e, e->code, "boot log event 0");
        if (l)
            l->sha1_only = f.sha1_only;
        out->events++;
    } while (lt_reader_left(&r));
    return 0;
}

static int replay(struct lt_slice log, struct lt_boot_replay *out, struct lt_boot_log *l, struct lt_err *e)
{
    struct state s = {0};

    if (log.n > LT_MAX_BOOT_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "boot log: %zu bytes > %u", log.n, LT_MAX_BOOT_LOG);
    int rc = events(log, &s, out, l, e);
    drop_spoiled(out, s.spoiled);
    return rc;
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
    struct lt_boot_log *l = lt_new(struct lt_boot_log);
    if (!log.p)
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

bool lt_boot_replay_fits(const struct lt_boot_replay *r, uint16_t bank, unsigned pcr, const uint8_t *value)
{
    size_t n = lt_hash_size(bank);

    for (unsigned b = 0; b < r->bank_count; b++) {
        if (r->bank[b].alg != bank)
            continue;
        bool fits = !memcmp(r->bank[b].value[pcr], value, n);
        for (unsigned i = 0; i < LT_BOOT_LOCALITIES && !pcr; i++)
            fits = fits || !memcmp(r->bank[b].from[i], value, n);
        return fits;
    }
    return false;
}

bool lt_boot_replay_pcrs(const struct lt_boot_replay *r, uint16_t bank, struct lt_pcrs *out)
{
    *out = (struct lt_pcrs){.alg = bank, .mask = (1u << LT_BOOT_REPLAYED) - 1};
    if (r->fault.code)
        return false;
    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++) {
        const uint8_t *v = lt_boot_replay_value(r, bank, i);
        if (!v)
            return false;
        memcpy(out->value[i], v, lt_hash_size(bank));
    }
    return true;
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
    size_t n = lt_hash_size(quoted->alg);

    if (r->fault.code)
        return lt_fail(e, r->fault.code, "%s", r->fault.msg);
    if (!lt_boot_replay_value(r, quoted->alg, 0))
        return lt_fail(e, LT_E_REFUSED, "boot log: not every event has a digest of the quoted bank 0x%04x",
                       quoted->alg);
    for (unsigned i = 0; i < LT_BOOT_PCRS; i++) {
        if (!(quoted->mask >> i & 1) || lt_boot_replay_fits(r, quoted->alg, i, quoted->value[i]))
            continue;
        lt_hex(lt_boot_replay_value(r, quoted->alg, i), n, is);
        lt_hex(quoted->value[i], n, quote);
        return lt_fail(e, LT_E_REFUSED, "boot log: %u events replay PCR %u to %s, quoted is %s", r->events, i,
                       is, quote);
    }
    return 0;
}

/* The PCR's way from that start, event by event. True: it ends in `quoted`; *met: it came by `value`. */
static bool way(const struct lt_boot_log *l, unsigned pcr, uint8_t start, const uint8_t *quoted,
                const uint8_t *value, bool *met)
{
    uint8_t at[LT_SHA256] = {0};

    at[LT_SHA256 - 1] = start;
    *met = !memcmp(at, value, LT_SHA256);
    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        if (ev->pcr != pcr || ev->type == LT_BOOT_EV_NO_ACTION)
            continue;
        const uint8_t *digest = lt_boot_digest(ev, LT_HASH_SHA256);
        if (!digest)
            return false;
        const struct lt_slice parts[] = {{at, LT_SHA256}, {digest, LT_SHA256}};
        lt_hash(LT_HASH_SHA256, parts, 2, at);
        *met = *met || !memcmp(at, value, LT_SHA256);
    }
    return !memcmp(at, quoted, LT_SHA256);
}

bool lt_boot_log_may_have_held(const struct lt_boot_log *l, unsigned pcr, const uint8_t quoted[LT_SHA256],
                               const uint8_t value[LT_SHA256])
{
    bool met;

    if (!l->replay.present || l->replay.fault.code)
        return true;
    /* Only one start leads to the quoted value: two would be a collision. */
    for (unsigned start = 0; start < (pcr ? 1u : LT_BOOT_LOCALITIES); start++)
        if (way(l, pcr, (uint8_t)start, quoted, value, &met))
            return met;
    return true;
}
