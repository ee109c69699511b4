/* The halves of payload keys that came and wait for their other half (keylime-api 3.6): each U with each V is
 * tried, and a pair that fits empties the lists. Kept as files of a private directory in memory
 * (agent/secure.h), so that an agent that is killed in between has lost nothing. One thread at a time. */
#ifndef LT_AGENT_SHARES_H
#define LT_AGENT_SHARES_H

#include "keylime/share.h"

struct lt_shares;

/* Takes up what lies in dir; a file that cannot be read is dropped, with a line in the log. fd: the directory
 * itself. Both are borrowed. */
struct lt_shares *lt_shares_open(const char *dir, int fd);
void lt_shares_close(struct lt_shares *s); /* the files stay; NULL is fine */

/* Of each kind LT_MAX_SHARES wait: the oldest makes way. What is there already is not kept twice. payload:
 * what came with U, still sealed; p NULL: the key alone. */
int lt_shares_add_u(struct lt_shares *s, const struct lt_share *u, const uint8_t tag[LT_SHARE_TAG],
                    struct lt_slice payload, struct lt_err *e) LT_MUST_CHECK;
int lt_shares_add_v(struct lt_shares *s, const struct lt_share *v, struct lt_err *e) LT_MUST_CHECK;

/* A pair that fits. */
struct lt_shares_match {
    struct lt_share k;
    bool has_payload;
    uint64_t payload; /* which, for lt_shares_payload */
    uint64_t last;    /* for lt_shares_forget: what came later stays */
};
/* True: U and V of the agent `id` fit; both lists are empty now, the files stay until lt_shares_forget. */
bool lt_shares_take(struct lt_shares *s, const char *id, struct lt_shares_match *out);
/* Caller frees. */
int lt_shares_payload(const struct lt_shares *s, const struct lt_shares_match *m, uint8_t **out, size_t *n,
                      struct lt_err *e) LT_MUST_CHECK;
void lt_shares_forget(struct lt_shares *s, uint64_t last);

#endif
