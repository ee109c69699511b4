#include "agent/keys_api.h"

#include "agent/bootstrap.h"
#include "agent/guest_api.h"
#include "agent/revocations.h"
#include "common/limits.h"
#include "keylime/envelope.h"
#include "keylime/versions.h"

#include <stdlib.h>

static void reply(struct lt_http_req *req, int rc, struct lt_err *e)
{
    if (rc == LT_E_REFUSED || rc == LT_E_TOO_LARGE) /* Keylime knows one answer to what it does not take */
        rc = lt_fail_in(e, LT_E_MALFORMED, "refused");
    if (rc)
        lt_http_reply_error(req, e, 0);
    else
        lt_http_reply_json(req, 200, lt_envelope_success(200, NULL));
}

static json_t *body_of(struct lt_http_req *req)
{
    struct lt_err e = {0};

    if (!lt_guest_api_minor(req, LT_VERSIONS_FROM))
        return NULL;
    json_t *body = lt_http_req_json(req, &e);
    if (!body)
        lt_http_reply_error(req, &e, 0);
    return body;
}

static int take_u(struct lt_agent_bootstrap *b, const json_t *body, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *wrapped = NULL, *payload = NULL;
    uint8_t tag[LT_SHARE_TAG];
    size_t wrapped_n, payload_n = 0;

    LT_TRY(lt_json_base64(body, "encrypted_key", LT_SHARE_WRAPPED, &wrapped, &wrapped_n, e));
    LT_TRY(lt_json_hex(body, "auth_tag", tag, sizeof tag, e));
    if (lt_json_has(body, "payload"))
        LT_TRY(lt_json_base64(body, "payload", LT_MAX_PAYLOAD, &payload, &payload_n, e));
    return lt_agent_bootstrap_take_u(b, (struct lt_slice){wrapped, wrapped_n}, tag,
                                     (struct lt_slice){payload, payload_n}, e);
}

static int take_v(struct lt_agent_bootstrap *b, const json_t *body, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *wrapped = NULL;
    size_t n;

    LT_TRY(lt_json_base64(body, "encrypted_key", LT_SHARE_WRAPPED, &wrapped, &n, e));
    return lt_agent_bootstrap_take_v(b, (struct lt_slice){wrapped, n}, e);
}

void lt_keys_api_ukey(struct lt_http_req *req, void *app)
{
    const struct lt_guest_api *api = app;
    LT_JSON_AUTO json_t *body = body_of(req);
    struct lt_err e = {0};

    if (body)
        reply(req, take_u(api->bootstrap, body, &e), &e);
}

void lt_keys_api_vkey(struct lt_http_req *req, void *app)
{
    const struct lt_guest_api *api = app;
    LT_JSON_AUTO json_t *body = body_of(req);
    struct lt_err e = {0};

    if (body)
        reply(req, take_v(api->bootstrap, body, &e), &e);
}

void lt_keys_api_verify(struct lt_http_req *req, void *app)
{
    const struct lt_guest_api *api = app;
    char challenge[LT_GUEST_API_WORD + 1];
    uint8_t tag[LT_SHARE_TAG];
    struct lt_err e = {0};

    if (!lt_guest_api_minor(req, LT_VERSIONS_FROM))
        return;
    int rc = lt_guest_api_word(req, "challenge", challenge, &e);
    if (!rc && !lt_agent_bootstrap_verify(api->bootstrap, challenge, tag))
        rc = lt_fail(&e, LT_E_MALFORMED, "no key is known yet");
    if (rc)
        lt_http_reply_error(req, &e, 0);
    else
        lt_http_reply_json(
            req, 200, lt_envelope_success(200, json_pack("{s:o}", "hmac", lt_json_new_hex(tag, sizeof tag))));
}

void lt_keys_api_revocation(struct lt_http_req *req, void *app)
{
    const struct lt_guest_api *api = app;
    LT_JSON_AUTO json_t *body = body_of(req);
    struct lt_err e = {0};

    if (body && lt_agent_bootstrap_working(api->bootstrap)) /* the certificate to check it by is on its way */
        reply(req, lt_fail(&e, LT_E_BUSY, "the payload is being unpacked"), &e);
    else if (body)
        reply(req, lt_agent_revocations_take(api->revocations, body, &e), &e);
}
