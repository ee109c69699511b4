/* Keylime's operational states: what is told of which facts, and the page that prints the table. */
#include "keylime/states.h"

#include "tests/support/unit.h"

#include "common/file.h"

#define ALL 0xffu

static void expect(unsigned facts, enum lt_states_code state, const char *status)
{
    const struct lt_states_rule *r = lt_states_of(facts);

    assert_int_equal(r->state, state);
    assert_string_equal(r->status, status);
}

static void told(void **state)
{
    (void)state;
    expect(0, LT_STATES_START, "PENDING");
    expect(LT_STATES_JUDGED, LT_STATES_GET_QUOTE, "PENDING");
    expect(LT_STATES_JUDGED | LT_STATES_TRUSTED, LT_STATES_GET_QUOTE, "PASS");
    expect(LT_STATES_JUDGED | LT_STATES_TRUSTED | LT_STATES_SHARE, LT_STATES_PROVIDE_V, "PASS");
    expect(LT_STATES_JUDGED | LT_STATES_TRUSTED | LT_STATES_SHARE | LT_STATES_SHARE_TRIED,
           LT_STATES_PROVIDE_V_RETRY, "PASS");
    expect(LT_STATES_JUDGED | LT_STATES_SHARE, LT_STATES_GET_QUOTE, "PENDING");
    expect(LT_STATES_JUDGED | LT_STATES_UNREACHABLE, LT_STATES_GET_QUOTE_RETRY, "PENDING");
    expect(LT_STATES_JUDGED | LT_STATES_UNREACHABLE | LT_STATES_UNPROVEN, LT_STATES_FAILED, "TIMEOUT");
    expect(LT_STATES_JUDGED | LT_STATES_REJECTED | LT_STATES_SHARE, LT_STATES_INVALID_QUOTE, "FAIL");
    expect(LT_STATES_STOPPED, LT_STATES_TENANT_FAILED, "FAIL");
}

/* Whatever else is so: PASS wants a verdict that is trusted, of a guest that is neither stopped nor failed.
 */
static void pass_is_for_the_trusted(void **state)
{
    (void)state;
    for (unsigned facts = 0; facts <= ALL; facts++) {
        const struct lt_states_rule *r = lt_states_of(facts);
        assert_non_null(r->status);
        if (facts & LT_STATES_STOPPED)
            assert_int_equal(r->state, LT_STATES_TENANT_FAILED);
        else if (facts & LT_STATES_REJECTED)
            assert_int_equal(r->state, LT_STATES_INVALID_QUOTE);
        assert_int_equal(!strcmp(r->status, "PASS"), (facts & (LT_STATES_TRUSTED | LT_STATES_STOPPED |
                                                               LT_STATES_REJECTED)) == LT_STATES_TRUSTED);
    }
}

static void every_state_is_in_the_table(void **state)
{
    (void)state;
    for (int s = 0; s < LT_STATES_COUNT; s++) {
        size_t i = 0;
        while (i < lt_states_rule_count && (int)lt_states_rules[i].state != s)
            i++;
        assert_true(i < lt_states_rule_count);
        assert_non_null(lt_states_name((enum lt_states_code)s));
    }
}

static void page(void **state)
{
    struct lt_buf table = LT_BUF(16384);
    uint8_t *text;
    size_t n;

    (void)state;
    lt_states_print(&table);
    char *want = lt_buf_take_str(&table);
    OK(lt_file_read(LT_SOURCE_DIR "/docs/keylime.md", 1 << 20, &text, &n, &err));
    if (!strstr((char *)text, want))
        fail_msg("docs/keylime.md has another table of states; this is it:\n%s", want);
    free(want);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(told),
        cmocka_unit_test(pass_is_for_the_trusted),
        cmocka_unit_test(every_state_is_in_the_table),
        cmocka_unit_test(page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
