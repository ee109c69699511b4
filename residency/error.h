/* Errors below /federation/ (docs/api.md): {"error":{"code","slug","message","retry_after"}}. */
#ifndef LT_RESIDENCY_ERROR_H
#define LT_RESIDENCY_ERROR_H

#include "common/json.h"

/* For lt_http_server_conf. retry_after_s 0: there is none. A new reference, NULL without memory. */
json_t *lt_residency_error(const struct lt_err *e, unsigned retry_after_s);
/* The other way, for lt_http_json: a slug that is not known counts as its status. False: no such error in it.
 */
bool lt_residency_error_read(const json_t *body, int status, struct lt_err *e);

#endif
