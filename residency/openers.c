#include "residency/openers.h"

#include "residency/proof.h"

#include <stdlib.h>
#include <string.h>

#define TAG 16
#define HANDOVER (2 * LT_SHA256)

static const char tag_openers[TAG] = "LT1:OPENERS";
static const char *const kind_names[] = {"", "state", "escrow", "handover", "authority"};

/* ---- STATE ---- */

int lt_openers_state_mask(uint32_t mask, struct lt_err *e)
{
    if (!mask)
        return lt_fail(e, LT_E_MALFORMED, "state: no PCR");
    if (mask >> LT_MAX_PCRS || mask & LT_OPENERS_STATE_NEVER)
        return lt_fail(e, LT_E_MALFORMED, "state: bitmap 0x%08x: PCR 10, 13 and 16 and above are in none",
                       mask);
    return 0;
}

int lt_openers_state_read(struct lt_reader *r, struct lt_pcrs *out, struct lt_err *e)
{
    struct lt_reader at = *r;

    *out = (struct lt_pcrs){.alg = LT_HASH_SHA256};
    LT_TRY(lt_read_u32(&at, &out->mask, e));
    int rc = lt_openers_state_mask(out->mask, e);
    for (int i = 0; !rc && i < LT_MAX_PCRS; i++)
        if (out->mask >> i & 1)
            rc = lt_read_copy(&at, out->value[i], LT_SHA256, e);
    if (rc)
        memset(out, 0, sizeof *out);
    else
        *r = at;
    return rc;
}

void lt_openers_state_write(const struct lt_pcrs *state, struct lt_buf *b)
{
    lt_buf_u32(b, state->mask);
    for (int i = 0; i < LT_MAX_PCRS; i++)
        if (state->mask >> i & 1)
            lt_buf_put(b, state->value[i], LT_SHA256);
}

bool lt_openers_state_same(const struct lt_pcrs *a, const struct lt_pcrs *b)
{
    bool same = a->mask == b->mask;

    for (int i = 0; same && i < LT_MAX_PCRS; i++)
        same = !(a->mask >> i & 1) || !memcmp(a->value[i], b->value[i], LT_SHA256);
    return same;
}

/* ---- one opener ---- */

static size_t body_size(const struct lt_openers_one *x)
{
    switch (x->kind) {
    case LT_OPENERS_STATE:
        return LT_SHA256 + 4 + (size_t)__builtin_popcount(x->state.mask) * LT_SHA256;
    case LT_OPENERS_HANDOVER:
        return HANDOVER;
    case LT_OPENERS_ESCROW:
    case LT_OPENERS_AUTHORITY:
        break;
    }
    return LT_SHA256;
}

static int read_body(struct lt_slice body, struct lt_openers_one *x, struct lt_err *e)
{
    struct lt_reader r = lt_reader(body.p, body.n, "opener");

    LT_TRY(lt_read_copy(&r, x->digest, LT_SHA256, e));
    if (x->kind == LT_OPENERS_STATE)
        LT_TRY(lt_openers_state_read(&r, &x->state, e));
    else if (x->kind == LT_OPENERS_HANDOVER)
        LT_TRY(lt_read_copy(&r, x->name, LT_SHA256, e));
    return lt_reader_end(&r, e);
}

static int read_one(struct lt_reader *r, struct lt_openers_one *x, struct lt_err *e)
{
    struct lt_slice body;
    uint8_t kind, closed;

    LT_TRY(lt_read_u8(r, &kind, e));
    LT_TRY(lt_read_u8(r, &closed, e));
    LT_TRY(lt_read_slice16(r, LT_SHA256 + LT_OPENERS_STATE_BYTES, &body, e));
    if (kind < LT_OPENERS_STATE || kind > LT_OPENERS_AUTHORITY)
        return lt_fail(e, LT_E_UNSUPPORTED, "kind %u, only 1 to 4 are known", kind);
    if (closed > 1)
        return lt_fail(e, LT_E_MALFORMED, "closed is %u, neither 0 nor 1", closed);
    *x = (struct lt_openers_one){.kind = (enum lt_openers_kind)kind, .closed = closed};
    return read_body(body, x, e);
}

static void write_one(const struct lt_openers_one *x, struct lt_buf *b)
{
    lt_buf_u8(b, (uint8_t)x->kind);
    lt_buf_u8(b, x->closed);
    lt_buf_u16(b, (uint16_t)body_size(x));
    lt_buf_put(b, x->digest, LT_SHA256);
    if (x->kind == LT_OPENERS_STATE)
        lt_openers_state_write(&x->state, b);
    else if (x->kind == LT_OPENERS_HANDOVER)
        lt_buf_put(b, x->name, LT_SHA256);
}

bool lt_openers_same(const struct lt_openers_one *a, const struct lt_openers_one *b)
{
    return a->kind == b->kind && !memcmp(a->digest, b->digest, LT_SHA256) &&
           (a->kind != LT_OPENERS_HANDOVER || !memcmp(a->name, b->name, LT_SHA256)) &&
           (a->kind != LT_OPENERS_STATE || lt_openers_state_same(&a->state, &b->state));
}

/* ---- the list ---- */

void lt_openers_free(struct lt_openers *o)
{
    free(o->one);
    *o = (struct lt_openers){0};
}

unsigned lt_openers_find(const struct lt_openers *o, const struct lt_openers_one *one)
{
    for (unsigned i = o->count; i; i--)
        if (lt_openers_same(&o->one[i - 1], one))
            return i - 1;
    return LT_MAX_OPENERS;
}

int lt_openers_add(struct lt_openers *o, const struct lt_openers_one *one, struct lt_err *e)
{
    const unsigned at = lt_openers_find(o, one);

    if (at != LT_MAX_OPENERS && !(one->kind == LT_OPENERS_STATE && o->one[at].closed))
        return lt_fail(e, LT_E_USAGE, "openers: %s %u is there already", kind_names[one->kind], at);
    if (one->kind == LT_OPENERS_AUTHORITY && o->count)
        return lt_fail(e, LT_E_USAGE, "openers: an authority stands first or nowhere");
    if (o->count >= LT_MAX_OPENERS)
        return lt_fail(e, LT_E_TOO_LARGE, "openers: %u are there already", LT_MAX_OPENERS);
    const struct lt_openers_one copy = *one; /* it may be one of ours */
    struct lt_openers_one *grown = realloc(o->one, (o->count + 1) * sizeof *grown);
    if (!grown)
        return lt_fail(e, LT_E_NO_MEMORY, "openers: no memory for %u", o->count + 1);
    grown[o->count++] = copy;
    o->one = grown;
    return 0;
}

int lt_openers_parse(const void *p, size_t n, struct lt_openers *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p, n, "openers");
    struct lt_openers_one one;
    uint16_t count;

    *out = (struct lt_openers){0};
    LT_TRY(lt_read_expect(&r, tag_openers, TAG, e));
    LT_TRY(lt_read_u16(&r, &count, e));
    if (count > LT_MAX_OPENERS)
        return lt_fail(e, LT_E_TOO_LARGE, "openers: %u > %u", count, LT_MAX_OPENERS);
    for (unsigned i = 0; i < count; i++) {
        LT_TRY_IN(read_one(&r, &one, e), e, "opener %u", i);
        int rc = lt_openers_add(out, &one, e);
        if (rc) /* what may not be added may not be there */
            return rc == LT_E_USAGE ? lt_fail_in(e, LT_E_MALFORMED, "opener %u", i) : rc;
    }
    return lt_reader_end(&r, e);
}

void lt_openers_write(const struct lt_openers *o, struct lt_buf *b)
{
    lt_buf_put(b, tag_openers, TAG);
    lt_buf_u16(b, (uint16_t)o->count);
    for (unsigned i = 0; i < o->count; i++)
        write_one(&o->one[i], b);
}

size_t lt_openers_size(const struct lt_openers *o)
{
    size_t n = TAG + 2;

    for (unsigned i = 0; i < o->count; i++)
        n += 4 + body_size(&o->one[i]);
    return n;
}

int lt_openers_digest(const struct lt_openers *o, uint8_t out[LT_SHA256], struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);

    memset(out, 0, LT_SHA256);
    lt_openers_write(o, &b);
    LT_TRY(lt_buf_ok(&b, e));
    lt_sha256(b.p, b.n, out);
    return 0;
}

bool lt_openers_prefix(const struct lt_openers *older, const struct lt_openers *newer)
{
    bool is = older->count <= newer->count;

    for (unsigned i = 0; is && i < older->count; i++)
        is = lt_openers_same(&older->one[i], &newer->one[i]) &&
             (newer->one[i].closed || !older->one[i].closed);
    return is;
}

int lt_openers_copy(const struct lt_openers *o, struct lt_openers *out, struct lt_err *e)
{
    *out = (struct lt_openers){0};
    if (!o->count)
        return 0;
    out->one = malloc(o->count * sizeof *out->one);
    if (!out->one)
        return lt_fail(e, LT_E_NO_MEMORY, "openers: no memory for %u", o->count);
    memcpy(out->one, o->one, o->count * sizeof *out->one);
    out->count = o->count;
    return 0;
}

/* ---- for people ---- */

static json_t *one_to_json(const struct lt_openers_one *x)
{
    const bool host = x->kind == LT_OPENERS_STATE || x->kind == LT_OPENERS_HANDOVER;
    json_t *j = json_pack("{s:s, s:b, s:o}", "kind", kind_names[x->kind], "closed", x->closed,
                          host ? "host_ek_digest" : "key", lt_json_new_hex(x->digest, LT_SHA256));

    if (x->kind == LT_OPENERS_STATE)
        json_object_set_new(j, "pcrs", lt_residency_pcrs_to_json(&x->state));
    else if (x->kind == LT_OPENERS_HANDOVER)
        json_object_set_new(j, "import_key", lt_json_new_hex(x->name, LT_SHA256));
    return j;
}

json_t *lt_openers_to_json(const struct lt_openers *o)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < o->count; i++)
        json_array_append_new(list, one_to_json(&o->one[i]));
    return list;
}
