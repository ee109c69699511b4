/* How a host is, told from its last quote: nothing else shows that agent, inventory and TPM work. Kept in
 * memory only: a provider that has just started knows nothing. The word is computed when it is read, so that
 * nothing stays "up" because nobody asks. Any thread. */
#ifndef LT_PROVIDER_HEALTH_H
#define LT_PROVIDER_HEALTH_H

#include "common/json.h"

#include <pthread.h>

struct lt_health {
    pthread_mutex_t lock;
    uint64_t quoted_ms; /* CLOCK_BOOTTIME of the last good quote; 0: none yet */
    uint64_t tried_ms;  /* of the last answer, good or not, or of the start of following; 0: due at once */
    uint64_t period_ms; /* one quote is asked for at least this often */
    struct lt_err e;    /* of the last try; code 0: it was good */
    bool checking;
    uint64_t asked_ms; /* while checking: since when */
};

void lt_health_init(struct lt_health *h, uint64_t period_ms);
void lt_health_destroy(struct lt_health *h);

/* A quote came out (e NULL) or did not. who: for the log, which gets a line when the word changes. */
void lt_health_note(struct lt_health *h, const char *who, const struct lt_err *e, uint64_t now_ms);
/* True if there was no answer for age_ms and nobody else is asking; the caller then asks, and calls
 * lt_health_checked once that has ended. */
bool lt_health_due(struct lt_health *h, uint64_t age_ms, uint64_t now_ms);
void lt_health_checked(struct lt_health *h);

/* "up", "unknown" (not asked yet), "slow" (asked three seconds ago, and no answer yet), "stale" (no good
 * quote for three periods, and nothing said why), "unreachable", "busy", "host-tpm", or "bad-quote" (an
 * answer that proves nothing). */
const char *lt_health_word(struct lt_health *h, uint64_t now_ms);
/* {"state":word,"last_quote_age_ms":int|null,"error":{"slug","message"}|null}; a new object. */
json_t *lt_health_json(struct lt_health *h, uint64_t now_ms);

#endif
