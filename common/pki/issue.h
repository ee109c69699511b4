/* Making certificates (limetree pki; tests): P-256, SHA-256, PEM files; keys 0600. */
#ifndef LT_COMMON_PKI_ISSUE_H
#define LT_COMMON_PKI_ISSUE_H

#include "common/bytes.h"

#define LT_PKI_EARLY_S 300 /* certificates and lists begin so long before they are made: clocks differ */

struct lt_pki_subject {
    const char *common_name;
    unsigned role;            /* 0: none */
    const uint8_t *tenant_id; /* 16 bytes or NULL */
    const uint8_t *host_id;   /* 16 bytes or NULL */
    const char *const *names; /* DNS names and IP addresses, NULL-ended; may be NULL */
    const char *uri;          /* one more name; NULL: none */
    const char *crl_url;      /* where its CA's list is fetched; NULL: not said */
    bool server, client;      /* extended key usage */
    int days;
};

/* Self-signed CA. Refuses to overwrite. */
int lt_pki_make_ca(const char *cert_path, const char *key_path, const char *common_name, int days,
                   struct lt_err *e) LT_MUST_CHECK;
/* A leaf under that CA; ca_cert NULL: self-signed (an agent's mtls_cert). Refuses to overwrite. */
int lt_pki_issue(const char *ca_cert, const char *ca_key, const struct lt_pki_subject *s,
                 const char *cert_path, const char *key_path, struct lt_err *e) LT_MUST_CHECK;

#define LT_PKI_SERIAL 20 /* bytes of a serial number at most (RFC 5280 section 4.1.2.2) */

/* The same in memory. */
struct lt_pki_made {
    char *cert, *key; /* PEM */
    size_t key_n;
    uint8_t serial[LT_PKI_SERIAL];
    size_t serial_n;
    int64_t ends; /* seconds since 1970 */
};
int lt_pki_make(const char *ca_cert, const char *ca_key, const struct lt_pki_subject *s,
                struct lt_pki_made *out, struct lt_err *e) LT_MUST_CHECK;
/* Into files, as lt_pki_issue does. */
int lt_pki_made_save(const struct lt_pki_made *m, const char *cert_path, const char *key_path,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_pki_made_free(struct lt_pki_made *m); /* wipes the key; zeroed is fine */
/* The serial number of a certificate (PEM) of that CA. LT_E_REFUSED: it is another's. */
int lt_pki_serial(const char *ca_cert, const char *pem, uint8_t serial[LT_PKI_SERIAL], size_t *n,
                  struct lt_err *e) LT_MUST_CHECK;

enum lt_pki_reason { LT_PKI_KEY_COMPROMISE = 1, LT_PKI_HOLD = 6 }; /* RFC 5280 section 5.3.1 */
struct lt_pki_entry {
    uint8_t serial[LT_PKI_SERIAL];
    size_t serial_n;
    int64_t since; /* seconds since 1970 */
    enum lt_pki_reason reason;
};
/* A list of these and no others, with that number, good for life_s from now. */
int lt_pki_list(const char *ca_cert, const char *ca_key, const struct lt_pki_entry *entries, size_t count,
                uint64_t number, int64_t life_s, struct lt_buf *pem, struct lt_buf *der,
                struct lt_err *e) LT_MUST_CHECK;
/* The number of the list in a PEM file; 0: there is none. */
int lt_pki_list_number(const char *path, uint64_t *number, struct lt_err *e) LT_MUST_CHECK;

/* The CA's list of revoked certificates, PEM, good for so many days: what was on it stays on it, cert (NULL:
 * nothing new) is added. Written whole or not at all. LT_E_REFUSED: cert is another CA's. */
int lt_pki_revoke(const char *ca_cert, const char *ca_key, const char *cert, const char *list, int days,
                  struct lt_err *e) LT_MUST_CHECK;

#endif
