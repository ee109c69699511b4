/* Which hosts say that they have one guest. A host may list any UUID and any EK digest (both are public), so
 * a place is a claim of a host on a pair (uuid, ek_digest), and another host's claim takes none away. Only an
 * inventory whose root stood in a verified host quote makes one QUOTED; one that was merely shown says whom
 * to ask while nobody else does. No locks, no I/O. */
#ifndef LT_PROVIDER_CLAIMS_H
#define LT_PROVIDER_CLAIMS_H

#include "common/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LT_CLAIM_SEEN = 1,   /* in the latest inventory of that host, quoted or not */
    LT_CLAIM_QUOTED = 2, /* in its last quoted one */
    LT_CLAIM_LAST = 4,   /* in neither: where the pair was last. Its null residency is evidence too */
};

struct lt_claim {
    uint8_t ek[32]; /* zeros: not known (a store of an earlier version) */
    uint8_t host[16];
    unsigned is;
};
struct lt_claims { /* oldest first; zeroed: none */
    struct lt_claim *list;
    unsigned count, room;
};

/* Told when a claim begins to be (kept) or ceases to be one that outlives a restart: QUOTED or LAST. May be
 * NULL. */
struct lt_claims_told {
    void *arg;
    void (*fn)(void *arg, const struct lt_claim *c, bool kept);
};

void lt_claims_free(struct lt_claims *c);
/* From the store. */
void lt_claims_load(struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32]);
/* The host's inventory has this pair, or has it no more. keep: the guest is somebody's, its last place is
 * kept. */
void lt_claims_arrive(struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32], bool quoted,
                      const struct lt_claims_told *t);
void lt_claims_leave(struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32], bool quoted,
                     bool keep, const struct lt_claims_told *t);
void lt_claims_drop_host(struct lt_claims *c, const uint8_t host[16]);
void lt_claims_forget_last(struct lt_claims *c);

/* Another host has a quoted claim on this pair, and this one's is none. */
bool lt_claims_contested(const struct lt_claims *c, const uint8_t host[16], const uint8_t ek[32]);
/* For people: the longest standing quoted claim, else the last place, else whoever shows it. NULL: none. */
const struct lt_claim *lt_claims_place(const struct lt_claims *c);
/* Whom to ask for this pair (ek NULL: for the UUID), named (NULL: nobody) first and always. More than there
 * is room for take turns, so that nobody can be kept out by numbers. */
unsigned lt_claims_pick(const struct lt_claims *c, const uint8_t *ek, const uint8_t *named, unsigned turn,
                        uint8_t out[LT_MAX_CLAIMANTS][16]);

#endif
