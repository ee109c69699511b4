/* What tenant.conf says of guests that come by Keylime's API: its wire has no words for it. */
#ifndef LT_TENANT_KEYLIME_CONF_H
#define LT_TENANT_KEYLIME_CONF_H

#include "common/json.h"

struct lt_tenant_keylime_conf {
    const char *accept;        /* keylime_accept */
    const char *host_policies; /* keylime_host_policies */
    bool unlinked;             /* no provider is configured */
};

/* New arrays, as guest policies have them under those keys: LT_E_CONFIG names key and word. */
int lt_tenant_keylime_conf_read(const struct lt_tenant_keylime_conf *c, json_t **accept,
                                json_t **host_policies, struct lt_err *e) LT_MUST_CHECK;
int lt_tenant_keylime_conf_check(const struct lt_tenant_keylime_conf *c, struct lt_err *e) LT_MUST_CHECK;

#endif
