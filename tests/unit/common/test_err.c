#include "common/err.h"

#include "tests/support/unit.h"

static void test_table(void **state)
{
    (void)state;
    for (int i = 0; i < LT_EI_COUNT; i++) {
        int code = -1 - i;
        const char *slug = lt_err_slug(code);
        assert_true(slug && *slug);
        assert_int_equal(strspn(slug, "abcdefghijklmnopqrstuvwxyz-"), strlen(slug));
        assert_int_equal(lt_err_from_slug(slug), code); /* so no slug stands twice */
        assert_in_range(lt_err_http(code), 400, 599);
        assert_in_range(lt_err_exit(code), 1, 5);
    }
    assert_int_equal(LT_E_USAGE, -1);
    assert_string_equal(lt_err_slug(LT_E_HOST_UNREACHABLE), "host-unreachable");
    assert_int_equal(lt_err_http(LT_E_CONFLICT), 409);
    assert_int_equal(lt_err_class(LT_E_BUSY), LT_CLASS_RETRY);
    assert_int_equal(lt_err_class(LT_E_MALFORMED), LT_CLASS_PEER);
    assert_string_equal(lt_err_slug(0), "ok");
    assert_int_equal(lt_err_http(0), 200);
    assert_int_equal(lt_err_exit(0), 0);
}

static void test_foreign_codes_are_internal(void **state)
{
    (void)state;
    static const int foreign[] = {1, 12345, -1 - LT_EI_COUNT, -100000, INT32_MIN};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        assert_string_equal(lt_err_slug(foreign[i]), "internal");
        assert_int_equal(lt_err_class(foreign[i]), LT_CLASS_BUG);
    }
    assert_int_equal(lt_err_from_slug("no-such-slug"), LT_E_INTERNAL);
    assert_int_equal(lt_err_from_slug(NULL), LT_E_INTERNAL);
}

static void test_fail(void **state)
{
    (void)state;
    struct lt_err e = {0};

    assert_int_equal(lt_fail(&e, LT_E_IO, "disk %d: %s", 3, "full"), LT_E_IO);
    assert_int_equal(e.code, LT_E_IO);
    assert_string_equal(e.msg, "disk 3: full");
    assert_int_equal(lt_fail_in(&e, LT_E_IO, "while %s", "writing"), LT_E_IO);
    assert_string_equal(e.msg, "while writing: disk 3: full");
    assert_int_equal(lt_fail(LT_NO_ERR, LT_E_IO, "nobody listens"), LT_E_IO);
    assert_int_equal(lt_fail_in(LT_NO_ERR, LT_E_TPM, "nobody listens"), LT_E_TPM);
}

/* Whatever stands in *e, or does not, the code that was at hand is what comes back and what stays. */
static void test_fail_in_returns_the_code_at_hand(void **state)
{
    (void)state;
    static const struct {
        struct lt_err before;
        int rc, is;
        const char *msg;
    } rows[] = {
        {{LT_E_IO, "full"}, LT_E_IO, LT_E_IO, "disk 3: full"},
        {{LT_E_IO, "full"},
         LT_E_CONFIG,
         LT_E_CONFIG,
         "disk 3: full"},                      /* taken for something else higher up */
        {{0, ""}, LT_E_IO, LT_E_IO, "disk 3"}, /* the callee said nothing */
        {{0, "stale"}, LT_E_IO, LT_E_IO, "disk 3"},
        {{LT_E_IO, ""}, LT_E_IO, LT_E_IO, "disk 3"},
        {{0, ""}, 0, LT_E_INTERNAL, "disk 3"}, /* never a success */
        {{LT_E_IO, "full"}, 0, LT_E_INTERNAL, "disk 3: full"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lt_err e = rows[i].before;
        assert_int_equal(lt_fail_in(&e, rows[i].rc, "disk %d", 3), rows[i].is);
        assert_int_equal(e.code, rows[i].is);
        assert_string_equal(e.msg, rows[i].msg);
    }
}

static void test_long_messages_are_cut(void **state)
{
    (void)state;
    struct lt_err e;
    char big[1000];

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(lt_fail(&e, LT_E_IO, "%s", big), LT_E_IO);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lt_fail_in(&e, LT_E_IO, "place %d %s", i, big), LT_E_IO);
        assert_memory_equal(e.msg, "place ", 6);
        assert_true(memchr(e.msg, 0, sizeof e.msg) != NULL);
    }
}

static int tries(int code)
{
    LT_TRY(code);
    return 7;
}

static int tries_in(int code, struct lt_err *e)
{
    LT_TRY_IN(lt_fail(e, code, "full"), e, "disk %d", 3);
    return 7;
}

static void test_try_in(void **state)
{
    (void)state;
    struct lt_err e = {0};

    assert_int_equal(tries_in(0, &e), 7);
    assert_string_equal(e.msg, "full");
    assert_int_equal(tries_in(LT_E_TPM, &e), LT_E_TPM);
    assert_int_equal(e.code, LT_E_TPM);
    assert_string_equal(e.msg, "disk 3: full");
    assert_int_equal(tries_in(LT_E_TPM, LT_NO_ERR), LT_E_TPM);
}

static void test_try(void **state)
{
    (void)state;
    assert_int_equal(tries(0), 7);
    assert_int_equal(tries(LT_E_TPM), LT_E_TPM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_foreign_codes_are_internal),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_long_messages_are_cut),
        cmocka_unit_test(test_try),
        cmocka_unit_test(test_try_in),
        cmocka_unit_test(test_fail_in_returns_the_code_at_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
