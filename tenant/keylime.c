#include "tenant/keylime.h"

#include "keylime/envelope.h"
#include "keylime/versions.h"

#include <string.h>

static int check_version(const struct lt_http_req *req, struct lt_err *e)
{
    if (lt_versions_in_path(lt_http_req_arg(req, 0), LT_VERSIONS_FROM_REGISTRAR))
        return 0;
    return lt_fail(e, LT_E_NOT_FOUND, LT_VERSIONS_REFUSAL "; this verifier speaks 2.%d to 2.%d",
                   LT_VERSIONS_FROM_REGISTRAR, LT_VERSIONS_TO);
}

void lt_tenant_keylime_answer(struct lt_http_req *req, struct lt_tenant *t, lt_tenant_keylime_fn fn,
                              int status)
{
    struct lt_err e = {0};
    json_t *results = NULL;
    int rc = check_version(req, &e);

    if (!rc)
        rc = fn(t, req, &results, &e);
    if (rc == LT_E_REFUSED)
        e.code = LT_E_MALFORMED; /* Keylime's wire knows 400 alone */
    if (rc)
        lt_http_reply_error(req, &e, lt_err_class(e.code) == LT_CLASS_RETRY ? 2 : 0);
    else if (status == 204)
        lt_http_reply_empty(req, status);
    else
        lt_http_reply_json(req, status, lt_envelope_success(status, results));
}

void lt_tenant_keylime_get_version(struct lt_http_req *req, void *app)
{
    (void)app;
    lt_http_reply_json(
        req, 200,
        lt_envelope_success(200,
                            json_pack("{s:o, s:o}", "current_version", json_sprintf("2.%d", LT_VERSIONS_TO),
                                      "supported_versions", lt_versions_list(LT_VERSIONS_FROM_REGISTRAR))));
}

int lt_tenant_keylime_find(struct lt_tenant *t, const char *id, struct lt_store_guest *out, struct lt_err *e)
{
    if (!lt_id_ok(id))
        return lt_fail(e, LT_E_MALFORMED, "agent id: 1 to %d of A-Z a-z 0-9 . _ -", LT_ID_MAX);
    int rc = lt_store_guest_by_agent(t->store, id, out, e);
    return rc == LT_E_NOT_FOUND ? lt_fail(e, rc, "agent %s: not added here", id) : rc;
}

int lt_tenant_keylime_own(struct lt_tenant *t, const char *id, struct lt_store_guest *out, struct lt_err *e)
{
    LT_TRY(lt_tenant_keylime_find(t, id, out, e));
    if (out->door == LT_STORE_DOOR_KEYLIME)
        return 0;
    return lt_fail(
        e, LT_E_FORBIDDEN,
        "agent %s: a guest of the federation's, which is changed by its own API alone (limetree guest)", id);
}
