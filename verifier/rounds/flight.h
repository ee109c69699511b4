/* The way of a round, as a table of stages. A flight is one round under way: it stands at a stage, and the
 * driver runs that where its row says and moves it on by what it returns. What is attested, and how, only the
 * table knows; whoever brings one embeds struct lt_flight at the beginning of its own.
 *
 * Whose a flight is:
 *   posted    the pool's, until a worker has it
 *   running   the thread's that runs its stage
 *   waiting   whom the stage handed it to (a client, a contest): brings it on by lt_flight_on, once
 *   gathered  its sweep's, until the others are there or it is late
 *   ended     nobody's: table.ended has taken it back
 * A flight ends once, whatever happens: an error leads to table.fail and the last stage, and so does a pool
 * that is full, and a client that is stopping.
 *
 * One lock, lt_flight_control.lock: over the sweeps, the counts and all that watch.h keeps. Below it only the
 * queues of pools and clients are locked. `run` of an ON_CLIENT stage and table.ended are called with it
 * held. */
#ifndef LT_VERIFIER_ROUNDS_FLIGHT_H
#define LT_VERIFIER_ROUNDS_FLIGHT_H

#include "common/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct lt_sweep;
struct lt_watch_entry;
struct lt_flight_control;

enum lt_flight_where {
    LT_FLIGHT_ON_POOL,   /* on a worker; who is on one already stays there */
    LT_FLIGHT_ON_CLIENT, /* in place: begins a request, which does not block nor call back from within */
    LT_FLIGHT_ON_SWEEP, /* in place; run_all: when all of the sweep that still fly are there, or it is late */
    LT_FLIGHT_ON_FETCH  /* on a worker for what waits for others; run_all: those of one key together */
};

enum lt_flight_next {
    LT_FLIGHT_NEXT,  /* to the next stage; from the last: it has ended */
    LT_FLIGHT_WAIT,  /* handed over, and maybe on its way already: not looked at any more */
    LT_FLIGHT_AGAIN, /* to the stage before, which gathers nobody */
    LT_FLIGHT_STOP,  /* nothing more to find out: to the last stage */
    LT_FLIGHT_END    /* an error, *e: table.fail, then to the last stage */
};
#define LT_FLIGHT_MAY(next) (1u << LT_FLIGHT_##next)

struct lt_flight {
    struct lt_flight *next; /* in a list of those that go together */
    struct lt_flight_control *control;
    struct lt_sweep *sweep; /* NULL: has passed the last stage that gathers, or goes to the last of all */
    size_t stage;
    const void *key;                /* set by a stage before one of ON_FETCH with run_all */
    struct lt_err e;                /* what it waited for ended with */
    struct lt_watch_entry *watched; /* watch.h's, and what follows, too */
    bool asked;                     /* somebody asked for this round */
    bool bulky;
};

struct lt_flight_stage {
    const char *slug;
    enum lt_flight_where where;
    unsigned may; /* what it may return, or be brought on by; another result is an error, but END */
    /* One of these: a flight alone; or those that go together. The result is that of all who are left in the
     * list: who was taken out, the stage brings on by itself. */
    enum lt_flight_next (*run)(struct lt_flight *f, struct lt_err *e);
    enum lt_flight_next (*run_all)(struct lt_flight **these, struct lt_err *e);
    const char *does; /* for the picture in the docs */
};

struct lt_flight_table {
    const struct lt_flight_stage *stages; /* the last: ON_POOL, run, may NEXT alone */
    size_t count;
    /* Has lt_flight_work(f) called once on a worker for `where`. False: there is no room, and nothing was
     * done. The last stage is then run in place. */
    bool (*post)(struct lt_flight *f, enum lt_flight_where where);
    void (*fail)(struct lt_flight *f, const struct lt_err *e); /* the exit for errors: what it ends with */
    void (*ended)(struct lt_flight *f);                        /* under the lock; f is theirs again */
};

struct lt_flight_control {
    const struct lt_flight_table *table;
    uint64_t gather_ms; /* those who are there wait so long for the others of their sweep */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* common/run/cond.h: a flight has ended, a deadline came nearer */
    bool stopping;       /* no request begins any more: it ends with LT_E_UNREACHABLE instead */
    size_t flying;
    struct lt_sweep *sweeps;
};

/* Aborts if the table breaks a rule of the above. */
void lt_flight_control_init(struct lt_flight_control *c, const struct lt_flight_table *t, uint64_t gather_ms);
void lt_flight_control_close(struct lt_flight_control *c); /* none flies */

/* Zeroed flights, linked, as one sweep, on the thread that asks: their ON_SWEEP stages run on it. */
void lt_flight_start(struct lt_flight_control *c, struct lt_flight *list);
/* On a worker: what `post` was given. */
void lt_flight_work(struct lt_flight *f);
/* What they waited for has come, or (e, which may be NULL) has not: as if their stage, which is the same, had
 * returned `next` now. Does not block; any thread but under the lock. */
void lt_flight_on(struct lt_flight *list, enum lt_flight_next next, const struct lt_err *e);
/* Sweeps whose slow ones hold the others no longer go, one a call; else *next_ms is when the next one is due.
 * Under the lock, which is let go for it. */
bool lt_flight_late(struct lt_flight_control *c, uint64_t now_ms, uint64_t *next_ms);

struct lt_flight *lt_flight_pop(struct lt_flight **list); /* the first, alone; NULL of an empty one */

#endif
