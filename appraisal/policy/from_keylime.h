/* Policies as Keylime's wire gives them (keylime-api 6) as a guest policy of ours, and the documents that it
 * names. What it judges is what Keylime would, or more, never less: what a guest policy has no words for is
 * LT_E_MALFORMED with the name of the key. Pure.
 *
 * tpm_policy becomes "pcrs" (values of SHA-256 and SHA-384: those of other banks' lengths could never match;
 * a mask that asks for what no key judges is refused). A runtime policy becomes a layer, with keys learnt
 * from what its keyrings allow, as Keylime does; ima_sign_verification_keys take the place of its own.
 * mb_policy becomes "boot": a reference state of the example engine, or a boot policy of ours. None of them:
 * the guest policy judges nothing, and is of use only with the word "unjudged" (docs/policies.md). */
#ifndef LT_APPRAISAL_POLICY_FROM_KEYLIME_H
#define LT_APPRAISAL_POLICY_FROM_KEYLIME_H

#include "common/hash.h"
#include "common/json.h"

/* All borrowed. Texts: NULL or "" is none, and so are "{}" and "null" where Keylime takes them so. */
struct lt_from_keylime_in {
    const char *tpm_policy;  /* JSON */
    struct lt_slice runtime; /* JSON, or a DSSE envelope of it; n 0: none */
    const char *runtime_key; /* PEM, for that envelope, which is then opened once and for all */
    const char
        *pinned_key;      /* PEM, policy_key of the configuration: envelopes must be of it, and stay closed */
    const char *boot;     /* JSON */
    const char *ima_keys; /* a keyring, JSON */
    const json_t *accept; /* words of the guest policy, an array (lt_from_keylime_accept); NULL: none */
    const json_t *host_policies; /* accepted host policies, an array of hex; NULL: the key is left out */
};

struct lt_from_keylime_document {
    uint8_t *p; /* NULL: none. Owned */
    size_t n;
    uint8_t digest[LT_SHA256];
};

struct lt_from_keylime {
    struct lt_from_keylime_document policy, runtime, boot; /* policy names the other two */
};

/* The documents are not judged here: whoever stores them (lt_documents_put) refuses what is none.
 * LT_E_BAD_SIGNATURE: of an envelope; LT_E_REFUSED: no envelope where the pinned key asks for one. */
int lt_from_keylime(const struct lt_from_keylime_in *in, struct lt_from_keylime *out,
                    struct lt_err *e) LT_MUST_CHECK;
void lt_from_keylime_free(struct lt_from_keylime *o);
void lt_policy_cleanup_from_keylime(struct lt_from_keylime *o);
#define LT_POLICY_AUTO_FROM_KEYLIME __attribute__((cleanup(lt_policy_cleanup_from_keylime)))

/* Words of a configuration key, "resident, appraised, open-boot": a new array of those that a guest policy
 * takes
 * ("resident" and "appraised" are what it asks for anyway). With unlinked that word is added, by nobody else:
 * no provider is configured. LT_E_CONFIG names the word. */
int lt_from_keylime_accept(const char *words, bool unlinked, json_t **out, struct lt_err *e) LT_MUST_CHECK;

#endif
