#include "verifier/revoke/webhook.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/http/address.h"
#include "common/http/client.h"
#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEME "https://"
#define TIMEOUT_MS 10000 /* for a webhook to answer */

struct lt_revoke_webhook {
    struct lt_http_client *http;
    char *url;
    char name[LT_OUTBOX_RECEIVER];
};

/* HOST:PORT of the URL; the port is https's where it names none. */
static int authority(const char *key, const char *url, char out[LT_MAX_ADDRESS + 8], struct lt_err *e)
{
    if (strncmp(url, SCHEME, strlen(SCHEME)))
        return lt_fail(e, LT_E_CONFIG, "%s = %s: not https://HOST[:PORT][/PATH]", key, url);
    const char *at = url + strlen(SCHEME);
    size_t n = strcspn(at, "/?#");

    for (const char *c = at; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '#')
            return lt_fail(e, LT_E_CONFIG, "%s: a character that is none of a URL's", key);
    if (n > LT_MAX_ADDRESS || strlen(url) >= LT_MAX_URL)
        return lt_fail(e, LT_E_CONFIG, "%s: too long", key);
    const char *bracket = memchr(at, ']', n),
               *colon = memchr(bracket ? bracket : at, ':', n - (size_t)(bracket ? bracket - at : 0));
    snprintf(out, LT_MAX_ADDRESS + 8, "%.*s%s", (int)n, at, colon ? "" : ":443");
    if (lt_http_address_check_peer(out, e))
        return lt_fail(e, LT_E_CONFIG, "%s: %s is no HOST or HOST:PORT", key, out);
    return 0;
}

int lt_revoke_webhook_check(const char *key, const char *url, struct lt_err *e)
{
    char address[LT_MAX_ADDRESS + 8];
    return authority(key, url, address, e);
}

static void name_it(struct lt_revoke_webhook *w, const char *address)
{
    uint8_t digest[LT_SHA256];
    char hex[17];

    lt_sha256(w->url, strlen(w->url), digest);
    lt_hex(digest, 8, hex);
    snprintf(w->name, sizeof w->name, LT_REVOKE_WEBHOOK "%.250s/%s", address, hex);
}

int lt_revoke_webhook_open(const char *url, const char *ca, struct lt_revoke_webhook **out, struct lt_err *e)
{
    const struct lt_http_client_conf http = {.ca = ca, .max_per_host = 1, .named = true};
    char address[LT_MAX_ADDRESS + 8];

    *out = NULL;
    LT_TRY(authority("webhook", url, address, e));
    struct lt_revoke_webhook *w = lt_new(struct lt_revoke_webhook);
    int rc = lt_http_client_new(&http, &w->http, e);
    if (rc) {
        free(w);
        return rc;
    }
    w->url = lt_alloc_text(url);
    name_it(w, address);
    *out = w;
    return 0;
}

void lt_revoke_webhook_close(struct lt_revoke_webhook *w)
{
    if (!w)
        return;
    lt_http_client_free(w->http);
    free(w->url);
    free(w);
}

const char *lt_revoke_webhook_name(const struct lt_revoke_webhook *w)
{
    return w->name;
}

/* The URL is left out of what is told: its path may be a secret. */
static void done(void *arg, const struct lt_http_reply *r, const struct lt_err *e)
{
    struct lt_err why = {0};

    if (e->code == LT_E_UNAUTHENTICATED)
        (void)lt_fail(
            &why, LT_E_UNREACHABLE,
            "no answer (unauthenticated): its certificate must be a server's (serverAuth), name the host and "
            "lead to a CA of revocation_webhook_ca");
    else if (e->code)
        (void)lt_fail(&why, LT_E_UNREACHABLE, "no answer (%s)", lt_err_slug(e->code));
    else if (r->status >= 300 && r->status < 400)
        (void)lt_fail(&why, LT_E_UNREACHABLE, "HTTP %d: redirects are not followed", r->status);
    else if (r->status < 200 || r->status >= 400)
        (void)lt_fail(&why, LT_E_UNREACHABLE, "HTTP %d", r->status);
    lt_revoke_ended(arg, &why);
}

void lt_revoke_webhook_send(void *webhook, struct lt_revoke_delivery *d)
{
    const struct lt_revoke_webhook *w = webhook;
    char number[64];

    snprintf(number, sizeof number, "X-Limetree-Revocation: %lld", (long long)d->message->number);
    const char *const headers[] = {number, NULL};
    const struct lt_http_request q = {.method = "POST",
                                      .url = w->url,
                                      .body = d->message->body,
                                      .body_n = strlen(d->message->body),
                                      .headers = headers,
                                      .timeout_ms = TIMEOUT_MS,
                                      .max_reply = LT_MAX_BODY_SMALL};
    lt_http_send(w->http, &q, done, d);
}
