#include "appraisal/checks/checks.h"

#include <inttypes.h>

void lt_checks_window(struct lt_checks *c)
{
    const struct lt_checks_host_round *in = c->host;

    if (in->nonce_used)
        lt_check_fault(c->v, LT_CHECK_WINDOW, "the nonce was used in an earlier round");
    if (in->t5_ms < in->t1_ms || in->t5_ms - in->t1_ms > in->window_ms)
        lt_check_fault(c->v, LT_CHECK_WINDOW,
                       "from %" PRIu64 " ms to %" PRIu64 " ms: longer than %" PRIu64 " ms", in->t1_ms,
                       in->t5_ms, in->window_ms);
}
