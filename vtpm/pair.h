/* A domain's QEMU and the swtpm that is its vTPM, and the kernel's word that they are joined
 * (docs/protocol.md section 3, "The snapshot confirms"). */
#ifndef LT_VTPM_PAIR_H
#define LT_VTPM_PAIR_H

#include "vtpm/procs.h"
#include "vtpm/sockdiag.h"

struct lt_pair {
    struct lt_proc qemu, swtpm;
    char control[LT_SOCKDIAG_SOCKET_NAME]; /* the path of swtpm's control socket */
};

#define LT_PAIR_NONE ((struct lt_pair){.qemu = LT_PROC_NONE, .swtpm = LT_PROC_NONE})

/* The one process of that user (of QEMU; LT_PROCS_ANY_UID: not known) with `-uuid UUID` among its words, and
 * the one with --tpmstate whose sockets are joined to it. None, or more than one: LT_E_REFUSED with the
 * reason.
 */
int lt_pair_find(const char *uuid, uid_t uid, const struct lt_sockdiag_sockets *sockets, struct lt_pair *out,
                 struct lt_err *e) LT_MUST_CHECK;
/* Both alive; of swtpm's connected sockets one is the control connection, one the nameless data socket pair,
 * and there is no other; both end in that QEMU. */
int lt_pair_confirm(const struct lt_pair *p, const struct lt_sockdiag_sockets *sockets,
                    struct lt_err *e) LT_MUST_CHECK;
bool lt_pair_alive(const struct lt_pair *p);
void lt_pair_close(struct lt_pair *p);

#endif
