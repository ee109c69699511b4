/* What an entry of the IMA list says, judged against layers and keys. The chain is replay.c's business. */
#ifndef LT_APPRAISAL_IMA_JUDGE_H
#define LT_APPRAISAL_IMA_JUDGE_H

#include "appraisal/ima/keys.h"
#include "appraisal/ima/line.h"
#include "appraisal/ima/table.h"

#define LT_IMA_WHY 288

struct lt_ima_judge {
    const struct lt_ima_layers *layers;
    int64_t now;
    struct lt_ima_keys *learnt; /* borrowed; keys of ima-buf entries join it */
    struct lt_ima_keys *own;    /* of the layers' documents; read when the first signature needs one */
    bool own_read;
    bool aggregate_open; /* a boot_aggregate that no layer knows is good: there is nothing to compare it with
                          */
    struct lt_ima_table_probe probe; /* of the first layer in force */
    unsigned signatures, bad;        /* checked; those of them that were not good */
    const char *cause;               /* static: of the last one that was not good, a slug */
};

/* May be called for what is going to be judged, in this order and with other work in between: then the answer
 * is at hand sooner. */
void lt_ima_judge_prepare(struct lt_ima_judge *j, const struct lt_ima_line *l);
void lt_ima_judge_closer(const struct lt_ima_judge *j);
/* *good, or why not, without entry number. A negative answer: no verdict could be made. l is no violation. */
int lt_ima_judge(struct lt_ima_judge *j, const struct lt_ima_line *l, bool *good, char why[LT_IMA_WHY],
                 struct lt_err *e) LT_MUST_CHECK;
void lt_ima_judge_end(struct lt_ima_judge *j);

#endif
