/* Keylime's operational states (keylime-api 4.4), as clients of its API are shown them. One table decides,
 * and is the picture in docs/keylime.md: facts about a guest, the state they read as, and when its agent is
 * asked again. Nothing of it is stored: a state is told from the facts of the moment, as every status is. */
#ifndef LT_KEYLIME_STATES_H
#define LT_KEYLIME_STATES_H

#include "common/bytes.h"

enum lt_states_code {
    LT_STATES_REGISTERED,
    LT_STATES_START,
    LT_STATES_SAVED,
    LT_STATES_GET_QUOTE,
    LT_STATES_GET_QUOTE_RETRY,
    LT_STATES_PROVIDE_V,
    LT_STATES_PROVIDE_V_RETRY,
    LT_STATES_FAILED,
    LT_STATES_TERMINATED,
    LT_STATES_INVALID_QUOTE,
    LT_STATES_TENANT_FAILED,
    LT_STATES_COUNT
};

/* What is so of a guest, bits. Of its verdict at most one of REJECTED, UNREACHABLE and TRUSTED. */
enum lt_states_fact {
    LT_STATES_STOPPED = 1,      /* PUT stop, and no reactivate since */
    LT_STATES_REJECTED = 2,     /* a failed verdict stands */
    LT_STATES_UNREACHABLE = 4,  /* the last round got no answer */
    LT_STATES_TRUSTED = 8,      /* trusted, and fresh */
    LT_STATES_UNPROVEN = 16,    /* was trusted, and has not been for too long */
    LT_STATES_SHARE = 32,       /* its V waits to be delivered */
    LT_STATES_SHARE_TRIED = 64, /* and a delivery of it failed */
    LT_STATES_JUDGED = 128,     /* a round has ended since it was added or reactivated */
};

struct lt_states_rule {
    unsigned facts; /* all of them; the first row whose facts are there counts */
    enum lt_states_code state;
    const char
        *status;      /* attestation_status: PASS, FAIL, PENDING, TIMEOUT; NULL: a state that is never told */
    const char *when; /* in words, for people */
    const char *again; /* when its agent is asked again */
};
extern const struct lt_states_rule lt_states_rules[];
extern const size_t lt_states_rule_count;

const struct lt_states_rule *lt_states_of(unsigned facts); /* never NULL */
const char *lt_states_name(enum lt_states_code s);         /* "Get Quote", as keylime_tenant prints it */

/* The table as docs/keylime.md has it: Markdown, a line a row. */
void lt_states_print(struct lt_buf *out);

#endif
