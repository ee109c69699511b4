/* Handlers of the federation API, and what they share. The table of routes (api.c) says which of them block.
 */
#ifndef LT_PROVIDER_API_H
#define LT_PROVIDER_API_H

#include "provider/provider.h"

/* Retry-After where waiting helps. */
void lt_provider_api_fail(struct lt_http_req *req, const struct lt_err *e);
/* The host that the path names (a new reference); or NULL, and the request is answered. */
struct lt_provider_host *lt_provider_api_host(struct lt_provider *p, struct lt_http_req *req);

/* Asks those whose last answer is not of just now for a quote, and waits for them, but not for ever. On an
 * admin thread. */
void lt_provider_api_check(struct lt_provider_host *const *hosts, size_t count);

void lt_provider_api_host_get(struct lt_http_req *req, void *app);
void lt_provider_api_registry(struct lt_http_req *req, void *app);
void lt_provider_api_policy_get(struct lt_http_req *req, void *app);
void lt_provider_api_guest_get(struct lt_http_req *req, void *app);
void lt_provider_api_guest_list(struct lt_http_req *req, void *app);

void lt_provider_api_host_show(struct lt_http_req *req, void *app);
void lt_provider_api_host_list(struct lt_http_req *req, void *app);
void lt_provider_api_host_enrol(struct lt_http_req *req, void *app);
void lt_provider_api_host_drop(struct lt_http_req *req, void *app);
void lt_provider_api_host_set_policy(struct lt_http_req *req, void *app);
void lt_provider_api_host_learn(struct lt_http_req *req, void *app);
void lt_provider_api_host_clear(struct lt_http_req *req, void *app);
void lt_provider_api_revocations(struct lt_http_req *req, void *app);
void lt_provider_api_rounds_ask(struct lt_http_req *req, void *app);
void lt_provider_api_policy_add(struct lt_http_req *req, void *app);
void lt_provider_api_policy_drop(struct lt_http_req *req, void *app);
void lt_provider_api_status(struct lt_http_req *req, void *app);
void lt_provider_api_guest_assign(struct lt_http_req *req, void *app);
void lt_provider_api_guest_unassign(struct lt_http_req *req, void *app);

void lt_provider_api_openers(struct lt_http_req *req, void *app);
void lt_provider_api_escrow(struct lt_http_req *req, void *app);
void lt_provider_api_host_vault(struct lt_http_req *req, void *app);
void lt_provider_api_host_seal(struct lt_http_req *req, void *app);
void lt_provider_api_host_reseal(struct lt_http_req *req, void *app);
void lt_provider_api_host_pcrs(struct lt_http_req *req, void *app);

#endif
