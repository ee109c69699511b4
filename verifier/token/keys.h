/* The keys that sign verdict tokens, in one file of their own (0600): the one in use, and those before it
 * whose last token has not ended yet, so that whoever reads the JWKS finds the key of every token that is
 * still good. A key is replaced by itself when it is old, and when somebody asks. Thread safe. */
#ifndef LT_VERIFIER_TOKEN_KEYS_H
#define LT_VERIFIER_TOKEN_KEYS_H

#include "verifier/token/token.h"

#define LT_TOKEN_KEYS_MAX 16 /* that are kept, count */

struct lt_token_keys;

struct lt_token_keys_conf {
    const char *path; /* made, with a first key, if it is not there */
    int64_t age_s;    /* after which a key is replaced */
    int64_t life_s;   /* of the longest token */
};

/* LT_E_CONFIG: others can read it, or it is no such file. */
int lt_token_keys_open(const struct lt_token_keys_conf *c, int64_t now, struct lt_token_keys **out,
                       struct lt_err *e) LT_MUST_CHECK;
void lt_token_keys_free(struct lt_token_keys *k); /* wipes; NULL is fine */

/* By the key in use; one that is too old is replaced first. *out: caller frees. */
int lt_token_keys_sign(struct lt_token_keys *k, const json_t *claims, int64_t now, char **out,
                       struct lt_err *e) LT_MUST_CHECK;
/* Another key is in use from now on, whatever the age of the one before. LT_E_BUSY: too many are kept. */
int lt_token_keys_rotate(struct lt_token_keys *k, int64_t now, struct lt_err *e) LT_MUST_CHECK;
/* JWKS (RFC 7517 5), the one in use first; a new reference. */
json_t *lt_token_keys_public(struct lt_token_keys *k, int64_t now);

#endif
