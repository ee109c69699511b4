/* Patterns of policies: where they match, what they cannot do, and what a hostile one costs. */
#include "appraisal/policy/pattern.h"
#include "common/limits.h"
#include "tests/support/unit.h"

#include <pthread.h>
#include <time.h>

static bool match(const char *pattern, bool whole, const char *subject, size_t n)
{
    LT_AUTO(lt_pattern) struct lt_pattern *p = NULL;
    bool hit;

    OK(lt_pattern_compile(pattern, strlen(pattern), whole, &p, &err));
    OK(lt_pattern_match(p, (struct lt_slice){(const uint8_t *)subject, n}, &hit, &err));
    return hit;
}

static void anchors(void **state)
{
    static const struct {
        const char *pattern, *subject;
        bool start, whole;
    } cases[] = {
        {"/tmp/", "/tmp/x", true, false},
        {"/tmp/", "/tmp/", true, true},
        {"tmp", "/tmp", false, false},
        {"a|/tmp", "/tmp", true, true},
        {"a|ab", "ab", true, true}, /* the end decides among alternatives */
        {"(a)|(b)", "bc", true, false},
        {".*\\.pyc", "/x/y.pyc", true, true},
        {"a$", "a\n", false, false}, /* the very end */
        {"a.", "a\n", false, false},
        {"", "", true, true},
        {"", "x", true, false},
        {"\\w+", "\xc3\xa9", false, false},
        {".{2}", "\xc3\xa9", true, true}, /* bytes */
        {"\xc3\xa9", "\xc3\xa9t", true, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *s = cases[i].subject;
        if (match(cases[i].pattern, false, s, strlen(s)) != cases[i].start ||
            match(cases[i].pattern, true, s, strlen(s)) != cases[i].whole)
            fail_msg("'%s' on '%s'", cases[i].pattern, s);
    }
    assert_true(match("a.b", true, "a\0b", 3));
    assert_false(match("a", true, "a\0b", 3));
    assert_true(match("\\xff.", true, "\xff\xfe", 2));
    assert_true(match("", true, NULL, 0));
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "(", "[a", "a{2}{3}{4}(*UTF)", "(*UTF)a", "\\C", "(?<n>a)(?<n>b)", "a\\", "(?z)", "*"};
    struct lt_pattern *p;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(LT_E_MALFORMED, lt_pattern_compile(bad[i], strlen(bad[i]), false, &p, &err));
    assert_null(p);
    FAILS(LT_E_MALFORMED, lt_pattern_compile("x\n\x01(", 4, false, &p, &err));
    assert_non_null(strstr(err.msg, "'x?"
                                    "?('"));
    /* Deep, large, and repeated beyond what is compiled. */
    LT_AUTOFREE char *deep = malloc(LT_MAX_PATTERN + 1);
    memset(deep, '(', LT_MAX_PATTERN + 1);
    FAILS(LT_E_MALFORMED, lt_pattern_compile(deep, 1000, false, &p, &err));
    FAILS(LT_E_TOO_LARGE, lt_pattern_compile(deep, LT_MAX_PATTERN + 1, false, &p, &err));
    FAILS(LT_E_MALFORMED, lt_pattern_compile("(((a{999}){999}){999})", 22, false, &p, &err));
    lt_pattern_free(NULL);
}

/* None of them may take long; each is an error, not "no match". */
static void hostile(void **state)
{
    static const char *const bad[] = {
        "(a+)+$",      "(a|a)*b",      "(a|aa)+$",  "(.*)*x",     "(?:a?){300}a{300}b",
        "(.*?,){30}P", "(a(?1)?a?)+b", "((a*)*)*b", ".*.*(?>.*)x"};
    uint8_t subject[LT_MAX_SUBJECT + 1];
    struct timespec from, to;
    unsigned errors = 0;

    (void)state;
    memset(subject, 'a', sizeof subject);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        LT_AUTO(lt_pattern) struct lt_pattern *p = NULL;
        bool hit = true;
        OK(lt_pattern_compile(bad[i], strlen(bad[i]), true, &p, &err));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        int rc = lt_pattern_match(p, (struct lt_slice){subject, LT_MAX_SUBJECT - 1}, &hit, &err);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
        print_message("%-20s %8.1f ms: %s\n", bad[i], ms, rc ? err.msg : "no match");
        assert_false(hit && rc);
        assert_true(!rc || rc == LT_E_TOO_LARGE);
        assert_true(ms < 5000); /* sanitizers, and a machine that others use */
        errors += rc != 0;
        FAILS(LT_E_TOO_LARGE, lt_pattern_match(p, (struct lt_slice){subject, sizeof subject}, &hit, &err));
        assert_false(hit);
    }
    assert_true(errors >= 6);
    /* A pattern cannot lift the limits. */
    LT_AUTO(lt_pattern) struct lt_pattern *p = NULL;
    static const char lifted[] = "(*LIMIT_MATCH=4000000000)(a|a)*b";
    bool hit;
    OK(lt_pattern_compile(lifted, strlen(lifted), true, &p, &err));
    FAILS(LT_E_TOO_LARGE, lt_pattern_match(p, (struct lt_slice){subject, LT_MAX_SUBJECT - 1}, &hit, &err));
}

static void *many(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        bool hit;
        if (lt_pattern_match(arg, (struct lt_slice){(const uint8_t *)"/usr/lib/x.so", 13}, &hit, LT_NO_ERR) ||
            !hit)
            return arg;
    }
    return NULL;
}

static void threads(void **state)
{
    LT_AUTO(lt_pattern) struct lt_pattern *p = NULL;
    pthread_t t[4];
    void *bad;

    (void)state;
    OK(lt_pattern_compile("/usr/(lib|bin)/.*", 17, true, &p, &err));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many, p), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(anchors), cmocka_unit_test(refused),
                                       cmocka_unit_test(hostile), cmocka_unit_test(threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
