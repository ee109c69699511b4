/* A guest's verdict as a token (verifier/token/token.h, docs/tokens.md): of the last round, while that is
 * trusted, stands in the store and is not older than a period. */
#ifndef LT_TENANT_TOKEN_H
#define LT_TENANT_TOKEN_H

#include "tenant/round.h"
#include "verifier/token/keys.h"

struct lt_tenant_token {
    const char *aud, *nonce; /* the receiver's */
    int64_t now;             /* wall */
    uint64_t now_ms;         /* CLOCK_BOOTTIME, at the same moment */
    uint64_t period_ms;
};

/* The claims of a trusted round; *out: a new reference. LT_E_BUSY: it is older than a period, the next round
 * will bring another; LT_E_CONFLICT: the guest showed no transport key to bind it to. */
int lt_tenant_token_claims(const struct lt_tenant_round *round, const struct lt_tenant_token *t, json_t **out,
                           struct lt_err *e) LT_MUST_CHECK;

#endif
