/* The host agent's local side: its domains, and the UNIX socket over which `limetree domain` and libvirt's
 * hook reach them. */
#ifndef LT_AGENT_LOCAL_H
#define LT_AGENT_LOCAL_H

#include "agent/conf.h"
#include "agent/seal.h"
#include "vtpm/inventory.h"

struct lt_agent_local;

/* conf, seal and inventory are borrowed until stop. *out is NULL where no local_socket is configured. */
int lt_agent_local_start(const struct lt_agent_conf *conf, struct lt_agent_seal *seal,
                         struct lt_vtpm_inventory *inventory, struct lt_agent_local **out,
                         struct lt_err *e) LT_MUST_CHECK;
void lt_agent_local_stop(struct lt_agent_local *l); /* NULL is fine; before the inventory and the vault go */

/* What the agent that serves at that socket says of its inventory (lt_inventory_report): it alone knows the
 * vault. A new reference. LT_E_UNREACHABLE: none serves. */
int lt_agent_local_inventory(const char *socket, json_t **out, struct lt_err *e) LT_MUST_CHECK;

#endif
