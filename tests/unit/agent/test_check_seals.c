/* What a host looks at of its own promises (docs/sealing.md section 7): the kernel's texts, and the judgement
 * of facts, check by check. */
#include "agent/check_seals.h"
#include "agent/leaks.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A host of which everything holds. */
static const struct lt_check_seals_facts good = {
    .crash_loaded = "0",
    .kexec_loaded = "0",
    .kexec_disabled = "1",
    .sig_enforce = "Y",
    .sleep = "freeze mem",
    .hibernate = "[disabled]",
    .core_pattern = "|/bin/false",
    .core_uses_pid = "1",
    .lockdown = "none [integrity] confidentiality",
    .cmdline = "root=/dev/dm-0 ro rd.shell=0 panic=0",
    .memory = "sme",
};

static void swaps(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {{"", ""},
                 {"Filename\tType\tSize\n", ""},
                 {"Filename\tType\n/dev/zram0 partition 4\n", ""},
                 {"Filename\tType\n/dev/zram0 partition 4\n/dev/sda2   partition 5\n", "/dev/sda2"},
                 {"Filename\tType\n/swapfile\\040x file 4\n", "/swapfile\\040x"},
                 {"Filename\tType\n/dev/zram", ""},
                 {"Filename\tType\n/mnt/dev/zram0 file 1", "/mnt/dev/zram0"}};
    char out[LT_CHECK_SEALS_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lt_check_seals_swap(cases[i].text, out);
        assert_string_equal(out, cases[i].want);
    }
}

static void mounts(void **state)
{
    static const char text[] =
        "22 1 253:0 / / ro,relatime shared:1 - erofs /dev/mapper/root ro\n"
        "23 22 0:21 / /proc rw,nosuid,nodev,noexec - proc proc rw\n"
        "not a mount\n"
        "24 22 253:1 / /var rw,nodev,noexec,nosuid master:2 shared:3 - ext4 /dev/sda2 rw,discard\n"
        "25 24 0:30 / /var/with\\040blank rw,relatime - tmpfs tmpfs rw\n"
        "26 22 253:0 /etc /etc rw - erofs /dev/mapper/root ro\n"
        "27 24 253:1 /x /var rw,nodev - xfs /dev/sdb rw";
    struct lt_check_seals_mount m;
    const char *at = text;
    int n = 0;

    (void)state;
    while (lt_check_seals_mount_next(&at, &m))
        n++;
    assert_int_equal(n, 6);
    assert_true(lt_check_seals_mount_of(text, "/usr", &m));
    assert_string_equal(m.device, "253:0");
    assert_true(m.ro && !m.nodev);
    assert_true(lt_check_seals_mount_of(text, "/var/lib", &m));
    assert_string_equal(m.type, "xfs"); /* the later mount on the same point */
    assert_true(m.nodev && !m.noexec && !m.ro);
    assert_true(lt_check_seals_mount_of(text, "/variable", &m));
    assert_string_equal(m.point, "/"); /* no part of a name */
    assert_true(lt_check_seals_mount_of(text, "/var/with blank/x", &m));
    assert_string_equal(m.type, "tmpfs");
    assert_true(lt_check_seals_mount_of(text, "/etc/libvirt", &m));
    assert_true(m.ro); /* of the file system, whatever the mount says */
    assert_false(lt_check_seals_mount_of("", "/", &m));
}

static const char *first(const struct lt_check_seals_facts *f, bool all)
{
    struct lt_check_seals_findings findings;

    lt_check_seals_judge(f, &findings);
    for (int i = 0; i < LT_CHECK_SEALS_COUNT; i++)
        assert_true(findings.of[i].message[0]);
    return lt_check_seals_leak(&findings, all);
}

static void a_good_host(void **state)
{
    (void)state;
    assert_null(first(&good, true));
    assert_null(first(&good, false));
}

/* The fact that is changed, to what, and which check does not hold then. */
static void each_fact(void **state)
{
    static struct lt_check_seals_facts f;
    static const struct {
        char *fact;
        const char *value, *slug;
        bool leak;
    } cases[] = {{f.swaps, "/dev/sda2", "swap", true},
                 {f.crash_loaded, "1", "crash-kernel", true},
                 {f.crash_loaded, "", NULL, false}, /* a kernel without kexec */
                 {f.core_pattern, "core", "core-pattern", true},
                 {f.core_pattern, "/var/crash/%p", "core-pattern", true},
                 {f.core_pattern, "|/lib/systemd/systemd-coredump %P", "core-pattern", true},
                 {f.core_pattern, "|/bin/false x", "core-pattern", true},
                 {f.core_pattern, "", "core-pattern", true}, /* core_uses_pid: .PID */
                 {f.tpm_held, "qemu", "tpm-held", true},
                 {f.tpm_node, "qemu", "tpm-node", false},
                 {f.users, "virtiofsd", "users", false},
                 {f.libvirt_files, "/etc/libvirt/qemu", "libvirt-files", false},
                 {f.root, "/usr", "root", false},
                 {f.mounts, "/home", "mounts", false},
                 {f.lockdown, "[none] integrity confidentiality", "lockdown", false},
                 {f.lockdown, "", "lockdown", false},
                 {f.lockdown, "none integrity [confidentiality]", NULL, false},
                 {f.kexec_disabled, "0", "kexec", false},
                 {f.kexec_disabled, "", "kexec", false},
                 {f.kexec_loaded, "1", "kexec", false},
                 {f.sig_enforce, "N", NULL, false}, /* lockdown says it too */
                 {f.cmdline, "rd.shell=0", "emergency-shell", false},
                 {f.cmdline, "rd.shell=01 panic=0", "emergency-shell", false},
                 {f.cmdline, "xrd.shell=0 panic=0", "emergency-shell", false},
                 {f.memory, "", NULL, false}, /* reported, no more */
                 {f.unread, "/proc/swaps: Permission denied", "swap", true}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f = good;
        strcpy(cases[i].fact, cases[i].value);
        const char *all = first(&f, true), *leak = first(&f, false);
        if (cases[i].slug)
            assert_string_equal(all ? all : "none", cases[i].slug);
        else
            assert_null(all);
        assert_int_equal(leak != NULL, cases[i].leak);
    }
    f = good;
    strcpy(f.core_pattern, "");
    strcpy(f.core_uses_pid, "0");
    assert_null(first(&f, true));
    strcpy(f.lockdown, "");
    strcpy(f.sig_enforce, "N");
    struct lt_check_seals_findings findings;
    lt_check_seals_judge(&f, &findings);
    assert_false(findings.of[LT_CHECK_SEALS_MODULES].holds);
}

static void hibernation(void **state)
{
    static const struct {
        const char *sleep, *disk;
        bool holds;
    } cases[] = {{"freeze mem disk", "[platform] shutdown reboot", false},
                 {"freeze mem disk", "[disabled]", true},
                 {"freeze mem", "", true},
                 {"", "", true},
                 {"disk", "", false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_check_seals_facts f = good;
        strcpy(f.sleep, cases[i].sleep);
        strcpy(f.hibernate, cases[i].disk);
        assert_int_equal(first(&f, false) == NULL, cases[i].holds);
    }
}

static void told(void **state)
{
    struct lt_check_seals_facts f = good;
    struct lt_check_seals_findings findings;

    (void)state;
    strcpy(f.root, "/usr is not on dm-verity");
    lt_check_seals_judge(&f, &findings);
    json_t *j = lt_check_seals_to_json(&findings);
    assert_true(json_is_null(json_object_get(j, "leaks")));
    assert_string_equal(json_string_value(json_object_get(j, "seals")), "root");
    assert_int_equal(json_array_size(json_object_get(j, "checks")), LT_CHECK_SEALS_COUNT);
    json_decref(j);
}

static void modes(void **state)
{
    enum lt_agent_leaks_mode m;

    (void)state;
    OK(lt_agent_leaks_mode("none", &m, &err));
    assert_int_equal(m, LT_AGENT_LEAKS_NONE);
    OK(lt_agent_leaks_mode("all", &m, &err));
    assert_int_equal(m, LT_AGENT_LEAKS_ALL);
    FAILS(LT_E_CONFIG, lt_agent_leaks_mode("", &m, &err));
    FAILS(LT_E_CONFIG, lt_agent_leaks_mode("some", &m, &err));
}

static void put(const char *root, const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(path, 0700);
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* A /proc and /sys of files. */
static void gathered(void **state)
{
    char root[] = "/tmp/limetree-seals-XXXXXX", proc[64], sys[64], link[128];
    static struct lt_check_seals_facts f;

    (void)state;
    assert_non_null(mkdtemp(root));
    snprintf(proc, sizeof proc, "%s/proc", root);
    snprintf(sys, sizeof sys, "%s/sys", root);
    assert_int_equal(mkdir(proc, 0700) | mkdir(sys, 0700), 0);
    put(proc, "swaps", "Filename\n/dev/vdb partition 1\n");
    put(proc, "sys/kernel/core_pattern", "core\n");
    put(proc, "cmdline", "quiet\n");
    put(proc, "cpuinfo", "processor: 0\nflags\t: fpu tme\nprocessor: 1\nflags\t: sme\n");
    put(proc, "self/mountinfo",
        "1 1 253:0 / / ro - erofs /dev/dm-0 ro\n2 1 8:1 / /home rw - ext4 /dev/sda1 rw\n");
    put(proc, "77/mountinfo",
        "1 1 253:0 / / ro - erofs /dev/dm-0 ro\n2 1 8:1 / /etc/libvirt rw - ext4 /dev/sda1 rw\n");
    put(proc, "77/cgroup", "0::/system.slice/libvirtd.service\n");
    snprintf(link, sizeof link, "%s/77/exe", proc);
    assert_int_equal(symlink("/usr/sbin/libvirtd", link), 0);
    put(proc, "78/cgroup", "0::/machine.slice/guest.scope\n");
    snprintf(link, sizeof link, "%s/78/exe", proc);
    assert_int_equal(symlink("/usr/libexec/helper", link), 0);
    put(sys, "dev/block/253:0/dm/uuid", "CRYPT-VERITY-0123-root\n");
    put(sys, "kernel/kexec_crash_loaded", "1\n");
    lt_check_seals_gather(proc, sys, (uid_t)-1, &f);
    assert_string_equal(f.unread, "");
    assert_string_equal(f.swaps, "/dev/vdb");
    assert_string_equal(f.core_pattern, "core");
    assert_string_equal(f.memory, "tme");
    assert_string_equal(f.crash_loaded, "1");
    assert_string_equal(f.root, ""); /* /usr and /etc are verity's */
    assert_non_null(strstr(f.mounts, "/home"));
    assert_non_null(strstr(f.libvirt_files, "/etc/libvirt/qemu")); /* as libvirtd sees it */
    assert_non_null(strstr(f.users, "helper (pid 78)"));
    assert_string_equal(f.tpm_held, "");
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    assert_int_equal(system(command), 0);
}

/* This machine's: whatever it is, it is judged. */
static void this_machine(void **state)
{
    static struct lt_check_seals_facts f;

    (void)state;
    lt_check_seals_gather("/proc", "/sys", (uid_t)-1, &f);
    assert_string_equal(f.unread, "");
    (void)first(&f, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swaps),     cmocka_unit_test(mounts),      cmocka_unit_test(a_good_host),
        cmocka_unit_test(each_fact), cmocka_unit_test(hibernation), cmocka_unit_test(told),
        cmocka_unit_test(modes),     cmocka_unit_test(gathered),    cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
