/* What the store keeps of sealed vTPMs (docs/sealing.md section 5). Of each EK_g: the last list of openers,
 * when each of them was first seen closed, and the hosts that expose it. Of each guest: when its policy first
 * named what it has retired. All moments are of one clock, wall milliseconds that are made to rise: what was
 * stored later has the larger one, whatever the wall clock did. */
#ifndef LT_VERIFIER_STORE_SEALS_H
#define LT_VERIFIER_STORE_SEALS_H

#include "verifier/store/store.h"

struct lt_store_exposure {
    uint8_t host[LT_SHA256]; /* ek_digest of the host that failed check 7 */
    int64_t since;
};
struct lt_store_openers {
    uint8_t *bytes; /* OPENERS; NULL: none was seen yet. Owned, as all below */
    size_t n;
    int64_t closed[LT_MAX_OPENERS];    /* of each of them: first seen closed; 0: never */
    struct lt_store_exposure *exposed; /* not cleared */
    size_t exposed_count;
};
/* What there is of that EK_g, with what waits to be written. *out is to be freed, also on failure. */
int lt_store_openers(struct lt_store *s, const uint8_t ek_digest[LT_SHA256], struct lt_store_openers *out,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_store_openers_free(struct lt_store_openers *o);
#define LT_STORE_AUTOOPENERS __attribute__((cleanup(lt_store_openers_free)))

/* ---- exposures ---- */
/* That host exposes this EK_g from now on. Never lost: what the disk does not take waits in memory, and is
 * told by lt_store_openers from the call on. *news: it was not exposed by that host before. */
void lt_store_expose(struct lt_store *s, const uint8_t ek_digest[LT_SHA256], const uint8_t host[LT_SHA256],
                     bool *news);
/* The tenant takes it back, by name. LT_E_CONFLICT: it is not exposed. */
int lt_store_exposure_clear(struct lt_store *s, const uint8_t ek_digest[LT_SHA256],
                            struct lt_err *e) LT_MUST_CHECK;
/* Changes with every exposure and every clearing. */
uint64_t lt_store_exposures(struct lt_store *s);
/* The policies of guests that have an open or closed state of that host in their last list, each once, until
 * fn returns non-zero; guests without a policy are left out. */
int lt_store_opened_by(struct lt_store *s, const uint8_t host[LT_SHA256],
                       int (*fn)(void *arg, const uint8_t policy[LT_SHA256]), void *arg,
                       struct lt_err *e) LT_MUST_CHECK;
/* Of those guests the ones with that policy: EK_g and last list. */
int lt_store_opened_under(struct lt_store *s, const uint8_t host[LT_SHA256], const uint8_t policy[LT_SHA256],
                          int (*fn)(void *arg, const uint8_t ek_digest[LT_SHA256], struct lt_slice openers),
                          void *arg, struct lt_err *e) LT_MUST_CHECK;

/* ---- boot logs ---- of states that openers hold: a host shows that of its present boot alone. key: which
 * state of which host. One that is there stays. */
#define LT_STORE_LOG_MAX (1u << 20) /* bytes: larger ones are not kept */
int lt_store_log_put(struct lt_store *s, const uint8_t key[LT_SHA256], struct lt_slice log,
                     struct lt_err *e) LT_MUST_CHECK;
/* Caller frees *p. LT_E_NOT_FOUND. */
int lt_store_log_get(struct lt_store *s, const uint8_t key[LT_SHA256], uint8_t **p, size_t *n,
                     struct lt_err *e) LT_MUST_CHECK;

/* ---- what a guest's policies have retired ---- */
enum lt_store_retired_kind { LT_STORE_RETIRED_POLICY, LT_STORE_RETIRED_HOST };
struct lt_store_retired {
    enum lt_store_retired_kind kind;
    uint8_t digest[LT_SHA256]; /* of the document, or the host's ek_digest */
    int64_t at;
};
/* A new array, of *count; caller frees. It is kept from the moment when a policy of the guest first names it,
 * over policies that do not and over the guest's removal; a policy that accepts it again (host_policies), or
 * does not retire the host any more, ends it. */
int lt_store_retired(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_retired **out,
                     size_t *count, struct lt_err *e) LT_MUST_CHECK;

#endif
