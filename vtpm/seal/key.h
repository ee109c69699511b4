/* The vault's key VK (docs/sealing.md section 2), as far as it can be computed without a chip: the policy
 * that it answers under, its public area, what it is asked, and what is made of the answer. */
#ifndef LT_VTPM_SEAL_KEY_H
#define LT_VTPM_SEAL_KEY_H

#include "residency/openers.h"
#include "tpm/public.h"

/* The counter in NV. Its Name says that it is one: an index of another type, attributes or policy at that
 * handle has another Name. */
#define LT_SEAL_KEY_NV 0x01804c54u
#define LT_SEAL_KEY_NV_ATTRIBUTES 0x02040014u /* counter, AUTHREAD, AUTHWRITE, NO_DA; no auth, no policy */
#define LT_SEAL_KEY_NV_WRITTEN 0x20000000u    /* and this, once it was incremented */
#define LT_SEAL_KEY_NV_SIZE 8
extern const uint8_t lt_seal_key_nv_name[LT_TPM_NAME];           /* once written, on every host */
extern const uint8_t lt_seal_key_nv_name_unwritten[LT_TPM_NAME]; /* defined, never incremented */

enum lt_seal_key_kind {
    LT_SEAL_KEY_HMAC = 1, /* TPM2_HMAC */
    LT_SEAL_KEY_ECDH = 2, /* TPM2_ECDH_ZGen, for chips without it: a P-256 key that decrypts */
};

/* The platform states that one key answers in. */
struct lt_seal_key_states {
    unsigned count; /* 1 to LT_MAX_SEAL_STATES */
    struct lt_pcrs state[LT_MAX_SEAL_STATES];
};
/* Its place; count: it is not there. */
unsigned lt_seal_key_find(const struct lt_seal_key_states *s, const struct lt_pcrs *state);

/* TPML_PCR_SELECTION of a STATE: sha256, 3 octets. */
#define LT_SEAL_KEY_SELECTION 10
void lt_seal_key_selection(uint32_t mask, uint8_t out[LT_SEAL_KEY_SELECTION]);
/* d_i: policyDigest after TPM2_PolicyPCR in that state. */
void lt_seal_key_pcr_policy(const struct lt_pcrs *state, uint8_t out[LT_SHA256]);
/* o: after TPM2_PolicyOR over the d_i, in the order of s; a single one is given twice. */
void lt_seal_key_or_policy(const struct lt_seal_key_states *s, uint8_t out[LT_SHA256]);
/* P: after TPM2_PolicyNV(counter <= generation), offset 0. */
void lt_seal_key_policy(const struct lt_seal_key_states *s, uint64_t generation, uint8_t out[LT_SHA256]);

/* TPM2B_PUBLIC with which the chip makes VK: its unique field is empty. */
#define LT_SEAL_KEY_TEMPLATE 128 /* bytes at most */
size_t lt_seal_key_template(enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256],
                            uint8_t out[LT_SEAL_KEY_TEMPLATE]);
/* pub is TPM2B_PUBLIC of a VK with that policy, of either kind, and every byte of it is as it has to be but
 * the unique field, which is 32 bytes, or a point. LT_E_REFUSED else. */
int lt_seal_key_check(struct lt_slice pub, const uint8_t policy[LT_SHA256], enum lt_seal_key_kind *kind,
                      struct lt_err *e) LT_MUST_CHECK;

/* What an HMAC key is asked. */
#define LT_SEAL_KEY_MESSAGE 26
void lt_seal_key_message(uint64_t generation, uint16_t compartment, uint8_t out[LT_SEAL_KEY_MESSAGE]);
/* What an ECDH key is asked: G', of which nobody knows the logarithm. x, y: 32 bytes each. */
void lt_seal_key_point(uint8_t x[32], uint8_t y[32]);
/* KM of its answer: H(x | y), each of the 1 to 32 bytes that a chip gives, padded in front with zeros. */
int lt_seal_key_of_point(struct lt_slice x, struct lt_slice y, uint8_t km[LT_SHA256],
                         struct lt_err *e) LT_MUST_CHECK;

#endif
