/* What the rounds are given: tenant/rounds.h. */
#ifndef LT_TENANT_ROUNDS_CONF_H
#define LT_TENANT_ROUNDS_CONF_H

#include "common/run/work.h"
#include "tenant/bundles.h"
#include "verifier/hosts.h"
#include "verifier/sealing.h"
#include "verifier/vault.h"

struct lt_guest_ek;

struct lt_rounds_conf {
    uint8_t tenant_id[16];
    const char *provider; /* https://HOST:PORT; NULL: none, and every guest is judged without a host */
    uint64_t period_ms, max_stale_ms, window_ms, gather_ms;
    bool revoke_unproven;   /* a guest that is unproven goes into the store's outbox */
    struct lt_store *store; /* borrowed, as all below */
    const struct lt_vault *vault;
    struct lt_bundles *bundles;
    struct lt_budget *memory;
    struct lt_hosts *hosts;
    struct lt_sealing_cache *openers;
    struct lt_guest_ek *guest_ek;
    struct lt_documents *documents;
    struct lt_work *pool;
    struct lt_work *large; /* for what takes long because it is long: few of those keep the others waiting */
    struct lt_work *fetch; /* for what waits for the provider: a host that hangs keeps no appraisal waiting */
    struct lt_http_client *to_provider;
    struct lt_http_client *to_guests; /* taken over */
};

#endif
