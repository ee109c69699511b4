/* limetree ca serve: the daemon of a CA of guests' certificates (common/pki/ca.h).
 *
 *   PUT /ca/v1/guests/ID {"state": "good" | "held" | "revoked"}   tenant, operator (mutual TLS); the tenant
 * must be GET /ca/v1/certificates                                       the one that our own certificate
 * names GET /guests.crl (DER), /guests-ca.crt (PEM)                   anybody, plain HTTP */
#ifndef LT_CLI_CA_H
#define LT_CLI_CA_H

#include "common/http/server.h"
#include "common/pki/ca.h"

/* The whole of it: argv as main() has it, options of every daemon. */
int lt_cli_ca_serve(int argc, char **argv);

struct lt_cli_ca {
    struct lt_ca *ca;
    uint8_t tenant_id[16]; /* whose guests these are */
};
/* docs/api.md, "The CA of guests' certificates"; app is a struct lt_cli_ca. */
extern const struct lt_http_route lt_cli_ca_routes[], lt_cli_ca_list_routes[];
extern const size_t lt_cli_ca_route_count, lt_cli_ca_list_route_count;

#endif
