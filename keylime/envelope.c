#include "keylime/envelope.h"

json_t *lt_envelope_success(int status, json_t *results)
{
    return json_pack("{si ss so}", "code", status, "status", "Success", "results",
                     results ? results : json_object());
}

json_t *lt_envelope_error(const struct lt_err *e, unsigned retry_after_s)
{
    (void)retry_after_s; /* the header alone has it */
    return json_pack("{si so s{}}", "code", lt_err_http(e->code), "status", lt_json_new_text(e->msg),
                     "results");
}

bool lt_envelope_error_read(const json_t *body, int status, struct lt_err *e)
{
    const char *text = json_string_value(json_object_get(body, "status"));

    if (!text || !json_object_get(body, "results"))
        return false;
    (void)lt_fail(e, lt_err_from_http(status), "%s", text);
    return true;
}
