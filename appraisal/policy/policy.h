/* Policy documents (docs/api.md), parsed once and then shared read-only. Named by the SHA-256 of their bytes.
 */
#ifndef LT_APPRAISAL_POLICY_POLICY_H
#define LT_APPRAISAL_POLICY_POLICY_H

#include "common/alloc.h"
#include "common/json.h"
#include "common/limits.h"
#include "tpm/pcr.h"

struct lt_policy_digests {
    size_t count;
    uint8_t (*d)[LT_SHA256]; /* owned */
};

/* Values of the SHA-384 bank. */
struct lt_policy_digests_384 {
    size_t count;
    uint8_t (*d)[LT_SHA384]; /* owned */
};

/* Accepted values per PCR, told apart by their length: a quote is judged by those of its bank. A PCR that is
 * not named is not judged; one that is named with no value of the quoted bank accepts nothing. */
struct lt_policy_pcr_rules {
    uint32_t mask;                                  /* PCRs that are named */
    struct lt_policy_digests accepted[LT_MAX_PCRS]; /* of SHA-256 */
    struct lt_policy_digests_384 accepted_384[LT_MAX_PCRS];
};

/* What the machine's logs must show besides: keys "layers", "boot", "ima" of guest and host policies alike.
 * Documents are named by digest; who judges brings them along (appraisal/checks/measured.h). */
struct lt_policy_layer_rule {
    char name[64];
    uint8_t policy[LT_SHA256];     /* a runtime policy document */
    int64_t not_before, not_after; /* seconds since 1970; 0: open. The bounds belong to the window */
};
bool lt_policy_layer_in_force(const struct lt_policy_layer_rule *l, int64_t now);

struct lt_policy_measured {
    unsigned layer_count;
    struct lt_policy_layer_rule layer[LT_MAX_LAYERS];
    bool has_boot;
    uint8_t boot[LT_SHA256]; /* a boot policy document */
    bool accept_violations, learn_keys;
    bool accept_padded; /* kernels before 5.8 */
    uint16_t log_hash;  /* of the list's template-hash column; 0: as the layers' documents say */
};

struct lt_policy_host {
    uint8_t digest[LT_SHA256];
    struct lt_policy_pcr_rules pcrs;
    struct lt_policy_measured measured;
};

struct lt_policy_guest {
    uint8_t digest[LT_SHA256];
    struct lt_policy_pcr_rules pcrs;
    struct lt_policy_measured measured;
    bool judges_firmware, judges_domain; /* false: the key is absent, that digest is not judged */
    struct lt_policy_digests firmware, domain;
    struct lt_policy_digests host_policies; /* accepted documents; none: none */
    /* Of sealed vTPMs (docs/sealing.md section 5): host policies whose states enforce user space; recovery
     * keys and authorities, each H(SubjectPublicKeyInfo); documents and hosts (EK digests) that count only
     * for what was seen closed before they came here. What is in host_policies is not retired. */
    struct lt_policy_digests seals, escrow, authorities, retired_host_policies, retired_hosts;
    /* What it accepts by name: weaker links and levels (bound, copyable, unlinked, boot-only; copyable is
     * bound too), a tainted domain, layers that rest on an open boot, a policy that judges nothing, a vTPM
     * whose EK nobody vouches for. */
    bool accept_bound, accept_copyable, accept_boot_only, accept_tainted, accept_open_boot;
    bool accept_unlinked, accept_unjudged, accept_ek_unproven;
};

/* Unknown keys, values that are not lower-case hex SHA-256 (of PCRs: or SHA-384), indices beyond 23, more
 * than LT_MAX_POLICY bytes are refused. Free with the matching function (NULL is fine). */
int lt_policy_host_parse(const void *p, size_t n, struct lt_policy_host **out,
                         struct lt_err *e) LT_MUST_CHECK;
void lt_policy_host_free(struct lt_policy_host *p);
LT_DEFINE_AUTO(lt_policy_host, lt_policy_host_free);
int lt_policy_guest_parse(const void *p, size_t n, struct lt_policy_guest **out,
                          struct lt_err *e) LT_MUST_CHECK;
void lt_policy_guest_free(struct lt_policy_guest *p);
LT_DEFINE_AUTO(lt_policy_guest, lt_policy_guest_free);

/* Keys "layers", "boot" and "ima" of a document that is parsed already. */
int lt_policy_measured_parse(const json_t *j, struct lt_policy_measured *p, struct lt_err *e) LT_MUST_CHECK;

/* Whether each PCR that has values has one of that bank: else nothing can be said of a quote of it. */
bool lt_policy_pcr_rules_know(const struct lt_policy_pcr_rules *r, uint16_t alg);
bool lt_policy_digests_have(const struct lt_policy_digests *l, const uint8_t d[LT_SHA256]);
/* The first PCR that speaks against it, not quoted or with another value; -1: none does. */
int lt_policy_pcr_rules_bad(const struct lt_policy_pcr_rules *r, const struct lt_pcrs *quoted);
/* 0, or LT_E_REFUSED naming PCR, value and policy digest. A PCR that is named but not in the quote is
 * refused. */
int lt_policy_pcr_rules_judge(const struct lt_policy_pcr_rules *r, const struct lt_pcrs *quoted,
                              const uint8_t policy[LT_SHA256], struct lt_err *e) LT_MUST_CHECK;

#endif
