/* What a verdict means to a guest's certificates, told to the authority that issued them (`limetree ca
 * serve`, common/pki/ca.h): PUT /ca/v1/guests/ID {"state": "good" | "held" | "revoked"}. Thread safe. */
#ifndef LT_VERIFIER_CA_CLIENT_H
#define LT_VERIFIER_CA_CLIENT_H

#include "common/pki/ca.h"

struct lt_ca_client;

struct lt_ca_client_conf {
    const char *url;             /* https://HOST:PORT of limetree ca serve */
    const char *cert, *key, *ca; /* PEM files: ours, with the role tenant; the CA its server is under */
};

int lt_ca_client_new(const struct lt_ca_client_conf *c, struct lt_ca_client **out,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_ca_client_free(struct lt_ca_client *c); /* NULL is fine */

/* Waits at most timeout_ms: not from an HTTP handler. 0: the guest's certificates (none is fine) are in this
 * state, and the list that says so can be fetched. Else it is not known; say it again, as often as it takes:
 * `failed` is LT_CA_REVOKED (for ever), `unproven` LT_CA_HELD, and the next trusted verdict LT_CA_GOOD. */
int lt_ca_client_tell(struct lt_ca_client *c, const char *guest, enum lt_ca_state s, long timeout_ms,
                      struct lt_err *e) LT_MUST_CHECK;

#endif
