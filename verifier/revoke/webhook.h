/* A channel to one webhook: POST of Keylime's message to a URL of the configuration, and of nothing else.
 * Over https alone, to a server whose certificate names the host, and redirects are not followed. 2xx
 * confirms. The number of the decision stands in X-Limetree-Revocation: whoever has confirmed one just as we
 * were killed gets it again. */
#ifndef LT_VERIFIER_REVOKE_WEBHOOK_H
#define LT_VERIFIER_REVOKE_WEBHOOK_H

#include "verifier/revoke/revoke.h"

#define LT_REVOKE_WEBHOOK "webhook:"

struct lt_revoke_webhook;

/* https://HOST[:PORT][/…], without a user and a fragment. LT_E_CONFIG, with the key. */
int lt_revoke_webhook_check(const char *key, const char *url, struct lt_err *e) LT_MUST_CHECK;
/* ca: PEM file with the authorities that its server may be under. */
int lt_revoke_webhook_open(const char *url, const char *ca, struct lt_revoke_webhook **out,
                           struct lt_err *e) LT_MUST_CHECK;
/* What is under way ends. NULL is fine. */
void lt_revoke_webhook_close(struct lt_revoke_webhook *w);
/* The receiver's name: a digest in place of the path, which may be a secret. */
const char *lt_revoke_webhook_name(const struct lt_revoke_webhook *w);
/* For struct lt_revoke_channel; webhook: struct lt_revoke_webhook. */
void lt_revoke_webhook_send(void *webhook, struct lt_revoke_delivery *d);

#endif
