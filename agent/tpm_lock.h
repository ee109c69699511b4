/* One agent a TPM. The lock is named by the TPM itself (the Name of its P-256 EK, or of its RSA one where
 * there is no other), not by a path: /dev/tpm0, /dev/tpmrm0, a resource manager's bus, a socket and a link to
 * it are one TPM.
 *
 * It is an abstract socket: seen by all users of one network namespace, gone with its process, and it tells
 * who holds it. */
#ifndef LT_AGENT_TPM_LOCK_H
#define LT_AGENT_TPM_LOCK_H

#include "agent/device.h"

/* On an open TPM, before anything in it is touched: *fd is closed to let go. LT_E_CONFIG names the process
 * that holds it. */
int lt_tpm_lock(struct lt_device *d, int *fd, struct lt_err *e) LT_MUST_CHECK;
/* The same for a name that is known. */
int lt_tpm_lock_name(const uint8_t *name, size_t n, int *fd, struct lt_err *e) LT_MUST_CHECK;

#endif
