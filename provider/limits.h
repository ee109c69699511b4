/* The provider's own ceilings, beside common/limits.h. Bytes unless said otherwise. */
#ifndef LT_PROVIDER_LIMITS_H
#define LT_PROVIDER_LIMITS_H

#include "common/limits.h"

#define LT_MAX_HOST_REPLY (24u << 20)     /* host-quotes and GET host: a full inventory in base64 is 18 MB */
#define LT_MAX_HOST_POLICY (1u << 20)     /* a host policy document */
#define LT_MAX_ENVELOPE (16u << 20)       /* a DSSE envelope */
#define LT_MAX_POLICIES_KEPT (512u << 20) /* all documents together; they are kept in memory */
#define LT_MAX_PROOFS_REPLY (32u << 20) /* 1024 items with the longest paths, each of 4 other hosts: 24 MiB  \
                                         */
#define LT_MAX_ADDRESS 255              /* "HOST:PORT", characters */
#define LT_MAX_ACTIVATIONS 32           /* waiting at one host, count */
#define LT_MAX_ACTIVATIONS_TENANT 4     /* of one tenant at one host, count */
#define LT_MAX_LOG_WAITERS 256          /* requests that wait for one log, count */
#define LT_BOOT_LOG_FRESH_MS 60000
#define LT_IMA_FRESH_MS 5000
#define LT_GRACE_MIN_MS 250    /* other claimants' answers are waited for at least so long, */
#define LT_GRACE_MAX_MS 1000   /* as long again as those that suffice took, and at most this */
#define LT_TICKET_MS 60000     /* a finished ticket is kept this long */
#define LT_LISTED_AGE_MS 1000  /* who lists hosts sees no state from before, if the host answers */
#define LT_LISTED_WAIT_MS 3000 /* but waits no longer than this for all of them */
#define LT_REFRESH_TIMEOUT_MS 2000
#define LT_REFRESH_GAP_MS 1000 /* at least between two rounds asked for by tenants */

#endif
