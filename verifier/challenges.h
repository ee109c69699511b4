/* The challenges a registrar has issued and not yet seen answered; in memory only, because a restart costs an
 * agent one more registration and a secret on disk costs more. Thread safe. Times are the caller's
 * CLOCK_BOOTTIME in ms. */
#ifndef LT_VERIFIER_CHALLENGES_H
#define LT_VERIFIER_CHALLENGES_H

#include "keylime/agent.h"
#include "keylime/auth_tag.h"

#define LT_CHALLENGE 32        /* characters */
#define LT_CHALLENGES_MAX 4096 /* count; the oldest of the network with most of them gives way */
#define LT_CHALLENGE_MS 60000  /* its life */
#define LT_CHALLENGES_REGISTRATIONS_BURST 64 /* of one IPv4 address, or IPv6 /64, at once */
#define LT_CHALLENGES_REGISTRATIONS_RATE 8   /* and then a second */

struct lt_challenges;

struct lt_challenges *lt_challenges_new(void);
void lt_challenges_free(struct lt_challenges *c);

/* One more registration from source, an address as text: LT_E_TOO_MANY when its network (itself for IPv4, its
 * /64 for IPv6) had its share. */
int lt_challenges_admit(struct lt_challenges *c, const char *source, uint64_t now_ms,
                        struct lt_err *e) LT_MUST_CHECK;
/* Keeps the challenge of (a->id, source), in the place of an earlier one. Takes *a over and leaves it empty.
 * In a full table one gives way: of the network with most challenges (/24 and /48, then the address or /64)
 * the oldest. */
int lt_challenges_put(struct lt_challenges *c, const char *source, struct lt_agent *a,
                      const char secret[LT_CHALLENGE], uint64_t now_ms, struct lt_err *e) LT_MUST_CHECK;
/* The answer to the challenge of (id, source). Right or wrong, the challenge is gone. LT_E_NOT_FOUND: there
 * is none; LT_E_REFUSED: wrong. */
int lt_challenges_answer(struct lt_challenges *c, const char *source, const char *id,
                         const uint8_t tag[LT_AUTH_TAG], uint64_t now_ms, struct lt_agent *out,
                         struct lt_err *e) LT_MUST_CHECK;

#endif
