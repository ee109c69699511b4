/* The guest agent's table of routes (keylime-api 3.1); their app is a struct lt_guest_api. */
#ifndef LT_AGENT_GUEST_ROUTES_H
#define LT_AGENT_GUEST_ROUTES_H

#include "common/http/server.h"

extern const struct lt_http_route lt_agent_guest_routes[];
extern const size_t lt_agent_guest_route_count;

#endif
