/* What a whole IMA list, text or binary, gives as PCR 10, without a quote to compare it with: for `limetree
 * log`. Pure. */
#ifndef LT_APPRAISAL_IMA_BANKS_H
#define LT_APPRAISAL_IMA_BANKS_H

#include "appraisal/ima/replay.h"

#define LT_IMA_BANKS 4

struct lt_ima_replay {
    uint64_t entries, violations;
    struct {
        uint16_t alg;
        uint8_t
            value[LT_MAX_DIGEST]; /* of kernels that hash the template data in each bank (5.8 and later) */
        uint8_t padded[LT_MAX_DIGEST]; /* of older ones: its SHA-1 and zeros (SHA-1: the same) */
    } bank[LT_IMA_BANKS];
};

/* LT_E_MALFORMED with entry number and byte: an entry is none, is of another PCR, or has not the template
 * hash of its content. */
int lt_ima_replay(struct lt_slice list, struct lt_ima_replay *out, struct lt_err *e) LT_MUST_CHECK;

#endif
