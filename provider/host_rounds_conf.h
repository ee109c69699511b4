/* What the rounds of hosts are given: provider/host_rounds.h. */
#ifndef LT_PROVIDER_HOST_ROUNDS_CONF_H
#define LT_PROVIDER_HOST_ROUNDS_CONF_H

#include "provider/registry.h"

struct lt_provider_rounds_conf {
    struct lt_registry *registry;           /* borrowed */
    struct lt_provider_host_shared *shared; /* whose `changed` is set; no host is asked before */
    const char *state_dir;
    const char *roots;                /* as lt_roots_load takes it; NULL: EK certificates are not judged */
    uint64_t period_ms, max_stale_ms; /* max_stale_ms 0: three periods, at least 180 s */
    size_t max_memory, max_documents; /* bytes: logs that are kept, documents and their tables on disk */
    const char *webhook, *webhook_ca; /* provider/hook.h; NULL: none */
    int64_t dead_s;                   /* after that a receiver that takes nothing is told as dead */
    bool accept_boot_only, accept_ek_unproven;
};

#endif
