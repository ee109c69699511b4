/* What a tenant remembers of a guest whose vTPM is sealed (docs/sealing.md section 5), and how a round hands
 * it, with the list of its openers, to check 8. */
#ifndef LT_TENANT_SEEN_H
#define LT_TENANT_SEEN_H

#include "appraisal/checks/opened.h"
#include "verifier/sealing.h"
#include "verifier/store/seals.h"

/* As it was at one moment: immutable, shared. */
struct lt_tenant_seen {
    struct lt_ref *last; /* struct lt_sealing_list, the one seen last; NULL: none */
    int64_t closed_at[LT_MAX_OPENERS];
    struct lt_checks_openers_retired *retired;
    size_t retired_count;
    struct lt_checks_openers_exposed *exposed;
    size_t exposed_count;
    char trouble[240]; /* why the last list cannot be had now: then none is judged. "": it can, or there is
                          none */
};
/* Of that guest's policies and that EK_g, from the store. *out: a new reference. */
int lt_tenant_seen_load(struct lt_store *s, struct lt_sealing_cache *c, const uint8_t uuid[LT_UUID],
                        const uint8_t ek_digest[LT_SHA256], struct lt_ref **out,
                        struct lt_err *e) LT_MUST_CHECK;
bool lt_tenant_seen_whole(const struct lt_ref *sealed); /* no trouble */
/* The last list; NULL of NULL. Borrowed. */
struct lt_ref *lt_tenant_seen_last(const struct lt_ref *sealed);

/* The list that the proof's record names, of that guest; it is not checked yet. False: none. */
bool lt_tenant_seen_names(const struct lt_proof *proof, const uint8_t uuid[LT_UUID],
                          const uint8_t ek_digest[LT_SHA256], uint8_t digest[LT_SHA256]);

/* What check 8 is given: views into what the others hold. */
struct lt_tenant_openers {
    struct lt_checks_openers in;
    const struct lt_checks_identity_host **host;
    struct lt_checks_openers_policy *policy;
    const struct lt_boot_log **log;
};
/* view: struct lt_sealing_view; NULL: no list was asked for. sealed: as above. document:
 * struct lt_verifier_host_document, the quoted policy (NULL: none). To be freed. */
void lt_tenant_openers_fill(struct lt_tenant_openers *o, const struct lt_ref *view,
                            const struct lt_ref *sealed, const struct lt_ref *document);
void lt_tenant_openers_free(struct lt_tenant_openers *o);
#define LT_TENANT_AUTOOPENERS __attribute__((cleanup(lt_tenant_openers_free)))

#endif
