/* An account of memory: everything that outsiders make a daemon hold is taken from it, so that all of it
 * together stays under one ceiling. Nobody is ever put out for another: who finds no room waits, or does
 * without. Thread safe.
 *
 * Two ways in. `take` is for what passes through (an answer that is read, judged, let go). `keep` is for what
 * stays between rounds: at most half of the account, and one holder at most an eighth of what is still free
 * of that half, so that however many take all they can, the next one still finds a part. */
#ifndef LT_COMMON_RUN_BUDGET_H
#define LT_COMMON_RUN_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#define LT_BUDGET_SHARE 8 /* of what is free, the part that one holder may have */

struct lt_budget;

struct lt_budget *lt_budget_new(size_t limit); /* bytes. Aborts without memory */
void lt_budget_free(struct lt_budget *b);      /* NULL is fine */

/* All of n, so that `leave` bytes stay free for others, or nothing and false. */
bool lt_budget_take(struct lt_budget *b, size_t n, size_t leave);
void lt_budget_give(struct lt_budget *b, size_t n);
/* What one holder keeps, *had, becomes n: less always, more only within the rule above. False: *had stays. */
bool lt_budget_keep(struct lt_budget *b, size_t *had, size_t n);
/* Part of what was taken becomes kept: `taken` is given back and *had becomes n, if the rule allows; else
 * false, and `taken` is given back all the same. No other taker comes between. */
bool lt_budget_settle(struct lt_budget *b, size_t taken, size_t *had, size_t n);

/* fn runs when room was given back, on the thread that gave it and under the lock: it only wakes somebody.
 * After unwatch it runs no longer. At most LT_BUDGET_WATCHERS. */
#define LT_BUDGET_WATCHERS 4
void lt_budget_watch(struct lt_budget *b, void (*fn)(void *arg), void *arg);
void lt_budget_unwatch(struct lt_budget *b, void *arg);

struct lt_budget_use {
    size_t limit, used, kept, peak; /* kept is part of used */
};
void lt_budget_use(struct lt_budget *b, struct lt_budget_use *out);

/* The same rule for any account: may one holder go from had to n, when all hold `used` of `limit`? */
bool lt_budget_allows(size_t limit, size_t used, size_t had, size_t n);

#endif
