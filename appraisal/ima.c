#include "appraisal/ima.h"

#include "appraisal/imajudge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_SHOWN 100

struct replay {
    const struct lt_ima_input *in;
    struct lt_ima_result *out;
    const struct lt_ima_progress *before; /* what a full list must go through again; next 0: nothing */
    size_t size;                          /* of the bank's digests */
    uint16_t log_hash;
    bool matched;
    uint8_t run[2 * LT_MAX_DIGEST]; /* PCR 10, and behind it what it is extended with */
    unsigned learnt;                /* keys, when the match was met */
    struct lt_ima_judge judge;
    struct lt_ima_line line; /* large: last */
};

static uint64_t number(const struct replay *r)
{
    return r->in->first + r->out->entries;
}

/* Kept while there is room. */
static __attribute__((noinline, format(printf, 2, 3))) void fault(struct replay *r, const char *fmt, ...)
{
    struct lt_ima_result *o = r->out;
    char path[PATH_SHOWN + 1];
    va_list ap;

    o->faults++;
    if (o->kept == LT_IMA_FAULTS)
        return;
    char *text = o->fault[o->kept++];
    lt_ima_line_show(r->line.path, path, PATH_SHOWN);
    int n = snprintf(text, sizeof *o->fault, "IMA entry %" PRIu64 " (%s): ", number(r), path);
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof *o->fault - (size_t)n, fmt, ap);
    va_end(ap);
}

/* Without an entry: it must be told even if there is no room. */
static __attribute__((format(printf, 2, 3))) void list_fault(struct lt_ima_result *o, const char *fmt, ...)
{
    va_list ap;

    o->faults++;
    if (o->kept < LT_IMA_FAULTS)
        o->kept++;
    va_start(ap, fmt);
    vsnprintf(o->fault[o->kept - 1], sizeof *o->fault, fmt, ap);
    va_end(ap);
}

/* The hash that the list shows; of a violation, zeros. False, with a fault: another one. */
static bool column(struct replay *r, const uint8_t *h, size_t n)
{
    uint8_t shown[LT_MAX_DIGEST];
    char hex[2 * LT_MAX_DIGEST + 1];

    if (r->line.column.n != 2 * n) {
        fault(r, "its template hash has %zu bytes, %s has %zu", r->line.column.n / 2,
              lt_hash_name(r->log_hash), n);
        return false;
    }
    if (r->line.violation || (lt_ima_line_unhex(r->line.column.p, n, shown) && !memcmp(shown, h, n)))
        return true;
    lt_hex(h, n, hex);
    fault(r, "its template hash is %s by its content, the list says another", hex);
    return false;
}

static void match(struct replay *r)
{
    r->matched = !memcmp(r->run, r->in->pcr, r->size);
    if (r->matched)
        r->out->matched = number(r);
}

/* The template hash compared, PCR 10 extended up to the match. */
static bool chain(struct replay *r)
{
    const struct lt_slice data = {r->line.data, r->line.data_n}, both = {r->run, 2 * r->size};
    uint8_t h[LT_MAX_DIGEST];
    size_t n;

    if (!r->log_hash) /* no layers: what the column's length tells */
        r->log_hash = r->line.column.n == 40   ? LT_HASH_SHA1
                      : r->line.column.n == 64 ? LT_HASH_SHA256
                      : r->line.column.n == 96 ? LT_HASH_SHA384
                                               : LT_HASH_SHA512;
    n = lt_hash_size(r->log_hash);
    if (!r->line.violation)
        lt_hash(r->log_hash, &data, 1, h);
    bool good = column(r, h, n);
    if (r->matched)
        return good;
    if (r->line.violation) /* the kernel invalidates the PCR's meaning on purpose (ima_violations) */
        memset(r->run + r->size, 0xff, r->size);
    else if (r->in->bank == r->log_hash)
        memcpy(r->run + r->size, h, r->size);
    else
        lt_hash(r->in->bank, &data, 1, r->run + r->size);
    lt_hash(r->in->bank, &both, 1, r->run);
    return good;
}

/* Judged only when the chain holds it: else its content is not what was measured, and the reason is told. */
static __attribute__((noinline)) int content(struct replay *r, struct lt_err *e)
{
    char why[LT_IMA_WHY];
    bool good;

    why[0] = 0;
    if (lt_ima_judge(&r->judge, &r->line, &good, why, e)) {
        char path[PATH_SHOWN + 1];
        lt_ima_line_show(r->line.path, path, PATH_SHOWN);
        return lt_fail_in(e, "IMA entry %" PRIu64 " (%s)", number(r), path);
    }
    if (!good)
        fault(r, "%s", why);
    return 0;
}

static int entry(struct replay *r, struct lt_err *e)
{
    const struct lt_ima_layers *layers = r->in->layers;

    if (r->line.pcr != LT_IMA_PCR) {
        fault(r, "it is of PCR %u, only %d is judged", r->line.pcr, LT_IMA_PCR);
        return 0;
    }
    if (chain(r) && layers) {
        if (!r->line.violation)
            return content(r, e);
        if (!layers->accept_violations)
            fault(r, "violation (ToMToU or open-writers), which the policy does not accept");
    }
    return 0;
}

static int all(struct replay *r, struct lt_err *e)
{
    struct lt_slice line;
    size_t at = 0, from = 0;

    match(r);
    for (; lt_ima_line_next(r->in->list, &at, &line); from = at) {
        if (lt_ima_line_parse(line, &r->line, e))
            return lt_fail_in(e, "IMA entry %" PRIu64 " at byte %zu", number(r), from);
        bool open = !r->matched;
        LT_TRY(entry(r, e));
        r->out->entries++;
        if (!open)
            continue;
        match(r);
        r->learnt = lt_ima_keys_count(r->judge.learnt);
        if (!r->in->first && number(r) == r->before->next && r->before->bank == r->in->bank &&
            memcmp(r->run, r->before->run, r->size))
            list_fault(r->out, "IMA list: its first %" PRIu64 " entries are not those of last time",
                       r->before->next);
    }
    return 0;
}

static int verdict(struct replay *r, struct lt_err *e)
{
    struct lt_ima_result *o = r->out;
    char hex[2 * LT_MAX_DIGEST + 1];

    if (!r->matched) {
        lt_hex(r->in->pcr, r->size, hex);
        list_fault(o,
                   "IMA list: PCR %d is %s:%.64s, the list gives that after none of its entries %" PRIu64
                   " to %" PRIu64,
                   LT_IMA_PCR, lt_hash_name(r->in->bank), hex, r->in->first, number(r));
    } else if (o->matched < r->before->next) {
        list_fault(o, "IMA list: PCR %d stands after %" PRIu64 " entries, last time after %" PRIu64,
                   LT_IMA_PCR, o->matched, r->before->next);
    }
    if (!o->faults)
        return 0;
    if (o->faults == 1)
        return lt_fail(e, LT_E_REFUSED, "%s", o->fault[0]);
    return lt_fail(e, LT_E_REFUSED, "%.270s; and %" PRIu64 " more", o->fault[0], o->faults - 1);
}

static int check_input(const struct lt_ima_input *in, const struct lt_ima_progress *p, struct lt_err *e)
{
    if (!lt_hash_size(in->bank) || !in->pcr)
        return lt_fail(e, LT_E_USAGE, "PCR %d of bank 0x%04x", LT_IMA_PCR, in->bank);
    if (in->list.n > LT_MAX_IMA_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "IMA list of %zu bytes, at most %u are read", in->list.n,
                       LT_MAX_IMA_LOG);
    if (in->first && in->first != p->next)
        return lt_fail(e, LT_E_REFUSED,
                       "IMA list begins with entry %" PRIu64 ", expected is %" PRIu64 " or 0", in->first,
                       p->next);
    if (in->first && in->bank != p->bank)
        return lt_fail(e, LT_E_REFUSED,
                       "IMA list from entry %" PRIu64 " on in bank 0x%04x, replayed before in 0x%04x",
                       in->first, in->bank, p->bank);
    return 0;
}

int lt_ima_appraise(const struct lt_ima_input *in, struct lt_ima_progress *progress,
                    struct lt_ima_result *out, struct lt_err *e)
{
    const struct lt_ima_progress none = {0};
    struct lt_err local = {0};
    struct replay r;

    memset(out, 0, sizeof *out);
    LT_TRY(check_input(in, progress ? progress : &none, e));
    r.in = in;
    r.out = out;
    r.before = progress ? progress : &none;
    r.size = lt_hash_size(in->bank);
    r.log_hash = in->layers ? lt_ima_layers_log_hash(in->layers) : 0;
    r.matched = false;
    memset(r.run, 0, sizeof r.run);
    if (in->first)
        memcpy(r.run, progress->run, r.size);
    struct lt_ima_keys *fresh = in->first && progress->learnt ? NULL : lt_ima_keys_new();
    r.judge = (struct lt_ima_judge){.in = in, .learnt = fresh ? fresh : progress ? progress->learnt : NULL};
    if (!r.judge.learnt)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a keyring");
    unsigned had = r.learnt = lt_ima_keys_count(r.judge.learnt);

    int rc = all(&r, &local);
    if (!rc)
        rc = verdict(&r, &local);
    lt_ima_judge_end(&r.judge);
    lt_ima_keys_cut(r.judge.learnt,
                    rc ? had : r.learnt); /* keys past the match are learnt with their entry */
    if (rc || !progress) {
        lt_ima_keys_free(fresh);
        if (rc && e)
            *e = local;
        return rc;
    }
    if (fresh) {
        lt_ima_keys_free(progress->learnt);
        progress->learnt = fresh;
    }
    progress->next = out->matched;
    progress->bank = in->bank;
    memcpy(progress->run, r.run, r.size);
    return 0;
}

void lt_ima_progress_free(struct lt_ima_progress *p)
{
    lt_ima_keys_free(p->learnt);
    memset(p, 0, sizeof *p);
}

int lt_ima_files(struct lt_slice list, lt_ima_file_fn fn, void *arg, struct lt_err *e)
{
    struct lt_ima_line line;
    struct lt_slice text;
    size_t at = 0, from = 0;

    if (list.n > LT_MAX_IMA_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "IMA list of %zu bytes, at most %u are read", list.n,
                       LT_MAX_IMA_LOG);
    for (uint64_t i = 0; lt_ima_line_next(list, &at, &text); i++, from = at) {
        if (lt_ima_line_parse(text, &line, e))
            return lt_fail_in(e, "IMA entry %" PRIu64 " at byte %zu", i, from);
        if (line.violation || line.kind == LT_IMA_BUFFER || line.pcr != LT_IMA_PCR)
            continue;
        LT_TRY(fn(arg, &(struct lt_ima_file){i, line.path, line.alg, line.digest}, e));
    }
    return 0;
}
