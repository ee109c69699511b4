/* What a payload becomes (keylime-api 3.6): a directory "unzipped" (0700) in the agent's private one
 * (agent/secure.h), with derived_tci_key, decrypted_payload and, if that is a zip, what is in it. Whole or
 * not at all: an earlier one stays until the new one is complete. */
#ifndef LT_AGENT_PAYLOAD_H
#define LT_AGENT_PAYLOAD_H

#include "keylime/share.h"

#define LT_AGENT_PAYLOAD_DIR "unzipped"
#define LT_AGENT_PAYLOAD_AUTORUN "autorun.sh"
#define LT_AGENT_PAYLOAD_CERTIFICATE "RevocationNotifier-cert.crt"
#define LT_AGENT_PAYLOAD_ACTIONS "action_list"

/* fd: the private directory. sealed.p NULL: the key alone. An error of class peer is the payload's; nothing
 * of it is left then. */
int lt_agent_payload_install(int fd, const struct lt_share *k, struct lt_slice sealed,
                             struct lt_err *e) LT_MUST_CHECK;
/* Removes what an install left that was killed before its end. */
void lt_agent_payload_tidy(int fd);
/* It has a file of that name at the top. Made executable for us, since it is about to run. */
bool lt_agent_payload_program(int fd, const char *name);

#endif
