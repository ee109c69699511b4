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

struct lt_ek_found {
    struct lt_public ek;
    struct lt_vtpm_starts starts;
    bool sealed; /* the state that this was read of is: it opens with the key given, and not without one */
    struct lt_err why; /* why not, if a key was given */
};

/* Who runs the private swtpm, and where. */
struct lt_ek_conf {
    const char *program; /* swtpm, absolute */
    const char *scratch; /* an existing directory; the copy lies in one of ours below it and is wiped */
    const char *key;     /* K_v, LT_SEAL_KEY characters; NULL: there is none */
    uid_t uid;           /* of root: whom the private swtpm runs as (lt_ek_read: as the given one does) */
    gid_t gid;
};

/* Of a living swtpm's state. LT_E_REFUSED: it is encrypted, and neither is its key in a file nor is there one
 * in c; LT_E_STATE_FOREIGN_KEY: c's does not open it. */
int lt_ek_read(const struct lt_ek_conf *c, const struct lt_proc *swtpm, struct lt_ek_found *out,
               struct lt_err *e) LT_MUST_CHECK;
/* Of the bytes of a state file. */
int lt_ek_of_state(const struct lt_ek_conf *c, struct lt_slice state, struct lt_ek_found *out,
                   struct lt_err *e) LT_MUST_CHECK;

#endif
