#include "common/http/room.h"

static void insert(struct lt_room_turn **at, struct lt_room_turn *c)
{
    c->next = *at;
    c->at = at;
    if (c->next)
        c->next->at = &c->next;
    *at = c;
}

static void leave(struct lt_room_turn *c)
{
    if (!c->at)
        return;
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    c->at = NULL;
}

static bool before(const struct lt_room_turn *a, unsigned rank, size_t size)
{
    return a->rank != rank ? a->rank < rank : a->size <= size;
}

static void hold(struct lt_room *r, struct lt_room_turn *c, uint64_t now_ms)
{
    c->waiting = false;
    c->until_ms = now_ms + LT_ROOM_MS;
    insert(&r->held, c);
}

bool lt_room_claim(struct lt_room *r, struct lt_room_turn *c, unsigned rank, size_t size, uint64_t now_ms)
{
    struct lt_room_turn **at = &r->waiting;

    c->rank = rank;
    c->size = size;
    while (*at && before(*at, rank, size))
        at = &(*at)->next;
    if (at == &r->waiting && lt_budget_take(r->budget, size, r->leave)) {
        hold(r, c, now_ms);
        return true;
    }
    c->waiting = true;
    insert(at, c);
    return false;
}

bool lt_room_never(const struct lt_room *r, size_t size)
{
    struct lt_budget_use u;

    lt_budget_use(r->budget, &u);
    return r->leave > u.limit || size > u.limit - r->leave;
}

struct lt_room_turn *lt_room_next(struct lt_room *r, uint64_t now_ms)
{
    struct lt_room_turn *c = r->waiting;

    if (!c || !lt_budget_take(r->budget, c->size, r->leave))
        return NULL;
    leave(c);
    hold(r, c, now_ms);
    return c;
}

struct lt_room_turn *lt_room_slow(const struct lt_room *r, uint64_t now_ms, uint64_t *next_ms)
{
    *next_ms = UINT64_MAX;
    for (struct lt_room_turn *c = r->waiting ? r->held : NULL; c; c = c->next) {
        if (c->until_ms <= now_ms)
            return c;
        if (c->until_ms < *next_ms)
            *next_ms = c->until_ms;
    }
    return NULL;
}

size_t lt_room_done(struct lt_room *r, struct lt_room_turn *c)
{
    bool held = c->at && !c->waiting;

    (void)r;
    leave(c);
    c->waiting = false;
    return held ? c->size : 0;
}
