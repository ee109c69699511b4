/* Inside the HTTP client: large replies, and room for them in a budget. A reply says how long it is before it
 * comes; one that finds no room is not read on until there is some. Who waits is served by rank, then the
 * smaller first, then by turn: those who send as much as they may come last. One that has room and comes
 * slowly while others wait is given up, so that nobody can hold room by trickling. The client's thread only.
 */
#ifndef LT_COMMON_HTTP_ROOM_H
#define LT_COMMON_HTTP_ROOM_H

#include "common/run/budget.h"

#include <stdint.h>

#define LT_ROOM_MS 5000 /* that a reply with room may take while others wait */

struct lt_room_turn {
    struct lt_room_turn *next, **at; /* in room->waiting or room->held; at NULL: in neither */
    bool waiting;
    unsigned rank;
    size_t size;       /* bytes of the budget */
    uint64_t until_ms; /* while held */
};

struct lt_room {
    struct lt_budget *budget;     /* NULL: nothing is counted, and there always is room */
    size_t leave;                 /* that stays free for others */
    struct lt_room_turn *waiting; /* in the order they are served */
    struct lt_room_turn *held;
};

/* True: it holds `size` from now on. False: it waits. */
bool lt_room_claim(struct lt_room *r, struct lt_room_turn *c, unsigned rank, size_t size, uint64_t now_ms);
/* Never, however long one waits. */
bool lt_room_never(const struct lt_room *r, size_t size);
/* The first who waited and now holds; NULL: nobody. */
struct lt_room_turn *lt_room_next(struct lt_room *r, uint64_t now_ms);
/* One that is to be given up; NULL: nobody. *next_ms: when to ask again (UINT64_MAX: when something changed).
 */
struct lt_room_turn *lt_room_slow(const struct lt_room *r, uint64_t now_ms, uint64_t *next_ms);
/* It is read to its end: no longer slow, and what it held goes to the caller (0: it held nothing). */
size_t lt_room_done(struct lt_room *r, struct lt_room_turn *c);

#endif
