/* A TPM's EK and the attestation key under it, found or made at the first open, never another later.
 *
 * AK_h (protocol.md R1): PCR 13 is read before any handle is looked at. While it names a key, or holds
 * anything else, none is made and none is put away. */
#ifndef LT_AGENT_ATTESTER_H
#define LT_AGENT_ATTESTER_H

#include "agent/certificates.h"
#include "keylime/quote.h"

enum lt_attester_ak_home {
    LT_ATTESTER_AK_WRAPPED, /* a guest's: the wrapped blob in file */
    LT_ATTESTER_AK_HANDLE,  /* a guest's without a disk: the persistent handle, empty authValue */
    LT_ATTESTER_AK_HOST,    /* AK_h (protocol.md R1): the persistent handle, its authValue in file */
};

struct lt_attester {
    /* Set before lt_attester_open. */
    enum lt_attester_ak_home home;
    uint16_t ek_alg, ak_alg;
    TPM2_HANDLE handle;
    const char *file; /* borrowed */
    bool make;        /* may a key be made, where there is none? */
    /* Constant after the first open; any thread. */
    bool known;
    struct lt_agent_ek ek;
    struct lt_public ak;
    uint8_t ak_name[LT_TPM_NAME];
    struct lt_bundle_certificates ek_certificates; /* leaf first; none: the TPM has none of this EK */
    /* Of the TPM's thread: valid until the device is closed. */
    ESYS_TR key;
};

/* After every open of the device. LT_E_NOT_FOUND when there is no key and none may be made: ek is then set
 * all the same, and the message says what to do. LT_E_TPM when it is no longer the TPM of the first open, or
 * the key was removed or replaced meanwhile. */
int lt_attester_open(struct lt_device *d, struct lt_attester *a, struct lt_err *e) LT_MUST_CHECK;
/* lt_device_quote and lt_agent_ak_activate with the attester's key. Whatever another program did to the
 * handle: nothing signed by another key comes out, and the message says what happened. */
int lt_attester_quote(struct lt_device *d, const struct lt_attester *a, const void *extra, size_t n,
                      uint32_t mask, struct lt_quote *out, struct lt_err *e) LT_MUST_CHECK;
int lt_attester_activate(struct lt_device *d, const struct lt_attester *a, struct lt_slice credential,
                         uint8_t secret[LT_MAX_DIGEST], size_t *secret_n, struct lt_err *e) LT_MUST_CHECK;
void lt_attester_free(struct lt_attester *a);

/* LT_E_REFUSED: what this PCR 13 holds is not ours, and what to do. */
int lt_attester_pcr13_refused(const uint8_t pcr[LT_SHA256], struct lt_err *e) LT_MUST_CHECK;

#endif
