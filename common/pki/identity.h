/* Is this the right certificate? Asked before a program binds or calls anybody, so that a wrong one is a
 * sentence at its start and not a riddle in somebody else's log. */
#ifndef LT_COMMON_PKI_IDENTITY_H
#define LT_COMMON_PKI_IDENTITY_H

#include "common/pki/peer.h"

/* The words in front are the configuration's keys, for messages. */
struct lt_identity {
    const char *cert_key, *cert; /* PEM file: certificate, then its intermediates */
    const char *key_key, *key;   /* PEM file, secret */
    const char *ca_key, *ca;     /* PEM file it must lead to; NULL: not asked */
    unsigned role;               /* of enum lt_peer_role it must have; 0: any, or none */
    bool serve, call;            /* what its extended key usage must allow */
    const uint8_t *tenant_id;    /* that it must carry; NULL: not asked */
    const uint8_t *host_id;
    const char *remedy; /* "limetree pki issue DIR --ca federation --role provider --out provider" */
};

/* Files are there and readable, the key is the certificate's, today is between its days, role, ids and usage
 * are those asked for, and it leads to a CA that is in force. LT_E_CONFIG names key, file and remedy. On
 * success its certificates are on the list of common/run/expiry.h, in the place of those that came in under
 * the same key. */
int lt_identity_check(const struct lt_identity *i, struct lt_err *e) LT_MUST_CHECK;
/* Who the first certificate of a PEM file says it is. */
int lt_identity_peer(const char *key, const char *path, struct lt_peer *out, struct lt_err *e) LT_MUST_CHECK;
/* Of a CA file alone: certificates of authorities, one at least in force today. */
int lt_identity_check_ca(const char *key, const char *path, struct lt_err *e) LT_MUST_CHECK;
/* Of two CA files whose certificates mean different things: no key is in both. */
int lt_identity_check_apart(const char *key, const char *path, const char *other_key, const char *other,
                            struct lt_err *e) LT_MUST_CHECK;

#endif
