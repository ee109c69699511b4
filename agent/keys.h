/* The keys of an attester: the EK from TCG's template, attestation keys under it. On the TPM's thread. */
#ifndef LT_AGENT_KEYS_H
#define LT_AGENT_KEYS_H

#include "agent/device.h"
#include "tpm/public.h"

/* An EK as this TPM's template gives it (TCG EK Credential Profile 2.5: L-1 RSA-2048, L-2 ECC P-256). */
struct lt_agent_ek {
    uint16_t alg; /* LT_TPM_ALG_RSA or LT_TPM_ALG_ECC */
    struct lt_public pub;
    bool at_handle; /* 0x81010001 holds this very key, which saves CreatePrimary: seconds on a chip */
};

/* A Name that is this TPM's whoever asks, by whatever way and with whatever ek_alg: of its P-256 EK, or of
 * its RSA one where the TPM makes no other. Nothing stays behind. */
int lt_agent_tpm_name(struct lt_device *d, uint8_t out[LT_TPM_NAME], struct lt_err *e) LT_MUST_CHECK;
/* Always by CreatePrimary: what lies at 0x81010001 is its owner's word (protocol.md section 3). */
int lt_agent_ek_find(struct lt_device *d, uint16_t alg, struct lt_agent_ek *out,
                     struct lt_err *e) LT_MUST_CHECK;
/* Loaded, until lt_device_flush. */
int lt_agent_ek_load(struct lt_device *d, const struct lt_agent_ek *ek, ESYS_TR *out,
                     struct lt_err *e) LT_MUST_CHECK;

/* A policy session that may use the EK once, as a parent; until lt_device_flush. */
int lt_agent_ek_session(struct lt_device *d, ESYS_TR *out, struct lt_err *e) LT_MUST_CHECK;

struct lt_agent_ak_spec {
    uint16_t alg;        /* RSA-2048 RSASSA or P-256 ECDSA, both SHA-256 */
    uint32_t attributes; /* TPMA_OBJECT */
    struct lt_slice auth;
};

/* blob: TPM2B_PUBLIC | TPM2B_PRIVATE; blob->max at least LT_AGENT_AK_BLOB. Only this TPM can load it. */
#define LT_AGENT_AK_BLOB 4096
int lt_agent_ak_create(struct lt_device *d, ESYS_TR ek, const struct lt_agent_ak_spec *spec,
                       struct lt_buf *blob, struct lt_err *e) LT_MUST_CHECK;
/* LT_E_REFUSED when this EK is not the blob's parent. */
int lt_agent_ak_load(struct lt_device *d, ESYS_TR ek, const void *blob, size_t n, struct lt_slice auth,
                     ESYS_TR *out, struct lt_err *e) LT_MUST_CHECK;
/* The Name of what lies at a persistent handle: LT_E_NOT_FOUND when nothing does, LT_E_REFUSED when it is no
 * key of a kind that we know. */
int lt_agent_handle_name(struct lt_device *d, TPM2_HANDLE handle, uint8_t out[LT_TPM_NAME],
                         struct lt_err *e) LT_MUST_CHECK;
/* Copies a loaded key to a persistent handle (owner's empty auth); an attestation key that was there is
 * replaced, unless PCR 13 names it: LT_E_REFUSED, a host's federation key (protocol.md R1). LT_E_CONFIG: a
 * key of another kind is there, which stays. */
int lt_agent_ak_persist(struct lt_device *d, ESYS_TR key, TPM2_HANDLE handle, struct lt_err *e) LT_MUST_CHECK;
/* A key that is there already: its public area, and that it hangs under this EK with these attributes and
 * algorithm (LT_E_REFUSED if not). */
int lt_agent_ak_check(struct lt_device *d, ESYS_TR key, const struct lt_agent_ek *ek,
                      const struct lt_agent_ak_spec *spec, struct lt_public *out,
                      struct lt_err *e) LT_MUST_CHECK;

/* TPM2_ActivateCredential. credential is MakeCredential's file. LT_E_REFUSED when it was made for other keys.
 * secret: wiped by the caller. */
int lt_agent_ak_activate(struct lt_device *d, ESYS_TR ak, const struct lt_agent_ek *ek,
                         struct lt_slice credential, uint8_t secret[LT_MAX_DIGEST], size_t *secret_n,
                         struct lt_err *e) LT_MUST_CHECK;

#endif
