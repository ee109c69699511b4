/* The first secret of a guest, as `keylime_tenant -c add` brings it (keylime-api 3.6, 8): K is drawn here and
 * seals the payload; U = K xor V and the payload go to the guest's agent, V to the tenant, which gives it
 * away when the guest is trusted. So U and V meet here and in the guest, and nowhere else. */
#ifndef LT_CLI_BOOTSTRAP_H
#define LT_CLI_BOOTSTRAP_H

#include "cli/client.h"
#include "keylime/agent.h"
#include "keylime/share.h"

struct lt_cli_bootstrap {
    struct lt_agent agent; /* as registered */
    char address[LT_MAX_ADDRESS + 1];
    unsigned minor; /* of its API 2.minor */
    char *pubkey;   /* its transport key, that a quote of its TPM named */
    struct lt_share k, u, v;
};
void lt_cli_bootstrap_free(struct lt_cli_bootstrap *b); /* wipes */
#define LT_CLI_AUTOBOOTSTRAP __attribute__((cleanup(lt_cli_bootstrap_free)))

/* Asks the registrar for agent id, the agent for its identity (which its registered AK must have signed, over
 * a fresh nonce and the transport key), draws K, and brings U and the payload. address: c->address, or as
 * registered. b->v is the tenant's then. Says what it does, line by line. */
int lt_cli_bootstrap_begin(struct lt_cli *c, const char *id, struct lt_slice payload,
                           struct lt_cli_bootstrap *b, struct lt_err *e) LT_MUST_CHECK;
/* Until V was delivered and the agent proves that it has K; at most wait_s. LT_E_REFUSED: the guest failed,
 * or has another key; LT_E_TIMEOUT: not yet, and why. */
int lt_cli_bootstrap_wait(struct lt_cli *c, const char *uuid, const struct lt_cli_bootstrap *b,
                          struct lt_err *e) LT_MUST_CHECK;

#endif
