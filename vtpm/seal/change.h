/* What may follow what in a vault (docs/sealing.md section 3): the four commits of a change of openers, the
 * list of a new entry, and which entries of an opened vault are taken. */
#ifndef LT_VTPM_SEAL_CHANGE_H
#define LT_VTPM_SEAL_CHANGE_H

#include "vtpm/seal/entry.h"
#include "vtpm/seal/key.h"

/* In this order, each a commit of its own, and none of another kind or after opening anew between them:
 * whoever fails on the way begins again. A file that was pending when power was cut may be put back once the
 * counter is at its generation, beside another of that generation. So without the burn, one answers in states
 * that the other's list does not name; without the grow, the file that wraps is that one; without a commit
 * between wrap and close, a file that calls a state closed lives beside one whose key answers in it. */
enum lt_seal_change_step {
    LT_SEAL_CHANGE_BURN,  /* the content as it is, for the generation after a file that may be pending */
    LT_SEAL_CHANGE_GROW,  /* the lists name the new states as open; the key still answers in the old */
    LT_SEAL_CHANGE_WRAP,  /* the key answers in the new states; the lists say of the dropped ones nothing yet
                           */
    LT_SEAL_CHANGE_CLOSE, /* what the key does not answer in any more is closed in the lists */
    LT_SEAL_CHANGE_STEPS,
};

struct lt_seal_change {
    uint8_t host_ek_digest[LT_SHA256];
    struct lt_seal_key_states before, after;
};

/* add: states to open; drop: numbers of before's; neither: to end a change that was cut before its close.
 * LT_E_USAGE: no state left, a number that is none, a state that is added twice or both; LT_E_TOO_LARGE: more
 * than LT_MAX_SEAL_STATES. */
int lt_seal_change_plan(const struct lt_seal_key_states *before, const uint8_t host_ek_digest[LT_SHA256],
                        const struct lt_pcrs *add, unsigned add_n, const unsigned *drop, unsigned drop_n,
                        struct lt_seal_change *out, struct lt_err *e) LT_MUST_CHECK;
/* The states that the key of that step's file answers in. */
const struct lt_seal_key_states *lt_seal_change_states(const struct lt_seal_change *c,
                                                       enum lt_seal_change_step step);
/* Makes an entry's list the one of that step; to be asked in the steps' order, beginning with BURN. A state
 * that is open in the list already, from a change that ended half way, stays; one that was closed is entered
 * again, so that whoever looks later sees that it was.
 * LT_E_TOO_LARGE: no room (asked on a copy, before anything is committed); LT_E_UNSUPPORTED: the entry has an
 * authority, whose word a later version asks for. */
int lt_seal_change_apply(const struct lt_seal_change *c, enum lt_seal_change_step step,
                         struct lt_seal_entry *x, struct lt_err *e) LT_MUST_CHECK;
/* Whether CLOSE has something to close in that entry's list. Where it has not in any, it needs no commit. */
bool lt_seal_change_closes(const struct lt_seal_change *c, const struct lt_seal_entry *x);

/* x->openers as a new entry's: its authority if it has one, the states of the vault's key, then the escrow
 * keys that x->openers names; nothing is changed where it is that already. LT_E_USAGE: openers of another
 * kind, or of other states, are in it. */
int lt_seal_change_complete(const struct lt_seal_key_states *s, const uint8_t host_ek_digest[LT_SHA256],
                            struct lt_seal_entry *x, struct lt_err *e) LT_MUST_CHECK;

/* Whether an entry of an opened vault may be taken: each state that the vault's key answers in is an open
 * kind 1 of its list, of this host. Else whoever was in that state had its key, and the list hides it. */
bool lt_seal_change_listed(const struct lt_seal_key_states *s, const uint8_t host_ek_digest[LT_SHA256],
                           const struct lt_seal_entry *x);

#endif
