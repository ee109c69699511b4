/* How long the provider waits and remembers; its ceilings stand in common/limits.h. */
#ifndef LT_PROVIDER_LIMITS_H
#define LT_PROVIDER_LIMITS_H

#include "common/limits.h"

#define LT_PROVIDER_BOOT_LOG_FRESH_MS 60000
#define LT_PROVIDER_IMA_FRESH_MS 5000
#define LT_PROVIDER_GRACE_MIN_MS 250    /* other claimants' answers are waited for at least so long, */
#define LT_PROVIDER_GRACE_MAX_MS 1000   /* as long again as those that suffice took, and at most this */
#define LT_PROVIDER_TICKET_MS 60000     /* a finished ticket is kept this long */
#define LT_PROVIDER_LISTED_AGE_MS 1000  /* who lists hosts sees no state from before, if the host answers */
#define LT_PROVIDER_LISTED_WAIT_MS 3000 /* but waits no longer than this for all of them */
#define LT_PROVIDER_REFRESH_TIMEOUT_MS 2000
#define LT_PROVIDER_OPENERS_BYTES (32u << 20) /* lists of openers that are kept; most are 2 KiB */
#define LT_PROVIDER_NAMED_MS 600000           /* a list is told of that long after the last record named it */
#define LT_PROVIDER_NAMED_MAX 65536u          /* such lists of one host's guests, 56 bytes each */
#define LT_PROVIDER_VAULT_TIMEOUT_MS                                                                         \
    45000                               /* a host's vault: three commits, each a few uses of a slow chip     \
                                         */
#define LT_PROVIDER_REFRESH_GAP_MS 1000 /* at least between two rounds asked for by tenants */

#endif
