#include "residency/error.h"

#include <string.h>

json_t *lt_residency_error(const struct lt_err *e, unsigned retry_after_s)
{
    json_t *body = json_pack("{s{si ss so}}", "error", "code", lt_err_http(e->code), "slug",
                             lt_err_slug(e->code), "message", lt_json_new_text(e->msg));

    if (body && retry_after_s)
        json_object_set_new(json_object_get(body, "error"), "retry_after", json_integer(retry_after_s));
    return body;
}

bool lt_residency_error_read(const json_t *body, int status, struct lt_err *e)
{
    const json_t *error = json_object_get(body, "error");
    const char *slug = json_string_value(json_object_get(error, "slug"));
    const char *message = json_string_value(json_object_get(error, "message"));

    if (!slug || !message)
        return false;
    int code = lt_err_from_slug(slug);
    if (code == LT_E_INTERNAL && strcmp(slug, lt_err_slug(code)))
        code = lt_err_from_http(status); /* a slug of a newer version */
    (void)lt_fail(e, code, "%s", message);
    return true;
}
