/* Inside tenant/api*.c: the handlers of docs/api.md, 'Tenant'. They run on a worker and may block. */
#ifndef LT_TENANT_API_H
#define LT_TENANT_API_H

#include "tenant/tenant.h"

void lt_tenant_api_fail(struct lt_http_req *req, const struct lt_err *e);
/* The {} of guests/{}; what is no UUID is not found. */
int lt_tenant_api_uuid(const struct lt_http_req *req, uint8_t uuid[LT_UUID], struct lt_err *e) LT_MUST_CHECK;

/* api_guests.c */
void lt_tenant_api_get_guests(struct lt_http_req *req, void *app);
void lt_tenant_api_get_guest(struct lt_http_req *req, void *app);
void lt_tenant_api_put_guest(struct lt_http_req *req, void *app);
void lt_tenant_api_delete_guest(struct lt_http_req *req, void *app);
void lt_tenant_api_post_learn(struct lt_http_req *req, void *app);
void lt_tenant_api_post_clear(struct lt_http_req *req, void *app);

/* api_openers.c */
void lt_tenant_api_get_openers(struct lt_http_req *req, void *app);
void lt_tenant_api_get_escrow(struct lt_http_req *req, void *app);
/* Hosts that expose the guest's vTPM: [{"host_ek_digest","since"}]. */
int lt_tenant_api_exposed(struct lt_tenant *t, const struct lt_store_guest *g, json_t **out,
                          struct lt_err *e) LT_MUST_CHECK;
/* LT_E_CONFLICT: it is not exposed. */
int lt_tenant_api_clear_exposed(struct lt_tenant *t, const struct lt_store_guest *g,
                                struct lt_err *e) LT_MUST_CHECK;

#endif
