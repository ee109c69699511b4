/* The key of a sealed vTPM in libvirtd, for as long as its domain starts (docs/sealing.md section 3, Start):
 * an ephemeral, private secret. A connection of its own, read-write, on a thread of its own: a libvirtd that
 * hangs costs its caller a timeout and nothing more, and may be waiting for us (a hook). */
#ifndef LT_VTPM_SECRETS_H
#define LT_VTPM_SECRETS_H

#include "common/ids.h"
#include "vtpm/seal/entry.h"

#define LT_SECRETS_USAGE "limetree:" /* and the domain's UUID: usage name, type vtpm */
#define LT_SECRETS_TIMEOUT_MS 5000   /* of one call below */

struct lt_secrets;

/* uri as an inventory's; NULL or "": the same default. Connects when first used, and again when lost.
 * LT_E_CONFIG: no libvirt here. */
int lt_secrets_start(const char *uri, struct lt_secrets **out, struct lt_err *e) LT_MUST_CHECK;
/* NULL is fine. A call that libvirtd still holds is left to end by itself. */
void lt_secrets_stop(struct lt_secrets *s);

/* Whatever stands under that domain's secret UUID or our usage name is undefined; then ours is defined and
 * given the key. One call at a time, any thread. LT_E_TIMEOUT: libvirtd has not answered; if the call comes
 * through later, the secret is undefined again. LT_E_BUSY: the call before has not come back yet. */
int lt_secrets_put(struct lt_secrets *s, const uint8_t domain[LT_UUID], const char key[LT_SEAL_KEY],
                   struct lt_err *e) LT_MUST_CHECK;
/* Undefines both. Nothing there: fine. */
int lt_secrets_drop(struct lt_secrets *s, const uint8_t domain[LT_UUID], struct lt_err *e) LT_MUST_CHECK;
/* Undefines every secret of type vtpm whose usage name begins with LT_SECRETS_USAGE: what an agent left that
 * was killed while a domain started. At start. */
int lt_secrets_sweep(struct lt_secrets *s, struct lt_err *e) LT_MUST_CHECK;

#endif
