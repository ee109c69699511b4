/* Handlers of the guest agent (agent/guest_routes.h has the table) that take key shares and revocation
 * messages (keylime-api 3.6, 3.7). */
#ifndef LT_AGENT_KEYS_API_H
#define LT_AGENT_KEYS_API_H

#include "common/http/server.h"

/* app: a struct lt_guest_api. Those that POST may block. */
void lt_keys_api_ukey(struct lt_http_req *req, void *app);
void lt_keys_api_vkey(struct lt_http_req *req, void *app);
void lt_keys_api_verify(struct lt_http_req *req, void *app);
void lt_keys_api_revocation(struct lt_http_req *req, void *app);

#endif
