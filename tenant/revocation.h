/* What a tenant tells of its decisions, and whom: its guests' agents, the authority of their certificates, a
 * webhook, ZeroMQ subscribers. The text is Keylime's message (keylime/notice.h), the same for all, signed
 * with the key that came with the guest it is about. When, in which order and how often again:
 * verifier/revoke/revoke.h.
 *
 *   decision   agents            webhook, ZeroMQ   authority
 *   failed     "revocation"      "revocation"      revoked, before the others are told
 *   unproven   "comm_error"      "comm_error"      held
 *   lifted     -                 "lifted"          good
 */
#ifndef LT_TENANT_REVOCATION_H
#define LT_TENANT_REVOCATION_H

#include "common/http/client.h"
#include "verifier/store/store.h"
#include "verifier/vault.h"

struct lt_revocation;

struct lt_revocation_conf { /* all borrowed; "": that channel is none */
    struct lt_store *store;
    const struct lt_vault *vault;
    struct lt_http_client *to_guests;
    bool agents;                      /* they are told */
    const char *webhook, *webhook_ca; /* URL; PEM file */
    const char *zeromq;               /* ADDRESS:PORT to publish at */
    const char *authority;            /* https://HOST:PORT of limetree ca serve */
    const char *cert, *key, *ca;      /* shown to it; it is under that CA */
};

int lt_revocation_start(const struct lt_revocation_conf *c, struct lt_revocation **out,
                        struct lt_err *e) LT_MUST_CHECK;
/* Nothing leaves from now on. to_guests goes after that, and before lt_revocation_free. NULL is fine. */
void lt_revocation_stop(struct lt_revocation *r);
void lt_revocation_free(struct lt_revocation *r);

/* Where subscribers find it, as bound; NULL: nowhere. */
const char *lt_revocation_zeromq(const struct lt_revocation *r);

#endif
