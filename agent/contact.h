/* Where the registrar's users will find this agent. */
#ifndef LT_AGENT_CONTACT_H
#define LT_AGENT_CONTACT_H

#include "common/err.h"

struct lt_contact {
    char address[256];
    unsigned port;
};

/* "[::1]:9002", "10.0.0.1:9002", "vm.example:9002" */
int lt_contact_parse(const char *text, struct lt_contact *out, struct lt_err *e) LT_MUST_CHECK;
/* A listener on every address cannot be called at 0.0.0.0: takes the one that packets to the registrar leave
 * from. Others are left as they are. */
int lt_contact_resolve(struct lt_contact *c, const char *registrar, struct lt_err *e) LT_MUST_CHECK;

#endif
