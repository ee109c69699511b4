/* The directory in which libvirt keeps a domain's vTPM: BASE/UUID/tpm2, with swtpm's `.lock` and
 * `tpm2-00.permall`, and `TMP2-00.permall` if a swtpm was killed while it wrote. swtpm loads more than that,
 * at a cold start too (docs/sealing.md section 3): nothing else may lie there. Links in it are never
 * followed. */
#ifndef LT_VTPM_STATEDIR_H
#define LT_VTPM_STATEDIR_H

#include "common/ids.h"

#include <sys/types.h>

struct lt_statedir {
    const char *base; /* see lt_statedir_base */
    uid_t uid;        /* swtpm's user and group: who owns tpm2 and what is in it */
    gid_t gid;
};

/* libvirt 9's, by its URI: /var/lib/libvirt/swtpm (system), $XDG_CONFIG_HOME or ~/.config and
 * /libvirt/qemu/swtpm (session). *out: caller frees. */
int lt_statedir_base(const char *uri, char **out, struct lt_err *e) LT_MUST_CHECK;

/* Nothing but these lies in that open directory: LT_E_STATE_VOLATILE. */
int lt_statedir_only(int dir, struct lt_err *e) LT_MUST_CHECK;
/* The state file's bytes; caller wipes and frees. LT_E_NOT_FOUND: there is no state (libvirt would make one);
 * LT_E_STATE_VOLATILE (state-volatile): something lies there that must not; LT_E_REFUSED: not directories and
 * regular files of their owners. */
int lt_statedir_read(const struct lt_statedir *d, const uint8_t uuid[LT_UUID], uint8_t **out, size_t *n,
                     struct lt_err *e) LT_MUST_CHECK;
/* Puts a made state there, whole or not at all, also over a power cut: a temporary name, fsync, rename.
 * LT_E_CONFLICT: BASE/UUID exists. What an earlier, killed attempt left is removed. */
int lt_statedir_install(const struct lt_statedir *d, const uint8_t uuid[LT_UUID], const void *state, size_t n,
                        struct lt_err *e) LT_MUST_CHECK;
/* Takes BASE/UUID away, with swtpm's files in it and nothing else: for `provision --convert`, whose domain
 * must not run. Not there: fine. LT_E_REFUSED: something of another kind lies there, and all of it still
 * does.
 */
int lt_statedir_remove(const struct lt_statedir *d, const uint8_t uuid[LT_UUID],
                       struct lt_err *e) LT_MUST_CHECK;

#endif
