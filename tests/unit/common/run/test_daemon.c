/* The life of a daemon, in a child process: options, readiness, signals. */
#include "common/bytes.h"
#include "common/run/daemon.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct conf {
    char *name, *listen;
    int64_t count;
    struct lt_daemon_log_conf log;
};

static const struct lt_conf_key keys[] = {
    {"name", LT_CONF_TEXT, offsetof(struct conf, name), NULL, 0, 0, "a name"},
    {"listen", LT_CONF_TEXT, offsetof(struct conf, listen), "127.0.0.1:0", 0, 0, "an address"},
    {"count", LT_CONF_INT, offsetof(struct conf, count), "7", -5, 100, "a count"},
    LT_DAEMON_LOG_KEYS(struct conf),
};
#define KEYS (sizeof keys / sizeof *keys)

static int events = -1; /* where the child tells what was called */

static void tell(char c)
{
    if (write(events, &c, 1) != 1)
        _exit(99);
}

static int on_start(void *conf, json_t **ready, struct lt_err *e)
{
    struct conf *c = conf;
    struct rlimit core;
    if (getrlimit(RLIMIT_CORE, &core) || core.rlim_cur || core.rlim_max)
        return lt_fail(e, LT_E_INTERNAL, "core dumps are possible");
#if !defined(__SANITIZE_ADDRESS__)
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
        return lt_fail(e, LT_E_INTERNAL, "its memory can be read");
#endif
    if (!strcmp(c->name, "broken"))
        return lt_fail(e, LT_E_CONFIG, "broken on purpose");
    *ready = json_pack("{ss sI}", "listen", c->listen, "count", (json_int_t)c->count);
    tell('s');
    return 0;
}

static void on_reload(void *conf)
{
    (void)conf;
    tell('r');
}

static void on_stop(void *conf)
{
    (void)conf;
    tell('e');
}

static int on_check(void *conf, bool alone, struct lt_err *e)
{
    struct conf *c = conf;
    if (!strcmp(c->name, "wrong") || (alone && !strcmp(c->name, "stateless")))
        return lt_fail(e, LT_E_CONFIG, "wrong on purpose");
    return 0;
}

struct child {
    pid_t pid;
    int ready, events;
};

static struct child run(const char *const *args)
{
    int r[2], v[2];
    assert_int_equal(pipe(r), 0);
    assert_int_equal(pipe(v), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        static struct conf c;
        const struct lt_daemon d = {
            "test-daemon", "a daemon", "/nonexistent/test.conf", keys, KEYS, &c, on_start, on_reload, on_stop,
            on_check,      "the moon"};
        char *argv[16] = {"test-daemon"}, fd[16];
        int argc = 1;
        close(r[0]);
        close(v[0]);
        events = v[1];
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(98);
        snprintf(fd, sizeof fd, "%d", r[1]);
        argv[argc++] = "--ready-fd";
        argv[argc++] = fd;
        while (*args)
            argv[argc++] = (char *)*args++;
        _exit(lt_daemon_main(&d, argc, argv));
    }
    close(r[1]);
    close(v[1]);
    return (struct child){pid, r[0], v[0]};
}

static char next_event(const struct child *c)
{
    char e = 0;
    return read(c->events, &e, 1) == 1 ? e : 0;
}

static int end(struct child *c)
{
    int status;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->ready);
    close(c->events);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_life(void **state)
{
    static const char *const args[] = {"-o", "name=x", "-o", "count=9", NULL};
    static const int last[] = {SIGTERM, SIGINT};
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct child c = run(args);
        char line[256] = "";
        assert_int_equal(next_event(&c), 's');
        for (size_t at = 0; !strchr(line, '\n') && at < sizeof line - 1;) {
            ssize_t n = read(c.ready, line + at, sizeof line - 1 - at);
            assert_true(n > 0);
            at += (size_t)n;
        }
        assert_string_equal(line, "{\"listen\":\"127.0.0.1:0\",\"count\":9}\n");
        for (int i = 0; i < 3; i++) {
            kill(c.pid, SIGHUP);
            assert_int_equal(next_event(&c), 'r');
        }
        kill(c.pid, last[k]);
        assert_int_equal(next_event(&c), 'e');
        assert_int_equal(next_event(&c), 0);
        assert_int_equal(end(&c), 0);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *args[6];
        int exit;
    } cases[] = {
        {{"-o", "name=x", "--check-config"}, 0},
        {{"--check-config"}, 2},
        {{"-o", "name=wrong", "--check-config"}, 2},
        {{"-o", "name=wrong"}, 2},
        {{"-o", "name=stateless", "--check-config"}, 2}, /* which a start would have found by itself */
        {{"-o", "name=x", "-o", "log_level=loud", "--check-config"}, 2},
        {{"-o", "name=x", "-o", "what=y"}, 2},
        {{"-o", "name=broken"}, 2},
        {{"-o", "name=x", "extra"}, 2},
        {{"--no-such-option"}, 2},
        {{"-o", "name=x", "-o", "log_level=loud"}, 2},
        {{"--config", "/nonexistent/file"}, 2},
        {{"--version"}, 0},
        {{"--help"}, 0},
        {{"--ready-fd", "x"}, 2},
        {{"-o", "name=x", "-o", "log=/nonexistent/x"}, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct child c = run(cases[i].args);
        assert_int_equal(next_event(&c), 0); /* start was not reached, or failed; stop is not called */
        assert_int_equal(end(&c), cases[i].exit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
