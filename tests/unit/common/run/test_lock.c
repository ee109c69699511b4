/* One process at a time: who comes second is told who is first, and a dead holder holds nothing. */
#include "common/run/lock.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "limetree-test-lock-XXXXXX";

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    return chdir(tmp ? tmp : P_tmpdir) || !mkdtemp(dir);
}

static int teardown(void **state)
{
    char path[64];
    (void)state;
    snprintf(path, sizeof path, "%s/pid", dir);
    return unlink(path) || rmdir(dir);
}

static void test_second_is_told_the_first(void **state)
{
    int first, second;
    char pid[64];
    struct stat st;
    (void)state;
    OK(lt_lock_state(dir, &first, &err));
    assert_true(first >= 0);
    FAILS(LT_E_CONFLICT, lt_lock_state(dir, &second, &err));
    assert_int_equal(second, -1);
    snprintf(pid, sizeof pid, "process %d (%s)", (int)getpid(), program_invocation_short_name);
    assert_non_null(strstr(err.msg, pid));
    assert_non_null(strstr(err.msg, "/pid"));
    assert_int_equal(fstat(first, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    lt_lock_release(&first);
    assert_int_equal(first, -1);
    lt_lock_release(&first);
    OK(lt_lock_state(dir, &second, &err));
    lt_lock_release(&second);
}

static void test_the_dead_hold_nothing(void **state)
{
    int fds[2], fd;
    char c, pid[32];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        if (lt_lock_state(dir, &fd, &err) || write(fds[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    close(fds[1]); /* a child that fails is an end, not a wait */
    assert_int_equal(read(fds[0], &c, 1), 1);
    FAILS(LT_E_CONFLICT, lt_lock_state(dir, &fd, &err));
    snprintf(pid, sizeof pid, "process %d ", (int)child);
    assert_non_null(strstr(err.msg, pid));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(fds[0]);
    OK(lt_lock_state(dir, &fd, &err));
    lt_lock_release(&fd);
}

static void test_no_place_and_no_file(void **state)
{
    char path[64];
    int fd;
    (void)state;
    FAILS(LT_E_IO, lt_lock_take("/nonexistent/pid", "it", &fd, &err));
    assert_int_equal(fd, -1);
    snprintf(path, sizeof path, "%s/link", dir);
    assert_int_equal(symlink("/dev/null", path), 0);
    FAILS(LT_E_IO, lt_lock_take(path, "it", &fd, &err)); /* no link is followed */
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_is_told_the_first),
        cmocka_unit_test(test_the_dead_hold_nothing),
        cmocka_unit_test(test_no_place_and_no_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
