/* The table of checks as a reader meets it: docs/protocol.md has the same rows, a slug leads to its function
 * in one step, and the loop in checks.c is the only caller. */
#include "appraisal/checks/checks.h"
#include "common/file.h"
#include "tests/support/unit.h"

#include <ctype.h>
#include <glob.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CHECKS LT_SOURCE_DIR "/appraisal/checks/"

static char *read_file(const char *path)
{
    uint8_t *text;
    size_t n;

    OK(lt_file_read(path, 1 << 20, &text, &n, &err));
    assert_int_equal(strlen((char *)text), n);
    return (char *)text;
}

/* "| 4 | `batch-inclusion` | 1, 5 |" */
static void print_row(enum lt_check c, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "| %d | `%s` |", c + 1, lt_verdict_rules[c].slug);
    const char *before = " ";

    for (int on = 0; on < LT_CHECKS; on++)
        if (lt_verdict_rules[c].rests_on >> on & 1) {
            n += (size_t)snprintf(out + n, size - n, "%s%d", before, on + 1);
            before = ", ";
        }
    snprintf(out + n, size - n, "%s |", lt_verdict_rules[c].rests_on ? "" : " -");
}

/* Its rows and the printed ones, one by one and in order: nothing more, nothing less. */
static void as_documented(void **state)
{
    LT_AUTOFREE char *text = read_file(LT_SOURCE_DIR "/docs/protocol.md");
    char *rest = strstr(text, "\n## 5. "), row[128];
    int c = 0;

    (void)state;
    assert_non_null(rest);
    for (char *line; (line = strsep(&rest, "\n")) && strncmp(line, "## 6. ", 6);) {
        if (strncmp(line, "| ", 2) || !isdigit((unsigned char)line[2]))
            continue;
        assert_true(c < LT_CHECKS);
        print_row(c++, row, sizeof row);
        if (strncmp(line, row, strlen(row)))
            fail_msg("docs/protocol.md: %.60s…; the table of checks: %s", line, row);
    }
    assert_int_equal(c, LT_CHECKS);
}

static void function_of(enum lt_check c, char out[64])
{
    snprintf(out, 64, "lt_checks_%s", lt_verdict_rules[c].slug);
    for (char *p = out; *p; p++)
        *p = *p == '-' ? '_' : *p;
}

/* The row names the function, and the file of the slug defines it. */
static void found_in_one_step(void **state)
{
    LT_AUTOFREE char *table = read_file(CHECKS "checks.c");

    (void)state;
    for (enum lt_check c = 0; c < LT_CHECKS; c++) {
        char name[64], path[256], want[96];
        function_of(c, name);
        snprintf(want, sizeof want, "{\"%s\",", lt_verdict_rules[c].slug);
        char *row = strstr(table, want), *end = row ? strchr(row, '}') : NULL;
        assert_non_null(end);
        assert_int_equal(strncmp(end - strlen(name), name, strlen(name)), 0);
        snprintf(path, sizeof path, CHECKS "%s.c", name + strlen("lt_checks_"));
        snprintf(want, sizeof want, "\nvoid %s(struct lt_checks *c)\n{", name);
        LT_AUTOFREE char *text = read_file(path);
        if (!strstr(text, want))
            fail_msg("%s does not define %s", path, name);
    }
}

static bool stands_before(const char *text, const char *p, const char *what)
{
    size_t n = strlen(what);

    return (size_t)(p - text) >= n && !strncmp(p - n, what, n);
}

/* As a word, and not as a struct's tag, which LT_AUTO and LT_DEFINE_AUTO take too. */
static unsigned count(const char *text, const char *word)
{
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, word)); p++) {
        char end = p[strlen(word)];
        bool is_tag = stands_before(text, p, "struct ") || stands_before(text, p, "AUTO(");
        n += !isalnum((unsigned char)end) && end != '_' && !is_tag;
    }
    return n;
}

/* Each name stands three times in the sources: prototype, definition, row. Nobody else can call it, and of
 * those who know the table only the loop calls by it. */
static void called_from_the_loop_alone(void **state)
{
    static const char tests[] = LT_SOURCE_DIR "/tests/", build[] = LT_SOURCE_DIR "/build/";
    unsigned named[LT_CHECKS] = {0}, calls = 0;
    glob_t found = {0};

    (void)state;
    assert_int_equal(glob(LT_SOURCE_DIR "/*/*.[ch]", 0, NULL, &found), 0);
    assert_int_equal(glob(LT_SOURCE_DIR "/*/*/*.[ch]", GLOB_APPEND, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        if (!strncmp(path, tests, strlen(tests)) || !strncmp(path, build, strlen(build)))
            continue;
        LT_AUTOFREE char *text = read_file(path);
        char name[64];
        calls += strstr(text, "lt_verdict_rules") ? count(text, "].run") : 0;
        for (enum lt_check c = 0; c < LT_CHECKS; c++) {
            function_of(c, name);
            named[c] += count(text, name);
        }
    }
    globfree(&found);
    for (enum lt_check c = 0; c < LT_CHECKS; c++)
        assert_int_equal(named[c], 3);
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_documented),
        cmocka_unit_test(found_in_one_step),
        cmocka_unit_test(called_from_the_loop_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
