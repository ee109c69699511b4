/* What every test of a server needs: a throw-away PKI, a client, and the walk over a route table that calls
 * each route as nobody and in every role. Faults fail the running cmocka test. */
#ifndef LT_TESTS_SUPPORT_HTTP_HTTP_CHECK_H
#define LT_TESTS_SUPPORT_HTTP_HTTP_CHECK_H

#include "common/http/client.h"
#include "common/http/server.h"

#define CHECK_DAYS 30

/* A new private directory with a CA, and leaf certificates NAME.crt, NAME.key under it: "server" (role
 * provider, server and client), and one client for each role: "provider", "host", "tenant", "operator", and
 * "none". Beside it an admin CA of Keylime's API with "keylime-admin" under it, and a CA nobody knows with
 * "stranger". */
struct check_pki {
    char dir[64];
    uint8_t tenant_id[16], host_id[16];
    char ca[96], ca_key[96], admin_ca[96];
};

void check_pki_make(struct check_pki *p);
void check_pki_remove(struct check_pki *p); /* the directory and all in it */
/* "DIR/NAME.EXT" in one of a few rotating buffers. */
const char *check_path(const struct check_pki *p, const char *name, const char *ext);

/* A client with the identity NAME (NULL: none) that trusts the CA, whatever the server's role. */
struct lt_http_client *check_client(const struct check_pki *p, const char *name);
/* Blocks; *e has the fault if that is what is returned. path with or without a body. */
int check_call(struct lt_http_client *c, const char *method, const char *address, const char *path,
               const char *body, struct lt_http_reply *reply, struct lt_err *e);
/* The same, demanding a status; returns the body, the caller's to free. */
char *check_status(struct lt_http_client *c, const char *method, const char *address, const char *path,
                   const char *body, int status);

/* Calls every route of the table at a running server ({} becomes a UUID): without a certificate it must end
 * in the handshake or with 401, with a stranger's in the handshake (routes for anyone too), in every role
 * that the access rule does not name with 403, and as Keylime's admin in one of these, before the handler
 * runs. Else routes for anyone are left out. */
void check_routes_are_closed(const struct check_pki *p, const char *address,
                             const struct lt_http_route *routes, size_t count);

#endif
