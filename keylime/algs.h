/* The algorithms of an AK by Keylime's names (keylime-api 6.5), derived from its public area: what an agent
 * says of itself is no evidence. */
#ifndef LT_KEYLIME_ALGS_H
#define LT_KEYLIME_ALGS_H

#include "common/json.h"
#include "tpm/public.h"

#define LT_ALGS_MAX 16 /* names in a list of accepted ones, count */

enum lt_algs_kind { LT_ALGS_HASH, LT_ALGS_ENC, LT_ALGS_SIGN, LT_ALGS_KINDS };

/* "sha256", "rsa2048" or "ecc256", "rsassa"; "": one that Keylime has no name for. */
const char *lt_algs_name(const struct lt_public *ak, enum lt_algs_kind kind);

const char *lt_algs_hash_name(uint16_t alg); /* of a TPM_ALG_ID, likewise */

/* A list as the API is given it; LT_E_MALFORMED: strings, at most LT_ALGS_MAX. Its key is also its name. */
int lt_algs_check_list(const json_t *o, enum lt_algs_kind kind, struct lt_err *e) LT_MUST_CHECK;
const char *lt_algs_key(enum lt_algs_kind kind); /* "accept_tpm_hash_algs", … */
/* LT_E_MALFORMED: an algorithm of the AK is not in its list of o (rsa stands for rsa2048, ecc for ecc256). */
int lt_algs_accepted(const json_t *o, const struct lt_public *ak, struct lt_err *e) LT_MUST_CHECK;

#endif
