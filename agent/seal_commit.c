#include "agent/seal_commit.h"

#include "agent/seal_memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOCKED_TRIES 3
#define PRIVATE_MAX (2 + LT_SEAL_VAULT_PRIVATE)

static void did(const struct lt_agent_seal_ops *o, const char *step)
{
    if (o->did)
        o->did(o->file_ctx, step);
}

/* ---- content ---- */

int lt_agent_seal_content_new(uint32_t count, struct lt_agent_seal_content *out, struct lt_err *e)
{
    void *p;

    *out = (struct lt_agent_seal_content){.bytes = count * sizeof *out->entries};
    LT_TRY(lt_agent_seal_memory_new(out->bytes, &p, e));
    out->entries = p;
    return 0;
}

int lt_agent_seal_content_copy(const struct lt_agent_seal_content *of, uint32_t more,
                               struct lt_agent_seal_content *out, struct lt_err *e)
{
    LT_TRY(lt_agent_seal_content_new(of->count + more, out, e));
    out->generation = of->generation;
    out->kind = of->kind;
    out->states = of->states;
    for (uint32_t i = 0; i < of->count; i++) {
        LT_TRY(lt_seal_entry_copy(&of->entries[i], &out->entries[i], e));
        out->count++;
    }
    return 0;
}

void lt_agent_seal_content_free(struct lt_agent_seal_content *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        lt_seal_entry_free(&c->entries[i]);
    lt_agent_seal_memory_free(c->entries, c->bytes);
    *c = (struct lt_agent_seal_content){0};
}

uint32_t lt_agent_seal_content_find(const struct lt_agent_seal_content *c, const uint8_t uuid[LT_UUID])
{
    uint32_t from = 0, to = c->count;

    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        int order = memcmp(c->entries[mid].uuid, uuid, LT_UUID);
        if (!order)
            return mid;
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return c->count;
}

/* ---- what both need of the chip ---- */

int lt_agent_seal_commit_present(const struct lt_agent_seal_ops *o, const struct lt_seal_key_states *s,
                                 unsigned *which, struct lt_err *e)
{
    struct lt_pcrs now;
    uint32_t mask = 0;

    for (unsigned i = 0; i < s->count; i++)
        mask |= s->state[i].mask;
    LT_TRY(o->chip->present(o->chip_ctx, mask, &now, e));
    for (*which = 0; *which < s->count; ++*which) {
        now.mask = s->state[*which].mask;
        if (lt_openers_state_same(&now, &s->state[*which]))
            break;
    }
    return 0;
}

/* KM in locked memory. A PCR that moved just now is looked at again, then it is the chip's no. */
static int ask(const struct lt_agent_seal_ops *o, struct lt_agent_seal_question *q, uint8_t *km,
               struct lt_err *e)
{
    int rc = 0;

    for (int i = 0; i < LOCKED_TRIES; i++) {
        LT_TRY(lt_agent_seal_commit_present(o, q->states, &q->present, e));
        if (q->present == q->states->count)
            return lt_fail(
                e, LT_E_VAULT_LOCKED,
                "this host is in none of the %u platform states that the vault's key answers in: boot one of "
                "them, and `limetree host reseal` it from there to this one",
                q->states->count);
        rc = o->chip->answer(o->chip_ctx, q, km, e);
        if (rc != LT_E_VAULT_LOCKED)
            break;
    }
    return rc;
}

/* ---- opening ---- */

struct file {
    uint8_t *p; /* owned */
    size_t n;
    int rc; /* of reading and parsing it */
    struct lt_err why;
    struct lt_seal_vault v;
};

/* A file that is absent or not well-formed is an answer too; what it is, f->rc says. */
static int read_file(const struct lt_agent_seal_ops *o, enum lt_agent_seal_file which, struct file *f,
                     struct lt_err *e)
{
    f->rc = o->file->read(o->file_ctx, which, &f->p, &f->n, &f->why);
    if (!f->rc && lt_seal_vault_parse(f->p, f->n, &f->v, &f->why))
        f->rc = lt_fail_in(&f->why, LT_E_VAULT_FORGED, "the vault's file");
    if (!f->rc || f->rc == LT_E_NOT_FOUND || f->rc == LT_E_VAULT_FORGED)
        return 0;
    *e = f->why;
    return f->rc;
}

/* The file whose generation is the counter's. A file that was only pending when power was cut is none. */
static int choose(struct file *vault, struct file *next, uint64_t counter, struct file **out,
                  struct lt_err *e)
{
    *out = !next->rc && next->v.generation == counter ? next : vault;
    if ((*out)->rc == LT_E_NOT_FOUND && !next->rc && next->v.generation < counter)
        return lt_fail(e, LT_E_VAULT_STALE,
                       "there is no vault but a pending file of generation %" PRIu64
                       ", and the counter is at %" PRIu64,
                       next->v.generation, counter);
    if ((*out)->rc == LT_E_NOT_FOUND && next->rc == LT_E_NOT_FOUND)
        return lt_fail(
            e, LT_E_VAULT_NONE,
            "there is no vault's file, but the TPM has a vault's counter: if there was one, put its "
            "file back (is its file system mounted?); `limetree host seal` makes a new one, and the "
            "old file never opens again");
    if ((*out)->rc == LT_E_NOT_FOUND)
        return lt_fail(e, LT_E_VAULT_NONE, "this host has no vault yet: `limetree host seal` makes one");
    if ((*out)->rc) {
        *e = (*out)->why;
        return (*out)->rc;
    }
    if ((*out)->v.generation != counter)
        return lt_fail(e, LT_E_VAULT_STALE,
                       "the vault's file is of generation %" PRIu64 " and the counter at %" PRIu64
                       ": an old file was copied back (put the newest one there), or somebody incremented "
                       "the counter",
                       (*out)->v.generation, counter);
    return 0;
}

/* Before the chip is asked anything: that its key answers to these states and this counter, and to nothing
 * else. */
static int check_file(const struct lt_seal_vault *v, const uint8_t host_ek_digest[LT_SHA256], unsigned kinds,
                      struct lt_agent_seal_content *out, struct lt_err *e)
{
    uint8_t policy[LT_SHA256];

    out->generation = v->generation;
    if (v->count != 1)
        return lt_fail(e, LT_E_VAULT_FORGED,
                       "the vault has %u compartments: another version of the agent wrote it", v->count);
    if (memcmp(v->host_ek_digest, host_ek_digest, LT_SHA256))
        return lt_fail(e, LT_E_VAULT_FORGED, "the vault's file is of another host: its EK is not this TPM's");
    lt_seal_vault_states(&v->one[0], &out->states);
    lt_seal_key_policy(&out->states, v->generation, policy);
    int rc = lt_seal_key_check(v->one[0].public, policy, &out->kind, e);
    if (rc)
        return lt_fail_in(e, LT_E_VAULT_FORGED, "the vault's key");
    if (!(kinds & 1u << out->kind))
        return lt_fail(e, LT_E_TPM_NO_HMAC, "this TPM has not the command that the vault's key needs (%s)",
                       out->kind == LT_SEAL_KEY_HMAC ? "TPM2_HMAC" : "TPM2_ECDH_ZGen");
    return 0;
}

static int take_entries(struct lt_slice plain, const uint8_t host_ek_digest[LT_SHA256],
                        struct lt_agent_seal_content *c, struct lt_err *e)
{
    LT_TRY(lt_seal_vault_plain_read(plain, c->entries, e));
    for (uint32_t i = 0; i < c->count; i++) {
        char uuid[LT_UUID_TEXT];
        if (lt_seal_change_listed(&c->states, host_ek_digest, &c->entries[i]))
            continue;
        lt_uuid_format(c->entries[i].uuid, uuid);
        return lt_fail(e, LT_E_REFUSED, "the list of %s lacks a state that the vault's key answers in", uuid);
    }
    return 0;
}

static int read_plain(struct lt_slice plain, const uint8_t host_ek_digest[LT_SHA256],
                      struct lt_agent_seal_content *c, struct lt_err *e)
{
    const struct lt_agent_seal_content head = *c;
    uint32_t count;

    LT_TRY(lt_seal_vault_plain_count(plain, &count, e));
    LT_TRY(lt_agent_seal_content_new(count, c, e));
    c->generation = head.generation;
    c->kind = head.kind;
    c->states = head.states;
    c->count = count;
    return take_entries(plain, host_ek_digest, c, e);
}

static int decrypt(const struct lt_agent_seal_ops *o, const struct lt_seal_vault *v, const uint8_t *km,
                   const uint8_t host_ek_digest[LT_SHA256], struct lt_agent_seal_content *c, struct lt_err *e)
{
    const size_t n = v->one[0].cipher.n;
    void *plain;

    LT_TRY(lt_agent_seal_memory_new(n, &plain, e));
    int rc = lt_seal_vault_open(v, 0, km, plain, e);
    did(o, "decrypt");
    if (!rc)
        rc = read_plain((struct lt_slice){plain, n}, host_ek_digest, c, e);
    did(o, "check-entries");
    lt_agent_seal_memory_free(plain, n);
    /* Trouble of ours is no word about the file. */
    return !rc || rc == LT_E_CONFIG || rc == LT_E_NO_MEMORY ? rc
                                                            : lt_fail_in(e, LT_E_VAULT_FORGED, "the vault");
}

static int unseal(const struct lt_agent_seal_ops *o, const struct lt_seal_vault *v,
                  const uint8_t host_ek_digest[LT_SHA256], struct lt_agent_seal_content *c, struct lt_err *e)
{
    const struct lt_seal_key_states states = c->states;
    struct lt_agent_seal_question q = {
        .kind = c->kind,
        .public = v->one[0].public,
        .private = v->one[0].private,
        .states = &states,
        .generation = v->generation,
    };
    void *km;

    LT_TRY(lt_agent_seal_memory_new(LT_SHA256, &km, e));
    int rc = ask(o, &q, km, e);
    if (!rc)
        rc = decrypt(o, v, km, host_ek_digest, c, e);
    lt_agent_seal_memory_free(km, LT_SHA256);
    return rc;
}

/* The pending file that was committed takes its place, after it was seen to open. */
static int settle(const struct lt_agent_seal_ops *o, struct lt_err *e)
{
    LT_TRY(o->file->rename(o->file_ctx, e));
    return o->file->sync_dir(o->file_ctx, e);
}

static int open_files(const struct lt_agent_seal_ops *o, const uint8_t host_ek_digest[LT_SHA256],
                      unsigned kinds, struct file files[2], struct lt_agent_seal_content *out,
                      struct lt_err *e)
{
    struct file *vault = &files[LT_AGENT_SEAL_VAULT], *next = &files[LT_AGENT_SEAL_NEXT], *is;
    uint64_t counter;

    int rc = o->chip->counter(o->chip_ctx, &counter, e);
    if (rc && rc != LT_E_NOT_FOUND)
        return rc;
    const struct lt_err no_counter = *e;
    LT_TRY(read_file(o, LT_AGENT_SEAL_VAULT, vault, e));
    LT_TRY(read_file(o, LT_AGENT_SEAL_NEXT, next, e));
    *e = no_counter;
    if (rc)
        return vault->rc == LT_E_NOT_FOUND && next->rc == LT_E_NOT_FOUND
                   ? lt_fail(e, LT_E_VAULT_NONE, "this host has no vault yet: `limetree host seal` makes one")
                   : lt_fail_in(e, LT_E_COUNTER_LOST, "there is a vault's file, but");
    LT_TRY(choose(vault, next, counter, &is, e));
    did(o, "choose");
    LT_TRY(check_file(&is->v, host_ek_digest, kinds, out, e));
    did(o, "check-file");
    LT_TRY(unseal(o, &is->v, host_ek_digest, out, e));
    return is == next ? settle(o, e) : 0;
}

int lt_agent_seal_commit_open(const struct lt_agent_seal_ops *o, const uint8_t host_ek_digest[LT_SHA256],
                              struct lt_agent_seal_content *out, struct lt_err *e)
{
    struct file files[2] = {0};
    unsigned kinds;

    *out = (struct lt_agent_seal_content){0};
    LT_TRY(o->chip->kinds(o->chip_ctx, &kinds, e));
    int rc = open_files(o, host_ek_digest, kinds, files, out, e);
    free(files[0].p);
    free(files[1].p);
    return rc;
}

/* ---- committing ---- */

struct draft {
    const struct lt_agent_seal_ops *o;
    const uint8_t *host_ek_digest;
    struct lt_agent_seal_content *c;
    uint64_t generation; /* to be */
    struct lt_buf public, private, file;
};

static int make_key(struct draft *d, struct lt_err *e)
{
    uint8_t policy[LT_SHA256];
    enum lt_seal_key_kind kind;

    lt_seal_key_policy(&d->c->states, d->generation, policy);
    LT_TRY(d->o->chip->make(d->o->chip_ctx, d->c->kind, policy, &d->public, &d->private, e));
    int rc = lt_seal_key_check((struct lt_slice){d->public.p, d->public.n}, policy, &kind, e);
    if (!rc && kind != d->c->kind)
        rc = lt_fail(e, LT_E_TPM, "a key of another kind");
    return rc ? lt_fail_in(e, LT_E_TPM, "the vault's key as the TPM made it") : 0;
}

static int encrypt(struct draft *d, const uint8_t *km, struct lt_err *e)
{
    struct lt_seal_vault_draft draft = {
        .generation = d->generation,
        .states = &d->c->states,
        .public = {d->public.p, d->public.n},
        .private = {d->private.p, d->private.n},
    };
    const size_t n = lt_seal_vault_plain_size(d->c->entries, d->c->count);
    void *plain;

    memcpy(draft.host_ek_digest, d->host_ek_digest, LT_SHA256);
    LT_TRY(lt_agent_seal_memory_new(n, &plain, e));
    lt_seal_vault_plain_put(d->c->entries, d->c->count, plain);
    int rc = lt_seal_vault_seal(&draft, km, (struct lt_slice){plain, n}, &d->file, e);
    lt_agent_seal_memory_free(plain, n);
    did(d->o, "encrypt");
    return rc;
}

static int seal(struct draft *d, struct lt_err *e)
{
    struct lt_agent_seal_question q = {
        .kind = d->c->kind,
        .public = {d->public.p, d->public.n},
        .private = {d->private.p, d->private.n},
        .states = &d->c->states,
        .generation = d->generation,
    };
    void *km;

    LT_TRY(lt_agent_seal_memory_new(LT_SHA256, &km, e));
    int rc = ask(d->o, &q, km, e);
    if (rc == LT_E_VAULT_LOCKED)
        rc = lt_fail(
            e, LT_E_USAGE,
            "the present platform state is none of those the vault would answer in: it could not be opened "
            "again before a reboot, so it is not made");
    if (!rc)
        rc = encrypt(d, km, e);
    lt_agent_seal_memory_free(km, LT_SHA256);
    return rc;
}

/* The order is the rule: what is behind the increment is durable before it. */
static int write_down(struct draft *d, struct lt_err *e)
{
    const struct lt_agent_seal_ops *o = d->o;

    LT_TRY(o->file->write_next(o->file_ctx, d->file.p, d->file.n, e));
    LT_TRY(o->file->sync_next(o->file_ctx, e));
    LT_TRY(o->file->sync_dir(o->file_ctx, e));
    LT_TRY(o->chip->increment(o->chip_ctx, d->c->generation, e));
    d->c->generation = d->generation;
    return settle(o, e);
}

static int commit_draft(struct draft *d, struct lt_err *e)
{
    uint64_t counter;

    LT_TRY(d->o->chip->counter(d->o->chip_ctx, &counter, e));
    if (counter != d->c->generation)
        return lt_fail(e, LT_E_VAULT_STALE,
                       "the counter is at %" PRIu64 " and the open vault of generation %" PRIu64
                       ": somebody incremented the counter",
                       counter, d->c->generation);
    LT_TRY(make_key(d, e));
    LT_TRY(seal(d, e));
    return write_down(d, e);
}

int lt_agent_seal_commit(const struct lt_agent_seal_ops *o, const uint8_t host_ek_digest[LT_SHA256],
                         struct lt_agent_seal_content *c, struct lt_err *e)
{
    struct draft d = {
        .o = o,
        .host_ek_digest = host_ek_digest,
        .c = c,
        .generation = c->generation + 1,
        .public = LT_BUF(LT_MAX_PUBLIC),
        .private = LT_BUF(PRIVATE_MAX),
        .file = LT_BUF(LT_MAX_VAULT),
    };
    int rc = commit_draft(&d, e);

    lt_buf_free(&d.public);
    lt_buf_free(&d.private);
    lt_buf_free(&d.file);
    return rc;
}
