/* One process at a time: a file that holds its holder's pid, flocked for as long as that lives. The file
 * stays behind; only the lock counts, and that ends with the process however it dies. */
#ifndef LT_COMMON_RUN_LOCK_H
#define LT_COMMON_RUN_LOCK_H

#include "common/err.h"

/* Makes path (mode 0600) if it is absent, locks it and writes our pid into it. *fd: to be kept open, -1 on
 * failure. LT_E_CONFLICT when somebody holds it: "PATH: WHAT is in use by process 123 (limetree-tenant)".
 * what: the thing that is locked, for people ("the state directory", "the TPM"). Children do not inherit the
 * lock. */
int lt_lock_take(const char *path, const char *what, int *fd, struct lt_err *e) LT_MUST_CHECK;
/* The same for DIR/pid, which every daemon with a state directory takes first. */
int lt_lock_state(const char *dir, int *fd, struct lt_err *e) LT_MUST_CHECK;
/* fd -1 is fine; it is -1 afterwards. */
void lt_lock_release(int *fd);
/* "123 (limetree-tenant)"; "unknown" for none. */
void lt_lock_process_text(long pid, char out[64]);

#endif
