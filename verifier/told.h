/* What the log says of verdicts: one line for each change, none for a round that says the same again. */
#ifndef LT_VERIFIER_TOLD_H
#define LT_VERIFIER_TOLD_H

#include "verifier/store/store.h"

/* What became of a verdict: the store's word, or its fault. */
enum lt_told_kept {
    LT_TOLD_KEPT = LT_STORE_KEPT,
    LT_TOLD_STANDS = LT_STORE_STANDS,
    LT_TOLD_OUTDATED = LT_STORE_OUTDATED,
    LT_TOLD_GONE = LT_STORE_GONE,
    LT_TOLD_HELD = LT_STORE_HELD,
    LT_TOLD_LOST
};

struct lt_told { /* the last line; zeroed: none yet */
    bool told;
    enum lt_verdict_result result;
    enum lt_verdict_link link; /* of a trusted one: by how much it is trusted may change alone */
    enum lt_told_kept kept;
    char reason[32];
};

/* Event "verdict" of `who`, which is a `what`: "guest" or "host". False: it was said already. */
bool lt_told_verdict(struct lt_told *t, const char *what, const char *who, const struct lt_verdict *v,
                     enum lt_told_kept kept);

#endif
