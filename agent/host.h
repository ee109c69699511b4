/* The role host: the only user of the federation key AK_h (protocol.md R1). */
#ifndef LT_AGENT_HOST_H
#define LT_AGENT_HOST_H

#include "agent/conf.h"

struct lt_agent_host;

/* conf is borrowed until stop. Refuses when PCR 13 names something else than AK_h. *ready:
 * {"listen":address,"host":HOST}. */
int lt_agent_host_start(struct lt_agent_conf *conf, const struct lt_agent_options *o,
                        struct lt_agent_host **out, json_t **ready, struct lt_err *e) LT_MUST_CHECK;
/* The lists of revoked certificates are read again. */
void lt_agent_host_reload(struct lt_agent_host *h);
void lt_agent_host_stop(struct lt_agent_host *h);

/* One-shot commands. The first two open the TPM, do their work, and close it again; *out is a new object.
 * anchor: the early unit's work, before libvirtd and any login; {"ak_name","pcr13"}.
 * identity: {"host","ek_digest","ak_name":hex|null,"note":text}, for the operator who issues the host's
 * certificate. It makes no key: without one ak_name is null and note says what to do instead. inventory:
 * lt_inventory_report once it is ready, or as it is after 30 s; the TPM is not opened. */
int lt_agent_host_anchor(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                         struct lt_err *e) LT_MUST_CHECK;
int lt_agent_host_identity(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                           struct lt_err *e) LT_MUST_CHECK;
int lt_agent_host_inventory(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                            struct lt_err *e) LT_MUST_CHECK;

#endif
