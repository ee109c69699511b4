/* What the host agent's vault is asked over the network (docs/api.md, "Host agent"): its states, a seal, a
 * reseal, lists of openers, escrow copies. None of it waits on the worker that host quotes come from. */
#ifndef LT_AGENT_VAULT_API_H
#define LT_AGENT_VAULT_API_H

#include "agent/seal.h"
#include "common/http/server.h"

struct lt_agent_vault_api {
    struct lt_agent_seal *seal; /* NULL: this agent keeps none, vault-none */
    struct lt_work *work;       /* with a bound; commits take seconds */
    const char *dir;            /* the agent's state directory */
};
#define LT_AGENT_VAULT_THREADS 2 /* of work: one may be in a commit, the other looks */

/* Handlers of agent/host_api.c's table; v outlives the server and work. */
void lt_agent_vault_get(struct lt_http_req *req, struct lt_agent_vault_api *v);
void lt_agent_vault_seal(struct lt_http_req *req, struct lt_agent_vault_api *v);
void lt_agent_vault_reseal(struct lt_http_req *req, struct lt_agent_vault_api *v);
void lt_agent_vault_openers(struct lt_http_req *req, struct lt_agent_vault_api *v);
void lt_agent_vault_escrow(struct lt_http_req *req, struct lt_agent_vault_api *v);

#endif
