/* What a verifier has of one host: each immutable once shared, with counted references (common/ref.h). What
 * is kept was taken from memory, and is given back with the last reference. */
#ifndef LT_VERIFIER_HOST_H
#define LT_VERIFIER_HOST_H

#include "appraisal/checks/identity.h"
#include "appraisal/policy/policy.h"
#include "common/run/budget.h"
#include "residency/bundle.h"
#include "verifier/documents.h"
#include "verifier/trust.h"

struct lt_verifier_host_keys {
    struct lt_checks_identity_host *id;
    struct lt_bundle_blob ak, ek;
    struct lt_bundle_certificates certificates;
    struct lt_budget *memory;
    size_t kept;
};
struct lt_verifier_host_document { /* a host policy: bytes always, parsed if it could be */
    struct lt_policy_host *parsed;
    struct lt_documents_document_set documents;
    uint8_t digest[LT_SHA256];
    uint8_t *bytes;
    size_t n;
};
struct lt_verifier_host_log {
    struct lt_boot_log *log;
    uint8_t digest[LT_SHA256];
    uint32_t reset_count;
    struct lt_budget *memory;
    size_t kept;
};
struct lt_verifier_host_ima { /* the whole list */
    bool present;
    struct lt_bundle_blob bytes;
    uint64_t units; /* it holds (common/ima_list.h) */
    bool whole;     /* nothing is behind them */
    uint8_t digest[LT_SHA256];
    uint32_t reset_count;
    uint8_t pcr[LT_SHA256]; /* PCR 10 of the quote it was fetched for */
    struct lt_budget *memory;
    size_t kept;
};

/* Keys that are not shared yet: ak, ek and certificates are the caller's to fill in. */
struct lt_verifier_host_keys *lt_verifier_host_keys_new(struct lt_budget *memory);
void lt_verifier_host_keys_free(struct lt_verifier_host_keys *k);
/* Makes id of ak and ek, and finds room for all. Hostile bytes are id's fault; LT_E_NO_MEMORY, LT_E_NO_ROOM.
 */
int lt_verifier_host_keys_identify(struct lt_verifier_host_keys *k, struct lt_err *e) LT_MUST_CHECK;
struct lt_ref *lt_verifier_host_keys_share(struct lt_verifier_host_keys *k); /* takes k */
/* The same keys judged as of now, without asking anybody. New reference. */
int lt_verifier_host_keys_again(const struct lt_verifier_host_keys *had,
                                const struct lt_verifier_trust *trust, struct lt_ref **out,
                                struct lt_err *e) LT_MUST_CHECK;
/* The same EK and the same AK, byte for byte. */
bool lt_verifier_host_keys_same(const struct lt_verifier_host_keys *a, const struct lt_verifier_host_keys *b);

#endif
