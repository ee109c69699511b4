/* Programs of others: what they are started with, and how they end. */
#include "agent/script.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "tests/support/unit.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/tmp/lt-script-XXXXXX";
static char *program, *said;

static void write_program(const char *text)
{
    OK(lt_file_replace(program, text, strlen(text), 0600,
                       &err)); /* no bit to execute: as below a noexec mount */
}

static int run(const char *text, int64_t timeout_s, int stop_fd)
{
    const struct lt_script s = {.path = program,
                                .argument = "an argument",
                                .dir = top,
                                .agent_id = "vm-1",
                                .timeout_s = timeout_s,
                                .stop_fd = stop_fd};

    write_program(text);
    err = (struct lt_err){0};
    return lt_script_run(&s, &err);
}

static void what_it_is_started_with(void **state)
{
    (void)state;
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    assert_int_equal(setenv("LT_SECRET", "not for others", 1), 0);
    int open_one = dup(0); /* not close-on-exec */
    OK(run("#! /bin/sh -e \n"
           "{ echo \"$#|$1|$-|$(pwd)|$AGENT_UUID|$LT_SECRET\"; ls /proc/self/fd | wc -l; cat; } >said 2>&1\n",
           10, -1));
    close(open_one);
    OK(lt_file_read(said, 4096, &text, &n, &err));
    char want[256];
    snprintf(want, sizeof want, "1|an argument|e|%s|vm-1|\n", top);
    assert_int_equal(strncmp((char *)text, want, strlen(want)), 0);
    assert_string_equal((char *)text + strlen(want), "4\n"); /* 0 to 2, and the directory itself */
    assert_int_equal(unlink(said), 0);
}

static void how_it_ends(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } rows[] = {
        {"#!/bin/sh\nexit 3\n", "status 3"},
        {"#!/bin/sh\nkill -9 $$\n", "signal 9"},
        {"", "no program"},
        {"exit 0\n", "no program"},
        {"#!\n", "no interpreter"},
        {"#!sh\n", "no interpreter"},
        {"#!/no/such\n", "No such file"},
        {"#!/tmp\n", "denied"},
        {"\177ELF and nothing", "ermission"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        FAILS(LT_E_REFUSED, run(rows[i].text, 10, -1));
        if (!strstr(err.msg, rows[i].word))
            fail_msg("%s: %s", rows[i].word, err.msg);
    }
    char long_one[400] = "#!/";
    memset(long_one + 3, 'x', sizeof long_one - 4);
    FAILS(LT_E_REFUSED, run(long_one, 10, -1));
    OK(run("#!/bin/true", 10, -1));
}

static void no_file(void **state)
{
    (void)state;
    LT_AUTOFREE char *link = lt_file_path(top, "link"), *pipe = lt_file_path(top, "pipe");
    struct lt_script s = {.path = link, .dir = top, .agent_id = "vm-1", .timeout_s = 10, .stop_fd = -1};

    FAILS(LT_E_REFUSED, lt_script_run(&s, &err));
    assert_int_equal(symlink("/bin/true", link), 0);
    FAILS(LT_E_REFUSED, lt_script_run(&s, &err));
    s.path = pipe;
    assert_int_equal(mkfifo(pipe, 0600), 0);
    FAILS(LT_E_REFUSED, lt_script_run(&s, &err));
    s.path = top;
    FAILS(LT_E_REFUSED, lt_script_run(&s, &err));
    assert_int_equal(unlink(link) | unlink(pipe), 0);
}

static void one_that_hangs_is_killed_with_its_children(void **state)
{
    (void)state;
    uint64_t begun = lt_clock_ms();

    FAILS(LT_E_TIMEOUT, run("#!/bin/sh\nsleep 1000 &\necho $! >said\nsleep 1000\n", 1, -1));
    assert_true(lt_clock_ms() - begun < 20000);
    LT_AUTOFREE uint8_t *pid = NULL;
    LT_AUTOFREE char *stat = NULL;
    size_t n;
    OK(lt_file_read(said, 64, &pid, &n, &err));
    assert_true(asprintf(&stat, "/proc/%.*s/stat", (int)strcspn((char *)pid, "\n"), (char *)pid) > 0);
    for (bool dead = false; !dead;) { /* gone, or waits to be reaped; a signal takes a moment */
        LT_AUTOFREE uint8_t *text = NULL;
        assert_true(lt_clock_ms() - begun < 60000);
        dead = lt_file_read(stat, 4096, &text, &n, LT_NO_ERR) || strstr((char *)text, ") Z ");
    }
    assert_int_equal(unlink(said), 0);
}

static void *stop_soon(void *fd)
{
    LT_AUTOFREE char *path = lt_file_path(top, "begun");

    for (unsigned i = 0; i < 3000 && access(path, F_OK); i++)
        usleep(10000);
    unlink(path);
    (void)!write(*(int *)fd, &(uint64_t){1}, sizeof(uint64_t));
    return NULL;
}

static void one_that_runs_when_the_agent_stops(void **state)
{
    (void)state;
    int fd = eventfd(0, EFD_CLOEXEC);
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &fd), 0);
    FAILS(LT_E_BUSY, run("#!/bin/sh\ntouch begun\nsleep 1000\n", 1000, fd));
    pthread_join(thread, NULL);
    FAILS(LT_E_BUSY, run("#!/bin/sh\nsleep 1000\n", 1000, fd)); /* and the next */
    close(fd);
}

static int make_top(void **state)
{
    (void)state;
    if (!mkdtemp(top))
        return -1;
    program = lt_file_path(top, "program");
    said = lt_file_path(top, "said");
    return 0;
}

static int remove_top(void **state)
{
    (void)state;
    unlink(program);
    free(program);
    free(said);
    return rmdir(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_is_started_with),
        cmocka_unit_test(how_it_ends),
        cmocka_unit_test(no_file),
        cmocka_unit_test(one_that_hangs_is_killed_with_its_children),
        cmocka_unit_test(one_that_runs_when_the_agent_stops),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
