/* The evidence bundle "limetree-bundle/1": one round of one guest, with all that its checks were made on, so
 * that anybody can redo them offline. */
#ifndef LT_RESIDENCY_BUNDLE_H
#define LT_RESIDENCY_BUNDLE_H

#include "residency/proof.h"

struct lt_bundle_blob {
    uint8_t *p; /* owned; NULL: absent */
    size_t n;
};

struct lt_bundle_certificates {
    unsigned count;
    char *pem[LT_MAX_CERTIFICATES]; /* owned */
};

struct lt_bundle_guest_evidence {
    uint8_t uuid[16];
    char nonce[LT_RESIDENCY_NONCE + 1];
    struct lt_bundle_blob attest, signature;
    struct lt_pcrs pcrs;
    struct lt_bundle_blob ak, ek; /* TPM2B_PUBLIC */
    struct lt_bundle_certificates ek_certificates;
    char *pubkey; /* PEM text as received; NULL: absent */
    struct lt_bundle_blob boot_log, ima;
};

struct lt_bundle_host_evidence {
    struct lt_residency_host_quote quote;
    struct lt_bundle_blob ak, ek;
    struct lt_bundle_certificates ek_certificates;
    struct lt_bundle_blob boot_log, ima;
    struct lt_bundle_blob
        openers; /* OPENERS of the guest's vTPM, if its record names them and they were at hand */
};

struct lt_bundle_policy {
    uint8_t digest[32];
    struct lt_bundle_blob bytes;
};

struct lt_bundle {
    uint8_t tenant_id[16];
    struct lt_bundle_guest_evidence guest;
    uint8_t commitment[32];
    bool has_host; /* false: the round ended before the host quote */
    struct lt_bundle_host_evidence host;
    struct lt_proof proof;
    struct lt_bundle_policy *policies; /* owned */
    size_t policy_count;
    bool logs_omitted;       /* there was no room for logs that were judged: those not here are not at hand */
    json_t *times, *verdict; /* owned; for people */
};

void lt_bundle_free(struct lt_bundle *b);
/* Refuses: unknown keys, a policy whose bytes do not have its digest, sizes above common/limits.h. */
int lt_bundle_parse(const void *text, size_t n, struct lt_bundle *out, struct lt_err *e) LT_MUST_CHECK;
json_t *lt_bundle_to_json(const struct lt_bundle *b);

#endif
