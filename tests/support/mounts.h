/* File systems of a test's own. */
#ifndef LT_TESTS_SUPPORT_MOUNTS_H
#define LT_TESTS_SUPPORT_MOUNTS_H

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static inline bool mounts_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

/* A mount namespace of this process alone, which goes with it; without root in a user namespace, where the
 * kernel allows that. Before there is a second thread. False: there is none to be had. */
static inline bool mounts_of_our_own(void)
{
    unsigned uid = geteuid(), gid = getegid();
    char map[32];

    if (unshare(CLONE_NEWNS)) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !mounts_write("/proc/self/setgroups", "deny"))
            return false;
        snprintf(map, sizeof map, "%u %u 1", uid, uid);
        if (!mounts_write("/proc/self/uid_map", map))
            return false;
        snprintf(map, sizeof map, "%u %u 1", gid, gid);
        if (!mounts_write("/proc/self/gid_map", map))
            return false;
    }
    return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

#endif
