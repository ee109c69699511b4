/* Enrolment of a host: its agent is asked for its keys, AK_h is activated with EK_h, so that the registry
 * only lists chips that were seen to hold the key. */
#ifndef LT_PROVIDER_ENROL_H
#define LT_PROVIDER_ENROL_H

#include "provider/registry.h"

/* Blocks. ek_digest NULL: whatever EK the agent shows (the operator compares it afterwards). intermediates:
 * an array of PEM texts, or NULL (provider/certificates.h). A known host keeps its policy. *out has one
 * reference. */
int lt_enrol(struct lt_registry *r, const struct lt_provider_host_shared *shared, const char *address,
             const uint8_t *ek_digest, const json_t *intermediates, struct lt_provider_host **out,
             struct lt_err *e) LT_MUST_CHECK;
/* Blocks: takes one quote and makes a policy document of PCR 0-9 from it, which becomes the host's. */
int lt_provider_learn(struct lt_registry *r, struct lt_provider_host *h, bool ima, uint8_t digest[32],
                      struct lt_err *e) LT_MUST_CHECK;

#endif
