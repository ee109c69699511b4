#include "appraisal/checks/checks.h"

void lt_checks_batch_inclusion(struct lt_checks *c)
{
    uint8_t leaf[LT_MERKLE_NODE];
    struct lt_err e = {0};

    lt_merkle_leaf(c->f->commitment, sizeof c->f->commitment, leaf);
    if (lt_merkle_verify(leaf, &c->host->proof->batch, c->header.n, c->header.batch_root, &e))
        lt_check_fault(c->v, LT_CHECK_BATCH_INCLUSION, "own commitment is not in the batch: %s", e.msg);
}
