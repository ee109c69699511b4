/* Inside verifier/store*.c only. */
#ifndef LT_VERIFIER_STORE_IMPL_H
#define LT_VERIFIER_STORE_IMPL_H

#include "common/db.h"
#include "verifier/store.h"

struct lt_store {
    struct lt_db *db;
    char boot[LT_UUID_TEXT]; /* this boot */
};

/* A verdict as it is kept. */
struct lt_store_row {
    bool known, bad; /* bad: it cannot be read. Never green, and the next round writes it anew */
    enum lt_result result;
    char *doc; /* malloc'd; NULL: cannot be read */
    bool at_ours, was_trusted, trusted_ours; /* ours: the time is of this boot */
    int64_t at, received, trusted_at;
    struct lt_store_basis basis;
};

/* store_status.c: what a verdict of that guest must be about to count now. */
int lt_store_basis_now(sqlite3 *sql, const uint8_t uuid[LT_UUID], bool *exists, struct lt_store_basis *out,
                       struct lt_err *e) LT_MUST_CHECK;
/* Why a verdict of `was` does not count when it must be about `now`: a reason's slug, or NULL. */
const char *lt_store_basis_other(const struct lt_store_basis *was, const struct lt_store_basis *now);

#endif
