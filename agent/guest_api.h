/* What the guest agent's routes work on, and those of them that tell who it is and quote (keylime-api 3.1
 * to 3.4). agent/guest_routes.h has the table. */
#ifndef LT_AGENT_GUEST_API_H
#define LT_AGENT_GUEST_API_H

#include "agent/attester.h"
#include "agent/tpm.h"
#include "common/http/server.h"

#include <stdatomic.h>

struct lt_guest_api {
    struct lt_tpm *tpm;
    struct lt_work *worker; /* reads logs, which may take long */
    struct lt_attester *attester;
    const char *id, *ima, *boot_log;
    struct lt_agent_bootstrap *bootstrap; /* the transport key, and what comes wrapped for it */
    struct lt_agent_revocations *revocations;
    _Atomic uint64_t asked_ms; /* lt_clock_ms() of the last question for a quote; 0: none yet */
};

/* Handlers; app is a struct lt_guest_api. */
void lt_guest_api_version(struct lt_http_req *req, void *app);
void lt_guest_api_info(struct lt_http_req *req, void *app);
void lt_guest_api_pubkey(struct lt_http_req *req, void *app);
void lt_guest_api_quote_identity(struct lt_http_req *req, void *app);
void lt_guest_api_quote_integrity(struct lt_http_req *req, void *app);

/* For handlers: the minor version of "/v2.N/…"; 0 after having answered a request of another one. */
int lt_guest_api_minor(struct lt_http_req *req, int from);
/* A query's value, 1 to 64 characters of [A-Za-z0-9]: nonces and challenges (keylime-api 3.2). */
#define LT_GUEST_API_WORD 64
int lt_guest_api_word(const struct lt_http_req *req, const char *key, char out[LT_GUEST_API_WORD + 1],
                      struct lt_err *e) LT_MUST_CHECK;

#endif
