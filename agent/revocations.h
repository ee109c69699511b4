/* Revocation messages (keylime-api 3.7): taken and answered at once, then judged and acted upon one after the
 * other by a thread of their own. Nothing runs but for a message that the RevocationNotifier-cert.crt of the
 * payload has signed: first the programs of a configured directory, in the order of their names; then, where
 * the payload may run, those that its action_list names. Each gets one argument: a file that holds what was
 * signed. Messages lie in the agent's private directory until they are done: a killed agent goes on with
 * them, and one that it died of is tried once more. */
#ifndef LT_AGENT_REVOCATIONS_H
#define LT_AGENT_REVOCATIONS_H

#include "common/json.h"

struct lt_agent_revocations_conf {
    const char *dir; /* NULL: none is taken */
    int fd;          /* lt_secure_open's of dir; stays the caller's */
    const char *id;
    const char *actions_dir; /* "": none */
    bool run_payload;
    int64_t timeout_s; /* for each action */
};

struct lt_agent_revocations;

int lt_agent_revocations_start(const struct lt_agent_revocations_conf *c, struct lt_agent_revocations **out,
                               struct lt_err *e) LT_MUST_CHECK;
/* Kills a running action; NULL is fine. When nobody calls any more. */
void lt_agent_revocations_stop(struct lt_agent_revocations *r);
/* Any thread; may block. LT_E_MALFORMED: no such message. LT_E_BUSY: LT_MAX_NOTICES wait. LT_E_UNSUPPORTED:
 * no directory. */
int lt_agent_revocations_take(struct lt_agent_revocations *r, const json_t *body,
                              struct lt_err *e) LT_MUST_CHECK;

#endif
