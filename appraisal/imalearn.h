/* A runtime policy document (Keylime v1) from an IMA list that is taken for good: every file with the digests
 * it was measured with. */
#ifndef LT_APPRAISAL_IMALEARN_H
#define LT_APPRAISAL_IMALEARN_H

#include "appraisal/ima.h"

/* A new JSON object. boot_aggregate is left out: it follows from the boot PCRs. So are violations, which are
 * no digest of anything: the list will not pass under what it taught. Refuses paths that JSON cannot carry.
 */
int lt_ima_learn(struct lt_slice list, json_t **out, struct lt_err *e) LT_MUST_CHECK;

#endif
