#include "verifier/rounds/sweep.h"

#include "common/alloc.h"
#include "common/bytes.h"
#include "common/run/clock.h"

#include <stdlib.h>

/* Guarded by lt_flight_control.lock. Gone with the last of its flights. */
struct lt_sweep {
    struct lt_sweep *next;
    size_t flying, count;    /* count: of `ready` */
    struct lt_flight *ready; /* at the stage that gathers */
    uint64_t until_ms;
    bool late; /* that has passed: who is ready now goes at once */
};

/* SIZE_MAX: none. */
static size_t last_gathering(const struct lt_flight_table *t)
{
    size_t at = SIZE_MAX;

    for (size_t i = 0; i < t->count; i++)
        if (t->stages[i].where == LT_FLIGHT_ON_SWEEP && t->stages[i].run_all)
            at = i;
    return at;
}

void lt_sweep_begin(struct lt_flight_control *c, struct lt_flight *list)
{
    struct lt_sweep *s;

    if (last_gathering(c->table) == SIZE_MAX)
        return;
    s = lt_new(struct lt_sweep);
    for (struct lt_flight *f = list; f; f = f->next, s->flying++)
        f->sweep = s;
    s->until_ms = lt_clock_ms() + c->gather_ms;
    pthread_mutex_lock(&c->lock);
    s->next = c->sweeps;
    c->sweeps = s;
    pthread_mutex_unlock(&c->lock);
}

static void drop(struct lt_flight_control *c, struct lt_sweep *s)
{
    struct lt_sweep **at = &c->sweeps;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
}

/* Who is ready goes; behind the last stage that gathers nobody waits for them any more, and the last to leave
 * takes the sweep down. */
static struct lt_flight *take(struct lt_flight_control *c, struct lt_sweep *s)
{
    struct lt_flight *go = lt_take(&s->ready);

    if (go && go->stage == last_gathering(c->table)) {
        s->flying -= s->count;
        for (struct lt_flight *f = go; f; f = f->next)
            f->sweep = NULL;
    }
    s->count = 0;
    if (!s->late)
        s->until_ms = lt_clock_ms() + c->gather_ms;
    if (!s->flying)
        drop(c, s);
    return go;
}

static struct lt_flight *take_if_complete(struct lt_flight_control *c, struct lt_sweep *s)
{
    return s->late || s->count == s->flying ? take(c, s) : NULL;
}

struct lt_flight *lt_sweep_join(struct lt_flight *list)
{
    struct lt_flight_control *c = list->control;
    struct lt_flight *go = NULL, **end = &go;

    pthread_mutex_lock(&c->lock);
    while (list) {
        struct lt_flight *f = lt_flight_pop(&list);
        struct lt_sweep *s = f->sweep;
        f->next = s->ready;
        s->ready = f;
        s->count++;
        for (*end = take_if_complete(c, s); *end;)
            end = &(*end)->next;
    }
    pthread_mutex_unlock(&c->lock);
    return go;
}

struct lt_flight *lt_sweep_leave(struct lt_flight *f)
{
    struct lt_flight_control *c = f->control;
    struct lt_sweep *s = f->sweep;

    if (!s)
        return NULL;
    pthread_mutex_lock(&c->lock);
    f->sweep = NULL;
    s->flying--;
    struct lt_flight *go = take_if_complete(c, s);
    pthread_mutex_unlock(&c->lock);
    return go;
}

struct lt_flight *lt_sweep_late(struct lt_flight_control *c, uint64_t now_ms, uint64_t *next_ms)
{
    for (struct lt_sweep *s = c->sweeps, *next; s; s = next) {
        next = s->next;
        if (!s->late && s->until_ms <= now_ms) {
            s->late = true;
            struct lt_flight *go = take(c, s);
            if (go)
                return go;
        } else if (!s->late && s->until_ms < *next_ms) {
            *next_ms = s->until_ms;
        }
    }
    return NULL;
}
