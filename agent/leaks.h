/* Whether this host may have its vault open: check_seals.h asked again every two seconds, so that whoever
 * wants to know does not wait. */
#ifndef LT_AGENT_LEAKS_H
#define LT_AGENT_LEAKS_H

#include "agent/conf.h"

/* What of agent/check_seals.h closes the vault. */
enum lt_agent_leaks_mode { LT_AGENT_LEAKS_NONE, LT_AGENT_LEAKS_LEAKS, LT_AGENT_LEAKS_ALL };
/* "none", "leaks", "all". */
int lt_agent_leaks_mode(const char *value, enum lt_agent_leaks_mode *out, struct lt_err *e) LT_MUST_CHECK;

struct lt_agent_leaks;
/* Looks once before it returns. swtpm_user: as in the configuration; "": whoever runs it is not judged. */
int lt_agent_leaks_start(enum lt_agent_leaks_mode mode, const char *swtpm_user, struct lt_agent_leaks **out,
                         struct lt_err *e) LT_MUST_CHECK;
void lt_agent_leaks_stop(struct lt_agent_leaks *l); /* NULL is fine */
/* NULL, or the slug of what closes it: for lt_agent_seal_conf.leak. Does not block. */
const char *lt_agent_leaks_now(void *leaks);

/* limetree-agent --check-seals: *out is lt_check_seals_to_json's, also where it returns LT_E_REFUSED because
 * something does not hold. */
int lt_agent_leaks_command(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                           struct lt_err *e) LT_MUST_CHECK;

#endif
