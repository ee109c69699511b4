/* The routes of the host agent (docs/api.md), and what they work on. */
#ifndef LT_AGENT_HOST_API_H
#define LT_AGENT_HOST_API_H

#include "agent/attester.h"
#include "agent/sequence.h"
#include "agent/tpm.h"
#include "agent/vault_api.h"
#include "common/http/server.h"
#include "vtpm/inventory.h"

struct lt_host_api {
    struct lt_tpm *tpm;
    struct lt_attester *attester;
    struct lt_vtpm_inventory *inventory;
    struct lt_sequence sequence; /* of the one thread that the blocking routes run on */
    const char *ima, *boot_log;
    uint8_t host_id[LT_RESIDENCY_HOST_ID];
    uint8_t pcr13[LT_SHA256]; /* what PCR 13 must hold in every quote */
    struct lt_agent_vault_api vault;
};

/* Handlers' app is a struct lt_host_api. */
extern const struct lt_http_route lt_agent_host_routes[];
extern const size_t lt_agent_host_route_count;

#endif
