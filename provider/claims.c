#include "provider/claims.h"

#include "common/limits.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t unknown[32];

static bool same_pair(const uint8_t a[32], const uint8_t b[32])
{
    return !memcmp(a, b, 32) || !memcmp(a, unknown, 32) || !memcmp(b, unknown, 32);
}

static bool kept(const struct lt_claim *c)
{
    return c->is & (LT_CLAIM_QUOTED | LT_CLAIM_LAST);
}

static void set(struct lt_claim *c, unsigned is, const struct lt_claims_told *t)
{
    bool before = kept(c);

    c->is = is;
    if (t && t->fn && kept(c) != before)
        t->fn(t->arg, c, kept(c));
}

static void drop(struct lt_claims *c, unsigned at, const struct lt_claims_told *t)
{
    set(&c->list[at], 0, t);
    memmove(c->list + at, c->list + at + 1, (--c->count - at) * sizeof *c->list);
}

void lt_claims_free(struct lt_claims *c)
{
    free(c->list);
    *c = (struct lt_claims){0};
}

static struct lt_claim *find(const struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32])
{
    for (unsigned i = 0; i < c->count; i++)
        if (!memcmp(c->list[i].host, host, 16) && !memcmp(c->list[i].ek, ek, 32))
            return &c->list[i];
    return NULL;
}

static bool room_for(struct lt_claims *c, const uint8_t host[16])
{
    unsigned own = 0;

    for (unsigned i = 0; i < c->count; i++)
        own += !memcmp(c->list[i].host, host, 16);
    if (own >= LT_MAX_CLAIMS_OF_HOST)
        return false;
    if (c->count < c->room)
        return true;
    unsigned more = c->room ? 2 * c->room : 1;
    struct lt_claim *list = realloc(c->list, more * sizeof *list);
    if (!list)
        return false;
    c->list = list;
    c->room = more;
    return true;
}

/* NULL: no memory, or one host with more EKs under this UUID than any guest has. */
static struct lt_claim *at(struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32])
{
    struct lt_claim *x = find(c, host, ek);

    if (x || !room_for(c, host))
        return x;
    x = &c->list[c->count++];
    memcpy(x->host, host, 16);
    memcpy(x->ek, ek, 32);
    x->is = 0;
    return x;
}

void lt_claims_load(struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32])
{
    struct lt_claim *x = at(c, host, ek);

    if (x)
        x->is = memcmp(ek, unknown, 32) ? LT_CLAIM_QUOTED : LT_CLAIM_LAST;
}

/* A quoted claim ends what was only a last place of the pair. */
static void end_last(struct lt_claims *c, const uint8_t ek[32], const struct lt_claims_told *t)
{
    for (unsigned i = c->count; i-- > 0;)
        if (c->list[i].is == LT_CLAIM_LAST && same_pair(c->list[i].ek, ek))
            drop(c, i, t);
}

void lt_claims_arrive(struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32], bool quoted,
                      const struct lt_claims_told *t)
{
    struct lt_claim *x = find(c, host, ek);

    if (x && x->is == LT_CLAIM_LAST) /* it is back */
        set(x, quoted ? LT_CLAIM_QUOTED : LT_CLAIM_SEEN, t);
    if (quoted)
        end_last(c, ek, t);
    x = at(c, host, ek);
    if (x)
        set(x, x->is | LT_CLAIM_SEEN | (quoted ? LT_CLAIM_QUOTED : 0), t);
}

static bool others(const struct lt_claims *c, const struct lt_claim *than)
{
    for (unsigned i = 0; i < c->count; i++)
        if (&c->list[i] != than && same_pair(c->list[i].ek, than->ek))
            return true;
    return false;
}

void lt_claims_leave(struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32], bool quoted,
                     bool keep, const struct lt_claims_told *t)
{
    struct lt_claim *x = find(c, host, ek);

    if (!x || x->is == LT_CLAIM_LAST)
        return;
    unsigned is = x->is & ~(unsigned)(quoted ? LT_CLAIM_SEEN | LT_CLAIM_QUOTED : LT_CLAIM_SEEN);
    if (!is && keep && !others(c, x))
        is = LT_CLAIM_LAST;
    if (is)
        set(x, is, t);
    else
        drop(c, (unsigned)(x - c->list), t);
}

void lt_claims_drop_host(struct lt_claims *c, const uint8_t host[16])
{
    for (unsigned i = c->count; i-- > 0;)
        if (!memcmp(c->list[i].host, host, 16))
            drop(c, i, NULL);
}

void lt_claims_forget_last(struct lt_claims *c)
{
    for (unsigned i = c->count; i-- > 0;)
        if (c->list[i].is == LT_CLAIM_LAST)
            drop(c, i, NULL);
}

bool lt_claims_contested(const struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32])
{
    const struct lt_claim *own = find(c, host, ek);

    for (unsigned i = 0; own && !(own->is & LT_CLAIM_QUOTED) && i < c->count; i++)
        if (&c->list[i] != own && c->list[i].is & LT_CLAIM_QUOTED && same_pair(c->list[i].ek, ek))
            return true;
    return false;
}

const struct lt_claim *lt_claims_place(const struct lt_claims *c)
{
    static const unsigned order[] = {LT_CLAIM_QUOTED, LT_CLAIM_LAST, LT_CLAIM_SEEN};

    for (unsigned k = 0; k < sizeof order / sizeof *order; k++)
        for (unsigned i = 0; i < c->count; i++)
            if (c->list[i].is & order[k])
                return &c->list[i];
    return NULL;
}

/* ---- whom to ask ---- */

struct choice {
    const struct lt_claims *c;
    const uint8_t *ek, *named;
    bool shown_too; /* nobody who was quoted with it still has it: who merely shows it is asked, too */
};

static bool asked_for(const struct choice *x, const struct lt_claim *c)
{
    return (!x->ek || same_pair(c->ek, x->ek)) && (x->shown_too || c->is != LT_CLAIM_SEEN) &&
           (!x->named || memcmp(c->host, x->named, 16));
}

/* The next claim to ask from i on, each host once; count: none. */
static unsigned next(const struct choice *x, unsigned i)
{
    for (; i < x->c->count; i++) {
        bool before = false;
        for (unsigned k = 0; k < i && !before; k++)
            before = asked_for(x, &x->c->list[k]) && !memcmp(x->c->list[k].host, x->c->list[i].host, 16);
        if (!before && asked_for(x, &x->c->list[i]))
            break;
    }
    return i;
}

static bool somebody_has_it(const struct choice *x)
{
    const unsigned both = LT_CLAIM_QUOTED | LT_CLAIM_SEEN;

    for (unsigned i = 0; i < x->c->count; i++)
        if ((x->c->list[i].is & both) == both && (!x->ek || same_pair(x->c->list[i].ek, x->ek)))
            return true;
    return false;
}

unsigned lt_claims_pick(const struct lt_claims *c, const uint8_t *ek, const uint8_t *named, unsigned turn,
                        uint8_t out[LT_MAX_CLAIMANTS][16])
{
    struct choice x = {c, ek, named, false};
    unsigned n = 0, all = 0, room, place = 0;

    x.shown_too = !somebody_has_it(&x);
    if (named)
        memcpy(out[n++], named, 16);
    room = LT_MAX_CLAIMANTS - n;
    for (unsigned i = next(&x, 0); i < c->count; i = next(&x, i + 1))
        all++;
    unsigned from = all > room ? turn % all * room % all : 0;
    for (unsigned i = next(&x, 0); i < c->count; i = next(&x, i + 1), place++)
        if (all <= room || (place + all - from) % all < room)
            memcpy(out[n++], c->list[i].host, 16);
    return n;
}
