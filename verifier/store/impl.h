/* Inside verifier/store/ only. */
#ifndef LT_VERIFIER_STORE_IMPL_H
#define LT_VERIFIER_STORE_IMPL_H

#include "common/run/db.h"
#include "verifier/store/store.h"

#include <pthread.h>

struct lt_store {
    struct lt_db *db;
    char boot[LT_UUID_TEXT];      /* this boot */
    struct lt_db_skipped skipped; /* rows at the start */
    pthread_mutex_t lock;         /* guards what follows */
    void *held;                   /* struct lt_store_held, tsearch(3) by uuid */
    size_t held_count;
    uint64_t generation;
    bool again;                       /* a job that writes held ones again is under way */
    void *nonces, *older_nonces;      /* used while the store took none */
    uint64_t nonces_ms;               /* when nonces was begun */
    struct lt_store_pending *pending; /* exposures that are not written yet (seals.c) */
    size_t pending_count;
    uint64_t exposures; /* lt_store_exposures */
    void (*on_revocation)(void *arg);
    void *on_revocation_arg;
};

/* A verdict as it is kept. */
struct lt_store_row {
    bool known, bad; /* bad: it cannot be read. Never green, and the next round writes it anew */
    enum lt_verdict_result result;
    char *doc;                               /* malloc'd; NULL: cannot be read */
    bool at_ours, was_trusted, trusted_ours; /* ours: the time is of this boot */
    int64_t at, received, trusted_at;
    struct lt_store_basis basis;
};

/* A round's outcome on its way to the store. */
struct lt_store_held {
    uint8_t uuid[LT_UUID]; /* first: it is the key */
    uint64_t generation;
    bool verdict;   /* row is to be written; else only the history */
    bool accepted;  /* failed, and about what was so when it was concluded: whatever has changed since */
    bool late;      /* could not be written at once */
    bool cleared;   /* its clearing is under way */
    bool has_basis; /* row.basis says; else what is so when it is written */
    struct lt_store_row row;
    char *owed; /* doc of a failed verdict that was decided; it or its guest went before it was written */
    int64_t owed_at;
    uint8_t *openers; /* of that EK, to be remembered; NULL: none */
    size_t openers_n;
    bool has_history, has_host, linked;
    uint8_t ek[32], ak_name[LT_TPM_NAME];
    struct lt_history_guest history;
    struct lt_attest_clock_info host_clock;
};

/* ---- held.c ---- */
/* Takes a copy of h, which is what status tells from now on. False: a failed verdict that is not written yet
 * stands; h has that one now. */
bool lt_store_hold(struct lt_store *s, struct lt_store_held *h);
void lt_store_held_free_texts(struct lt_store_held *h);
/* The write of that generation has ended. */
void lt_store_held_done(struct lt_store *s, const uint8_t uuid[LT_UUID], uint64_t generation, bool written);
/* False: none. out->row.doc is the caller's. */
bool lt_store_held_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_held *out);
bool lt_store_held_linked(struct lt_store *s, const uint8_t uuid[LT_UUID]);
bool lt_store_held_history(struct lt_store *s, const uint8_t ek[32], struct lt_history_guest *out);
/* A copy of the list that waits to be written; NULL: none. */
void lt_store_held_openers(struct lt_store *s, const uint8_t ek[32], uint8_t **bytes, size_t *n);
/* Before the write that clears, and after it; true: a failed one was held. all: whatever its result. */
bool lt_store_held_clear(struct lt_store *s, const uint8_t uuid[LT_UUID]);
void lt_store_held_cleared(struct lt_store *s, const uint8_t uuid[LT_UUID], bool done, bool all);
size_t lt_store_held_count(struct lt_store *s);
void lt_store_held_tick(void *store);
void lt_store_held_free(struct lt_store *s);
/* store.c: lt_store_guest_put within a transaction of the store's own. */
int lt_store_guest_write(sqlite3 *sql, const struct lt_store_guest *g, struct lt_slice document,
                         struct lt_err *e) LT_MUST_CHECK;
/* keylime.c: a quote came, which its round judged so. Nothing of a guest of the federation's. */
int lt_store_keylime_count(sqlite3 *sql, const struct lt_store_held *h, bool trusted,
                           struct lt_err *e) LT_MUST_CHECK;
/* store.c: something may have come into the outbox. */
void lt_store_revoked(struct lt_store *s);
/* rounds.c */
int lt_store_write_held(sqlite3 *sql, const struct lt_store *s, const struct lt_store_held *h,
                        enum lt_store_kept *kept, struct lt_err *e) LT_MUST_CHECK;
/* seals.c: of the clock of seals.h, above all that were given before; h's list; exposures that wait. */
int lt_store_moment(sqlite3 *sql, int64_t *out, struct lt_err *e) LT_MUST_CHECK;
int lt_store_put_openers(sqlite3 *sql, const struct lt_store_held *h, struct lt_err *e) LT_MUST_CHECK;
void lt_store_openers_tick(struct lt_store *s);
size_t lt_store_pending_count(struct lt_store *s);
void lt_store_pending_free(struct lt_store *s);
/* retired.c: what a guest's new policy retires, and what it does not any more. */
int lt_store_apply_retirements(sqlite3 *sql, const uint8_t uuid[LT_UUID], const uint8_t policy[32],
                               struct lt_err *e) LT_MUST_CHECK;
/* nonces.c */
void lt_store_nonces_free(struct lt_store *s);

/* status.c: what a verdict of that guest must be about to count now. */
int lt_store_basis_now(sqlite3 *sql, const uint8_t uuid[LT_UUID], bool *exists, struct lt_store_basis *out,
                       struct lt_err *e) LT_MUST_CHECK;
/* Why a verdict of `was` does not count when it must be about `now`: a reason's slug, or NULL. */
const char *lt_store_basis_other(const struct lt_store_basis *was, const struct lt_store_basis *now);

#endif
