/* The one answer to no memory: a struct of ours ends the program with a line in the log, what a peer sizes is
 * an error like another. */
#include "common/alloc.h"
#include "common/run/log.h"

#include "tests/support/unit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* With the sanitizer's allocator, too, no memory is NULL. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* More than any allocator has, and not known to the compiler. */
static volatile size_t most = PTRDIFF_MAX;

static void log_first(void)
{
    assert_int_equal(lt_log_open("limetree-test", "-", LT_LOG_INFO, LT_NO_ERR), 0);
    free(lt_alloc(most, 1));
}

static void too_large(void)
{
    free(lt_alloc(1, most));
}

static void too_many(void)
{
    free(lt_alloc(most, 16));
}

/* What the child says on standard error; it must die of SIGABRT. */
static void dying_words(void (*fn)(void), char out[512])
{
    struct rlimit none = {0, 0};
    size_t n = 0;
    int fd[2], status;

    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(fd[1], 2);
        fn();
        _exit(0);
    }
    close(fd[1]);
    for (ssize_t got; n < 511 && (got = read(fd[0], out + n, 511 - n)) > 0;)
        n += (size_t)got;
    out[n] = 0;
    close(fd[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void a_struct_of_ours_aborts_with_a_line(void **state)
{
    (void)state;
    static void (*const rows[])(void) = {too_large, too_many};
    char said[512];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dying_words(rows[i], said);
        if (!strstr(said, "limetree: no memory for ") || !strstr(said, "; cannot go on\n"))
            fail_msg("row %zu: %s", i, said);
    }
}

static void the_line_goes_to_the_log(void **state)
{
    (void)state;
    char said[512];

    dying_words(log_first, said);
    const char *line = strchr(said, '{');
    assert_non_null(line);
    LT_JSON_AUTO json_t *j = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(j, "program")), "limetree-test");
    assert_string_equal(json_string_value(json_object_get(j, "event")), "no-memory");
    assert_non_null(strstr(json_string_value(json_object_get(j, "message")), "no memory for"));
    assert_true(json_is_string(json_object_get(j, "time")));
}

static void what_a_peer_sizes_fails_softly(void **state)
{
    (void)state;
    LT_AUTOBUF struct lt_buf b = LT_BUF(most);
    struct lt_err e = {0};

    lt_buf_put(&b, "", most); /* not read: there is no room for it */
    assert_int_equal(lt_buf_ok(&b, &e), LT_E_TOO_LARGE);
    assert_int_equal(e.code, LT_E_TOO_LARGE);
    assert_null(lt_base64_dup("", most / 4 * 3));
}

static void comes_zeroed(void **state)
{
    (void)state;
    static const struct lt_err zero;
    LT_AUTOFREE struct lt_err *p = lt_new(struct lt_err);
    LT_AUTOFREE char *s = lt_alloc_text("a text");
    LT_AUTOFREE char *empty = lt_alloc_text("");
    LT_AUTOFREE void *none = lt_alloc(0, 8);

    assert_memory_equal(p, &zero, sizeof zero);
    assert_string_equal(s, "a text");
    assert_string_equal(empty, "");
    assert_non_null(none);
}

struct lt_thing {
    int *freed;
};

static void thing_free(struct lt_thing *t)
{
    if (t)
        ++*t->freed;
    free(t);
}

LT_DEFINE_AUTO(lt_thing, thing_free);

static struct lt_thing *thing(int *freed, bool keep)
{
    LT_AUTO(lt_thing) struct lt_thing *t = lt_new(struct lt_thing);
    LT_AUTO(lt_thing) struct lt_thing *none = NULL;

    t->freed = freed;
    return keep ? lt_take(&t) : none;
}

static void auto_frees_what_was_not_handed_over(void **state)
{
    (void)state;
    int freed = 0;

    assert_null(thing(&freed, false));
    assert_int_equal(freed, 1);
    thing_free(thing(&freed, true));
    assert_int_equal(freed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_struct_of_ours_aborts_with_a_line), cmocka_unit_test(the_line_goes_to_the_log),
        cmocka_unit_test(what_a_peer_sizes_fails_softly),      cmocka_unit_test(comes_zeroed),
        cmocka_unit_test(auto_frees_what_was_not_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
