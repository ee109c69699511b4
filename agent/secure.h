/* A private directory in memory: what lies there outlives this process, never the boot. With the transport
 * key on a disk, a V that is sent again would open in a system that nobody attested. */
#ifndef LT_AGENT_SECURE_H
#define LT_AGENT_SECURE_H

#include "common/bytes.h"

/* Makes dir (0700) if it is absent. LT_E_CONFIG: it is not ours, others may look into it, or it is not on a
 * tmpfs. *fd: the directory, to be closed by the caller; -1 on failure. */
int lt_secure_open(const char *dir, int *fd, struct lt_err *e) LT_MUST_CHECK;

/* Whether lt_secure_open would take it, or may make it; nothing is made. */
int lt_secure_check(const char *dir, struct lt_err *e) LT_MUST_CHECK;

/* What lt_secure_open looks up: the mount with that id, in the text of /proc/self/mountinfo, has the type
 * "tmpfs" (or "ramfs"), to the letter. LT_E_CONFIG, with the type; LT_E_IO: no such mount. */
int lt_secure_mount(const char *mountinfo, uint64_t mount, struct lt_err *e) LT_MUST_CHECK;

/* Removes what is at dirfd/name, with all below it; symbolic links are not followed. What is not there is
 * gone. */
int lt_secure_remove(int dirfd, const char *name, struct lt_err *e) LT_MUST_CHECK;

#endif
