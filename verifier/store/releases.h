/* What a guest is to be given once it is trusted: its V (Keylime's half of a payload key), and the key that
 * signs its revocation messages. Both come in and lie here sealed by verifier/vault.h, for the purposes named
 * below; nothing here can open them. With them: to which transport key V was delivered.
 * Rows live and die with their guest. Writing waits for the commit. */
#ifndef LT_VERIFIER_STORE_RELEASES_H
#define LT_VERIFIER_STORE_RELEASES_H

#include "verifier/store/store.h"

/* Purposes, for lt_vault_seal. */
#define LT_STORE_RELEASE_V "v"
#define LT_STORE_RELEASE_REVOCATION_KEY "revocation_key"

struct lt_store_release {
    struct lt_buf v, revocation_key; /* sealed; n 0: none */
    bool delivered;                  /* of this V: */
    uint8_t key[32];                 /* SHA-256 of the PEM text of the transport key it was wrapped to */
    int64_t when;                    /* wall */
};
void lt_store_release_free(struct lt_store_release *r); /* what is in it, not r */
#define LT_STORE_AUTORELEASE __attribute__((cleanup(lt_store_release_free)))

/* An empty one (n 0) stays as it is. A V that is put is a new delivery, whatever it is. LT_E_NOT_FOUND: no
 * such guest. */
int lt_store_release_put(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice v,
                         struct lt_slice revocation_key, struct lt_err *e) LT_MUST_CHECK;
/* Zeroed where there is nothing: that is no error. */
int lt_store_release_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_release *out,
                         struct lt_err *e) LT_MUST_CHECK;
/* The V that is sealed in v reached the agent under the transport key of that digest. Of another V than the
 * guest has now nothing is written: *counts is false. */
int lt_store_release_delivered(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice v,
                               const uint8_t key[32], int64_t when, bool *counts,
                               struct lt_err *e) LT_MUST_CHECK;

/* lt_store_release_put within a transaction of the store's own. */
int lt_store_release_write(sqlite3 *sql, const uint8_t uuid[LT_UUID], struct lt_slice v,
                           struct lt_slice revocation_key, struct lt_err *e) LT_MUST_CHECK;

#endif
