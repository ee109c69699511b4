/* Which unix socket ends where: the kernel's answer to SOCK_DIAG_BY_FAMILY for AF_UNIX, with peers and names.
 * Only sockets of our network namespace are told. */
#ifndef LT_VTPM_SOCKDIAG_H
#define LT_VTPM_SOCKDIAG_H

#include "common/bytes.h"

#define LT_SOCKDIAG_SOCKET_NAME 109 /* sun_path and a NUL; abstract names begin with '@' */

struct lt_sockdiag_socket {
    uint32_t inode, peer; /* peer 0: not connected */
    uint8_t state;        /* TCP_ESTABLISHED, TCP_LISTEN … */
    char name[LT_SOCKDIAG_SOCKET_NAME];
};

struct lt_sockdiag_sockets {
    struct lt_sockdiag_socket *list; /* ascending by inode */
    size_t count, cap;
};

/* All of them, now. lt_sockdiag_sockets_free afterwards also on failure. */
int lt_sockdiag_sockets_read(struct lt_sockdiag_sockets *out, struct lt_err *e) LT_MUST_CHECK;
void lt_sockdiag_sockets_free(struct lt_sockdiag_sockets *s);
/* NULL: no unix socket of this namespace has that inode. */
const struct lt_sockdiag_socket *lt_sockdiag_sockets_find(const struct lt_sockdiag_sockets *s,
                                                          uint32_t inode);

/* One datagram of the answer, appended to *out; *done when it held the end. Exposed for tests;
 * lt_sockdiag_sockets_sort before lt_sockdiag_sockets_find. */
int lt_sockdiag_sockets_parse(const void *p, size_t n, struct lt_sockdiag_sockets *out, bool *done,
                              struct lt_err *e) LT_MUST_CHECK;
void lt_sockdiag_sockets_sort(struct lt_sockdiag_sockets *s);

#endif
