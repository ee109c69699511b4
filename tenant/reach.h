/* Where a guest's agent is reached. */
#ifndef LT_TENANT_REACH_H
#define LT_TENANT_REACH_H

#include "verifier/store/store.h"

#define LT_TENANT_REACH_MAX 300 /* of HOST:PORT, with its NUL */

/* HOST:PORT that the guest was added with, else that its agent registered. LT_E_GUEST_UNREACHABLE: there is
 * none, or no certificate to know its agent by. */
int lt_tenant_reach_of(const struct lt_store_guest *guest, const struct lt_agent *a,
                       char out[LT_TENANT_REACH_MAX], struct lt_err *e) LT_MUST_CHECK;

#endif
