/* The documents that policies name by digest: runtime policies (layers), compiled once into
 * STATE/tables/DIGEST and mapped, so that all guests and hosts that use one share it; and boot policies.
 * Their bytes are in the store; those of documents that were fetched from the provider, and their tables, are
 * in STATE/fetched/DIGEST and DIGEST.table, under a ceiling. */
#ifndef LT_VERIFIER_DOCUMENTS_H
#define LT_VERIFIER_DOCUMENTS_H

#include "appraisal/checks/measured.h"
#include "common/limits.h"
#include "common/ref.h"
#include "verifier/store/store.h"

#define LT_DOCUMENTS_OPEN 512 /* kept open for those who come next, count */
#define LT_DOCUMENTS_BUNDLED_DOCUMENT                                                                        \
    (1u << 20) /* larger ones stay out of bundles, which then name what is left out                          \
                */

struct lt_documents;

struct lt_documents_conf {
    const char *tables;     /* directory, made if absent; all is borrowed */
    const char *fetched;    /* the same, for documents of others, bytes and tables */
    size_t max_fetched;     /* bytes of these */
    struct lt_store *store; /* the operator's documents */
    const char *key; /* PEM of the key that DSSE envelopes must be signed with; NULL: plain documents only */
};
int lt_documents_new(const struct lt_documents_conf *c, struct lt_documents **out,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_documents_free(struct lt_documents *d);

/* Stores a document of either kind, compiled. Takes as long as that takes: for workers. */
int lt_documents_put(struct lt_documents *d, const void *p, size_t n, uint8_t digest[LT_SHA256],
                     struct lt_err *e) LT_MUST_CHECK;

/* Forgets one that nobody names: LT_E_CONFLICT says who does, LT_E_NOT_FOUND. Rounds under way keep what they
 * have. */
int lt_documents_drop(struct lt_documents *d, const uint8_t digest[LT_SHA256],
                      struct lt_err *e) LT_MUST_CHECK;
/* The same for one that the provider brought, since an accepted host policy names it: it is kept apart from
 * the operator's. Those that nobody uses make room; LT_E_TOO_LARGE when that is not enough. */
int lt_documents_put_fetched(struct lt_documents *d, const void *p, size_t n, uint8_t digest[LT_SHA256],
                             struct lt_err *e) LT_MUST_CHECK;
/* Removes what was fetched and nobody uses now. */
void lt_documents_collect(struct lt_documents *d);
size_t lt_documents_fetched(struct lt_documents *d); /* bytes on disk */

/* References to what a policy names; view is what the checks take. */
struct lt_documents_document_set {
    struct lt_measured_documents view;
    struct lt_ref *boot, *layer[LT_MAX_LAYERS];
    bool complete;
};
/* LT_E_NOT_FOUND names the first one that is missing; *out holds the others all the same, and is to be freed.
 */
int lt_documents_open(struct lt_documents *d, const struct lt_policy_measured *p,
                      struct lt_documents_document_set *out, struct lt_err *e) LT_MUST_CHECK;
void lt_documents_document_set_free(struct lt_documents_document_set *s);

/* The bytes, when they are small enough for a bundle; caller frees. */
int lt_documents_bytes(struct lt_documents *d, const uint8_t digest[LT_SHA256], uint8_t **p, size_t *n,
                       struct lt_err *e) LT_MUST_CHECK;

#endif
