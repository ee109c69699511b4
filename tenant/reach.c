#include "tenant/reach.h"

#include <stdio.h>
#include <string.h>

int lt_tenant_reach_of(const struct lt_store_guest *guest, const struct lt_agent *a,
                       char out[LT_TENANT_REACH_MAX], struct lt_err *e)
{
    bool v6 = a->ip && strchr(a->ip, ':');

    if (!a->mtls_cert || !strcmp(a->mtls_cert, "disabled"))
        return lt_fail(e, LT_E_GUEST_UNREACHABLE, "its agent registered no TLS certificate");
    if (guest->address[0])
        snprintf(out, LT_TENANT_REACH_MAX, "%s", guest->address);
    else if (a->ip && a->port)
        snprintf(out, LT_TENANT_REACH_MAX, v6 ? "[%s]:%d" : "%s:%d", a->ip, a->port);
    else
        return lt_fail(e, LT_E_GUEST_UNREACHABLE,
                       "its agent registered no address; limetree guest add --address HOST:PORT");
    return 0;
}
