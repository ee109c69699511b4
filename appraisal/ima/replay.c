#include "appraisal/ima/replay.h"

#include "appraisal/ima/judge.h"
#include "common/alloc.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SHOWN 100
#define MAX_UNABLE 16 /* entries that cannot be judged, until no more is tried */

struct replay {
    const struct lt_ima_input *in;
    struct lt_ima_result *out;
    const struct lt_ima_progress *before; /* what a full list must go through again; next 0: nothing */
    size_t size;                          /* of the bank's digests */
    unsigned unable;                      /* entries that could not be judged */
    bool judged, padded;                  /* content is asked for; extended as before 5.8 */
    bool matched;
    uint8_t run[2 * LT_MAX_DIGEST];                /* PCR 10, and behind it what it is extended with */
    uint8_t aggregate_n, aggregate[LT_MAX_DIGEST]; /* entry 0's */
    unsigned had;                                  /* learnt keys, before */
    char why[LT_IMA_WHY];                          /* these two of one entry: to clear them for each costs */
    struct lt_err no_verdict;
    struct lt_ima_judge judge;
    struct lt_ima_walk walk;
    struct lt_ima_line line; /* large: last */
};

static uint64_t number(const struct replay *r)
{
    return r->in->first + r->out->entries;
}

static void because(struct lt_ima_result *o, const char *cause)
{
    if (!o->faults++)
        o->cause = cause;
}

/* Kept while there is room. */
static __attribute__((noinline, format(printf, 3, 4))) void fault(struct replay *r, const char *cause,
                                                                  const char *fmt, ...)
{
    struct lt_ima_result *o = r->out;
    char path[PATH_SHOWN + 1];
    va_list ap;

    because(o, cause);
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
static __attribute__((format(printf, 3, 4))) void list_fault(struct lt_ima_result *o, const char *cause,
                                                             const char *fmt, ...)
{
    va_list ap;

    because(o, cause);
    if (o->kept < LT_IMA_FAULTS)
        o->kept++;
    va_start(ap, fmt);
    vsnprintf(o->fault[o->kept - 1], sizeof *o->fault, fmt, ap);
    va_end(ap);
}

static __attribute__((noinline)) bool other_column(struct replay *r, uint16_t want)
{
    const struct lt_ima_line *l = &r->line;
    char hex[2 * LT_MAX_DIGEST + 1];

    lt_hex(l->hash, lt_hash_size(l->log_hash), hex);
    if (l->log_hash != want)
        fault(r, "ima-hash", "its template hash has %zu bytes, %s has %zu", lt_hash_size(l->log_hash),
              lt_hash_name(want), lt_hash_size(want));
    else
        fault(r, "ima-hash", "its template hash is %s by its content, the list says another", hex);
    return false;
}

/* As wide as the policy says, and the hash of the content. False, with a fault: it is not. */
static bool column(struct replay *r)
{
    const struct lt_ima_line *l = &r->line;
    uint16_t want = r->in->layers ? lt_ima_layers_log_hash(r->in->layers) : l->log_hash;

    return l->log_hash == want && (l->violation || l->proved) ? true : other_column(r, want);
}

static void match(struct replay *r)
{
    r->matched = !memcmp(r->run, r->in->pcr, r->size);
    if (!r->matched)
        return;
    r->out->matched = number(r);
    r->out->matched_bytes = r->walk.at;
}

/* What a kernel before 5.8 knew was 20 bytes, whatever the bank. */
static size_t extend_with(const struct replay *r)
{
    size_t sha1 = lt_hash_size(LT_HASH_SHA1);
    return r->padded && r->size > sha1 ? sha1 : r->size;
}

static void extend(struct replay *r)
{
    const struct lt_slice both = {r->run, 2 * r->size};
    const struct lt_ima_line *l = &r->line;
    uint16_t alg = r->padded ? (uint16_t)LT_HASH_SHA1 : r->in->bank;
    uint8_t *with = r->run + r->size;

    if (r->padded)
        memset(with, 0, r->size);
    if (l->violation) /* the kernel invalidates the PCR's meaning on purpose (ima_violations) */
        memset(with, 0xff, extend_with(r));
    else if (alg == l->log_hash)
        memcpy(with, l->hash, extend_with(r));
    else
        lt_hash(alg, &l->data, 1, with);
    if (r->judged)
        lt_ima_judge_closer(&r->judge);
    lt_hash(r->in->bank, &both, 1, r->run);
}

/* This entry is not judged, the rest is: what else is wrong with the list is worse. Each may have cost all
 * that a pattern is allowed, so not for ever. */
static int unable(struct replay *r, struct lt_err *why, struct lt_err *e)
{
    char path[PATH_SHOWN + 1];

    lt_ima_line_show(r->line.path, path, PATH_SHOWN);
    int rc = lt_fail_in(why, why->code, "IMA entry %" PRIu64 " (%s)", number(r), path);
    if (!r->out->unable.code)
        r->out->unable = *why;
    if (rc != LT_E_NO_MEMORY && ++r->unable < MAX_UNABLE)
        return 0;
    return lt_fail(e, rc, "%s", why->msg);
}

/* Judged only when the chain holds it: else its content is not what was measured, and the reason is told. */
static int content(struct replay *r, struct lt_err *e)
{
    bool good;

    r->why[0] = 0;
    r->no_verdict.code = 0;
    if (lt_ima_judge(&r->judge, &r->line, &good, r->why, &r->no_verdict))
        return unable(r, &r->no_verdict, e);
    if (!good)
        fault(r, r->judge.cause, "%s", r->why);
    return 0;
}

/* ---- boot_aggregate ---- */

static bool expected(const struct lt_ima_input *in, struct lt_slice digest)
{
    for (unsigned i = 0; i < in->aggregate_count && i < LT_IMA_AGGREGATES; i++)
        if (lt_slice_eq(digest, in->aggregate[i]))
            return true;
    return false;
}

static void other_aggregate(struct replay *r)
{
    const struct lt_ima_line *l = &r->line;
    char hex[65];
    size_t n = l->digest.n < 32 ? l->digest.n : 32;

    lt_hex(l->digest.p, n, hex);
    fault(r, "ima-aggregate", "%.*s:%s is not that of the quoted PCRs 0-9 of %s", (int)l->alg_name.n,
          (const char *)l->alg_name.p, hex, lt_hash_name(r->in->bank));
}

/* True: nothing is left to judge of this entry. Kernels since 5.8 make it of the bank of ima_hash= where the
 * TPM has it, else of SHA-256; of a bank that is not quoted nothing can be said. */
static bool aggregate(struct replay *r)
{
    const struct lt_slice first = {r->aggregate, r->aggregate_n};
    bool is = lt_ima_line_is_aggregate(&r->line);

    if (!number(r) && !is && r->in->aggregate_count) {
        fault(r, "ima-aggregate", "the first entry must be boot_aggregate");
        return true;
    }
    if (!is)
        return false;
    if (r->in->aggregate_count) {
        if (!expected(r->in, r->line.digest))
            other_aggregate(r);
    } else {
        r->out->aggregate_open = true;
    }
    if (!number(r) && r->line.digest.n <= sizeof r->aggregate) {
        r->aggregate_n = (uint8_t)r->line.digest.n;
        memcpy(r->aggregate, r->line.digest.p, r->line.digest.n);
    }
    r->judge.aggregate_open = !number(r) || lt_slice_eq(first, r->line.digest);
    return r->in->aggregate_count;
}

/* Content that the chain does not hold is not what was measured, and the reason is told. */
static int entry(struct replay *r, struct lt_err *e)
{
    const struct lt_ima_layers *layers = r->in->layers;

    if (r->line.pcr != LT_IMA_PCR) {
        fault(r, "ima-pcr", "it is of PCR %u, only %d is judged", r->line.pcr, LT_IMA_PCR);
        return 0;
    }
    bool good = column(r);
    if (r->judged)
        lt_ima_judge_prepare(&r->judge, &r->line);
    extend(r);
    if (!good || !r->judged || aggregate(r))
        return 0;
    if (!r->line.violation)
        return content(r, e);
    if (!layers->accept_violations)
        fault(r, "ima-violation", "violation (ToMToU or open-writers), which the policy does not accept");
    return 0;
}

/* Up to the match. */
static int all(struct replay *r, struct lt_err *e)
{
    bool more = true;

    match(r);
    while (!r->matched && more) {
        size_t from = r->walk.at;
        LT_TRY_IN(lt_ima_walk_next(&r->walk, &r->line, &more, e), e, "IMA entry %" PRIu64 " at byte %zu",
                  number(r), from);
        if (!more)
            break;
        LT_TRY(entry(r, e));
        r->out->entries++;
        match(r);
        if (!r->in->first && number(r) == r->before->next && r->before->bank == r->in->bank &&
            memcmp(r->run, r->before->run, r->size))
            list_fault(r->out, "ima-progress",
                       "IMA list: its first %" PRIu64 " entries are not those of last time", r->before->next);
    }
    return 0;
}

/* From the beginning, or from where it stood. */
static void rewind_to(struct replay *r, bool judged, bool padded)
{
    memset(r->out, 0, sizeof *r->out);
    r->judged = judged;
    r->padded = padded;
    r->matched = false;
    r->unable = 0;
    r->walk = lt_ima_walk(r->in->list);
    memset(r->run, 0, sizeof r->run);
    if (r->in->first)
        memcpy(r->run, r->before->run, r->size);
    lt_ima_keys_cut(r->judge.learnt, r->had);
    r->judge.signatures = r->judge.bad = 0;
}

static void not_matched(struct replay *r)
{
    char hex[2 * LT_MAX_DIGEST + 1];

    lt_hex(r->in->pcr, r->size, hex);
    list_fault(r->out, "ima",
               "IMA list: PCR %d is %s:%.64s, the list gives that after none of its entries %" PRIu64
               " to %" PRIu64,
               LT_IMA_PCR, lt_hash_name(r->in->bank), hex, r->in->first, number(r));
}

static void too_early(struct replay *r)
{
    struct lt_ima_result *o = r->out;

    if (o->matched < r->before->next)
        list_fault(o, "ima-progress",
                   "IMA list: PCR %d stands after %" PRIu64 " entries, last time after %" PRIu64, LT_IMA_PCR,
                   o->matched, r->before->next);
    else if (r->judged && !o->matched)
        list_fault(o, "ima",
                   "IMA list: PCR %d covers no entry, not even boot_aggregate: nothing was measured",
                   LT_IMA_PCR);
}

static int verdict(struct replay *r, struct lt_err *e)
{
    struct lt_ima_result *o = r->out;

    if (r->matched)
        too_early(r);
    if (r->judged && r->in->first && r->in->aggregate_count &&
        !expected(r->in, (struct lt_slice){r->before->aggregate, r->before->aggregate_n}))
        list_fault(o, "ima-aggregate",
                   "IMA list: its boot_aggregate is no longer that of the quoted PCRs 0-9");
    if (!o->faults)
        return o->unable.code ? lt_fail(e, o->unable.code, "%s", o->unable.msg) : 0;
    if (o->faults == 1)
        return lt_fail(e, LT_E_REFUSED, "%s", o->fault[0]);
    return lt_fail(e, LT_E_REFUSED, "%.270s; and %" PRIu64 " more", o->fault[0], o->faults - 1);
}

/* The chain alone, as kernels before 5.8 extend; r->out is kept. */
static int older_chain(struct replay *r, bool *good, struct lt_err *e)
{
    struct lt_ima_result *now = r->out;
    LT_AUTOFREE struct lt_ima_result *then = lt_new(struct lt_ima_result);

    *good = false;
    r->out = then;
    rewind_to(r, false, true);
    int rc = all(r, LT_NO_ERR);
    r->out = now;
    *good = !rc && r->matched && !then->faults;
    r->matched = false;
    return rc == LT_E_NO_MEMORY ? lt_fail(e, rc, "IMA list: no memory") : 0;
}

/* PCR 10 was not met as kernels since 5.8 extend. Were it met as those before do, the policy decides. */
static int older(struct replay *r, struct lt_err *e)
{
    const struct lt_ima_layers *layers = r->in->layers;
    bool good = false;

    if (r->size > lt_hash_size(LT_HASH_SHA1))
        LT_TRY(older_chain(r, &good, e));
    if (good && (!layers || layers->accept_padded)) {
        rewind_to(r, layers, true);
        return all(r, e);
    }
    if (good)
        list_fault(r->out, "ima",
                   "IMA list: PCR %d of %s is extended with SHA-1 and zeros, as kernels before 5.8 do; the "
                   "policy does not accept that (\"ima\": {\"sha1_padded\": \"accept\"})",
                   LT_IMA_PCR, lt_hash_name(r->in->bank));
    else
        not_matched(r);
    return 0;
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

static int run(struct replay *r, struct lt_err *e)
{
    rewind_to(r, r->in->layers, r->in->first && r->before->padded);
    LT_TRY(all(r, e));
    if (!r->matched && !r->padded)
        LT_TRY(older(r, e));
    else if (!r->matched)
        not_matched(r);
    r->out->padded = r->padded && r->matched;
    return verdict(r, e);
}

static void advance(const struct replay *r, struct lt_ima_progress *p)
{
    p->next = r->out->matched;
    p->bytes = (r->in->first ? p->bytes : 0) + r->out->matched_bytes;
    p->bank = r->in->bank;
    p->padded = r->padded;
    memcpy(p->run, r->run, r->size);
    if (r->in->first)
        return;
    p->aggregate_n = r->aggregate_n;
    memcpy(p->aggregate, r->aggregate, r->aggregate_n);
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
    r.aggregate_n = 0;
    r.no_verdict = (struct lt_err){0};
    struct lt_ima_keys *fresh = in->first && progress->learnt ? NULL : lt_ima_keys_new();
    r.judge = (struct lt_ima_judge){.layers = in->layers,
                                    .now = in->now,
                                    .learnt = fresh      ? fresh
                                              : progress ? progress->learnt
                                                         : NULL};
    r.had = lt_ima_keys_count(r.judge.learnt);

    int rc = run(&r, &local);
    lt_ima_judge_end(&r.judge);
    if (rc)
        lt_ima_keys_cut(r.judge.learnt, r.had);
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
    advance(&r, progress);
    return 0;
}

void lt_ima_progress_free(struct lt_ima_progress *p)
{
    lt_ima_keys_free(p->learnt);
    memset(p, 0, sizeof *p);
}

void lt_ima_quoted(struct lt_ima_input *in, const struct lt_pcrs *q, struct lt_ima_aggregates *keep)
{
    struct lt_slice part[10];
    size_t size = lt_hash_size(q->alg);

    in->bank = q->alg;
    in->pcr = q->mask >> LT_IMA_PCR & 1 ? q->value[LT_IMA_PCR] : NULL;
    in->aggregate_count = keep->count = 0;
    if (LT_IMA_BOOT_PCRS & ~q->mask || !size)
        return;
    for (unsigned i = 0; i < 10; i++)
        part[i] = (struct lt_slice){q->value[i], size};
    lt_hash(q->alg, part, 8, keep->value[keep->count++]);
    if (q->alg != LT_HASH_SHA1)
        lt_hash(q->alg, part, 10, keep->value[keep->count++]);
    for (; in->aggregate_count < keep->count; in->aggregate_count++)
        in->aggregate[in->aggregate_count] = (struct lt_slice){keep->value[in->aggregate_count], size};
}

int lt_ima_files(struct lt_slice list, lt_ima_file_fn fn, void *arg, struct lt_err *e)
{
    struct lt_ima_walk walk = lt_ima_walk(list);
    struct lt_ima_line line;
    bool more;

    if (list.n > LT_MAX_IMA_LOG)
        return lt_fail(e, LT_E_TOO_LARGE, "IMA list of %zu bytes, at most %u are read", list.n,
                       LT_MAX_IMA_LOG);
    for (uint64_t i = 0;; i++) {
        size_t from = walk.at;
        LT_TRY_IN(lt_ima_walk_next(&walk, &line, &more, e), e, "IMA entry %" PRIu64 " at byte %zu", i, from);
        if (!more)
            return 0;
        if (line.violation || line.kind == LT_IMA_BUFFER || line.pcr != LT_IMA_PCR)
            continue;
        const struct lt_ima_file file = {i, line.path, line.alg, line.digest,
                                         lt_ima_line_is_aggregate(&line)};
        LT_TRY(fn(arg, &file, e));
    }
}
