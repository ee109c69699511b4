#include "common/pki/peer.h"

#include "common/hash.h"
#include "common/ids.h"
#include "common/limits.h"
#include "common/openssl.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <strings.h>

static const struct {
    unsigned role;
    const char *name;
} roles[] = {
    {LT_PEER_ROLE_PROVIDER, "provider"},
    {LT_PEER_ROLE_HOST, "host"},
    {LT_PEER_ROLE_TENANT, "tenant"},
    {LT_PEER_ROLE_OPERATOR, "operator"},
    {LT_PEER_ROLE_KEYLIME_ADMIN, "keylime-admin"},
};
#define ROLES (sizeof roles / sizeof *roles)

const char *lt_peer_role_name(unsigned role)
{
    for (size_t i = 0; i < ROLES; i++)
        if (roles[i].role == role)
            return roles[i].name;
    return NULL;
}

unsigned lt_peer_role_by_name(const char *s)
{
    for (size_t i = 0; s && i < ROLES; i++)
        if (!strcmp(roles[i].name, s))
            return roles[i].role & ~(unsigned)LT_PEER_ROLE_KEYLIME_ADMIN;
    return 0;
}

static int take_role(const char *value, struct lt_peer *p, struct lt_err *e)
{
    unsigned role = lt_peer_role_by_name(value);
    if (!role)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "unknown role");
    if (p->roles)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "more than one role");
    p->roles = role;
    return 0;
}

static int take_tenant(const char *value, struct lt_peer *p, struct lt_err *e)
{
    if (p->has_tenant)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "more than one tenant");
    p->has_tenant = true;
    return lt_uuid_parse(value, p->tenant_id, e);
}

static int take_host(const char *value, struct lt_peer *p, struct lt_err *e)
{
    if (p->has_host)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "more than one host");
    p->has_host = true;
    return lt_unhex(value, p->host_id, sizeof p->host_id, e);
}

#define URN "urn:limetree:"

static const struct {
    const char *prefix;
    int (*take)(const char *value, struct lt_peer *p, struct lt_err *e);
} urns[] = {
    {URN "role:", take_role},
    {URN "tenant:", take_tenant},
    {URN "host:", take_host},
};

/* A name is a C string from here on: a NUL in the middle would make two readers see two names. */
static int take_name(const GENERAL_NAME *gn, struct lt_peer *p, struct lt_err *e)
{
    if (gn->type != GEN_URI && gn->type != GEN_DNS && gn->type != GEN_EMAIL)
        return 0;
    const char *s = (const char *)ASN1_STRING_get0_data(gn->d.ia5);
    size_t n = (size_t)ASN1_STRING_length(gn->d.ia5);
    if (n > 255)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: a subject name of %zu bytes", n);
    for (size_t i = 0; i < n; i++)
        if (s[i] <= 0x20 || s[i] >= 0x7f)
            return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: byte %02x in a subject name",
                           (unsigned char)s[i]);
    /* URN schemes compare without case, our names do not: what is nearly ours is refused, not skipped. */
    if (gn->type != GEN_URI || n < strlen(URN) || strncasecmp(s, URN, strlen(URN)))
        return 0;
    char text[256];
    memcpy(text, s, n);
    text[n] = 0;
    for (size_t i = 0; i < sizeof urns / sizeof *urns; i++) {
        size_t len = strlen(urns[i].prefix);
        if (strncmp(text, urns[i].prefix, len))
            continue;
        struct lt_err why = {0};
        return urns[i].take(text + len, p, &why)
                   ? lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: %s: %s", text, why.msg)
                   : 0;
    }
    return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: unknown name \"%s\"", text);
}

static int take_names(X509 *x, struct lt_peer *p, struct lt_err *e)
{
    int crit = 0;
    LT_AUTO(GENERAL_NAMES) GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, &crit, NULL);
    if (!names && crit != -1) /* -2: twice; otherwise malformed */
        return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: its subject names cannot be read");
    int rc = 0;
    for (int i = 0; !rc && i < sk_GENERAL_NAME_num(names); i++)
        rc = take_name(sk_GENERAL_NAME_value(names, i), p, e);
    if (!rc && (p->roles & LT_PEER_ROLE_TENANT) && !p->has_tenant)
        rc = lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: role tenant without " URN "tenant:UUID");
    if (!rc && (p->roles & LT_PEER_ROLE_HOST) && !p->has_host)
        rc = lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: role host without " URN "host:HEX");
    return rc;
}

static int take_usage(X509 *x, struct lt_peer *p, struct lt_err *e)
{
    uint32_t flags = X509_get_extension_flags(x);
    uint32_t eku = X509_get_extended_key_usage(x); /* UINT32_MAX: no such extension */

    if (flags & (EXFLAG_INVALID | EXFLAG_CRITICAL))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: an extension that is malformed or not known");
    if (flags & EXFLAG_CA)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: a CA's own certificate is nobody's identity");
    p->may_serve = (flags & EXFLAG_XKUSAGE) && (eku & XKU_SSL_SERVER);
    p->may_call = !(flags & EXFLAG_XKUSAGE) || (eku & XKU_SSL_CLIENT);
    struct tm tm;
    if (!ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: its last day cannot be read");
    p->not_after = timegm(&tm);
    return 0;
}

int lt_peer_from_der(const uint8_t *der, size_t n, struct lt_peer *out, struct lt_err *e)
{
    const uint8_t *at = der;
    struct lt_peer p = {0};

    memset(out, 0, sizeof *out);
    if (n > LT_MAX_CERTIFICATE)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: %zu bytes > %d", n, LT_MAX_CERTIFICATE);
    LT_AUTO(X509) X509 *x = d2i_X509(NULL, &at, (long)n);
    if (!x || at != der + n) {
        ERR_clear_error();
        return lt_fail(e, LT_E_UNAUTHENTICATED, "certificate: not one X.509 certificate in DER");
    }
    lt_sha256(der, n, p.fingerprint);
    int rc = take_usage(x, &p, e);
    if (!rc)
        rc = take_names(x, &p, e);
    ERR_clear_error();
    if (!rc)
        *out = p;
    return rc;
}

int lt_peer_as_keylime_admin(struct lt_peer *p, struct lt_err *e)
{
    if (p->roles || p->has_tenant || p->has_host) {
        *p = (struct lt_peer){0};
        return lt_fail(e, LT_E_UNAUTHENTICATED,
                       "certificate: it names a role or a scope, and the Keylime admin CA gives none");
    }
    p->roles = LT_PEER_ROLE_KEYLIME_ADMIN;
    return 0;
}
