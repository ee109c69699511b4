/* A runtime policy document (Keylime v1) from an IMA list that is taken for good: every file, buffer and key
 * with the digests it was measured with. The one learner: `policy learn`, `guest learn` and `host learn`
 * write the same bytes for the same evidence. Pure.
 *
 * Not learnt: boot_aggregate, which follows from the boot PCRs; violations, which are no digest of anything
 * (a policy accepts them or not); files that could not be hashed (digest of zeros); buffers without their
 * digest; names that no document can hold. All but boot_aggregate are counted and named.
 *
 * A path that is no UTF-8 is learnt with those bytes as \xNN and its backslashes as \x5c: that is how a table
 * is asked for it (appraisal/ima/table.h). */
#ifndef LT_APPRAISAL_IMA_LEARN_H
#define LT_APPRAISAL_IMA_LEARN_H

#include "appraisal/ima/replay.h"

struct lt_ima_lesson {
    struct lt_slice list;       /* whole, text or binary */
    const struct lt_pcrs *pcrs; /* quoted; NULL: no quote stands behind it, and all of it is learnt */
    bool all;                   /* also what is behind the entries that the quoted PCR 10 covers */
};

struct lt_ima_learnt {
    char *text; /* the document; owned */
    uint8_t digest[LT_SHA256];
    uint64_t files, buffers, keys; /* entries */
    size_t names;                  /* of files, in the document */
    uint64_t behind;               /* entries left out since the quote does not cover them */
    uint64_t violations;
    uint64_t left_out; /* entries that could not be learnt, besides */
    uint64_t escaped;  /* entries learnt under a name with \xNN */
    bool padded;       /* PCR 10 is extended as before Linux 5.8: the policy that uses this must accept it */
    unsigned told;
    char note[LT_IMA_FAULTS][320]; /* the first of those left out and escaped: which, and why */
};

/* The evidence is judged by what was learnt from it, violations and old kernels apart: a document that it
 * does not pass, but for what was left out, is not handed out (LT_E_REFUSED). *out is zeroed on failure. */
int lt_ima_learn(const struct lt_ima_lesson *in, struct lt_ima_learnt *out, struct lt_err *e) LT_MUST_CHECK;
void lt_ima_learnt_free(struct lt_ima_learnt *l);

#endif
