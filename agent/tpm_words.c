#include "agent/tpm_words.h"

#include "common/run/lock.h"

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tpm2_types.h>
#include <unistd.h>

/* ---- response codes ---- */

#define FIRST_REFERENCE TPM2_RC_REFERENCE_H0
#define LAST_REFERENCE TPM2_RC_REFERENCE_S6

static const struct {
    TSS2_RC rc;
    const char *words;
} warnings[] = {
    {TPM2_RC_INITIALIZE, "the TPM was reset and nobody has started it: reboot this machine"},
    {TPM2_RC_FAILURE, "the TPM is in failure mode: power this machine off and on"},
    {TPM2_RC_REBOOT, "the TPM wants a reset: reboot this machine"},
    {TPM2_RC_LOCKOUT,
     "lockout: too many wrong authorizations or hard stops. It forgives with time; its owner ends it "
     "at once with tpm2_dictionarylockout --clear-lockout"},
    {TPM2_RC_RETRY, "the TPM is busy"},
    {TPM2_RC_YIELDED, "the TPM is busy"},
    {TPM2_RC_TESTING, "the TPM is busy with its self-test"},
    {TPM2_RC_NV_RATE, "the TPM is busy: it limits the rate of writes"},
    {TPM2_RC_NV_UNAVAILABLE, "the TPM cannot write its memory now"},
    {TPM2_RC_NV_SPACE, "the TPM's memory is full: remove keys or indices that nobody needs"},
    {TPM2_RC_OBJECT_MEMORY, "no slot for keys is free: other programs fill them"},
    {TPM2_RC_OBJECT_HANDLES, "no slot for keys is free: other programs fill them"},
    {TPM2_RC_SESSION_MEMORY, "no slot for sessions is free: other programs fill them"},
    {TPM2_RC_SESSION_HANDLES, "no slot for sessions is free: other programs fill them"},
    {TPM2_RC_DISABLED, "the command is disabled in this TPM"},
    {TPM2_RC_COMMAND_CODE, "this TPM does not know the command"},
};

/* Format one: about a handle, a session or a parameter, whose number is left out here. */
static const struct {
    TSS2_RC rc;
    const char *words;
} refusals[] = {
    {TPM2_RC_AUTH_FAIL, "wrong auth: the hierarchy or the key has another authorization value"},
    {TPM2_RC_BAD_AUTH, "wrong auth: the hierarchy or the key has another authorization value"},
    {TPM2_RC_HANDLE, "there is no such key: it was removed, or the TPM was reset"},
    {TPM2_RC_HIERARCHY, "the hierarchy is disabled: switch it on in the firmware's setup"},
};

static const struct {
    TSS2_RC rc;
    const char *words;
} transports[] = {
    {TSS2_TCTI_RC_NO_CONNECTION, "no connection to the TPM"},
    {TSS2_TCTI_RC_IO_ERROR, "no connection to the TPM"},
    {TSS2_TCTI_RC_TRY_AGAIN, "the TPM does not answer"},
    {TSS2_TCTI_RC_NOT_SUPPORTED, "not supported by this way to the TPM"},
    {TSS2_TCTI_RC_BAD_VALUE, "the tcti's text is not understood"},
};

const char *lt_tpm_words(TSS2_RC rc)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++)
        if (rc == transports[i].rc)
            return transports[i].words;
    if (rc & TSS2_RC_LAYER_MASK) /* what comes from the TPM itself, or by way of its resource manager */
        return rc >> 16 == TSS2_RESMGR_TPM_RC_LAYER >> 16 ? lt_tpm_words(rc & 0xffff) : NULL;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (rc & TPM2_RC_FMT1 && (rc & 0xbf) == refusals[i].rc)
            return refusals[i].words;
    for (size_t i = 0; i < sizeof warnings / sizeof *warnings; i++)
        if (rc == warnings[i].rc)
            return warnings[i].words;
    return rc >= FIRST_REFERENCE && rc <= LAST_REFERENCE
               ? "a key or session that was loaded is gone: the TPM was reset, or another program flushed it"
               : NULL;
}

/* ---- who holds it ---- */

static bool has_open(pid_t pid, dev_t device)
{
    char dir[32], path[300];
    struct dirent *fd;
    struct stat st;
    bool found = false;

    snprintf(dir, sizeof dir, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(dir);
    while (d && !found && (fd = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", dir, fd->d_name);
        found = *fd->d_name != '.' && !stat(path, &st) && S_ISCHR(st.st_mode) && st.st_rdev == device;
    }
    if (d)
        closedir(d);
    return found;
}

pid_t lt_tpm_words_device_holder(dev_t device)
{
    struct dirent *p;
    pid_t pid = 0;

    DIR *d = opendir("/proc");
    while (d && !pid && (p = readdir(d)))
        if (isdigit((unsigned char)*p->d_name) && has_open((pid_t)strtol(p->d_name, NULL, 10), device))
            pid = (pid_t)strtol(p->d_name, NULL, 10);
    if (d)
        closedir(d);
    return pid;
}

/* ---- why it does not open ---- */

#define PREFIX "libtss2-tcti-"

static void copy(char *out, size_t room, const char *from, size_t n)
{
    n = n < room ? n : room - 1;
    memcpy(out, from, n);
    out[n] = 0;
}

/* "path=…" among "key=value,…" */
static void socket_path(const char *conf, struct lt_tpm_words_tcti *out)
{
    for (const char *at = conf; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, "path=", 5))
            copy(out->path, sizeof out->path, at + 5, strcspn(at + 5, ","));
}

void lt_tpm_words_tcti_parse(const char *tcti, struct lt_tpm_words_tcti *out)
{
    size_t n = strcspn(tcti, ":");
    const char *conf = tcti[n] ? tcti + n + 1 : "";
    const char *slash = memrchr(tcti, '/', n), *from = slash ? slash + 1 : tcti;

    *out = (struct lt_tpm_words_tcti){0};
    n -= (size_t)(from - tcti);
    if (!strncmp(from, PREFIX, strlen(PREFIX))) {
        from += strlen(PREFIX);
        n = strcspn(from, ".:");
    }
    copy(out->name, sizeof out->name, from, n);
    if (!strcmp(out->name, "device"))
        copy(out->path, sizeof out->path, *conf ? conf : "/dev/tpm0",
             *conf ? strlen(conf) : strlen("/dev/tpm0"));
    else if (!strcmp(out->name, "swtpm"))
        socket_path(conf, out);
}

static int absent(struct lt_err *e, const char *path, const char *what)
{
    return lt_fail(e, LT_E_TPM, "absent: %s: %s", path, what);
}

static int denied(struct lt_err *e, const char *path)
{
    struct stat st = {0};

    (void)!stat(path, &st);
    struct group *g = getgrgid(st.st_gid);
    return lt_fail(e, LT_E_TPM,
                   "denied: uid %u may not open %s (mode %04o, uid %u, group %s): run the agent as "
                   "root, or in that group",
                   (unsigned)geteuid(), path, (unsigned)(st.st_mode & 07777), (unsigned)st.st_uid,
                   g ? g->gr_name : "?");
}

static int busy(struct lt_err *e, const char *path)
{
    struct stat st = {0};
    char who[64];
    pid_t pid = stat(path, &st) ? 0 : lt_tpm_words_device_holder(st.st_rdev);

    if (!pid)
        return lt_fail(e, LT_E_TPM, "busy: another program has %s open", path);
    lt_lock_process_text(pid, who);
    return lt_fail(e, LT_E_TPM,
                   "busy: pid %s has %s open; stop it, or use device:/dev/tpmrm0, which many may open", who,
                   path);
}

static int device_trouble(const char *path, struct lt_err *e)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), os = errno;

    if (fd >= 0) {
        bool device = !fstat(fd, &st) && S_ISCHR(st.st_mode);
        close(fd);
        return device ? 0 : lt_fail(e, LT_E_TPM, "absent: %s is no device", path);
    }
    switch (os) {
    case EACCES:
    case EPERM:
        return denied(e, path);
    case EBUSY:
        return busy(e, path);
    case ENOENT:
        return absent(e, path,
                      "there is none. Is the chip on in the firmware's setup? In a VM: has it a vTPM?");
    default:
        return absent(e, path, strerror(os));
    }
}

static int socket_trouble(const char *path, struct lt_err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof a.sun_path)
        return absent(e, path, "too long for a socket's path (107 bytes)");
    memcpy(a.sun_path, path, strlen(path) + 1);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int os = s >= 0 && connect(s, (struct sockaddr *)&a, sizeof a) ? errno : 0;
    if (s >= 0)
        close(s);
    switch (os) {
    case 0:
        return 0;
    case EAGAIN:
        return lt_fail(e, LT_E_TPM, "busy: %s takes no more connections", path);
    case EACCES:
    case EPERM:
        return denied(e, path);
    case ECONNREFUSED:
        return absent(e, path, "nobody listens there: start swtpm");
    case ENOENT:
        return absent(e, path, "there is no such socket: start swtpm");
    default:
        return absent(e, path, strerror(os));
    }
}

static bool loads(const char *library)
{
    void *l = dlopen(library, RTLD_NOW | RTLD_LOCAL);

    if (l)
        dlclose(l);
    return l;
}

/* As the loader tries it: the name itself, then as part of one. */
static bool library_is_here(const char *tcti, const struct lt_tpm_words_tcti *t)
{
    char as_given[256], numbered[96], plain[96];

    copy(as_given, sizeof as_given, tcti, strcspn(tcti, ":"));
    snprintf(numbered, sizeof numbered, PREFIX "%s.so.0", t->name);
    snprintf(plain, sizeof plain, PREFIX "%s.so", t->name);
    return loads(as_given) || loads(numbered) || loads(plain);
}

int lt_tpm_words_tcti_diagnose(const char *tcti, struct lt_err *e)
{
    char control[sizeof((struct lt_tpm_words_tcti *)0)->path + 8];
    struct lt_tpm_words_tcti t;

    lt_tpm_words_tcti_parse(tcti, &t);
    if (*t.name && !library_is_here(tcti, &t))
        return lt_fail(e, LT_E_TPM,
                       "no library " PREFIX "%s.so.0: install it (Debian: libtss2-tcti-%s0), or correct "
                       "the key tcti",
                       t.name, t.name);
    if (!*t.path)
        return 0;
    if (!strcmp(t.name, "device"))
        return device_trouble(t.path, e);
    snprintf(control, sizeof control, "%s.ctrl", t.path); /* the TSS needs both */
    LT_TRY(socket_trouble(t.path, e));
    return socket_trouble(control, e);
}
