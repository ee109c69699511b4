/* Facts for agent/check_seals.h, from /proc and /sys. */
#include "agent/check_seals.h"
#include "common/alloc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TPMS 16
#define MOUNTS_TEXT (1u << 20)

struct gather {
    const char *proc, *sys;
    uid_t swtpm_uid;
    dev_t tpm[TPMS];
    unsigned tpms;
    char libvirtd[32]; /* its directory in proc; "": it does not run */
    struct lt_check_seals_facts *f;
};

/* The first size - 1 bytes of dir/name, without the newline at the end; "" where it is not there. */
static void read_text(struct gather *g, const char *dir, const char *name, char *out, size_t size)
{
    char path[PATH_MAX];
    ssize_t got = 1;
    size_t n = 0;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && n + 1 < size && (got = read(fd, out + n, size - 1 - n)) > 0)
        n += (size_t)got;
    if ((fd < 0 || got < 0) && errno != ENOENT && errno != ESRCH && !g->f->unread[0])
        snprintf(g->f->unread, sizeof g->f->unread, "%.180s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    out[n] = 0;
    if (n && out[n - 1] == '\n')
        out[n - 1] = 0;
}

/* ---- devices ---- */

static void find_tpms(struct gather *g, const char *class)
{
    char dir[PATH_MAX], name[NAME_MAX + 8], number[32];
    unsigned a, b;

    snprintf(dir, sizeof dir, "%s/class/%s", g->sys, class);
    DIR *d = opendir(dir);
    for (const struct dirent *x; d && (x = readdir(d)) && g->tpms < TPMS;) {
        if (x->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/dev", x->d_name);
        read_text(g, dir, name, number, sizeof number);
        if (sscanf(number, "%u:%u", &a, &b) == 2)
            g->tpm[g->tpms++] = makedev(a, b);
    }
    if (d)
        closedir(d);
}

static bool is_tpm(const struct gather *g, const struct stat *s)
{
    bool is = false;

    for (unsigned i = 0; i < g->tpms; i++)
        is = is || (S_ISCHR(s->st_mode) && s->st_rdev == g->tpm[i]);
    return is;
}

/* A TPM's node among the entries of that directory. follow: of descriptors, which are links. */
static bool holds_tpm(const struct gather *g, const char *dir, bool follow, char name[NAME_MAX + 1])
{
    struct stat s;
    bool found = false;
    DIR *d = opendir(dir);

    for (const struct dirent *x; d && !found && (x = readdir(d));)
        if (!fstatat(dirfd(d), x->d_name, &s, follow ? 0 : AT_SYMLINK_NOFOLLOW) && is_tpm(g, &s)) {
            snprintf(name, NAME_MAX + 1, "%s", x->d_name);
            found = true;
        }
    if (d)
        closedir(d);
    return found;
}

/* A device that device-mapper made for dm-verity. */
static bool is_verity(struct gather *g, const struct lt_check_seals_mount *m)
{
    char name[64], uuid[64];

    snprintf(name, sizeof name, "dev/block/%s/dm/uuid", m->device);
    read_text(g, g->sys, name, uuid, sizeof uuid);
    return m->ro && !strncmp(uuid, "CRYPT-VERITY-", 13);
}

/* ---- libvirt's processes ---- */

static bool is_daemon(const char *exe)
{
    const size_t n = strlen(exe);
    return !strcmp(exe, "libvirtd") ||
           (!strncmp(exe, "virt", 4) && n > 5 && exe[n - 1] == 'd' && strcmp(exe, "virtiofsd") != 0);
}

static bool is_libvirts(struct gather *g, const char *dir, const char *exe)
{
    static const char *const names[] = {"swtpm", "swtpm_setup", "virtiofsd", "dnsmasq"};
    char cgroup[1024];

    if (is_daemon(exe) || !strncmp(exe, "qemu", 4))
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(exe, names[i]))
            return true;
    read_text(g, dir, "cgroup", cgroup, sizeof cgroup);
    return strstr(cgroup, "/machine.slice/") || strstr(cgroup, "/libvirtd.service") ||
           strstr(cgroup, "/virtqemud.service");
}

/* swtpm as swtpm's user, QEMU as another and not as root, nobody else. */
static bool right_user(const struct gather *g, const char *exe, uid_t uid)
{
    if (is_daemon(exe))
        return true;
    if (!strncmp(exe, "swtpm", 5))
        return g->swtpm_uid == (uid_t)-1 || uid == g->swtpm_uid;
    return !strncmp(exe, "qemu", 4) && uid && uid != g->swtpm_uid;
}

static void look_at_process(struct gather *g, const char *pid)
{
    char dir[PATH_MAX / 2], link[PATH_MAX], exe[PATH_MAX], node[NAME_MAX + 1];
    struct stat s;

    snprintf(dir, sizeof dir, "%s/%s", g->proc, pid);
    snprintf(link, sizeof link, "%s/exe", dir);
    ssize_t n = readlink(link, exe, sizeof exe - 1);
    if (n <= 0 || stat(dir, &s)) /* a kernel's thread, or gone */
        return;
    exe[n] = 0;
    const char *name = strrchr(exe, '/') ? strrchr(exe, '/') + 1 : exe;
    if (!is_libvirts(g, dir, name))
        return;
    if (!strcmp(name, "libvirtd") || !strcmp(name, "virtqemud"))
        snprintf(g->libvirtd, sizeof g->libvirtd, "%s", pid);
    snprintf(link, sizeof link, "%s/fd", dir);
    if (!g->f->tpm_held[0] && holds_tpm(g, link, true, node))
        snprintf(g->f->tpm_held, LT_CHECK_SEALS_TEXT,
                 "%.64s (pid %.16s) has a TPM of this host open: no domain may have one", name, pid);
    snprintf(link, sizeof link, "%s/root/dev", dir);
    if (!g->f->tpm_node[0] && holds_tpm(g, link, false, node))
        snprintf(g->f->tpm_node, LT_CHECK_SEALS_TEXT,
                 "/dev/%.64s is there for %.64s (pid %.16s): InaccessiblePaths= in its unit", node, name,
                 pid);
    if (!g->f->users[0] && !right_user(g, name, s.st_uid))
        snprintf(g->f->users, LT_CHECK_SEALS_TEXT,
                 "%.64s (pid %.16s) runs as uid %u: only QEMU and swtpm may run, swtpm as swtpm_user and "
                 "QEMU as another, not root",
                 name, pid, (unsigned)s.st_uid);
}

static void look_at_processes(struct gather *g)
{
    DIR *d = opendir(g->proc);

    for (const struct dirent *x; d && (x = readdir(d));)
        if (isdigit((unsigned char)x->d_name[0]))
            look_at_process(g, x->d_name);
    if (d)
        closedir(d);
    else
        snprintf(g->f->unread, sizeof g->f->unread, "%.180s: %s", g->proc, strerror(errno));
}

/* ---- mounts ---- */

static bool is_pseudo(const char *type)
{
    static const char *const types[] = {
        "proc",    "sysfs",      "cgroup", "cgroup2", "devtmpfs",    "devpts",     "tmpfs",     "ramfs",
        "debugfs", "securityfs", "mqueue", "tracefs", "configfs",    "pstore",     "hugetlbfs", "efivarfs",
        "bpf",     "autofs",     "nsfs",   "fusectl", "binfmt_misc", "rpc_pipefs", "selinuxfs"};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i]))
            return true;
    return false;
}

static void look_at_mounts(struct gather *g, const char *mountinfo)
{
    static const char *const roots[] = {"/usr", "/etc"};
    struct lt_check_seals_mount m;

    for (size_t i = 0; i < sizeof roots / sizeof *roots && !g->f->root[0]; i++)
        if (!lt_check_seals_mount_of(mountinfo, roots[i], &m) || !is_verity(g, &m))
            snprintf(g->f->root, LT_CHECK_SEALS_TEXT, "%s is not on dm-verity", roots[i]);
    for (const char *at = mountinfo; lt_check_seals_mount_next(&at, &m) && !g->f->mounts[0];)
        if (!m.ro && !is_pseudo(m.type) && !(m.nodev && m.noexec && m.nosuid))
            snprintf(g->f->mounts, LT_CHECK_SEALS_TEXT,
                     "%.120s (%.16s) can be written and is not nodev,noexec,nosuid", m.point, m.type);
}

/* As libvirtd sees them. */
static void look_at_libvirt_files(struct gather *g, const char *mountinfo)
{
    static const char *const paths[] = {"/etc/libvirt/qemu",          "/etc/libvirt/qemu/networks",
                                        "/etc/libvirt/storage",       "/etc/libvirt/secrets",
                                        "/var/lib/libvirt/qemu/save", "/var/lib/libvirt/qemu/snapshot"};
    struct lt_check_seals_mount m;

    for (size_t i = 0; i < sizeof paths / sizeof *paths && !g->f->libvirt_files[0]; i++)
        if (!lt_check_seals_mount_of(mountinfo, paths[i], &m) ||
            (strcmp(m.type, "tmpfs") != 0 && strcmp(m.type, "ramfs") != 0 && !is_verity(g, &m)))
            snprintf(g->f->libvirt_files, LT_CHECK_SEALS_TEXT,
                     "%s outlives a boot: whoever has the disk changes what is started; a tmpfs there",
                     paths[i]);
}

static void read_mounts(struct gather *g)
{
    LT_AUTOFREE char *text = lt_alloc(1, MOUNTS_TEXT);

    read_text(g, g->proc, "self/mountinfo", text, MOUNTS_TEXT);
    look_at_mounts(g, text);
    if (g->libvirtd[0]) {
        char name[64];
        snprintf(name, sizeof name, "%s/mountinfo", g->libvirtd);
        read_text(g, g->proc, name, text, MOUNTS_TEXT);
    }
    look_at_libvirt_files(g, text);
}

/* ---- the kernel ---- */

static void read_memory(struct gather *g)
{
    LT_AUTOFREE char *cpu = lt_alloc(1, 8192); /* the first CPU's part */

    read_text(g, g->proc, "cpuinfo", cpu, 8192);
    for (const char *at = strstr(cpu, "flags"); at && *at && *at != '\n' && !g->f->memory[0]; at++)
        if (!strncmp(at, " sme", 4) || !strncmp(at, " tme", 4))
            snprintf(g->f->memory, sizeof g->f->memory, "%.3s", at + 1);
}

static void read_kernel(struct gather *g)
{
    struct lt_check_seals_facts *f = g->f;
    LT_AUTOFREE char *swaps = lt_alloc(1, 65536);

    read_text(g, g->proc, "swaps", swaps, 65536);
    lt_check_seals_swap(swaps, f->swaps);
    read_text(g, g->sys, "kernel/kexec_crash_loaded", f->crash_loaded, sizeof f->crash_loaded);
    read_text(g, g->sys, "kernel/kexec_loaded", f->kexec_loaded, sizeof f->kexec_loaded);
    read_text(g, g->proc, "sys/kernel/kexec_load_disabled", f->kexec_disabled, sizeof f->kexec_disabled);
    read_text(g, g->sys, "module/module/parameters/sig_enforce", f->sig_enforce, sizeof f->sig_enforce);
    read_text(g, g->sys, "power/state", f->sleep, sizeof f->sleep);
    read_text(g, g->sys, "power/disk", f->hibernate, sizeof f->hibernate);
    read_text(g, g->proc, "sys/kernel/core_pattern", f->core_pattern, sizeof f->core_pattern);
    read_text(g, g->proc, "sys/kernel/core_uses_pid", f->core_uses_pid, sizeof f->core_uses_pid);
    read_text(g, g->sys, "kernel/security/lockdown", f->lockdown, sizeof f->lockdown);
    read_text(g, g->proc, "cmdline", f->cmdline, sizeof f->cmdline);
    read_memory(g);
}

void lt_check_seals_gather(const char *proc, const char *sys, uid_t swtpm_uid,
                           struct lt_check_seals_facts *out)
{
    struct gather g = {.proc = proc, .sys = sys, .swtpm_uid = swtpm_uid, .f = out};

    memset(out, 0, sizeof *out);
    find_tpms(&g, "tpm");
    find_tpms(&g, "tpmrm");
    look_at_processes(&g);
    read_mounts(&g);
    read_kernel(&g);
}
