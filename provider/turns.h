/* Whose turn it is among tenants that wait for one thing: none waits behind all of another's. Lists, oldest
 * first; no locks. */
#ifndef LT_PROVIDER_TURNS_H
#define LT_PROVIDER_TURNS_H

#include <stdint.h>

struct lt_turn { /* embedded first */
    struct lt_turn *next;
    uint8_t tenant[16];
};

/* Takes the first out of the list, after those of the tenant just served went to its end. NULL: empty. */
struct lt_turn *lt_turns_take(struct lt_turn **list, const uint8_t served[16]);
/* Takes out who makes room for a newcomer that has nothing in the list: the newest of the tenant with the
 * most. NULL: the newcomer has something in it, or nobody has two. */
struct lt_turn *lt_turns_yield(struct lt_turn **list, const uint8_t newcomer[16]);
unsigned lt_turns_count(const struct lt_turn *list, const uint8_t *tenant); /* NULL: of all */

#endif
