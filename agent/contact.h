/* Where the registrar's users will find this agent. */
#ifndef LT_AGENT_CONTACT_H
#define LT_AGENT_CONTACT_H

#include "common/http/address.h"

/* LT_E_CONFIG. What a listener listens on will do, if its port is known. */
int lt_contact_parse(const char *text, struct lt_http_address *out, struct lt_err *e) LT_MUST_CHECK;
/* A listener on every address cannot be called at 0.0.0.0: takes the one that packets to the registrar leave
 * from. Others are left as they are. */
int lt_contact_resolve(struct lt_http_address *c, const char *registrar, struct lt_err *e) LT_MUST_CHECK;

#endif
