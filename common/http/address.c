#include "common/http/address.h"

#include "common/limits.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"
#define NAME "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS ".-_"

static bool is_v6(const char *s, size_t n)
{
    size_t at = strspn(s, DIGITS "abcdefABCDEF:.");

    if (at && at + 1 < n && s[at] == '%')
        at += 1 + strspn(s + at + 1, NAME);
    return at == n;
}

/* getaddrinfo takes 70000 for 4464. */
static bool is_port(const char *s, unsigned *out)
{
    size_t n = strspn(s, DIGITS);

    if (!n || n > 5 || s[n])
        return false;
    *out = (unsigned)strtoul(s, NULL, 10);
    return *out <= 65535;
}

int lt_http_address_parse(const char *text, struct lt_http_address *out, struct lt_err *e)
{
    const char *host = text, *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    bool good = n && strspn(host, NAME) == n;

    *out = (struct lt_http_address){0};
    if (*host == '[')
        good = n > 2 && host[n - 1] == ']' && is_v6(++host, n -= 2);
    if (!good || n >= sizeof out->host || !is_port(colon + 1, &out->port))
        return lt_fail(e, LT_E_MALFORMED, "\"%.80s\": not HOST:PORT", text);
    memcpy(out->host, host, n);
    return 0;
}

static bool is_peer(const char *text, struct lt_http_address *out)
{
    return !lt_http_address_parse(text, out, LT_NO_ERR) && out->port && !strchr(out->host, '%');
}

int lt_http_address_check_peer(const char *text, struct lt_err *e)
{
    struct lt_http_address a;

    return is_peer(text, &a) ? 0 : lt_fail(e, LT_E_MALFORMED, "address \"%.80s\": not HOST:PORT", text);
}

int lt_http_address_parse_url(const char *key, const char *url, const char *scheme,
                              struct lt_http_address *out, struct lt_err *e)
{
    size_t n = strlen(scheme);

    return !strncmp(url, scheme, n) && is_peer(url + n, out)
               ? 0
               : lt_fail(e, LT_E_CONFIG, "%s = %.200s: not %sHOST:PORT", key, url, scheme);
}
