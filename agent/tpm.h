/* The thread that owns the TPM: jobs are queued to it and answered by a callback. It opens the TPM again by
 * itself when the connection is lost (a killed swtpm), with backoff, on the next job. */
#ifndef LT_AGENT_TPM_H
#define LT_AGENT_TPM_H

#include "agent/device.h"

struct lt_tpm;

/* On the TPM's thread. A job that fails because the TPM was lost is run once more after a new open: it must
 * be able to begin anew. */
typedef int (*lt_tpm_fn)(struct lt_device *d, void *arg, struct lt_err *e);
typedef void (*lt_tpm_done)(void *arg, int rc, const struct lt_err *e);

/* Opens the TPM before it returns, and holds its lock until it is freed (agent/tpm_lock.h). on_open is called
 * after every open, on the thread that has the TPM: it finds the keys. Its failure is a failure to open. A
 * job that finds the TPM not to be opened ends with LT_E_TPM, whatever the reason. */
int lt_tpm_start(const char *tcti, lt_tpm_fn on_open, void *arg, struct lt_tpm **out,
                 struct lt_err *e) LT_MUST_CHECK;
/* done is called exactly once, from the TPM's thread, or from here if the queue is full. quote: before every
 * job that is not (protocol.md section 7: activations queue behind quotes). */
void lt_tpm_post(struct lt_tpm *t, bool quote, lt_tpm_fn fn, lt_tpm_done done, void *arg);
/* Waits. Not from an HTTP handler. */
int lt_tpm_call(struct lt_tpm *t, lt_tpm_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;
void lt_tpm_stop(struct lt_tpm *t); /* answers what waits with LT_E_BUSY; later posts too */
void lt_tpm_free(struct lt_tpm *t); /* after stop */

#endif
