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

#endif
