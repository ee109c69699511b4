/* A channel to ZeroMQ subscribers (keylime-api 4.7): a PUB socket, one frame with the message each. Who
 * listens is not known, so publishing is confirming: a subscriber that is away then misses it. */
#ifndef LT_VERIFIER_REVOKE_PUBLISH_H
#define LT_VERIFIER_REVOKE_PUBLISH_H

#include "verifier/revoke/revoke.h"

#define LT_REVOKE_PUBLISH "zeromq" /* the one receiver's name */

struct lt_revoke_publish;

/* listen: ADDRESS:PORT with numbers; port 0: the system picks. Plain TCP, for anybody to read: what is
 * published is signed, not secret. */
int lt_revoke_publish_open(const char *listen, struct lt_revoke_publish **out,
                           struct lt_err *e) LT_MUST_CHECK;
void lt_revoke_publish_close(struct lt_revoke_publish *p); /* after lt_revoke_stop; NULL is fine */
/* "127.0.0.1:40123", as bound. */
const char *lt_revoke_publish_address(const struct lt_revoke_publish *p);
/* For struct lt_revoke_channel. */
void lt_revoke_publish_send(void *publish, struct lt_revoke_delivery *d);

#endif
