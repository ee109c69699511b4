/* Where what stands behind a host quote comes from, and what is made of it. A tenant asks the provider, which
 * is not believed (tenant/host_fetch.h); a provider asks the host's agent and its own registry.
 * Blocks. */
#ifndef LT_VERIFIER_HOST_SOURCE_H
#define LT_VERIFIER_HOST_SOURCE_H

#include "verifier/host.h"

enum lt_host_source_kind {
    LT_HOST_SOURCE_DOCUMENT,
    LT_HOST_SOURCE_BOOT_LOG,
    LT_HOST_SOURCE_IMA,
    LT_HOST_SOURCE_OPENERS /* asked of a provider alone */
};
struct lt_host_source_question {
    enum lt_host_source_kind kind;
    const char *host;      /* 32 hex digits, of a log */
    const uint8_t *digest; /* of a document, or of OPENERS */
    uint64_t first;        /* of an IMA list: from this unit on, or from its beginning */
    size_t max;            /* bytes */
};

/* What came, and what it holds of the memory until it is known what stays of it. */
struct lt_host_source_bytes {
    struct lt_bundle_blob b; /* the caller's to free */
    uint64_t ima_first;      /* the list comes from this unit on */
    size_t charge;
};

struct lt_host_source {
    void *arg;
    struct lt_budget *memory; /* large answers are taken from it, and what is kept of them */
    /* The keys are one's own word, and asking costs nothing: a quote that they did not sign is the host's
     * fault, not the answerer's. */
    bool own;
    /* Keys and certificates of a host, judged against trust; activated: found by oneself, or unknown, as it
     * stays without activate: then the host itself need not answer. had: what was had before, or NULL. New
     * reference. */
    int (*keys)(void *arg, const char *host, const struct lt_verifier_trust *trust,
                const struct lt_verifier_host_keys *had, bool activate, struct lt_ref **out,
                struct lt_err *e);
    /* LT_E_NOT_FOUND: there is no such log. */
    int (*get)(void *arg, const struct lt_host_source_question *q, struct lt_host_source_bytes *out,
               struct lt_err *e);
};

/* ---- host_logs.c ---- new references */
/* The document with that digest; the digest is verified. The documents that it names are put into d, where
 * they are not there yet. */
int lt_host_source_policy(const struct lt_host_source *s, const uint8_t digest[LT_SHA256],
                          struct lt_documents *d, struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
/* The same, of which only PCR values will be judged: of what it names only the boot policy is fetched. */
int lt_host_source_states(const struct lt_host_source *s, const uint8_t digest[LT_SHA256],
                          struct lt_documents *d, struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
/* The list of openers with that digest, which is verified; its bytes are not looked at. What is kept of them
 * is to be settled with *charge (common/run/budget.h). */
int lt_host_source_openers(const struct lt_host_source *s, const uint8_t digest[LT_SHA256],
                           struct lt_bundle_blob *out, size_t *charge, struct lt_err *e) LT_MUST_CHECK;
/* Those of a policy that could not be had before: true, and *fresh is that policy with all of them. */
bool lt_host_source_missing(const struct lt_host_source *s, const struct lt_verifier_host_document *have,
                            struct lt_documents *d, struct lt_ref **fresh);
/* LT_E_NOT_FOUND gives a log that is not present. */
int lt_host_source_log(const struct lt_host_source *s, const char *host, uint32_t reset_count,
                       struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
/* The whole list: what is had of it (NULL: nothing) and what has come since. LT_E_NOT_FOUND gives one that is
 * not present. */
int lt_host_source_ima(const struct lt_host_source *s, const char *host,
                       const struct lt_verifier_host_ima *had, uint32_t reset_count,
                       const uint8_t pcr[LT_SHA256], struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;

#endif
