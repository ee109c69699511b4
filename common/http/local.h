/* A server's UNIX socket, and who is at the other end of one. Private to the HTTP server. */
#ifndef LT_COMMON_HTTP_LOCAL_H
#define LT_COMMON_HTTP_LOCAL_H

#include "common/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define LT_HTTP_LOCAL "unix:" /* and an absolute path of at most 107 bytes */

/* The path in "unix:/PATH", or NULL: that is no such address. */
const char *lt_http_local_path(const char *listen);
/* LT_E_CONFIG. Looks at the text only. */
int lt_http_local_check(const char *listen, struct lt_err *e) LT_MUST_CHECK;

struct lt_http_local {
    char path[108]; /* "": none is bound */
    dev_t dev;
    ino_t ino;
};
/* Bound, 0600, listening: *fd is the caller's. Its directory is made if absent, and refused if others than
 * root and we can write to it. A socket that nobody serves is replaced; LT_E_CONFLICT where somebody does, or
 * where there is something else than a socket. */
int lt_http_local_listen(const char *listen, struct lt_http_local *out, int *fd,
                         struct lt_err *e) LT_MUST_CHECK;
/* Removes the socket, if it is still ours. */
void lt_http_local_remove(struct lt_http_local *l);

/* Whom the kernel says: true, and *uid, of the process that made the connection. */
bool lt_http_local_uid(int fd, uid_t *uid);
/* Root, or the user that serves. */
bool lt_http_local_may(uid_t uid);

#endif
