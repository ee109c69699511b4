/* EK certificates: path to the TPM makers' roots, and the key in the leaf is the EK. */
#ifndef LT_APPRAISAL_CHECKS_EK_CERTIFICATES_H
#define LT_APPRAISAL_CHECKS_EK_CERTIFICATES_H

#include "tpm/public.h"

/* The roots, loaded once by the caller and then shared read-only between threads. */
struct lt_ek_certificates_roots;
int lt_ek_certificates_roots_new(struct lt_ek_certificates_roots **out, struct lt_err *e) LT_MUST_CHECK;
void lt_ek_certificates_roots_free(struct lt_ek_certificates_roots *r);
/* One file's bytes, PEM or DER, with one certificate or several (tpm/certs.h); name is for messages. Each is
 * an anchor, a root or not: it ends a path whoever issued it. What is no authority's certificate (a chip's
 * own, say) is refused, as is a file without any. */
int lt_ek_certificates_roots_add(struct lt_ek_certificates_roots *r, const void *bytes, size_t n,
                                 const char *name, struct lt_err *e) LT_MUST_CHECK;
unsigned lt_ek_certificates_roots_count(const struct lt_ek_certificates_roots *r);

/* pem[0] is the leaf, then intermediates in any order, one certificate a text. Checked at wall time now
 * (seconds since 1970): path to an anchor with all that OpenSSL checks on one (validity, path lengths, name
 * constraints, critical extensions), the leaf and the anchor included; basic constraints, 112 bits of
 * security in every key and signature above the leaf's, tcg-kp-EKCertificate (2.23.133.8.1) and TCG
 * subjectAltName in the leaf, also when critical, and its key is the EK (tpm/certkey.h: RSA also as
 * id-RSAES-OAEP). What is not DER is refused and named so. Revocation is *not* checked: no I/O here.
 * LT_E_MALFORMED or LT_E_REFUSED. Thread safe. */
int lt_ek_certificates_check(const struct lt_ek_certificates_roots *r, char *const *pem, unsigned count,
                             const struct lt_public *ek, int64_t now, struct lt_err *e) LT_MUST_CHECK;

/* What a chain that lt_ek_certificates_check refused is worth. Certificates reach a tenant
 * unsigned, by way of the provider: only what a maker signed for this EK speaks against a host. */
enum lt_ek_certificates_standing {
    LT_EK_CERTIFICATES_SIGNED, /* a root's signature stands over a certificate of this EK: what it says counts
                                */
    LT_EK_CERTIFICATES_NO_ROOT, /* a certificate of this EK, whose path ends at an issuer that nobody has: *e
                                   names it */
    LT_EK_CERTIFICATES_UNPROVEN /* unreadable, of another key, or not signed by the issuer it names */
};
enum lt_ek_certificates_standing lt_ek_certificates_standing(const struct lt_ek_certificates_roots *r,
                                                             char *const *pem, unsigned count,
                                                             const struct lt_public *ek, struct lt_err *e);

#endif
