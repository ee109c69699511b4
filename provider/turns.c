#include "provider/turns.h"

#include <stddef.h>
#include <string.h>

unsigned lt_turns_count(const struct lt_turn *list, const uint8_t *tenant)
{
    unsigned n = 0;

    for (; list; list = list->next)
        n += !tenant || !memcmp(list->tenant, tenant, sizeof list->tenant);
    return n;
}

static struct lt_turn *unlink_at(struct lt_turn **at)
{
    struct lt_turn *t = *at;

    if (t) {
        *at = t->next;
        t->next = NULL;
    }
    return t;
}

struct lt_turn *lt_turns_take(struct lt_turn **list, const uint8_t served[16])
{
    struct lt_turn *theirs = NULL, **end = &theirs, **at = list;

    while (*at) {
        if (memcmp((*at)->tenant, served, sizeof(*at)->tenant)) {
            at = &(*at)->next;
            continue;
        }
        *end = unlink_at(at);
        end = &(*end)->next;
    }
    *at = theirs;
    return unlink_at(list);
}

struct lt_turn *lt_turns_yield(struct lt_turn **list, const uint8_t newcomer[16])
{
    struct lt_turn **newest = NULL;
    unsigned most = 1;

    if (lt_turns_count(*list, newcomer))
        return NULL;
    for (struct lt_turn **at = list; *at; at = &(*at)->next) {
        unsigned n = lt_turns_count(*list, (*at)->tenant);
        if (n > most ||
            (newest && n == most && !memcmp((*newest)->tenant, (*at)->tenant, sizeof(*at)->tenant))) {
            most = n;
            newest = at;
        }
    }
    return newest ? unlink_at(newest) : NULL;
}
