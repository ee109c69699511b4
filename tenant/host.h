/* What a tenant has of one host: each immutable once shared, with counted references (common/ref.h). What is
 * kept was taken from memory, and is given back with the last reference. */
#ifndef LT_TENANT_HOST_H
#define LT_TENANT_HOST_H

#include "appraisal/checks/identity.h"
#include "appraisal/policy/policy.h"
#include "common/run/budget.h"
#include "residency/bundle.h"
#include "verifier/documents.h"

struct lt_tenant_host_keys {
    struct lt_checks_identity_host *id;
    struct lt_bundle_blob ak, ek;
    struct lt_bundle_certificates certificates;
    struct lt_budget *memory;
    size_t kept;
};
struct lt_tenant_host_document { /* a host policy: bytes always, parsed if it could be */
    struct lt_policy_host *parsed;
    struct lt_documents_document_set documents;
    uint8_t digest[LT_SHA256];
    uint8_t *bytes;
    size_t n;
};
struct lt_tenant_host_log {
    struct lt_boot_log *log;
    uint8_t digest[LT_SHA256];
    uint32_t reset_count;
    struct lt_budget *memory;
    size_t kept;
};
struct lt_tenant_host_ima { /* the whole list */
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

#endif
