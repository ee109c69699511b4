/* Making certificates (limetree pki; tests): P-256, SHA-256, PEM files; keys 0600. */
#ifndef LT_COMMON_PKI_ISSUE_H
#define LT_COMMON_PKI_ISSUE_H

#include "common/bytes.h"

struct lt_pki_subject {
    const char *common_name;
    unsigned role;            /* 0: none */
    const uint8_t *tenant_id; /* 16 bytes or NULL */
    const uint8_t *host_id;   /* 16 bytes or NULL */
    const char *const *names; /* DNS names and IP addresses, NULL-ended; may be NULL */
    bool server, client;      /* extended key usage */
    int days;
};

/* Self-signed CA. Refuses to overwrite. */
int lt_pki_make_ca(const char *cert_path, const char *key_path, const char *common_name, int days,
                   struct lt_err *e) LT_MUST_CHECK;
/* A leaf under that CA; ca_cert NULL: self-signed (an agent's mtls_cert). Refuses to overwrite. */
int lt_pki_issue(const char *ca_cert, const char *ca_key, const struct lt_pki_subject *s,
                 const char *cert_path, const char *key_path, struct lt_err *e) LT_MUST_CHECK;

/* The CA's list of revoked certificates, PEM, good for so many days: what was on it stays on it, cert (NULL:
 * nothing new) is added. Written whole or not at all. LT_E_REFUSED: cert is another CA's. */
int lt_pki_revoke(const char *ca_cert, const char *ca_key, const char *cert, const char *list, int days,
                  struct lt_err *e) LT_MUST_CHECK;

#endif
