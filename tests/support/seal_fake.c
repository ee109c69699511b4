#include "tests/support/seal_fake.h"

#include "common/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void word(struct seal_fake *f, const char *w)
{
    size_t n = strlen(f->words);
    snprintf(f->words + n, sizeof f->words - n, "%s%s", n ? " " : "", w);
}

/* Every operation passes here before and after what it does. */
static bool cut(struct seal_fake *f, bool after)
{
    if (!after && !f->is_cut)
        f->done++;
    if (f->cut_at && f->done == f->cut_at && f->cut_after == after)
        f->is_cut = true;
    return f->is_cut;
}

static int gone(struct lt_err *e)
{
    return lt_fail(e, LT_E_IO, "power was cut");
}

#define BEFORE(f, e)                                                                                         \
    do {                                                                                                     \
        if (cut(f, false))                                                                                   \
            return gone(e);                                                                                  \
    } while (0)
#define AFTER(f, e) return cut(f, true) ? gone(e) : 0

/* ---- the chip ---- */

static int kinds(void *ctx, unsigned *out, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    word(f, "hmac-probe");
    *out = f->kinds;
    AFTER(f, e);
}

static int check_counter(const struct seal_fake *f, struct lt_err *e)
{
    if (f->others)
        return lt_fail(e, LT_E_COUNTER_LOST, "another's");
    return f->defined ? 0 : lt_fail(e, LT_E_NOT_FOUND, "no counter");
}

static int counter(void *ctx, uint64_t *out, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    word(f, "index-name counter-read");
    LT_TRY(check_counter(f, e));
    *out = f->counter;
    AFTER(f, e);
}

static int counter_define(void *ctx, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    if (f->others)
        return check_counter(f, e);
    f->counter += !f->defined;
    f->defined = true;
    AFTER(f, e);
}

static int increment(void *ctx, uint64_t from, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    word(f, "increment counter-check");
    LT_TRY(check_counter(f, e));
    f->counter += f->counter == from;
    if (f->counter != from + 1)
        return lt_fail(e, LT_E_VAULT_STALE, "the counter is elsewhere");
    AFTER(f, e);
}

static int present(void *ctx, uint32_t mask, struct lt_pcrs *out, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    *out = f->present;
    out->mask = mask;
    AFTER(f, e);
}

/* As the chip's, with a unique field drawn by lot. */
static void put_public(enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256], struct lt_buf *b)
{
    uint8_t t[LT_SEAL_KEY_TEMPLATE], unique[LT_SHA256], raw[LT_SEAL_KEY_TEMPLATE + 68];
    const size_t parts = kind == LT_SEAL_KEY_ECDH ? 2 : 1;
    size_t n = lt_seal_key_template(kind, policy, t) - 2 * parts;

    memcpy(raw, t, n);
    for (size_t i = 0; i < parts; i++, n += 2 + sizeof unique) {
        lt_random(unique, sizeof unique);
        lt_put_u16(raw + n, sizeof unique);
        memcpy(raw + n + 2, unique, sizeof unique);
    }
    lt_put_u16(raw, (uint16_t)(n - 2));
    lt_buf_put(b, raw, n);
}

static int make(void *ctx, enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256], struct lt_buf *public,
                struct lt_buf *private, struct lt_err *e)
{
    struct seal_fake *f = ctx;
    uint8_t blob[LT_SHA256];

    BEFORE(f, e);
    word(f, "key-new");
    if (f->refused & 1u << kind)
        return lt_fail(e, LT_E_TPM_NO_HMAC, "refused");
    put_public(kind, policy, public);
    lt_random(blob, sizeof blob);
    lt_buf_put16(private, blob, sizeof blob);
    AFTER(f, e);
}

/* The policy stands in TPMT_PUBLIC behind type, nameAlg and attributes: what the chip holds a session
 * against. */
static bool satisfied(const struct seal_fake *f, const struct lt_agent_seal_question *q)
{
    uint8_t policy[LT_SHA256];
    struct lt_pcrs now = f->present;

    now.mask = q->states->state[q->present].mask;
    lt_seal_key_policy(q->states, q->generation, policy);
    return lt_openers_state_same(&now, &q->states->state[q->present]) && q->public.n > 12 + LT_SHA256 &&
           !memcmp(q->public.p + 12, policy, LT_SHA256);
}

static int answer(void *ctx, const struct lt_agent_seal_question *q, uint8_t km[LT_SHA256], struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PUBLIC);
    struct seal_fake *f = ctx;
    uint8_t message[LT_SEAL_KEY_MESSAGE];

    BEFORE(f, e);
    word(f, "load session km");
    if (f->refused & 1u << q->kind)
        return lt_fail(e, LT_E_TPM_NO_HMAC, "refused");
    if (!satisfied(f, q))
        return lt_fail(e, LT_E_VAULT_LOCKED, "another state");
    LT_TRY(check_counter(f, e));
    if (f->counter > q->generation)
        return lt_fail(e, LT_E_VAULT_STALE, "the counter is above");
    lt_seal_key_message(q->generation, q->compartment, message);
    lt_buf_put(&b, q->public.p, q->public.n);
    lt_buf_put(&b, q->private.p, q->private.n);
    lt_buf_put(&b, message, sizeof message);
    lt_hmac(LT_HASH_SHA256, f->secret, sizeof f->secret, b.p, b.n, km);
    AFTER(f, e);
}

const struct lt_agent_seal_chip_ops seal_fake_chip_ops = {
    .kinds = kinds,
    .counter = counter,
    .counter_define = counter_define,
    .increment = increment,
    .present = present,
    .make = make,
    .answer = answer,
};

/* ---- the disk ---- */

void seal_fake_put(struct seal_fake_bytes *b, const struct seal_fake_bytes *from)
{
    struct seal_fake_bytes copy = *from;

    if (from->p) {
        copy.p = lt_alloc(from->n, 1);
        memcpy(copy.p, from->p, from->n);
    }
    free(b->p);
    *b = copy;
}

static int read_file(void *ctx, enum lt_agent_seal_file which, uint8_t **out, size_t *n, struct lt_err *e)
{
    struct seal_fake *f = ctx;
    struct seal_fake_bytes *b = which == LT_AGENT_SEAL_VAULT ? &f->vault : &f->next, copy = {0};

    BEFORE(f, e);
    if (!b->p)
        return lt_fail(e, LT_E_NOT_FOUND, "no such file");
    seal_fake_put(&copy, b);
    *out = copy.p;
    *n = copy.n;
    AFTER(f, e);
}

static int write_next(void *ctx, const void *p, size_t n, struct lt_err *e)
{
    struct seal_fake *f = ctx;
    const struct seal_fake_bytes new = {(uint8_t *)(uintptr_t)p, n, false};

    BEFORE(f, e);
    word(f, "write-next");
    seal_fake_put(&f->next, &new);
    if (f->ever_n < SEAL_FAKE_EVER)
        seal_fake_put(&f->ever[f->ever_n++], &new);
    AFTER(f, e);
}

static int sync_next(void *ctx, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    word(f, "fsync-next");
    f->next.synced = true;
    AFTER(f, e);
}

static int rename_next(void *ctx, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    word(f, "rename");
    seal_fake_put(&f->vault, &f->next);
    seal_fake_put(&f->next, &(struct seal_fake_bytes){0});
    AFTER(f, e);
}

static int sync_dir(void *ctx, struct lt_err *e)
{
    struct seal_fake *f = ctx;

    BEFORE(f, e);
    word(f, "fsync-dir");
    seal_fake_put(&f->vault_kept, &f->vault);
    seal_fake_put(&f->next_kept, &f->next);
    AFTER(f, e);
}

const struct lt_agent_seal_file_ops seal_fake_file_ops = {
    .read = read_file,
    .write_next = write_next,
    .sync_next = sync_next,
    .rename = rename_next,
    .sync_dir = sync_dir,
};

static void did(void *ctx, const char *step)
{
    word(ctx, step);
}

struct lt_agent_seal_ops seal_fake_ops(struct seal_fake *f)
{
    return (struct lt_agent_seal_ops){&seal_fake_chip_ops, &seal_fake_file_ops, f, f, did};
}

static void tear(struct seal_fake_bytes *b)
{
    if (b->p && !b->synced)
        b->n /= 2;
}

void seal_fake_restart(struct seal_fake *f, int outcome)
{
    if (outcome == 2) {
        seal_fake_put(&f->vault, &f->vault_kept);
        seal_fake_put(&f->next, &f->next_kept);
    }
    if (outcome) {
        tear(&f->vault);
        tear(&f->next);
    }
    f->is_cut = false;
    f->cut_at = 0;
    f->words[0] = 0;
}

void seal_fake_free(struct seal_fake *f)
{
    free(f->vault.p);
    free(f->next.p);
    free(f->vault_kept.p);
    free(f->next_kept.p);
    for (unsigned i = 0; i < f->ever_n; i++)
        free(f->ever[i].p);
    *f = (struct seal_fake){0};
}
