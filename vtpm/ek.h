/* The EK of the state a swtpm has loaded: a private swtpm on a copy of the state makes it anew with
 * CreatePrimary and the TCG template L-1 (RSA 2048; TCG EK Credential Profile, B.3.3). Handle 0x81010001,
 * which a guest's owner can replace, is never looked at; an auth value of the guest's owner does not matter
 * either, because TPM2_Clear, which keeps the endorsement seed, comes first. */
#ifndef LT_VTPM_EK_H
#define LT_VTPM_EK_H

#include "tpm/public.h"
#include "vtpm/procs.h"

#define LT_EK_TIMEOUT_MS 10000 /* for the whole conversation with the private swtpm */

/* How often the TPM of that state was started, plus the copy's own start: other numbers, and it was started
 * again. */
struct lt_vtpm_starts {
    uint32_t reset, restart;
};

/* program: of swtpm, absolute. scratch: an existing directory; the copy lies in one of ours below it and is
 * wiped. As root the private swtpm runs as the user of the given one. Encrypted state: LT_E_REFUSED unless
 * its key is in a file. */
int lt_ek_read(const struct lt_proc *swtpm, const char *program, const char *scratch, struct lt_public *out,
               struct lt_vtpm_starts *starts, struct lt_err *e) LT_MUST_CHECK;

#endif
