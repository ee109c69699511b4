/* The role guest: an agent of Keylime's pull API (keylime-api 3) beside a vTPM. */
#ifndef LT_AGENT_GUEST_H
#define LT_AGENT_GUEST_H

#include "agent/conf.h"

struct lt_agent_guest;

/* conf is borrowed until stop. *ready: {"listen":address,"uuid":id}. */
int lt_guest_start(struct lt_agent_conf *conf, const struct lt_agent_options *o, struct lt_agent_guest **out,
                   json_t **ready, struct lt_err *e) LT_MUST_CHECK;
void lt_guest_stop(struct lt_agent_guest *g);

#endif
