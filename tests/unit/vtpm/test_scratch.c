/* Private directories, and the programs that run in them. */
#include "tests/support/unit.h"

#include "common/file.h"
#include "common/run/clock.h"
#include "vtpm/child.h"
#include "vtpm/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[] = "/tmp/limetree-scratch-XXXXXX";

static int make(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(top));
    return 0;
}

static int sweep(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

static void put(const char *path, const char *name, const char *text)
{
    LT_AUTOFREE char *file = lt_file_path(path, name);
    OK(lt_file_write(file, text, strlen(text), 0600, &err));
}

static bool is_there(const char *path)
{
    return !access(path, F_OK);
}

/* ---- directories ---- */

static void made_and_wiped(void **state)
{
    struct lt_scratch s;
    struct stat st;
    char path[PATH_MAX];
    (void)state;

    OK(lt_scratch_make(top, &s, &err));
    strcpy(path, s.path);
    assert_true(!stat(path, &st) && (st.st_mode & 07777) == 0700 && st.st_uid == geteuid());
    put(path, "state", "secret");
    LT_AUTOFREE char *file = lt_file_path(path, "state");
    int fd = open(file, O_RDONLY | O_CLOEXEC); /* what is read through it afterwards is what lies there */
    lt_scratch_wipe(&s);
    char left[8];
    assert_int_equal(read(fd, left, sizeof left), 6);
    assert_memory_equal(left, "\0\0\0\0\0\0", 6);
    close(fd);
    assert_false(is_there(path));
    lt_scratch_wipe(&s);
    FAILS(LT_E_IO, lt_scratch_make("/nowhere", &s, &err));
    lt_scratch_wipe(&s);
}

static void only_the_dead_are_swept(void **state)
{
    struct lt_scratch mine;
    char dead[PATH_MAX], other[PATH_MAX], longer[PATH_MAX];
    int ready[2];
    (void)state;

    OK(lt_scratch_make(top, &mine, &err));
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (!pid) {
        struct lt_scratch s;
        if (!lt_scratch_make(top, &s, LT_NO_ERR) && write(ready[1], s.path, sizeof s.path) > 0)
            raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(read(ready[0], dead, sizeof dead), (int)sizeof dead);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    put(dead, "state", "left behind");
    snprintf(other, sizeof other, "%s/somebody-else", top);
    snprintf(longer, sizeof longer, "%s/limetree-vtpm-longest", top);
    assert_true(!mkdir(other, 0700) && !mkdir(longer, 0700) && is_there(dead));
    lt_scratch_sweep(top);
    assert_false(is_there(dead));
    assert_true(is_there(mine.path) && is_there(other) && is_there(longer));
    lt_scratch_wipe(&mine);
}

static void a_link_is_not_swept(void **state)
{
    LT_AUTOFREE char *link = lt_file_path(top, "limetree-vtpm-ABCDEF"), *victim = lt_file_path(top, "victim");
    LT_AUTOFREE char *precious = lt_file_path(victim, "precious");
    (void)state;

    assert_int_equal(mkdir(victim, 0700), 0);
    put(victim, "precious", "precious");
    assert_int_equal(symlink(victim, link), 0);
    lt_scratch_sweep(top);
    assert_true(is_there(precious));
}

/* ---- programs ---- */

static int run(const char *script, const int fds[LT_CHILD_FDS], uint64_t ms, char *out, size_t size)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    int log = memfd_create("log", MFD_CLOEXEC), status;
    const struct lt_child c = {.argv = argv, .fds = {fds[0], fds[1]}, .log = log};
    pid_t pid;

    OK(lt_child_start(&c, &pid, &err));
    err = (struct lt_err){0};
    int rc = lt_child_wait(pid, lt_clock_ms() + ms, &status, &err);
    ssize_t n = pread(log, out, size - 1, 0);
    out[n > 0 ? n : 0] = 0;
    close(log);
    return rc ? rc : status;
}

static const int none[LT_CHILD_FDS] = {-1, -1};

static void nothing_is_inherited(void **state)
{
    char out[4096];
    int leaked = open("/dev/null", O_RDONLY), key;
    (void)state;

    setenv("LIMETREE_SECRET", "in the environment", 1);
    key = lt_child_pipe("the key", 7, &err);
    assert_true(leaked > 2 && key > 2);
    const int fds[LT_CHILD_FDS] = {-1, key};
    assert_int_equal(
        run("exec >&2; set; cd /proc/self/fd && echo fds:*; pwd; cat <&4", fds, 10000, out, sizeof out), 0);
    assert_null(strstr(out, "LIMETREE_SECRET"));
    assert_null(strstr(out, "HOME="));
    assert_non_null(strstr(out, "the key"));
    assert_null(strstr(out, "fds:0 1 2 3"));
    close(key);
    close(leaked);
}

static int put_away(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 20);
    assert_true(fd > 2 && high >= 20);
    close(fd);
    return high;
}

/* Each is where the other is to be. */
static void descriptors_change_places(void **state)
{
    char out[256];
    int a = put_away(lt_child_pipe("first", 5, &err)), b = put_away(lt_child_pipe("second", 6, &err));
    (void)state;

    assert_true(dup2(a, 4) == 4 && dup2(b, 3) == 3);
    const int fds[LT_CHILD_FDS] = {4, 3};
    assert_int_equal(run("exec >&2; cat <&3; echo; cat <&4", fds, 10000, out, sizeof out), 0);
    assert_string_equal(out, "first\nsecond");
    close(3);
    close(4);
    close(a);
    close(b);
}

static void how_it_ended(void **state)
{
    char out[64];
    (void)state;

    int status = run("echo not this; echo why >&2; exit 3", none, 10000, out, sizeof out);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    assert_string_equal(out, "why\n");
    const char *argv[] = {"/nowhere/program", NULL};
    const struct lt_child c = {.argv = argv, .fds = {-1, -1}, .log = -1};
    pid_t pid;
    OK(lt_child_start(&c, &pid, &err));
    OK(lt_child_wait(pid, lt_clock_ms() + 10000, &status, &err));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 127);
}

/* With all that it started, whether it ends by itself or not. */
static void nobody_is_left(void **state)
{
    LT_AUTOFREE char *fifo = lt_file_path(top, "fifo");
    static const struct {
        const char *then;
        int rc;
    } cases[] = {{"wait", LT_E_TIMEOUT}, {"exit 0", 0}, {"kill -9 $$", SIGKILL}};
    char out[64];
    (void)state;

    assert_int_equal(mkfifo(fifo, 0600), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LT_AUTOFREE char *script = NULL;
        int fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(asprintf(&script, "exec 5>%s; /bin/cat /dev/zero >/dev/null & %s", fifo, cases[i].then) >
                    0);
        assert_int_equal(run(script, none, cases[i].rc == LT_E_TIMEOUT ? 200 : 10000, out, sizeof out),
                         cases[i].rc);
        fcntl(fd, F_SETFL, 0);
        assert_int_equal(read(fd, out, 1), 0); /* its last holder is gone */
        close(fd);
    }
}

static void another_user(void **state)
{
    const char *argv[] = {"/bin/sh", "-c", "exec >&2; id -u; id -g; id -G", NULL};
    int log = memfd_create("log", MFD_CLOEXEC), status;
    const struct lt_child c = {.argv = argv, .fds = {-1, -1}, .log = log, .uid = 12345, .gid = 12346};
    char out[64] = {0};
    pid_t pid;
    (void)state;

    if (geteuid())
        skip();
    OK(lt_child_start(&c, &pid, &err));
    OK(lt_child_wait(pid, lt_clock_ms() + 10000, &status, &err));
    assert_true(pread(log, out, sizeof out - 1, 0) > 0);
    assert_string_equal(out, "12345\n12346\n12346\n");
    close(log);
}

/* Killed: nothing of ours runs any more to end it. */
static void it_dies_with_us(void **state)
{
    const char *argv[] = {"/bin/sh", "-c", "read x <&3", NULL}; /* waits for ever: it holds the other end */
    int held[2], told[2];
    pid_t pid;
    (void)state;

    for (uid_t uid = 0; uid <= (geteuid() ? 0 : 12345); uid += 12345) {
        assert_true(!pipe(held) && !pipe(told));
        pid_t us = fork();
        if (!us) {
            const struct lt_child c = {
                .argv = argv, .fds = {held[0], held[1]}, .log = -1, .uid = uid, .gid = uid, .dies = true};
            if (lt_child_start(&c, &pid, LT_NO_ERR) || write(told[1], &pid, sizeof pid) != sizeof pid)
                _exit(1);
            pause();
        }
        assert_int_equal(read(told[0], &pid, sizeof pid), sizeof pid);
        struct pollfd f = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
        assert_true(f.fd > 0 && poll(&f, 1, 0) == 0);
        kill(us, SIGKILL);
        assert_int_equal(waitpid(us, NULL, 0), us);
        assert_int_equal(poll(&f, 1, 10000), 1);
        close(f.fd);
        for (int i = 0; i < 2; i++)
            assert_true(!close(held[i]) && !close(told[i]));
    }
}

static void where_a_program_is(void **state)
{
    (void)state;
    setenv("PATH", "relative:/nowhere:/bin", 1);
    LT_AUTOFREE char *sh = lt_child_program("sh"), *absolute = lt_child_program("/bin/sh");
    assert_string_equal(sh, "/bin/sh");
    assert_string_equal(absolute, "/bin/sh");
    assert_null(lt_child_program("bin/sh"));
    assert_null(lt_child_program("/nowhere/sh"));
    assert_null(lt_child_program("no-such-program"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_and_wiped),
        cmocka_unit_test(only_the_dead_are_swept),
        cmocka_unit_test(a_link_is_not_swept),
        cmocka_unit_test(nothing_is_inherited),
        cmocka_unit_test(descriptors_change_places),
        cmocka_unit_test(how_it_ended),
        cmocka_unit_test(nobody_is_left),
        cmocka_unit_test(another_user),
        cmocka_unit_test(it_dies_with_us),
        cmocka_unit_test(where_a_program_is),
    };
    return cmocka_run_group_tests(tests, make, sweep);
}
