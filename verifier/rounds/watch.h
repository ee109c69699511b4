/* Who is attested, and when: one thread sends those who are due together on their way as one sweep, and never
 * is one of them in two flights at once. What they are only its table knows: whoever watches embeds struct
 * lt_watch_entry at the beginning of its own.
 *
 * An entry is the watch's, under lt_watch.control.lock (flight.h). While it flies (`flying`, from depart to
 * landed) it stays, also when it is removed: then it goes once it has landed. */
#ifndef LT_VERIFIER_ROUNDS_WATCH_H
#define LT_VERIFIER_ROUNDS_WATCH_H

#include "verifier/rounds/flight.h"

#define LT_WATCH_ID 16 /* bytes: a guest's UUID, a host's id */

struct lt_watch_entry {
    struct lt_watch_entry *next;
    uint8_t id[LT_WATCH_ID];
    uint64_t due_ms;
    bool flying, removed;
    bool bulky;               /* its rounds are large: few of those fly at a time */
    uint64_t ask;             /* number of the request for a round that it waits to fly for; 0: none */
    uint64_t proven_until_ms; /* told as stale after that. 0: never trusted, or told already */
};

/* Called under the lock, but make, which may be called before the start, too. */
struct lt_watch_conf {
    const struct lt_flight_table *table;
    uint64_t period_ms, gather_ms;
    unsigned bulky_at_once;
    void *app;
    struct lt_watch_entry *(*make)(void *app); /* zeroed */
    void (*free)(void *app, struct lt_watch_entry *w);
    struct lt_flight *(*depart)(void *app, struct lt_watch_entry *w); /* a zeroed flight of it */
    void (*stale)(void *app, struct lt_watch_entry *w); /* no trusted verdict until proven_until_ms */
    void (*look)(void *app, uint64_t now_ms,
                 uint64_t *next_ms); /* whatever else has deadlines; may be NULL */
};

struct lt_watch {
    struct lt_flight_control control;
    struct lt_watch_conf conf;
    pthread_t thread;
    struct lt_watch_entry *first;
    unsigned bulky; /* that fly */
    uint64_t asks;  /* requests so far */
};

void lt_watch_init(struct lt_watch *w, const struct lt_watch_conf *c);
int lt_watch_start(struct lt_watch *w, struct lt_err *e) LT_MUST_CHECK;
/* Nobody departs any more, no request begins, nobody waits for the slow ones of a sweep. Those who fly still
 * do. */
void lt_watch_stop(struct lt_watch *w);
void lt_watch_close(struct lt_watch *w); /* none flies */

void lt_watch_lock(struct lt_watch *w);
void lt_watch_unlock(struct lt_watch *w);
void lt_watch_wake(struct lt_watch *w); /* something changed: the thread looks again. Under the lock */

/* Under the lock, or before the start. NULL: none has that id. */
struct lt_watch_entry *lt_watch_find(const struct lt_watch *w, const uint8_t id[LT_WATCH_ID]);
struct lt_watch_entry *lt_watch_new(struct lt_watch *w, const uint8_t id[LT_WATCH_ID]); /* none has it */

/* A round was asked for: these (NULL: all) are due at once and fly together, when the rounds they are in have
 * ended. False, and nothing is done: one of them is not watched. */
bool lt_watch_ask(struct lt_watch *w, const uint8_t (*ids)[LT_WATCH_ID], size_t count);
/* Due at once, anew or again. */
void lt_watch_add(struct lt_watch *w, const uint8_t id[LT_WATCH_ID]);
void lt_watch_remove(struct lt_watch *w, const uint8_t id[LT_WATCH_ID]);

/* Its flight has ended, and this is when it is due again, unless somebody asked. Under the lock. */
void lt_watch_landed(struct lt_watch *w, const struct lt_flight *f, uint64_t due_ms);

#endif
