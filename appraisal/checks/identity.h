/* Who signed: the prepared identity of a guest and of a host. Made once per key pair, used in every round.
 * Making one never fails on hostile bytes: the fault is kept and judged by its check (1; 5 and 6). */
#ifndef LT_APPRAISAL_CHECKS_IDENTITY_H
#define LT_APPRAISAL_CHECKS_IDENTITY_H

#include "common/alloc.h"
#include "residency/residency.h"
#include "tpm/signature.h"

/* What the tenant found out by itself. Unknown makes the check that needs it not made; no makes it fail. */
enum lt_checks_fact { LT_CHECKS_FACT_UNKNOWN, LT_CHECKS_FACT_YES, LT_CHECKS_FACT_NO };

struct lt_checks_identity_guest {
    struct lt_err fault; /* check 1: keys that do not parse, attributes, names */
    struct lt_public ek, ak;
    /* The AK's Name is what version 1 of the commitment has room for (SHA-256), and ak_name is that. False:
     * no host can be asked for a proof about this key, checks 1 to 3 are all that can be made of it. */
    bool linkable;
    uint8_t ek_digest[32], ak_name[LT_TPM_NAME];
    struct lt_tpm_name qualified_signer;
    struct lt_signature_key *key;
    enum lt_checks_fact activated; /* by the tenant's registrar; set by the caller */
};

/* Who vouches for a guest's EK, as far as this tenant looked. Zeroed: nobody was asked. */
struct lt_checks_ek {
    enum lt_checks_fact pinned;    /* it is the one that the tenant pinned; unknown: none is */
    enum lt_checks_fact certified; /* its certificates lead to a root of the tenant's; no: they do not,
                                      unknown: there are none, or no roots */
    char text[320];                /* why it is not certified */
};

struct lt_checks_identity_host {
    struct lt_err key_fault; /* check 5: the AK is no key we can verify with */
    struct lt_err fault;     /* check 6: attributes, EK, names */
    struct lt_public ek, ak;
    uint8_t ek_digest[32], ak_name[LT_TPM_NAME], qualified_signer[LT_TPM_NAME], host_id[LT_RESIDENCY_HOST_ID];
    uint8_t ak_pcr[32]; /* what PCR 13 must hold */
    struct lt_signature_key *key;
    /* set by the caller; texts are shown as they stand */
    enum lt_checks_fact activated; /* by the tenant itself */
    enum lt_checks_fact
        in_registry; /* EK in the registry the tenant pinned; unknown: none pinned. No disproves nothing */
    /* EK certificate chain to the makers' roots. No: a maker certified this EK, and what it signed is
     * refused. */
    enum lt_checks_fact certificate;
    const char
        *certificate_gap; /* static word why it is unknown, if the operator can mend it; NULL: not checked */
    char certificate_text[320];
};

/* ek, ak: TPM2B_PUBLIC. */
struct lt_checks_identity_guest *lt_checks_identity_guest_new(struct lt_slice ek, struct lt_slice ak);
void lt_checks_identity_guest_free(struct lt_checks_identity_guest *id);
LT_DEFINE_AUTO(lt_checks_identity_guest, lt_checks_identity_guest_free);
struct lt_checks_identity_host *lt_checks_identity_host_new(struct lt_slice ek, struct lt_slice ak);
void lt_checks_identity_host_free(struct lt_checks_identity_host *id);
LT_DEFINE_AUTO(lt_checks_identity_host, lt_checks_identity_host_free);

#endif
