/* What goes wrong with a TPM, in words; and its lock. No TPM is needed. */
#include "agent/tpm_lock.h"
#include "agent/tpm_words.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[] = "/tmp/lt-words-XXXXXX";

static void codes(void **state)
{
    (void)state;
    static const struct {
        TSS2_RC rc;
        const char *word; /* NULL: none */
    } cases[] = {
        {0x921, "lockout"},
        {0x100, "reset"},
        {0x101, "failure mode"},
        {0x902, "slot"},
        {0x98e, "wrong auth"},
        {0x9a2, "wrong auth"},
        {0x18b, "no such key"},
        {0x910, "another program"},
        {0x918, "another program"},
        {0x922, "busy"},
        {0xa000a, "no connection"},
        {0xc0921, "lockout"},
        {0x285, "hierarchy"},
        {0x084, NULL},
        {0x1c4, NULL},
        {0x90921, NULL},
        {0, NULL},
        {0xffffffff, NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *words = lt_tpm_words(cases[i].rc);
        if (!words != !cases[i].word || (words && !strstr(words, cases[i].word)))
            fail_msg("0x%x: %s", (unsigned)cases[i].rc, words ? words : "(none)");
    }
    for (TSS2_RC rc = 0; rc < 0x1000; rc++) /* any code at all: no fault, no endless loop */
        for (TSS2_RC layer = 0; layer < 16; layer++)
            assert_true(!lt_tpm_words(layer << 16 | rc) || *lt_tpm_words(layer << 16 | rc));
}

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *tcti, *name, *path;
    } cases[] = {
        {"device:/dev/tpmrm0", "device", "/dev/tpmrm0"},
        {"device", "device", "/dev/tpm0"},
        {"libtss2-tcti-device.so.0:/dev/tpm1", "device", "/dev/tpm1"},
        {"/usr/lib/libtss2-tcti-device.so.0:/dev/tpm1", "device", "/dev/tpm1"},
        {"swtpm:path=/run/a:b", "swtpm", "/run/a:b"},
        {"swtpm:port=1,path=/run/s,x=y", "swtpm", "/run/s"},
        {"swtpm:host=localhost,port=2321", "swtpm", ""},
        {"mssim:path=/x", "mssim", ""},
        {"tabrmd:bus_name=x", "tabrmd", ""},
        {"", "", ""},
        {":", "", ""},
    };
    struct lt_tpm_words_tcti t;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lt_tpm_words_tcti_parse(cases[i].tcti, &t);
        assert_string_equal(t.name, cases[i].name);
        assert_string_equal(t.path, cases[i].path);
    }
    char *huge = test_malloc(5000);
    memset(huge, 'x', 4999);
    huge[4999] = 0;
    memcpy(huge, "swtpm:path=", 11);
    lt_tpm_words_tcti_parse(huge, &t);
    assert_int_equal(strlen(t.path), sizeof t.path - 1);
    lt_tpm_words_tcti_parse(huge + 11, &t);
    assert_int_equal(strlen(t.name), sizeof t.name - 1);
    test_free(huge);
}

static void diagnoses(const char *tcti, const char *word)
{
    err = (struct lt_err){0};
    assert_int_equal(lt_tpm_words_tcti_diagnose(tcti, &err), LT_E_TPM);
    if (!strstr(err.msg, word))
        fail_msg("%s: %s", tcti, err.msg);
}

static void listener(const char *path, int *fd)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    strcpy(a.sun_path, path);
    *fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(*fd, 1), 0);
}

static void openings(void **state)
{
    (void)state;
    char path[64], control[64], tcti[128];
    int fd, control_fd;

    diagnoses("device:/dev/no-tpm-here", "absent: /dev/no-tpm-here");
    diagnoses("device:/dev", "absent: /dev");
    diagnoses("device:/etc/passwd", "is no device");
    diagnoses("no-such-way", "no library libtss2-tcti-no-such-way.so.0");
    OK(lt_tpm_words_tcti_diagnose("device:/dev/null", &err)); /* a device that opens: nothing to say */
    OK(lt_tpm_words_tcti_diagnose("", &err));
    snprintf(path, sizeof path, "%s/s", top);
    snprintf(control, sizeof control, "%s/s.ctrl", top);
    snprintf(tcti, sizeof tcti, "swtpm:path=%s", path);
    diagnoses(tcti, "no such socket");
    listener(path, &fd);
    diagnoses(tcti, "s.ctrl: there is no such socket");
    listener(control, &control_fd);
    OK(lt_tpm_words_tcti_diagnose(tcti, &err));
    close(fd);
    diagnoses(tcti, "nobody listens");
    if (geteuid()) { /* root is denied nothing */
        assert_int_equal(chmod(path, 0), 0);
        diagnoses(tcti, "denied: uid");
    }
    close(control_fd);
}

static void who_has_a_device(void **state)
{
    (void)state;
    struct stat st;
    int fd = open("/dev/full", O_RDONLY);

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(lt_tpm_words_device_holder(st.st_rdev), getpid());
    close(fd);
    assert_int_equal(lt_tpm_words_device_holder(st.st_rdev), 0);
}

/* A child holds the lock of that name until it is killed; as that user (0: this one). */
static pid_t hold(const char *name, uid_t uid)
{
    int fds[2], fd;
    char c;

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (!pid) {
        if ((uid && setuid(uid)) || lt_tpm_lock_name((const uint8_t *)name, strlen(name), &fd, &err) ||
            write(fds[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(read(fds[0], &c, 1), 1);
    close(fds[0]);
    close(fds[1]);
    return pid;
}

static void one_holder(void **state)
{
    (void)state;
    char name[32], who[32];
    int one, two;

    snprintf(name, sizeof name, "test %d", (int)getpid());
    pid_t pid = hold(name, 0);
    snprintf(who, sizeof who, "pid %d (", (int)pid);
    for (int i = 0; i < 1100; i++) { /* the kernel's queue of askers may fill: refused all the same */
        FAILS(LT_E_CONFIG, lt_tpm_lock_name((const uint8_t *)name, strlen(name), &two, &err));
        assert_int_equal(two, -1);
        if (i < 1000 && !strstr(err.msg, who))
            fail_msg("%d: %s", i, err.msg);
    }
    OK(lt_tpm_lock_name((const uint8_t *)name, strlen(name) - 1, &one, &err)); /* another TPM's */
    close(one);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    OK(lt_tpm_lock_name((const uint8_t *)name, strlen(name), &one, &err));
    close(one);
}

/* Any process may take the name: who it is, is said. */
static void a_strangers_lock(void **state)
{
    (void)state;
    char name[32];
    int fd;

    if (geteuid())
        skip();
    snprintf(name, sizeof name, "stranger %d", (int)getpid());
    pid_t pid = hold(name, 65534);
    FAILS(LT_E_CONFIG, lt_tpm_lock_name((const uint8_t *)name, strlen(name), &fd, &err));
    assert_non_null(strstr(err.msg, "neither root's nor of this user"));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes),      cmocka_unit_test(texts),
        cmocka_unit_test(openings),   cmocka_unit_test(who_has_a_device),
        cmocka_unit_test(one_holder), cmocka_unit_test(a_strangers_lock),
    };

    if (!mkdtemp(top))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "%s/s", top);
    unlink(command);
    strcat(command, ".ctrl");
    unlink(command);
    rmdir(top);
    return failed;
}
