/* A TPM behind an ESAPI context: opened by TCTI string, PCRs, quotes, clock, NV. For one thread: the TPM's
 * (agent/tpm.h); everything here runs on it. */
#ifndef LT_AGENT_DEVICE_H
#define LT_AGENT_DEVICE_H

#include "keylime/quote.h"
#include "tpm/attest.h"
#include "tpm/pcr.h"

#include <tss2/tss2_esys.h>

struct lt_device {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    bool lost;    /* the connection, a handle that was there, or the last slot is gone: open again */
    bool crowded; /* and that because no slot is free */
};

/* tcti: "device:/dev/tpmrm0", "swtpm:path=…". sweep: flush every transient object and session first. swtpm
 * has three slots of each and no resource manager, and a killed program leaves its own behind. */
int lt_device_open(const char *tcti, bool sweep, struct lt_device *out, struct lt_err *e) LT_MUST_CHECK;
void lt_device_close(struct lt_device *d);

/* 0, or LT_E_TPM with the command's name and the TSS's text; notes in d->lost what a new open may mend. */
int lt_device_rc(struct lt_device *d, TSS2_RC rc, const char *command, struct lt_err *e) LT_MUST_CHECK;
/* Flushes a transient object or session, lets go of a persistent one. Sets ESYS_TR_NONE; may be it. */
void lt_device_flush(struct lt_device *d, ESYS_TR *handle);

/* The handle, or ESYS_TR_NONE if the TPM has no such object: 0 both times. */
int lt_device_find(struct lt_device *d, TPM2_HANDLE handle, ESYS_TR *out, struct lt_err *e) LT_MUST_CHECK;

int lt_device_pcr_read(struct lt_device *d, uint32_t mask, struct lt_pcrs *out,
                       struct lt_err *e) LT_MUST_CHECK; /* sha256 */
int lt_device_pcr_extend(struct lt_device *d, unsigned pcr, const uint8_t digest[32],
                         struct lt_err *e) LT_MUST_CHECK;
int lt_device_pcr_reset(struct lt_device *d, unsigned pcr, struct lt_err *e) LT_MUST_CHECK;
int lt_device_clock(struct lt_device *d, struct lt_attest_clock_info *out, struct lt_err *e) LT_MUST_CHECK;
/* The whole index, read with its empty auth; at most max bytes. LT_E_NOT_FOUND when it is not defined. */
int lt_device_nv_read(struct lt_device *d, TPM2_HANDLE index, size_t max, uint8_t **out, size_t *n,
                      struct lt_err *e) LT_MUST_CHECK;

/* Defined NV indices of first to last, ascending, at most max (64). */
int lt_device_nv_list(struct lt_device *d, TPM2_HANDLE first, TPM2_HANDLE last, TPM2_HANDLE *out,
                      unsigned max, unsigned *count, struct lt_err *e) LT_MUST_CHECK;

/* TPM2_Quote of the sha256 bank under a loaded key, with the PCR values whose digest the attest holds: read
 * again, up to five times, when PCRs moved in between (keylime-api 3.4). Caller: lt_quote_free. */
int lt_device_quote(struct lt_device *d, ESYS_TR key, const void *extra, size_t extra_n, uint32_t mask,
                    struct lt_quote *out, struct lt_err *e) LT_MUST_CHECK;

#endif
