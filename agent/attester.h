/* A TPM's EK and the attestation key under it, found or made at the first open, never another later. */
#ifndef LT_AGENT_ATTESTER_H
#define LT_AGENT_ATTESTER_H

#include "agent/certificates.h"

enum lt_ak_home {
    LT_AK_WRAPPED, /* a guest's: the wrapped blob in file */
    LT_AK_HANDLE,  /* a guest's without a disk: the persistent handle, empty authValue */
    LT_AK_HOST,    /* AK_h (protocol.md R1): the persistent handle, its authValue in file */
};

struct lt_attester {
    /* Set before lt_attester_open. */
    enum lt_ak_home home;
    uint16_t ek_alg, ak_alg;
    TPM2_HANDLE handle;
    const char *file; /* borrowed */
    /* Constant after the first open; any thread. */
    bool known;
    struct lt_ek ek;
    struct lt_public ak;
    uint8_t ak_name[LT_NAME];
    struct lt_certificates ek_certificates; /* leaf first; none: the TPM has none of this EK */
    /* Of the TPM's thread: valid until the device is closed. */
    ESYS_TR key;
};

/* After every open of the device. LT_E_TPM when it is no longer the TPM of the first open. */
int lt_attester_open(struct lt_dev *d, struct lt_attester *a, struct lt_err *e) LT_MUST_CHECK;
void lt_attester_free(struct lt_attester *a);

#endif
