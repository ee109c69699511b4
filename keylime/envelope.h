/* What Keylime's replies are wrapped in (keylime-api 1.3): {"code":200,"status":"Success","results":…}. */
#ifndef LT_KEYLIME_ENVELOPE_H
#define LT_KEYLIME_ENVELOPE_H

#include "common/json.h"

/* Takes the reference to results; NULL: {}. A new reference, NULL without memory. */
json_t *lt_envelope_success(int status, json_t *results);
/* {"code","status","results":{}}: an error's HTTP status and message, for lt_http_server_conf. */
json_t *lt_envelope_error(const struct lt_err *e, unsigned retry_after_s);
/* The other way, for lt_http_json: a status and no slug. False: it is no envelope. */
bool lt_envelope_error_read(const json_t *body, int status, struct lt_err *e);

#endif
