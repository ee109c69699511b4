/* What stands behind a host quote, as the provider has it (verifier/host_source.h): keys of its own registry,
 * which lists no host whose AK it did not activate, the documents it publishes, and logs from the host's
 * agent. */
#ifndef LT_PROVIDER_EVIDENCE_H
#define LT_PROVIDER_EVIDENCE_H

#include "provider/registry.h"
#include "verifier/host_source.h"

struct lt_evidence {
    struct lt_registry *registry;
    struct lt_budget *memory;
};

/* s is borrowed. */
struct lt_host_source lt_evidence_source(struct lt_evidence *s);

#endif
