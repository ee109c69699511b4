/* A guest policy from the present: what the last round showed becomes what is expected, if that round stands
 * under it. */
#ifndef LT_TENANT_LEARN_H
#define LT_TENANT_LEARN_H

#include "tenant/round.h"

#define LT_TENANT_LEARN_OPEN 640

struct lt_tenant_accept {
    bool bound, copyable, boot_only, tainted, open_boot, unlinked, ek_unproven;
    bool ima; /* learn the boot log and the IMA list too: a boot policy, and one layer "learnt" */
};

/* *policy: the candidate; *open: what the evidence left open though every check that speaks of the present
 * passed, and what could not be learnt ("": nothing). Refuses a round without a host quote and residency, and
 * one in which any check but host-clock and sandwich did not pass under the candidate: those need an earlier
 * round, and say nothing about what is learnt. Of a round that was judged without a host (then all that has
 * no host is asked for) only what the guest measured is learnt. Documents that the candidate names are put
 * into d. Blocks. */
int lt_tenant_learn(const struct lt_tenant_round *round, const struct lt_tenant_accept *accept,
                    uint64_t window_ms, struct lt_documents *d, struct lt_ref **policy,
                    char open[LT_TENANT_LEARN_OPEN], struct lt_err *e) LT_MUST_CHECK;

#endif
