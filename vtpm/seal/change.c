#include "vtpm/seal/change.h"

#include <string.h>

/* ---- planning ---- */

static int drop_states(const struct lt_seal_key_states *before, const unsigned *drop, unsigned drop_n,
                       struct lt_seal_key_states *after, struct lt_err *e)
{
    bool dropped[LT_MAX_SEAL_STATES] = {false};

    for (unsigned i = 0; i < drop_n; i++) {
        if (drop[i] >= before->count || dropped[drop[i]])
            return lt_fail(e, LT_E_USAGE, "reseal: drop %u: the vault's key has states 0 to %u, each once",
                           drop[i], before->count - 1);
        dropped[drop[i]] = true;
    }
    for (unsigned i = 0; i < before->count; i++)
        if (!dropped[i])
            after->state[after->count++] = before->state[i];
    return 0;
}

static int add_state(const struct lt_seal_change *c, const struct lt_pcrs *state,
                     struct lt_seal_key_states *after, struct lt_err *e)
{
    LT_TRY(lt_openers_state_mask(state->mask, e));
    if (lt_seal_key_find(&c->before, state) < c->before.count ||
        lt_seal_key_find(after, state) < after->count)
        return lt_fail(e, LT_E_USAGE, "reseal: the vault's key answers in that state already");
    if (after->count >= LT_MAX_SEAL_STATES)
        return lt_fail(e, LT_E_TOO_LARGE, "reseal: more than %d states: drop one", LT_MAX_SEAL_STATES);
    after->state[after->count++] = *state;
    return 0;
}

int lt_seal_change_plan(const struct lt_seal_key_states *before, const uint8_t host_ek_digest[LT_SHA256],
                        const struct lt_pcrs *add, unsigned add_n, const unsigned *drop, unsigned drop_n,
                        struct lt_seal_change *out, struct lt_err *e)
{
    out->before = *before;
    out->after.count = 0;
    memcpy(out->host_ek_digest, host_ek_digest, LT_SHA256);
    LT_TRY(drop_states(before, drop, drop_n, &out->after, e));
    for (unsigned i = 0; i < add_n; i++)
        LT_TRY(add_state(out, &add[i], &out->after, e));
    return out->after.count ? 0 : lt_fail(e, LT_E_USAGE, "reseal: no state would be left");
}

const struct lt_seal_key_states *lt_seal_change_states(const struct lt_seal_change *c,
                                                       enum lt_seal_change_step step)
{
    return step < LT_SEAL_CHANGE_WRAP ? &c->before : &c->after;
}

/* ---- lists ---- */

static struct lt_openers_one opener(const uint8_t host_ek_digest[LT_SHA256], const struct lt_pcrs *state)
{
    struct lt_openers_one one = {.kind = LT_OPENERS_STATE, .state = *state};

    memcpy(one.digest, host_ek_digest, LT_SHA256);
    return one;
}

static int open_state(struct lt_openers *o, const struct lt_openers_one *one, struct lt_err *e)
{
    const unsigned at = lt_openers_find(o, one);

    return at == LT_MAX_OPENERS || o->one[at].closed ? lt_openers_add(o, one, e) : 0;
}

/* Open in the list, of this host, and not of the key's states any more: dropped, or opened by a change that
 * was cut. */
static bool is_left(const struct lt_seal_change *c, const struct lt_openers_one *one)
{
    return one->kind == LT_OPENERS_STATE && !one->closed &&
           !memcmp(one->digest, c->host_ek_digest, LT_SHA256) &&
           lt_seal_key_find(&c->after, &one->state) == c->after.count;
}

bool lt_seal_change_closes(const struct lt_seal_change *c, const struct lt_seal_entry *x)
{
    bool any = false;

    for (unsigned i = 0; i < x->openers.count; i++)
        any = any || is_left(c, &x->openers.one[i]);
    return any;
}

int lt_seal_change_apply(const struct lt_seal_change *c, enum lt_seal_change_step step,
                         struct lt_seal_entry *x, struct lt_err *e)
{
    static const uint8_t none[LT_SHA256];

    if (memcmp(x->authority, none, sizeof none))
        return lt_fail(e, LT_E_UNSUPPORTED, "reseal: an entry's openers are its authority's to change");
    for (unsigned i = 0; step == LT_SEAL_CHANGE_GROW && i < c->after.count; i++) {
        const struct lt_openers_one one = opener(c->host_ek_digest, &c->after.state[i]);
        LT_TRY(open_state(&x->openers, &one, e));
    }
    for (unsigned i = 0; step == LT_SEAL_CHANGE_CLOSE && i < x->openers.count; i++)
        x->openers.one[i].closed |= is_left(c, &x->openers.one[i]);
    return 0;
}

/* ---- entries ---- */

static int complete(const struct lt_seal_key_states *s, const uint8_t host_ek_digest[LT_SHA256],
                    const struct lt_seal_entry *x, struct lt_openers *out, struct lt_err *e)
{
    static const uint8_t none[LT_SHA256];
    struct lt_openers_one one = {.kind = LT_OPENERS_AUTHORITY};

    memcpy(one.digest, x->authority, LT_SHA256);
    if (memcmp(one.digest, none, sizeof none))
        LT_TRY(lt_openers_add(out, &one, e));
    for (unsigned i = 0; i < s->count; i++) {
        one = opener(host_ek_digest, &s->state[i]);
        LT_TRY(lt_openers_add(out, &one, e));
    }
    for (unsigned i = 0; i < x->openers.count; i++) {
        const unsigned at = lt_openers_find(out, &x->openers.one[i]);
        if (at == LT_MAX_OPENERS && x->openers.one[i].kind != LT_OPENERS_ESCROW)
            return lt_fail(e, LT_E_USAGE,
                           "a new entry's opener %u is none of this vault's, and no escrow key", i);
        if (at == LT_MAX_OPENERS)
            LT_TRY(lt_openers_add(out, &x->openers.one[i], e));
    }
    return 0;
}

int lt_seal_change_complete(const struct lt_seal_key_states *s, const uint8_t host_ek_digest[LT_SHA256],
                            struct lt_seal_entry *x, struct lt_err *e)
{
    struct lt_openers whole = {0};
    int rc = complete(s, host_ek_digest, x, &whole, e);

    if (rc) {
        lt_openers_free(&whole);
        return rc;
    }
    lt_openers_free(&x->openers);
    x->openers = whole;
    return 0;
}

bool lt_seal_change_listed(const struct lt_seal_key_states *s, const uint8_t host_ek_digest[LT_SHA256],
                           const struct lt_seal_entry *x)
{
    for (unsigned i = 0; i < s->count; i++) {
        const struct lt_openers_one one = opener(host_ek_digest, &s->state[i]);
        const unsigned at = lt_openers_find(&x->openers, &one);
        if (at == LT_MAX_OPENERS || x->openers.one[at].closed)
            return false;
    }
    return s->count > 0;
}
