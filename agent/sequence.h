/* batch_seq (protocol.md section 3): rises with each host quote of one boot, also over a restart of the
 * agent. */
#ifndef LT_AGENT_SEQUENCE_H
#define LT_AGENT_SEQUENCE_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>

struct lt_sequence {
    char *file;
    char boot[80];    /* boot id of the kernel and reset count of the TPM */
    uint64_t last;    /* 0: none in this boot */
    uint64_t written; /* the file's ceiling: at least last */
};

/* Continues above what the file says if it is of this boot. Not thread safe. */
int lt_sequence_open(const char *file, uint32_t reset_count, struct lt_sequence *out,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_sequence_close(struct lt_sequence *s);
/* Before the quote is made. LT_E_CONFLICT unless seq is above the last. */
int lt_sequence_claim(struct lt_sequence *s, uint64_t seq, struct lt_err *e) LT_MUST_CHECK;

#endif
