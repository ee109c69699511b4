/* One guest, several hosts that say they have it (docs/protocol.md section 6): which verdict is the guest's.
 * Any enrolled host can claim any guest, so one that fails says nothing of a guest that passes elsewhere, and
 * nobody but the guest and its host turns it red. Pure. */
#ifndef LT_APPRAISAL_CHECKS_CLAIMANTS_H
#define LT_APPRAISAL_CHECKS_CLAIMANTS_H

#include "appraisal/checks/verdict.h"

struct lt_claimant {
    const struct lt_verdict *verdict; /* concluded; NULL: no proof of it came, or not in time */
    bool its_host;                    /* the last that was accepted for this guest */
};

enum lt_claimants_choice {
    LT_CLAIMANTS_CHOICE_ONE,    /* the verdict of *which */
    LT_CLAIMANTS_CHOICE_SILENT, /* *which is the guest's host, and gave no proof: that is transport trouble */
    LT_CLAIMANTS_CHOICE_UNDECIDED /* none holds, and which of them is the guest's host is not known */
};
/* count: at least 1. All proofs that hold are alike but for its host's, which comes first; without one its
 * host's word stands; without that the best that is no failure. */
enum lt_claimants_choice lt_claimants_choose(const struct lt_claimant *c, unsigned count, unsigned *which);
/* All eleven checks passed, whatever the policy thinks of the level. */
bool lt_claimants_verdict_holds(const struct lt_verdict *v);

#endif
