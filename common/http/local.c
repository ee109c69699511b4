#include "common/http/local.h"

#include "common/alloc.h"
#include "common/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

const char *lt_http_local_path(const char *listen)
{
    size_t n = strlen(LT_HTTP_LOCAL);

    return listen && !strncmp(listen, LT_HTTP_LOCAL, n) ? listen + n : NULL;
}

int lt_http_local_check(const char *listen, struct lt_err *e)
{
    const char *path = lt_http_local_path(listen);
    struct sockaddr_un a;

    if (!path || *path != '/' || !strrchr(path, '/')[1])
        return lt_fail(e, LT_E_CONFIG, "listen = %.200s: not the absolute path of a socket", listen);
    if (strlen(path) >= sizeof a.sun_path)
        return lt_fail(e, LT_E_CONFIG, "listen = %.200s: more than %zu bytes, the most a socket's path has",
                       listen, sizeof a.sun_path - 1);
    return 0;
}

static int bad(const char *path, const char *what, struct lt_err *e)
{
    return lt_fail(e, LT_E_IO, "%s: %s: %s", path, what, strerror(errno));
}

static void address_of(const char *path, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, path, strlen(path) + 1);
}

static int check_directory(const char *path, struct lt_err *e)
{
    LT_AUTOFREE char *dir = strdup(path);

    if (!dir)
        return lt_fail(e, LT_E_NO_MEMORY, "listen: no memory");
    char *slash = strrchr(dir, '/');
    slash[slash == dir] = 0;
    return lt_file_dir_private(dir, e);
}

/* Who serves there answers; of a dead process only the name is left. */
static int remove_stale(const struct sockaddr_un *a, struct lt_err *e)
{
    struct stat st;

    if (lstat(a->sun_path, &st))
        return errno == ENOENT ? 0 : bad(a->sun_path, "stat", e);
    if (!S_ISSOCK(st.st_mode))
        return lt_fail(e, LT_E_CONFLICT, "%s: there is something else than a socket; it was left alone",
                       a->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return bad(a->sun_path, "socket", e);
    bool dead = connect(fd, (const struct sockaddr *)a, sizeof *a) && errno == ECONNREFUSED;
    close(fd);
    if (!dead)
        return lt_fail(e, LT_E_CONFLICT, "%s: another process serves there", a->sun_path);
    return unlink(a->sun_path) ? bad(a->sun_path, "unlink", e) : 0;
}

/* Before listen() nobody can connect, so the mode is right before there is anybody to ask for it. */
static int serve(int fd, const struct sockaddr_un *a, struct lt_http_local *out, struct lt_err *e)
{
    struct stat st;

    if (bind(fd, (const struct sockaddr *)a, sizeof *a))
        return bad(a->sun_path, "bind", e);
    if (lstat(a->sun_path, &st))
        return bad(a->sun_path, "stat", e);
    *out = (struct lt_http_local){.dev = st.st_dev, .ino = st.st_ino};
    memcpy(out->path, a->sun_path, sizeof out->path);
    if (chmod(a->sun_path, 0600) || listen(fd, SOMAXCONN))
        return bad(a->sun_path, "listen", e);
    return 0;
}

int lt_http_local_listen(const char *listen, struct lt_http_local *out, int *fd, struct lt_err *e)
{
    struct sockaddr_un a;

    *out = (struct lt_http_local){.path = ""};
    LT_TRY(lt_http_local_check(listen, e));
    address_of(lt_http_local_path(listen), &a);
    LT_TRY(check_directory(a.sun_path, e));
    LT_TRY(remove_stale(&a, e));
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = *fd < 0 ? bad(a.sun_path, "socket", e) : serve(*fd, &a, out, e);
    if (rc && *fd >= 0)
        close(*fd);
    if (rc)
        lt_http_local_remove(out);
    return rc;
}

void lt_http_local_remove(struct lt_http_local *l)
{
    struct stat st;

    if (*l->path && !lstat(l->path, &st) && st.st_dev == l->dev && st.st_ino == l->ino)
        (void)!unlink(l->path);
    l->path[0] = 0;
}

bool lt_http_local_uid(int fd, uid_t *uid)
{
    struct ucred c = {.uid = (uid_t)-1};
    socklen_t n = sizeof c;

    bool told = !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) && n == sizeof c;
    *uid = told ? c.uid : (uid_t)-1;
    return told;
}

bool lt_http_local_may(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}
