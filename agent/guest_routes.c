#include "agent/guest_routes.h"

#include "agent/guest_api.h"
#include "agent/keys_api.h"
#include "common/limits.h"

const struct lt_http_route lt_agent_guest_routes[] = {
    LT_HTTP_ROUTE("GET", "/version", LT_HTTP_MAY_TRUSTED, 0, lt_guest_api_version),
    LT_HTTP_ROUTE("GET", "/{}/agent/info", LT_HTTP_MAY_TRUSTED, 0, lt_guest_api_info),
    LT_HTTP_ROUTE("GET", "/{}/keys/pubkey", LT_HTTP_MAY_TRUSTED, 0, lt_guest_api_pubkey),
    LT_HTTP_ROUTE("POST", "/{}/keys/ukey", LT_HTTP_MAY_TRUSTED, LT_MAX_BODY_UKEY, lt_keys_api_ukey,
                  .blocking = true),
    LT_HTTP_ROUTE("POST", "/{}/keys/vkey", LT_HTTP_MAY_TRUSTED, LT_MAX_BODY_SMALL, lt_keys_api_vkey,
                  .blocking = true, .urgent = true),
    LT_HTTP_ROUTE("GET", "/{}/keys/verify", LT_HTTP_MAY_TRUSTED, 0, lt_keys_api_verify),
    LT_HTTP_ROUTE("POST", "/{}/notifications/revocation", LT_HTTP_MAY_TRUSTED, LT_MAX_BODY_NOTICE,
                  lt_keys_api_revocation, .blocking = true, .urgent = true),
    LT_HTTP_ROUTE("GET", "/{}/quotes/identity", LT_HTTP_MAY_TRUSTED, 0, lt_guest_api_quote_identity),
    LT_HTTP_ROUTE("GET", "/{}/quotes/integrity", LT_HTTP_MAY_TRUSTED, 0, lt_guest_api_quote_integrity),
};
const size_t lt_agent_guest_route_count = sizeof lt_agent_guest_routes / sizeof *lt_agent_guest_routes;
