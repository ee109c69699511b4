#include "agent/guest_api.h"

#include "agent/bootstrap.h"
#include "agent/measurements.h"
#include "common/alloc.h"
#include "common/hash.h"
#include "common/ima_list.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "keylime/envelope.h"
#include "keylime/quote.h"
#include "keylime/versions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MINOR_INFO 2      /* agent/info came with 2.2 */
#define MINOR_KEY_SIZES 5 /* enc_alg tells the key size from 2.5 on */
#define PCR_NK 16

static void refuse(struct lt_http_req *req, int code, const char *message)
{
    struct lt_err e;
    lt_fail(&e, code, "%s", message);
    lt_http_reply_error(req, &e, 0);
}

int lt_guest_api_minor(struct lt_http_req *req, int from)
{
    const char *v = lt_http_req_arg(req, 0);
    int minor = *v == 'v' ? lt_versions_minor(v + 1, LT_VERSIONS_FROM) : -1;

    if (minor >= from)
        return minor;
    if (minor >= 0)
        refuse(req, LT_E_NOT_FOUND, "not in this API version");
    else if (*v == 'v' && v[1] >= '0' && v[1] <= '9')
        refuse(req, LT_E_UNSUPPORTED, LT_VERSIONS_REFUSAL);
    else
        refuse(req, LT_E_NOT_FOUND, "no such path");
    return 0;
}

static const char *enc_alg(const struct lt_guest_api *api, int minor)
{
    if (api->attester->ak_alg == LT_TPM_ALG_RSA)
        return minor >= MINOR_KEY_SIZES ? "rsa2048" : "rsa";
    return minor >= MINOR_KEY_SIZES ? "ecc256" : "ecc";
}

static const char *sign_alg(const struct lt_guest_api *api)
{
    return api->attester->ak_alg == LT_TPM_ALG_RSA ? "rsassa" : "ecdsa";
}

void lt_guest_api_version(struct lt_http_req *req, void *app)
{
    (void)app;
    lt_http_reply_json(
        req, 200,
        lt_envelope_success(200,
                            json_pack("{s:o, s:o}", "supported_version", json_sprintf("2.%d", LT_VERSIONS_TO),
                                      "supported_versions", lt_versions_list(LT_VERSIONS_FROM))));
}

void lt_guest_api_info(struct lt_http_req *req, void *app)
{
    const struct lt_guest_api *api = app;
    int minor = lt_guest_api_minor(req, MINOR_INFO);

    if (minor)
        lt_http_reply_json(
            req, 200,
            lt_envelope_success(200, json_pack("{s:s, s:s, s:s, s:s, s:I, s:o?}", "agent_uuid", api->id,
                                               "tpm_hash_alg", "sha256", "tpm_enc_alg", enc_alg(api, minor),
                                               "tpm_sign_alg", sign_alg(api), "ak_handle",
                                               (json_int_t)api->attester->handle, "payload",
                                               lt_agent_bootstrap_state(api->bootstrap))));
}

void lt_guest_api_pubkey(struct lt_http_req *req, void *app)
{
    const struct lt_guest_api *api = app;

    if (lt_guest_api_minor(req, LT_VERSIONS_FROM))
        lt_http_reply_json(req, 200,
                           lt_envelope_success(
                               200, json_pack("{s:s}", "pubkey", lt_agent_bootstrap_pubkey(api->bootstrap))));
}

/* One quote on its way: TPM thread, then worker for the logs. */
struct quote {
    struct lt_work_task task;
    struct lt_guest_api *api;
    struct lt_http_req *req;
    int minor;
    char nonce[LT_GUEST_API_WORD + 1];
    uint32_t mask;
    bool with_key, with_logs, ima_bytes;
    uint64_t ima_entry;
    struct lt_quote q;
};

static void quote_end(struct quote *q, json_t *results, const struct lt_err *e)
{
    if (results)
        lt_http_reply_json(q->req, 200, lt_envelope_success(200, results));
    else
        lt_http_reply_error(q->req, e, 0);
    lt_quote_free(&q->q);
    free(q);
}

/* Keylime's field: text, from a line on. */
static int add_ima_text(const struct quote *q, json_t *results, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    uint64_t first = q->ima_entry;
    size_t n;

    LT_TRY(lt_measurements_read(q->api->ima, LT_MAX_IMA_LOG, &text, &n, e));
    size_t from = lt_ima_list_from((struct lt_slice){text, n}, &first);
    LT_AUTOFREE char *held = lt_measurements_ima_text((const char *)text + from, n - from);
    if (!held || json_object_set_new(results, "ima_measurement_list", json_string(held)))
        return lt_fail(e, LT_E_NO_MEMORY, "IMA list: no memory");
    json_object_set_new(results, "ima_measurement_list_entry", json_integer((json_int_t)first));
    return 0;
}

/* For verifiers that ask for it (docs/api.md): no byte is lost. From a unit on: common/ima_list.h. */
static int add_ima_bytes(const struct quote *q, json_t *results, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *list = NULL;
    uint64_t first = q->ima_entry;
    size_t n;

    LT_TRY(lt_measurements_ima_read(q->api->ima, &list, &n, e));
    size_t from = lt_ima_list_from((struct lt_slice){list, n}, &first);
    json_object_set_new(results, "ima_measurement_list_b64", lt_json_new_base64(list + from, n - from));
    json_object_set_new(results, "ima_measurement_list_entry", json_integer((json_int_t)first));
    return 0;
}

static int add_ima(const struct quote *q, json_t *results, struct lt_err *e)
{
    int rc = q->ima_bytes ? add_ima_bytes(q, results, e) : add_ima_text(q, results, e);
    return rc == LT_E_NOT_FOUND ? 0 : rc;
}

static int add_boot_log(const struct quote *q, json_t *results, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *log = NULL;
    size_t n;

    if (!(q->mask & 1))
        return 0;
    int rc = lt_measurements_read(q->api->boot_log, LT_MAX_BOOT_LOG, &log, &n, e);
    if (!rc)
        json_object_set_new(results, "mb_measurement_list", lt_json_new_base64(log, n));
    return rc == LT_E_NOT_FOUND ? 0 : rc;
}

static void quote_finish(struct lt_work_task *t)
{
    struct quote *q = LT_WORK_OWNER(t, struct quote);
    LT_JSON_AUTO json_t *results = NULL;
    LT_AUTOFREE char *text = NULL;
    struct lt_err e = {0};
    int rc = t->stopped ? lt_fail(&e, LT_E_BUSY, "the agent is stopping") : lt_quote_write(&q->q, &text, &e);

    if (!rc) {
        results = json_pack("{s:s, s:s, s:s, s:s}", "quote", text, "hash_alg", "sha256", "enc_alg",
                            enc_alg(q->api, q->minor), "sign_alg", sign_alg(q->api));
        if (!results)
            rc = lt_fail(&e, LT_E_NO_MEMORY, "quote: no memory");
    }
    if (!rc && q->with_key)
        json_object_set_new(results, "pubkey", json_string(lt_agent_bootstrap_pubkey(q->api->bootstrap)));
    if (!rc && q->with_logs) {
        rc = add_ima(q, results, &e);
        if (!rc)
            rc = add_boot_log(q, results, &e);
    }
    quote_end(q, rc ? NULL : lt_take(&results), &e);
}

static void quote_signed(void *arg, int rc, const struct lt_err *e)
{
    struct quote *q = arg;
    struct lt_err why = *e;

    if (!rc)
        rc = lt_work_offer(q->api->worker, LT_WORK_USUAL, &q->task, quote_finish, &why);
    if (rc)
        quote_end(q, NULL, &why);
}

/* PCR 16 binds NK to this quote (keylime-api 3.5). Anyone can reset it: written before every quote. */
static int quote_sign(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct quote *q = arg;
    int rc = lt_device_pcr_reset(d, PCR_NK, e);

    if (!rc)
        rc = lt_device_pcr_extend(d, PCR_NK, lt_agent_bootstrap_pubkey_digest(q->api->bootstrap), e);
    return rc ? rc : lt_attester_quote(d, q->api->attester, q->nonce, strlen(q->nonce), q->mask, &q->q, e);
}

int lt_guest_api_word(const struct lt_http_req *req, const char *key, char out[LT_GUEST_API_WORD + 1],
                      struct lt_err *e)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const char *s = lt_http_req_query(req, key);
    size_t n = s ? strlen(s) : 0;

    if (!n || n > LT_GUEST_API_WORD || strspn(s, alphabet) != n)
        return lt_fail(e, LT_E_MALFORMED, "%s: 1 to %d characters of [A-Za-z0-9] are needed", key,
                       LT_GUEST_API_WORD);
    memcpy(out, s, n + 1);
    return 0;
}

static int parse_mask(const struct lt_http_req *req, uint32_t *out, struct lt_err *e)
{
    const char *s = lt_http_req_query(req, "mask");
    const char *digits = s && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') ? s + 2 : s;
    size_t n = digits ? strlen(digits) : 0;

    *out = n && n <= 8 && strspn(digits, "0123456789abcdefABCDEF") == n ? (uint32_t)strtoul(digits, NULL, 16)
                                                                        : UINT32_MAX;
    if (*out >> LT_MAX_PCRS)
        return lt_fail(e, LT_E_MALFORMED, "mask: a hexadecimal number below 0x1000000 is needed");
    return 0;
}

static int parse_integrity(const struct lt_http_req *req, struct quote *q, struct lt_err *e)
{
    const char *partial = lt_http_req_query(req, "partial"), *entry = lt_http_req_query(req, "ima_ml_entry"),
               *bytes = lt_http_req_query(req, "ima_ml_b64");

    LT_TRY(parse_mask(req, &q->mask, e));
    if (!partial || (strcmp(partial, "0") && strcmp(partial, "1")))
        return lt_fail(e, LT_E_MALFORMED, "partial: 0 or 1 is needed");
    q->with_key = *partial == '0';
    q->with_logs = true;
    q->ima_bytes = bytes && !strcmp(bytes, "1");
    /* Not a number, or too great a one: everything from line 0 (keylime-api 3.2). */
    if (entry && *entry && strspn(entry, "0123456789") == strlen(entry)) {
        errno = 0;
        q->ima_entry = strtoull(entry, NULL, 10);
        if (errno)
            q->ima_entry = 0;
    }
    return 0;
}

static void quote_request(struct lt_http_req *req, struct lt_guest_api *api, bool identity)
{
    int minor = lt_guest_api_minor(req, LT_VERSIONS_FROM);
    struct lt_err e = {0};

    if (!minor)
        return;
    struct quote *q = lt_new(struct quote);
    int rc = lt_guest_api_word(req, "nonce", q->nonce, &e);
    if (!rc && identity)
        q->with_key = true;
    else if (!rc)
        rc = parse_integrity(req, q, &e);
    if (rc) {
        free(q);
        lt_http_reply_error(req, &e, 0);
        return;
    }
    atomic_store(&api->asked_ms, lt_clock_ms());
    q->api = api;
    q->req = req;
    q->minor = minor;
    q->mask |= 1u << PCR_NK;
    lt_http_req_hold(req);
    lt_tpm_post(api->tpm, true, quote_sign, quote_signed, q);
}

void lt_guest_api_quote_identity(struct lt_http_req *req, void *app)
{
    quote_request(req, app, true);
}

void lt_guest_api_quote_integrity(struct lt_http_req *req, void *app)
{
    quote_request(req, app, false);
}
