/* A guest's bootstrapping (keylime-api 3.5, 3.6): the transport key; U and V as they come; K when two fit;
 * the payload that K opens, unpacked, and its autorun.sh. All of it lies in one private directory in memory:
 * a killed agent goes on where it was, and after a boot nothing opens.
 *
 *   transport.pem   agent/transport.h          k            K, for keys/verify
 *   u-, v-, p-…     agent/shares.h             state.json   what became of the payload
 *   unzipped/       agent/payload.h            n…           agent/revocations.h
 *
 * Any thread may call. The payload is worked on by a thread of its own. */
#ifndef LT_AGENT_BOOTSTRAP_H
#define LT_AGENT_BOOTSTRAP_H

#include "common/json.h"
#include "keylime/share.h"

struct lt_agent_bootstrap_conf {
    const char
        *dir; /* NULL: there is none in memory. Then the key ends with the process, and no share is taken */
    int fd;   /* lt_secure_open's of dir; stays the caller's */
    const char *id; /* the agent's. All texts are borrowed until stop */
    bool run_payload;
    int64_t payload_timeout_s; /* for autorun.sh */
};

struct lt_agent_bootstrap;

/* Goes on with what lies in dir. */
int lt_agent_bootstrap_start(const struct lt_agent_bootstrap_conf *c, struct lt_agent_bootstrap **out,
                             struct lt_err *e) LT_MUST_CHECK;
/* Kills a running autorun.sh; NULL is fine. When nobody calls any more. */
void lt_agent_bootstrap_stop(struct lt_agent_bootstrap *b);

const char *lt_agent_bootstrap_pubkey(const struct lt_agent_bootstrap *b);           /* PEM, to the letter */
const uint8_t *lt_agent_bootstrap_pubkey_digest(const struct lt_agent_bootstrap *b); /* SHA-256 */

/* A share as it came, and with U its auth_tag and what it opens (p NULL: nothing). They may block.
 * LT_E_REFUSED: not for this transport key. LT_E_UNSUPPORTED: there is no directory. */
int lt_agent_bootstrap_take_u(struct lt_agent_bootstrap *b, struct lt_slice wrapped,
                              const uint8_t tag[LT_SHARE_TAG], struct lt_slice payload,
                              struct lt_err *e) LT_MUST_CHECK;
int lt_agent_bootstrap_take_v(struct lt_agent_bootstrap *b, struct lt_slice wrapped,
                              struct lt_err *e) LT_MUST_CHECK;
/* HMAC of the last K; false: none is known yet. */
bool lt_agent_bootstrap_verify(struct lt_agent_bootstrap *b, const char *challenge,
                               uint8_t out[LT_SHARE_TAG]);
/* A payload is being unpacked: what is to be checked by it waits. */
bool lt_agent_bootstrap_working(struct lt_agent_bootstrap *b);
/* {"state":"none"|"working"|"key-only"|"unpacked"|"refused"|"failed","message":text|null,
 * "autorun":text|null}: a new reference. autorun: null, "due", "started", "done", or why it ended otherwise.
 */
json_t *lt_agent_bootstrap_state(struct lt_agent_bootstrap *b);

#endif
