/* The routes of the guest agent (keylime-api 3.1), and what they work on. */
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
    char *pubkey;              /* PEM text of the transport key NK, this start's */
    uint8_t pubkey_digest[32]; /* what PCR 16 is extended with */
    _Atomic uint64_t asked_ms; /* lt_clock_ms() of the last question for a quote; 0: none yet */
};

/* Handlers' app is a struct lt_guest_api. */
extern const struct lt_http_route lt_agent_guest_routes[];
extern const size_t lt_agent_guest_route_count;

/* Makes NK, RSA-2048. The caller frees api->pubkey. */
int lt_guest_api_key(struct lt_guest_api *api, struct lt_err *e) LT_MUST_CHECK;

#endif
