/* The functions of flight.h. */
#include "common/run/cond.h"
#include "verifier/rounds/sweep.h"

#include <stdlib.h>

static const struct lt_flight_stage *stage_of(const struct lt_flight *f)
{
    return &f->control->table->stages[f->stage];
}

static bool at_last(const struct lt_flight *f)
{
    return f->stage == f->control->table->count - 1;
}

struct lt_flight *lt_flight_pop(struct lt_flight **list)
{
    struct lt_flight *f = *list;

    if (f) {
        *list = f->next;
        f->next = NULL;
    }
    return f;
}

/* ---- what a result leads to ---- */

static void run_on(struct lt_flight *list, enum lt_flight_where here);

static void end(struct lt_flight *f)
{
    struct lt_flight_control *c = f->control;

    pthread_mutex_lock(&c->lock);
    c->table->ended(f);
    c->flying--;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

static size_t stage_after(const struct lt_flight *f, enum lt_flight_next next)
{
    return next == LT_FLIGHT_NEXT    ? f->stage + 1
           : next == LT_FLIGHT_AGAIN ? f->stage - 1
                                     : f->control->table->count - 1;
}

/* The flight, at its next stage; NULL: it has ended, and so may have all there is. Whom it held in its sweep
 * goes first. */
static struct lt_flight *lead(struct lt_flight *f, enum lt_flight_next next, const struct lt_err *e)
{
    struct lt_err wrong;

    if (at_last(f)) {
        end(f);
        return NULL;
    }
    if (next != LT_FLIGHT_END && !(stage_of(f)->may & 1u << next)) {
        lt_fail(&wrong, LT_E_INTERNAL, "stage %s: its row has no such result", stage_of(f)->slug);
        next = LT_FLIGHT_END;
        e = &wrong;
    }
    if (next == LT_FLIGHT_END)
        f->control->table->fail(f, e);
    f->stage = stage_after(f, next);
    if (at_last(f))
        run_on(lt_sweep_leave(f), LT_FLIGHT_ON_SWEEP);
    return f;
}

static struct lt_flight *lead_all(struct lt_flight *list, enum lt_flight_next next, const struct lt_err *e)
{
    struct lt_flight *on = NULL, **last = &on;

    while (list)
        if ((*last = lead(lt_flight_pop(&list), next, e)))
            last = &(*last)->next;
    return on;
}

static void go(struct lt_flight *list, enum lt_flight_where here);

/* ---- running a stage: those who go on together are returned ---- */

/* Under the lock, so that the client is there as long as somebody asks. */
static enum lt_flight_next ask(struct lt_flight *f, struct lt_err *e)
{
    struct lt_flight_control *c = f->control;
    enum lt_flight_next next = LT_FLIGHT_NEXT;

    pthread_mutex_lock(&c->lock);
    if (c->stopping)
        lt_fail(&f->e, LT_E_UNREACHABLE, "the rounds are stopping");
    else
        next = stage_of(f)->run(f, e);
    pthread_mutex_unlock(&c->lock);
    return next;
}

static struct lt_flight *run_one(struct lt_flight *f)
{
    const struct lt_flight_stage *s = stage_of(f);
    struct lt_err e = {0};
    enum lt_flight_next next = s->where == LT_FLIGHT_ON_CLIENT ? ask(f, &e) : s->run(f, &e);

    return next == LT_FLIGHT_WAIT ? NULL : lead(f, next, &e);
}

static struct lt_flight *run_all(struct lt_flight *list)
{
    struct lt_err e = {0};
    enum lt_flight_next next = stage_of(list)->run_all(&list, &e);

    return next == LT_FLIGHT_WAIT ? NULL : lead_all(list, next, &e);
}

static struct lt_flight *run_each(struct lt_flight *list, enum lt_flight_where here)
{
    struct lt_flight *on = NULL, **last = &on;
    size_t next = list->stage + 1;

    while (list) {
        struct lt_flight *f = run_one(lt_flight_pop(&list));
        if (f && f->stage == next) {
            *last = f;
            last = &f->next;
        } else {
            go(f, here);
        }
    }
    return on;
}

static struct lt_flight *run(struct lt_flight *list, enum lt_flight_where here)
{
    if (stage_of(list)->run_all)
        return run_all(list);
    return list->next ? run_each(list, here) : run_one(list);
}

/* ---- bringing flights to the place of their stage ---- */

/* A worker gets them. Without room they end, on this thread. */
static void post(struct lt_flight *list, enum lt_flight_where here)
{
    struct lt_err full;

    if (list->control->table->post(list, stage_of(list)->where))
        return;
    if (!at_last(list)) {
        lt_fail(&full, LT_E_BUSY, "stage %s: no room for more work", stage_of(list)->slug);
        list = lead_all(list, LT_FLIGHT_END, &full);
    }
    run_on(list, here);
}

static void post_each(struct lt_flight *list, enum lt_flight_where here)
{
    while (list)
        post(lt_flight_pop(&list), here);
}

/* Takes those of the first one's key. */
static struct lt_flight *alike(struct lt_flight **list)
{
    const void *key = (*list)->key;
    struct lt_flight *mine = NULL, **last = &mine;

    for (struct lt_flight **at = list; *at;) {
        if ((*at)->key == key) {
            *last = lt_flight_pop(at);
            last = &(*last)->next;
        } else {
            at = &(*at)->next;
        }
    }
    return mine;
}

/* Those of them whose stage is run here and now; the others are no longer this thread's. */
static struct lt_flight *enter(struct lt_flight *list, enum lt_flight_where here)
{
    const struct lt_flight_stage *s = stage_of(list);

    if (s->where == LT_FLIGHT_ON_SWEEP && s->run_all)
        return lt_sweep_join(list);
    if (s->where == LT_FLIGHT_ON_SWEEP || s->where == LT_FLIGHT_ON_CLIENT)
        return list;
    if (s->where == LT_FLIGHT_ON_POOL && here == LT_FLIGHT_ON_POOL && (s->run_all || !list->next))
        return list;
    if (!s->run_all)
        post_each(list, here);
    else if (s->where == LT_FLIGHT_ON_POOL)
        post(list, here);
    else
        while (list)
            post(alike(&list), here);
    return NULL;
}

/* The driver: until all of them wait, are posted or have ended. */
static void go(struct lt_flight *list, enum lt_flight_where here)
{
    if (list)
        run_on(enter(list, here), here);
}

/* The same for who is at the place of its stage already. */
static void run_on(struct lt_flight *list, enum lt_flight_where here)
{
    while (list && (list = run(list, here)))
        list = enter(list, here);
}

/* ---- from outside ---- */

static void check_row(const struct lt_flight_table *t, size_t i)
{
    const struct lt_flight_stage *s = &t->stages[i];
    bool last = i == t->count - 1, back = s->may & LT_FLIGHT_MAY(AGAIN);

    if (!s->run == !s->run_all || (s->run_all && s->where == LT_FLIGHT_ON_CLIENT))
        abort();
    if (last && (s->where != LT_FLIGHT_ON_POOL || !s->run || s->may != LT_FLIGHT_MAY(NEXT)))
        abort();
    if (back && (!i || t->stages[i - 1].run_all))
        abort();
}

void lt_flight_control_init(struct lt_flight_control *c, const struct lt_flight_table *t, uint64_t gather_ms)
{
    for (size_t i = 0; i < t->count; i++)
        check_row(t, i);
    *c = (struct lt_flight_control){.table = t, .gather_ms = gather_ms};
    pthread_mutex_init(&c->lock, NULL);
    lt_cond_init(&c->wake);
}

void lt_flight_control_close(struct lt_flight_control *c)
{
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
}

void lt_flight_start(struct lt_flight_control *c, struct lt_flight *list)
{
    size_t n = 0;

    for (struct lt_flight *f = list; f; f = f->next, n++)
        f->control = c;
    if (!list)
        return;
    lt_sweep_begin(c, list);
    pthread_mutex_lock(&c->lock);
    c->flying += n;
    pthread_mutex_unlock(&c->lock);
    go(list, LT_FLIGHT_ON_SWEEP);
}

void lt_flight_work(struct lt_flight *f)
{
    run_on(f, stage_of(f)->where);
}

void lt_flight_on(struct lt_flight *list, enum lt_flight_next next, const struct lt_err *e)
{
    static const struct lt_err none;

    for (struct lt_flight *f = list; f; f = f->next)
        f->e = e ? *e : none;
    go(lead_all(list, next, e ? e : &none), LT_FLIGHT_ON_CLIENT);
}

bool lt_flight_late(struct lt_flight_control *c, uint64_t now_ms, uint64_t *next_ms)
{
    struct lt_flight *list = lt_sweep_late(c, now_ms, next_ms);

    if (!list)
        return false;
    pthread_mutex_unlock(&c->lock);
    run_on(list, LT_FLIGHT_ON_SWEEP);
    pthread_mutex_lock(&c->lock);
    return true;
}
