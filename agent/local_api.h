/* The routes that the host agent serves on its own machine, over a UNIX socket (docs/api.md, "Host agent,
 * local socket"). */
#ifndef LT_AGENT_LOCAL_API_H
#define LT_AGENT_LOCAL_API_H

#include "agent/sealed_domains.h"
#include "common/http/server.h"

struct lt_agent_local_api {
    struct lt_agent_domains *domains;
    struct lt_agent_seal *seal;
    struct lt_vtpm_inventory *inventory;
};

/* Handlers' app is a struct lt_agent_local_api. All block: the server's pool has threads enough that a hook
 * finds one while a start that it belongs to has another (LT_AGENT_LOCAL_THREADS). */
extern const struct lt_http_route lt_agent_local_routes[];
extern const size_t lt_agent_local_route_count;
#define LT_AGENT_LOCAL_THREADS 4

#endif
