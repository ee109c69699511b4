#include "agent/tpm_lock.h"

#include "agent/keys.h"
#include "common/hash.h"
#include "common/run/lock.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAITING 1024 /* askers, none of whom is ever taken up: they want to know who listens */

static socklen_t address(const uint8_t *name, size_t n, struct sockaddr_un *out)
{
    uint8_t digest[LT_SHA256];
    char hex[33];

    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    lt_sha256(name, n, digest);
    lt_hex(digest, 16, hex);
    int length = snprintf(out->sun_path + 1, sizeof out->sun_path - 1, "limetree-agent/tpm/%s", hex);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* Connecting asks the kernel who listens. False: somebody who is neither root nor this user. */
static bool holder(const struct sockaddr_un *a, socklen_t n, char out[64])
{
    struct ucred who = {0};
    socklen_t size = sizeof who;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (s >= 0 && !connect(s, (const struct sockaddr *)a, n) &&
        !getsockopt(s, SOL_SOCKET, SO_PEERCRED, &who, &size) && who.pid > 0)
        lt_lock_process_text(who.pid, out);
    else
        lt_lock_process_text(0, out);
    if (s >= 0)
        close(s);
    return !who.uid || who.uid == geteuid();
}

int lt_tpm_lock_name(const uint8_t *name, size_t n, int *fd, struct lt_err *e)
{
    struct sockaddr_un a;
    socklen_t size = address(name, n, &a);
    char who[64];
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *fd = -1;
    if (s >= 0 && !bind(s, (struct sockaddr *)&a, size) && !listen(s, WAITING)) {
        *fd = s;
        return 0;
    }
    int os = errno;
    if (s >= 0)
        close(s);
    if (os != EADDRINUSE)
        return lt_fail(e, LT_E_IO, "the TPM's lock: %s", strerror(os));
    if (!holder(&a, size, who))
        return lt_fail(
            e, LT_E_CONFIG,
            "pid %s holds this TPM's lock, and is neither root's nor of this user: any process may "
            "take that name. Nothing was changed; end it, then start again",
            who);
    return lt_fail(e, LT_E_CONFIG,
                   "pid %s holds this TPM: one limetree-agent a TPM, whatever its state_dir and tcti. "
                   "Nothing was changed. Is "
                   "this a second start by mistake? Its log names the host; stop it first to start another",
                   who);
}

int lt_tpm_lock(struct lt_device *d, int *fd, struct lt_err *e)
{
    uint8_t name[LT_TPM_NAME];

    *fd = -1;
    LT_TRY(lt_agent_tpm_name(d, name, e));
    return lt_tpm_lock_name(name, sizeof name, fd, e);
}
