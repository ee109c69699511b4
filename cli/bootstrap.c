#include "cli/bootstrap.h"

#include "appraisal/checks/reason.h"
#include "appraisal/checks/round.h"
#include "common/hash.h"
#include "common/http/address.h"
#include "common/run/clock.h"
#include "keylime/envelope.h"
#include "keylime/quote.h"
#include "keylime/versions.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASK_MS 300
#define CHALLENGE 20
#define JOIN_TRIES 30 /* that an agent has, once it has V, to make K of it, count */

void lt_cli_bootstrap_free(struct lt_cli_bootstrap *b)
{
    lt_agent_free(&b->agent);
    free(b->pubkey);
    lt_share_wipe(&b->k);
    lt_share_wipe(&b->u);
    lt_share_wipe(&b->v);
}

/* Progress: not among what --json prints. */
static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* ---- Keylime's wire ---- */

/* `results` of a reply with 200: a new reference, or NULL and *e. pin NULL: the tenant's own server. */
static json_t *keylime(struct lt_http_client *client, const char *method, const char *url, const char *pin,
                       const char *body, struct lt_err *e)
{
    const struct lt_http_request q = {.method = method,
                                      .url = url,
                                      .body = body,
                                      .body_n = body ? strlen(body) : 0,
                                      .pin = pin,
                                      .max_reply = LT_MAX_REGISTRATION};
    struct lt_http_reply reply = {0};

    if (lt_http_call(client, &q, &reply, e))
        return NULL;
    LT_JSON_AUTO json_t *j = lt_http_json(&reply, 200, lt_envelope_error_read, e);
    free((char *)reply.body);
    json_t *results = json_incref(json_object_get(j, "results"));
    if (j && !results)
        (void)lt_fail(e, LT_E_MALFORMED, "reply without results");
    return results;
}

static json_t *registrar(struct lt_cli *c, const char *path, struct lt_err *e)
{
    struct lt_http_client *client;
    char url[LT_MAX_URL];
    const char *tenant;

    if (!*c->conf.registrar_url) {
        (void)lt_fail(e, LT_E_CONFIG,
                      "registrar_url must be set in the configuration ('%s --help' says where)", c->name);
        return NULL;
    }
    if (lt_cli_connect(c, LT_CLI_TENANT, &client, &tenant, e))
        return NULL;
    snprintf(url, sizeof url, "%s/v2.%d/%s", c->conf.registrar_url, LT_VERSIONS_TO, path);
    return keylime(client, "GET", url, NULL, NULL, e);
}

static json_t *agent(struct lt_cli *c, const struct lt_cli_bootstrap *b, const char *method, const char *path,
                     const char *body, struct lt_err *e)
{
    struct lt_http_client *client;
    char url[LT_MAX_URL];
    const char *tenant;

    if (lt_cli_connect(c, LT_CLI_TENANT, &client, &tenant, e))
        return NULL;
    snprintf(url, sizeof url, "https://%s/%s", b->address, path);
    return keylime(client, method, url, b->agent.mtls_cert, body, e);
}

/* ---- who it is ---- */

static int need_address(const struct lt_cli *c, struct lt_cli_bootstrap *b, struct lt_err *e)
{
    const struct lt_agent *a = &b->agent;

    if (!a->mtls_cert || !strcmp(a->mtls_cert, "disabled"))
        return lt_fail(e, LT_E_GUEST_UNREACHABLE, "agent %s registered no TLS certificate", a->id);
    if (c->address)
        snprintf(b->address, sizeof b->address, "%s", c->address);
    else if (a->ip && a->port)
        snprintf(b->address, sizeof b->address, strchr(a->ip, ':') ? "[%s]:%d" : "%s:%d", a->ip, a->port);
    else
        return lt_fail(e, LT_E_USAGE, "agent %s registered no address: --address HOST:PORT", a->id);
    return lt_http_address_check_peer(b->address, e);
}

static int find_agent(struct lt_cli *c, const char *id, struct lt_cli_bootstrap *b, struct lt_err *e)
{
    char path[LT_ID_MAX + 8];

    snprintf(path, sizeof path, "agents/%s", id);
    LT_JSON_AUTO json_t *j = registrar(c, path, e);
    if (!j)
        return lt_fail_in(e, e->code, "registrar, agent %s", id);
    int64_t count = json_integer_value(json_object_get(j, "regcount"));
    json_object_del(j, "ekcert"); /* the tenant judges it */
    LT_TRY_IN(lt_agent_from_json(j, id, &b->agent, e), e, "registrar, agent %s", id);
    LT_TRY(need_address(c, b, e));
    say("registrar: agent %s, at %s%s", id, b->address,
        count > 1 ? "; it was registered anew since, with the same keys" : "");
    return 0;
}

static int need_version(struct lt_cli *c, struct lt_cli_bootstrap *b, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = agent(c, b, "GET", "version", NULL, e);
    json_t *list = json_object_get(j, "supported_versions"), *one;
    size_t i;
    int best = -1;

    if (!j)
        return e->code;
    const char *newest = json_string_value(json_object_get(j, "supported_version"));
    int minor = newest ? lt_versions_minor(newest, LT_VERSIONS_FROM) : -1;
    json_array_foreach(list, i, one)
    {
        int m = json_is_string(one) ? lt_versions_minor(json_string_value(one), LT_VERSIONS_FROM) : -1;
        best = m > best ? m : best;
    }
    best = best > minor ? best : minor;
    if (best < 0)
        return lt_fail(e, LT_E_UNSUPPORTED, "it speaks no version of ours (2.%d to 2.%d)", LT_VERSIONS_FROM,
                       LT_VERSIONS_TO);
    b->minor = (unsigned)best;
    return 0;
}

/* Check 1 of docs/protocol.md, with PCR 16 alone. */
static int judge(const struct lt_cli_bootstrap *b, const char *nonce, const struct lt_quote *q,
                 struct lt_err *e)
{
    const struct lt_agent *a = &b->agent;
    LT_AUTO(lt_checks_identity_guest)
    struct lt_checks_identity_guest *id =
        lt_checks_identity_guest_new((struct lt_slice){a->ek, a->ek_n}, (struct lt_slice){a->ak, a->ak_n});
    struct lt_checks_guest_round in = {.identity = id,
                                       .required_pcrs = 1u << LT_CHECKS_TRANSPORT_PCR,
                                       .attest = {q->attest, q->attest_n},
                                       .signature = {q->signature, q->signature_n},
                                       .pcrs = &q->pcrs,
                                       .pubkey = b->pubkey};
    struct lt_history_round_facts f;
    struct lt_verdict v;

    id->activated = LT_CHECKS_FACT_YES; /* the registrar tells of no other */
    memcpy(in.nonce, nonce, sizeof in.nonce);
    lt_verdict_init(&v);
    lt_checks_appraise_guest(&in, &f, &v);
    return lt_verdict_passed(&v, LT_CHECK_GUEST_QUOTE)
               ? 0
               : lt_fail(e, LT_E_REFUSED, "its quote: %s", v.check[LT_CHECK_GUEST_QUOTE].message);
}

static int check_identity(struct lt_cli *c, struct lt_cli_bootstrap *b, struct lt_err *e)
{
    char nonce[LT_RESIDENCY_NONCE + 1], path[128];
    const char *quote, *pubkey;
    struct lt_quote q = {0};

    lt_random_alnum(nonce, LT_RESIDENCY_NONCE);
    snprintf(path, sizeof path, "v2.%u/quotes/identity?nonce=%s", b->minor, nonce);
    LT_JSON_AUTO json_t *j = agent(c, b, "GET", path, NULL, e);
    if (!j)
        return e->code;
    LT_TRY(lt_json_string(j, "quote", &quote, e));
    LT_TRY(lt_json_string(j, "pubkey", &pubkey, e));
    if (strlen(quote) > LT_MAX_QUOTE_STRING || strlen(pubkey) > LT_MAX_PUBKEY)
        return lt_fail(e, LT_E_TOO_LARGE, "its quote is too large");
    b->pubkey = lt_alloc_text(pubkey);
    LT_TRY(lt_quote_parse(quote, &q, e));
    int rc = judge(b, nonce, &q, e);
    lt_quote_free(&q);
    return rc;
}

/* ---- U and the payload ---- */

static char *ukey_body(const struct lt_cli_bootstrap *b, struct lt_slice payload, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *sealed = NULL;
    uint8_t wrapped[LT_SHARE_WRAPPED], tag[LT_SHARE_TAG];
    size_t sealed_n, n;

    lt_share_tag(&b->k, b->agent.id, tag);
    if (lt_share_wrap(&b->u, b->pubkey, wrapped, &n, e) ||
        lt_share_seal(&b->k, payload, &sealed, &sealed_n, e))
        return NULL;
    LT_JSON_AUTO json_t *j =
        json_pack("{s:o, s:o, s:o}", "encrypted_key", lt_json_new_base64(wrapped, n), "auth_tag",
                  lt_json_new_hex(tag, sizeof tag), "payload", lt_json_new_base64(sealed, sealed_n));
    char *text = j ? lt_json_dump(j) : NULL;
    if (!text)
        (void)lt_fail(e, LT_E_NO_MEMORY, "payload: no memory");
    return text;
}

static int bring_u(struct lt_cli *c, const struct lt_cli_bootstrap *b, struct lt_slice payload,
                   struct lt_err *e)
{
    LT_AUTOFREE char *body = ukey_body(b, payload, e);
    char path[64];

    snprintf(path, sizeof path, "v2.%u/keys/ukey", b->minor);
    LT_JSON_AUTO json_t *j = body ? agent(c, b, "POST", path, body, e) : NULL;
    return j ? 0 : e->code;
}

int lt_cli_bootstrap_begin(struct lt_cli *c, const char *id, struct lt_slice payload,
                           struct lt_cli_bootstrap *b, struct lt_err *e)
{
    LT_TRY(find_agent(c, id, b, e));
    LT_TRY_IN(need_version(c, b, e), e, "agent at %s", b->address);
    LT_TRY_IN(check_identity(c, b, e), e, "agent at %s", b->address);
    say("agent: its TPM signed a fresh nonce, and the transport key (API 2.%u)", b->minor);
    lt_share_draw(&b->k, &b->u, &b->v);
    LT_TRY_IN(bring_u(c, b, payload, e), e, "agent at %s, keys/ukey", b->address);
    lt_share_wipe(&b->u);
    say("agent: has U and the payload, %zu bytes sealed", payload.n);
    return 0;
}

/* ---- until it is done ---- */

static const json_t *member(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

/* What stands in the way now, for people. */
static void state_of(const json_t *guest, char out[600])
{
    const json_t *v = member(guest, "verdict"), *release = member(guest, "release");
    const struct lt_reason *r = lt_reason(json_string_value(member(v, "reason")));

    if (json_is_string(member(release, "error")) && !json_is_true(member(release, "delivered")))
        snprintf(out, 600, "V did not arrive: %s", lt_cli_text(release, "error"));
    else if (!json_is_object(v))
        snprintf(out, 600, "no round yet");
    else
        snprintf(out, 600, "%s%s%s%s%s%s", lt_cli_text(v, "result"),
                 json_is_string(member(v, "reason")) ? " " : "",
                 json_is_string(member(v, "reason")) ? lt_cli_text(v, "reason") : "", r ? ": " : "",
                 r ? r->cause : "",
                 json_is_null(member(guest, "policy")) ? "; it has no policy: limetree guest learn" : "");
}

static int proven(struct lt_cli *c, const struct lt_cli_bootstrap *b, struct lt_err *e)
{
    char challenge[CHALLENGE + 1], path[96];
    uint8_t tag[LT_SHARE_TAG];

    lt_random_alnum(challenge, CHALLENGE);
    snprintf(path, sizeof path, "v2.%u/keys/verify?challenge=%s", b->minor, challenge);
    LT_JSON_AUTO json_t *j = agent(c, b, "GET", path, NULL, e);
    if (!j)
        return e->code;
    LT_TRY(lt_json_hex(j, "hmac", tag, sizeof tag, e));
    return lt_share_tag_is(&b->k, challenge, tag) ? 0 : lt_fail(e, LT_E_REFUSED, "it has another key");
}

static void pause_ms(long ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

/* V has arrived: an agent may take a moment to try it, and one that began anew since U has none to fit it. */
static int wait_joined(struct lt_cli *c, const struct lt_cli_bootstrap *b, struct lt_err *e)
{
    int rc = 0;

    for (int i = 0; i < JOIN_TRIES; i++) {
        rc = proven(c, b, e);
        if (!rc || rc == LT_E_REFUSED)
            break;
        pause_ms(ASK_MS);
    }
    return rc ? lt_fail_in(e, LT_E_REFUSED,
                           "V was delivered, and agent %s does not show that it made K of U and V "
                           "(did it begin anew? then add it again)",
                           b->agent.id)
              : 0;
}

static bool says(const json_t *o, const char *key, const char *what)
{
    const char *is = json_string_value(member(o, key));
    return is && !strcmp(is, what);
}

/* True: nothing is left to wait for; *rc is what it ended with. */
static bool ended(struct lt_cli *c, const json_t *guest, const struct lt_cli_bootstrap *b, int *rc,
                  struct lt_err *e)
{
    char now[600];

    if (json_is_true(member(member(guest, "release"), "delivered"))) {
        say("tenant: V was delivered");
        *rc = wait_joined(c, b, e);
        return true;
    }
    if (!says(member(guest, "verdict"), "result", "failed"))
        return false;
    state_of(guest, now);
    *rc = lt_fail(e, LT_E_REFUSED, "agent %s gets no V: %s", b->agent.id, now);
    return true;
}

int lt_cli_bootstrap_wait(struct lt_cli *c, const char *uuid, const struct lt_cli_bootstrap *b,
                          struct lt_err *e)
{
    uint64_t until = lt_clock_ms() + (uint64_t)c->conf.wait_s * 1000;
    char now[600], told[600] = "";
    int rc;

    for (;;) {
        LT_JSON_AUTO json_t *guest = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "guests/%s", uuid);
        if (!guest)
            return e->code;
        if (ended(c, guest, b, &rc, e))
            return rc;
        state_of(guest, now);
        if (strcmp(now, told))
            say("tenant: %s", now);
        memcpy(told, now, sizeof told);
        if (lt_clock_ms() > until)
            return lt_fail(e, LT_E_TIMEOUT, "agent %s has no V after %lld s: %s", b->agent.id,
                           (long long)c->conf.wait_s, now);
        pause_ms(ASK_MS);
    }
}
