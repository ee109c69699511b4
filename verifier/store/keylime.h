/* What Keylime's API knows of its guests beside their rows (keylime-api 4.2, 4.3), and its policies by name.
 * A guest with such a row came by that API and is its admin's to change; the others are the federation's.
 * Names are mutable for these guests alone: what a guest is judged by is its guest policy, named by digest,
 * as ever. */
#ifndef LT_VERIFIER_STORE_KEYLIME_H
#define LT_VERIFIER_STORE_KEYLIME_H

#include "verifier/store/store.h"

#define LT_STORE_KEYLIME_POLICIES 4096 /* names of one kind, count */

enum lt_store_keylime_kind { LT_STORE_KEYLIME_RUNTIME, LT_STORE_KEYLIME_BOOT, LT_STORE_KEYLIME_KINDS };

struct lt_store_keylime {
    json_t *given;                                      /* an object: what is told back as it came */
    char name[LT_STORE_KEYLIME_KINDS][LT_ID_MAX + 1];   /* of its policies; "": none */
    bool stopped;                                       /* no rounds until it is reactivated */
    int64_t attestations, last_quote, last_attestation; /* count; wall, 0: never. The rounds write them */
};
void lt_store_keylime_free(struct lt_store_keylime *k);
void lt_store_keylime_cleanup(struct lt_store_keylime *k);
#define LT_STORE_AUTOKEYLIME __attribute__((cleanup(lt_store_keylime_cleanup)))

/* LT_E_NOT_FOUND: it did not come by Keylime's API, or is no guest. */
int lt_store_keylime_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_keylime *out,
                         struct lt_err *e) LT_MUST_CHECK;
/* LT_E_NOT_FOUND likewise. */
int lt_store_keylime_stop(struct lt_store *s, const uint8_t uuid[LT_UUID], bool stopped,
                          struct lt_err *e) LT_MUST_CHECK;
/* False as well where that cannot be read. */
bool lt_store_keylime_stopped(struct lt_store *s, const uint8_t uuid[LT_UUID]);

/* A guest of Keylime's door is its AK's, as it is with Keylime's verifier, whatever registers under its id
 * after regdelete. LT_E_NOT_REGISTERED: it was added with another one. 0 of every other guest. */
int lt_store_keylime_check_ak(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice ak,
                              struct lt_err *e) LT_MUST_CHECK;

/* A policy under a name. Of its bytes the store has what `digest` names. */
struct lt_store_keylime_policy {
    enum lt_store_keylime_kind kind;
    char name[LT_ID_MAX + 1];
    bool own;          /* came with a guest under that guest's id, and goes with it */
    bool has_document; /* false: an empty one, which judges nothing */
    uint8_t digest[32];
    char *tpm_policy; /* JSON text, told back with it; owned; NULL: none */
};
void lt_store_keylime_policy_free(struct lt_store_keylime_policy *p);

/* A guest, its guest policy's bytes, its row, and the policies that came with it (own ones are the guest's):
 * in one transaction. LT_E_CONFLICT: the guest, or a policy of that name, is there already; LT_E_NOT_FOUND:
 * one that k names is not. */
struct lt_store_keylime_new {
    const struct lt_store_guest *guest;
    struct lt_slice document; /* p NULL: none */
    const struct lt_store_keylime *row;
    const struct lt_store_keylime_policy *policies;
    size_t count;
    const struct lt_store_keylime_policy
        *judged;                       /* [LT_STORE_KEYLIME_KINDS]: what document was made with, of the
                                        * names in row. LT_E_BUSY: one leads elsewhere by now */
    struct lt_slice ak;                /* TPM2B_PUBLIC that it was added with */
    struct lt_slice v, revocation_key; /* sealed (verifier/store/releases.h); n 0: none */
};
int lt_store_keylime_add(struct lt_store *s, const struct lt_store_keylime_new *n,
                         struct lt_err *e) LT_MUST_CHECK;

/* LT_E_NOT_FOUND. */
int lt_store_keylime_policy_get(struct lt_store *s, enum lt_store_keylime_kind kind, const char *name,
                                struct lt_store_keylime_policy *out, struct lt_err *e) LT_MUST_CHECK;
/* A new array of names, in order. */
int lt_store_keylime_policy_names(struct lt_store *s, enum lt_store_keylime_kind kind, json_t **out,
                                  struct lt_err *e) LT_MUST_CHECK;
/* LT_E_CONFLICT: that name is taken, LT_E_BUSY: there are too many. */
int lt_store_keylime_policy_add(struct lt_store *s, const struct lt_store_keylime_policy *p,
                                struct lt_err *e) LT_MUST_CHECK;
/* Calls each for those whose row names it, in order of uuid, until it returns non-zero. */
int lt_store_keylime_users(struct lt_store *s, enum lt_store_keylime_kind kind, const char *name,
                           int (*each)(void *arg, const struct lt_store_guest *g,
                                       const struct lt_store_keylime *row),
                           void *arg, struct lt_err *e) LT_MUST_CHECK;
/* Another content for a name that is there (LT_E_NOT_FOUND), and another guest policy for every guest that
 * uses it: all or nothing. LT_E_BUSY: they are not the guests that use it any more; look again. */
struct lt_store_keylime_change {
    uint8_t uuid[LT_UUID];
    struct lt_slice document; /* of its guest policy */
};
int lt_store_keylime_policy_change(struct lt_store *s, const struct lt_store_keylime_policy *p,
                                   const struct lt_store_keylime_change *changes, size_t count,
                                   struct lt_err *e) LT_MUST_CHECK;
/* LT_E_NOT_FOUND; LT_E_CONFLICT: a guest uses it. */
int lt_store_keylime_policy_drop(struct lt_store *s, enum lt_store_keylime_kind kind, const char *name,
                                 struct lt_err *e) LT_MUST_CHECK;

#endif
