/* Who vouches for the EK of a guest that is judged without a host: the roots of the makers of its vTPM
 * (guest_ek_roots; Keylime's tpm_cert_store). Thread safe. */
#ifndef LT_TENANT_GUEST_EK_H
#define LT_TENANT_GUEST_EK_H

#include "appraisal/checks/identity.h"
#include "residency/bundle.h"

struct lt_guest_ek;

/* What was found of one guest's, for as long as its EK, its certificates and the roots stay. Zeroed at first.
 */
struct lt_guest_ek_found {
    uint64_t generation, until_ms; /* of the roots; 0: nothing was found yet */
    uint8_t of[LT_SHA256];         /* EK and certificates */
    struct lt_checks_ek facts;
};

/* roots: as lt_roots_load takes it, borrowed; "": none. keep_ms: what was found is found anew after that. */
int lt_guest_ek_new(const char *roots, uint64_t keep_ms, struct lt_guest_ek **out,
                    struct lt_err *e) LT_MUST_CHECK;
void lt_guest_ek_free(struct lt_guest_ek *g);
/* Reads the roots anew; on failure those of before stay. */
int lt_guest_ek_reload(struct lt_guest_ek *g, struct lt_err *e) LT_MUST_CHECK;

/* Sets certified and text of *out. pem: the certificates that were registered, leaf first; NULL: none. A path
 * costs a millisecond: found is asked first. */
void lt_guest_ek_judge(struct lt_guest_ek *g, const char *pem, const struct lt_public *ek,
                       struct lt_guest_ek_found *found, struct lt_checks_ek *out);

/* Certificates as PEM behind one another, one by one; the texts are the caller's to free. */
void lt_guest_ek_chain(const char *pem, struct lt_bundle_certificates *out);
void lt_tenant_cleanup_chain(struct lt_bundle_certificates *c);
#define LT_GUEST_EK_AUTOCHAIN __attribute__((cleanup(lt_tenant_cleanup_chain)))

#endif
