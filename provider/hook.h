/* The operator's webhook: told of every host that failed, or is unproven, or is proven again, in order, until
 * it confirms (verifier/revoke/). Nobody else is told: a host's agent takes no revocations, and tenants judge
 * for themselves. */
#ifndef LT_PROVIDER_HOOK_H
#define LT_PROVIDER_HOOK_H

#include "verifier/store/store.h"

struct lt_hook;

/* verdicts: the store of hosts' verdicts, borrowed. url NULL: what is decided is kept for people alone. ca:
 * PEM file with the authorities that its server may be under. */
int lt_hook_start(struct lt_store *verdicts, const char *url, const char *ca, struct lt_hook **out,
                  struct lt_err *e) LT_MUST_CHECK;
void lt_hook_free(struct lt_hook *h); /* NULL is fine */

/* The body that it is sent: {"host","kind","decided","verdict"}, docs/api.md. *out: caller frees. app is not
 * used. */
struct lt_outbox_item;
int lt_hook_compose(void *app, const struct lt_outbox_item *item, char **out, struct lt_err *e) LT_MUST_CHECK;

#endif
