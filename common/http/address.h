/* "HOST:PORT": the one grammar of an address, of listeners, peers and contacts alike. HOST is a name or an
 * IPv4 address (letters, digits, '.', '-', '_') or an IPv6 address in brackets; no other character, so that
 * in a URL it is nothing but an authority. */
#ifndef LT_COMMON_HTTP_ADDRESS_H
#define LT_COMMON_HTTP_ADDRESS_H

#include "common/err.h"

#define LT_HTTP_ADDRESS_HOST 256 /* with its NUL */

struct lt_http_address {
    char host[LT_HTTP_ADDRESS_HOST]; /* without brackets; so the text has at most LT_MAX_ADDRESS */
    unsigned port;                   /* at most 65535 */
};

/* LT_E_MALFORMED, both of these. A listener's port may be 0 and its IPv6 address have a zone ("%eth0"), a
 * peer's not.
 */
int lt_http_address_parse(const char *text, struct lt_http_address *out, struct lt_err *e) LT_MUST_CHECK;
int lt_http_address_check_peer(const char *text, struct lt_err *e) LT_MUST_CHECK;
/* A server's URL in a configuration, under that key: scheme ("https://"), a peer's HOST:PORT, nothing behind
 * it. LT_E_CONFIG. */
int lt_http_address_parse_url(const char *key, const char *url, const char *scheme,
                              struct lt_http_address *out, struct lt_err *e) LT_MUST_CHECK;

#endif
