/* Who a peer is: roles and scopes are URI SANs of its certificate, under a CA that is pinned. One table of
 * rules for both TLS stacks (GnuTLS under the server, OpenSSL under the client).
 *
 *   urn:limetree:role:provider|host|tenant|operator    urn:limetree:tenant:UUID    urn:limetree:host:HEX
 *
 * One role is no name in a certificate: the admin of the Keylime-compatible API, whom the CA makes that
 * signed it (common/http/server.h, keylime_admin_ca). */
#ifndef LT_COMMON_PKI_PEER_H
#define LT_COMMON_PKI_PEER_H

#include "common/bytes.h"

enum lt_peer_role {
    LT_PEER_ROLE_PROVIDER = 1,
    LT_PEER_ROLE_HOST = 2,
    LT_PEER_ROLE_TENANT = 4,
    LT_PEER_ROLE_OPERATOR = 8,
    LT_PEER_ROLE_KEYLIME_ADMIN = 16, /* never out of a name, never issued: lt_peer_as_keylime_admin */
};

struct lt_peer {
    unsigned roles; /* of enum lt_peer_role; 0: a certificate without a role */
    bool has_tenant, has_host;
    uint8_t tenant_id[16], host_id[16];
    uint8_t fingerprint[32]; /* SHA-256 of the DER */
    bool may_serve;          /* extended key usage lists serverAuth */
    bool may_call;           /* extended key usage lists clientAuth, or there is no such extension */
    int64_t not_after;       /* seconds since 1970 */
};

/* Reads roles and scopes out of a certificate that the TLS stack has already verified. An unknown
 * urn:limetree name, two tenants or two hosts, more than one role, a role without the scope it needs (tenant,
 * host), a CA's certificate, a control byte in a name: refused, always with LT_E_UNAUTHENTICATED. For a
 * server certificate as for a client's; whether it may be the one or the other is may_serve and may_call. */
int lt_peer_from_der(const uint8_t *der, size_t n, struct lt_peer *out, struct lt_err *e) LT_MUST_CHECK;

/* *p came out of lt_peer_from_der, and its certificate leads to the Keylime API's own admin CA: that role it
 * gets, and nothing else. LT_E_UNAUTHENTICATED: it claims a role or a scope of ours, which that CA cannot
 * give.
 */
int lt_peer_as_keylime_admin(struct lt_peer *p, struct lt_err *e) LT_MUST_CHECK;

/* "provider", "host", … ; NULL: not a single known role. */
const char *lt_peer_role_name(unsigned role);
/* Of the names that certificates carry. 0: unknown, and "keylime-admin". */
unsigned lt_peer_role_by_name(const char *s);

#endif
