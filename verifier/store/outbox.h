/* Revocations that were decided, and how far each receiver has come with them.
 *
 * A decision is one row, written in the transaction that stores its verdict. Each receiver has a row too,
 * with the number of the last decision it confirmed: so 10,000 agents cost no 10,000 rows a failure, each
 * takes all of them in order and at its own pace, and a process that is killed forgets nothing. What was
 * confirmed and not written down yet when it was killed is sent again: receivers know a decision by its
 * number.
 *
 * Guests' agents are receivers by themselves, from when the guest is added until it is removed (triggers of
 * verifier/store/store.c); others join. A decision goes when everybody has passed it, but for the last
 * LT_OUTBOX_KEPT, which people look at. */
#ifndef LT_VERIFIER_STORE_OUTBOX_H
#define LT_VERIFIER_STORE_OUTBOX_H

#include "common/ids.h"
#include "common/json.h"
#include "common/run/db.h"

#define LT_OUTBOX_KEPT 1000      /* decisions that everybody has passed, count */
#define LT_OUTBOX_MAX 65536      /* decisions in all, count: then the oldest go, whoever lacks them */
#define LT_OUTBOX_LISTED 1000    /* of decisions and of receivers, in one list, count */
#define LT_OUTBOX_RECEIVER 300   /* bytes of a receiver's name, its NUL included */
#define LT_OUTBOX_AGENT "agent:" /* and the guest's UUID, as lower-case hex without hyphens */

/* Migrations for struct lt_db_kind, in this order. */
extern const char lt_outbox_schema[], lt_outbox_unproven_schema[];

enum lt_outbox_kind {
    LT_OUTBOX_FAILED = 1, /* for good */
    LT_OUTBOX_UNPROVEN,   /* until the next trusted verdict */
    LT_OUTBOX_LIFTED      /* that came: what UNPROVEN said is over */
};
const char *lt_outbox_kind_slug(enum lt_outbox_kind k); /* "failed", "unproven", "lifted" */

struct lt_outbox_item {
    int64_t number; /* rises, and no number comes twice */
    uint8_t id[LT_UUID];
    enum lt_outbox_kind kind;
    int64_t decided; /* wall */
    char *doc;       /* the verdict, VERDICT of docs/api.md */
    char *message;   /* as lt_outbox_keep was given it; NULL: not made yet */
};
void lt_outbox_item_free(struct lt_outbox_item *item); /* what it holds */

struct lt_outbox_receiver {
    char name[LT_OUTBOX_RECEIVER];
    int64_t passed; /* number of the last decision it confirmed */
    int64_t since;  /* wall: it has failed to take the next one since; 0: it has not failed */
    unsigned tries; /* that failed since then, count */
};

/* ---- in a transaction of the caller's ---- */
int lt_outbox_put(sqlite3 *sql, const uint8_t id[LT_UUID], enum lt_outbox_kind kind, int64_t decided,
                  const char *doc, struct lt_err *e) LT_MUST_CHECK;
/* Whether UNPROVEN was decided last about it, for as long as that stands: it outlives its decision's row. */
int lt_outbox_unproven(sqlite3 *sql, const uint8_t id[LT_UUID], bool *is, struct lt_err *e) LT_MUST_CHECK;

/* ---- the sender's side ---- */
/* The number of the last decision; 0: none yet. */
int lt_outbox_head(struct lt_db *db, int64_t *number, struct lt_err *e) LT_MUST_CHECK;
/* The first decision behind `after` that can be read; LT_E_NOT_FOUND: none. lt_outbox_item_free. */
int lt_outbox_next(struct lt_db *db, int64_t after, struct lt_outbox_item *out,
                   struct lt_err *e) LT_MUST_CHECK;
/* What all receivers get to read, from the first sending on; waits until it is written. */
int lt_outbox_keep(struct lt_db *db, int64_t number, const char *message, struct lt_err *e) LT_MUST_CHECK;
/* Hears of all that is decided from now on; if it is a receiver already, nothing changes. */
int lt_outbox_join(struct lt_db *db, const char *name, struct lt_err *e) LT_MUST_CHECK;
/* These, and no others that begin with `prefix`, are receivers (names NULL-ended). */
int lt_outbox_only(struct lt_db *db, const char *prefix, const char *const *names,
                   struct lt_err *e) LT_MUST_CHECK;
/* Calls each of those that lack a decision until it returns non-zero. */
int lt_outbox_behind(struct lt_db *db, int (*each)(void *arg, const struct lt_outbox_receiver *r), void *arg,
                     struct lt_err *e) LT_MUST_CHECK;
/* It confirmed that one, or is not concerned; it failed to. Queued: any thread. */
void lt_outbox_passed(struct lt_db *db, const char *name, int64_t number);
void lt_outbox_missed(struct lt_db *db, const char *name, const char *why);

/* For people: REVOCATIONS of docs/api.md, the newest first. dead_s: a receiver that has failed for so long is
 * told as dead. */
int lt_outbox_list(struct lt_db *db, int64_t dead_s, json_t **out, struct lt_err *e) LT_MUST_CHECK;

#endif
