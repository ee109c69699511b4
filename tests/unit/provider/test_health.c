/* What is said of a host, from its quotes and the time. */
#include "provider/health.h"
#include "tests/support/unit.h"

#define PERIOD 10000

static void says(struct lt_health *h, uint64_t now, const char *state, json_int_t age, const char *slug)
{
    LT_JSON_AUTO json_t *j = lt_health_json(h, now);
    const json_t *error = json_object_get(j, "error");

    assert_string_equal(lt_health_word(h, now), state);
    assert_string_equal(json_string_value(json_object_get(j, "state")), state);
    if (age < 0)
        assert_true(json_is_null(json_object_get(j, "last_quote_age_ms")));
    else
        assert_int_equal(json_integer_value(json_object_get(j, "last_quote_age_ms")), age);
    assert_int_equal(json_is_null(error), !slug);
    if (slug)
        assert_string_equal(json_string_value(json_object_get(error, "slug")), slug);
}

static void nothing_stays_up_by_itself(void **state)
{
    (void)state;
    struct lt_health h;

    lt_health_init(&h, PERIOD);
    says(&h, 5000, "unknown", -1, NULL);
    lt_health_note(&h, "h", NULL, 6000);
    says(&h, 6000, "up", 0, NULL);
    says(&h, 6000 + 3 * PERIOD - 1, "up", 3 * PERIOD - 1, NULL);
    says(&h, 6000 + 3 * PERIOD, "stale", 3 * PERIOD, NULL);
    says(&h, UINT32_MAX, "stale", (json_int_t)UINT32_MAX - 6000, NULL);
    lt_health_note(&h, "h", NULL, 50000);
    says(&h, 50001, "up", 1, NULL);
    lt_health_destroy(&h);
}

static void the_last_answer_counts(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *word;
    } cases[] = {
        {LT_E_HOST_TPM, "host-tpm"},
        {LT_E_BUSY, "busy"},
        {LT_E_MALFORMED, "bad-quote"},
        {LT_E_BAD_SIGNATURE, "bad-quote"},
        {LT_E_HOST_UNREACHABLE, "unreachable"},
        {LT_E_UNREACHABLE, "unreachable"},
        {LT_E_TIMEOUT, "unreachable"},
        {LT_E_UNAUTHENTICATED, "unreachable"},
    };
    struct lt_health h;
    uint64_t now = 1000;

    lt_health_init(&h, PERIOD);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct lt_err e = {cases[i].code, "why"};
        lt_health_note(&h, "h", NULL, ++now);
        lt_health_note(&h, "h", &e, now + 5);
        says(&h, now + 6, cases[i].word, 6,
             lt_err_slug(cases[i].code)); /* a good one just before helps nothing */
        says(&h, now + 100 * PERIOD, cases[i].word, 100 * PERIOD, lt_err_slug(cases[i].code));
    }
    lt_health_destroy(&h);
}

static void asked_when_due_and_once(void **state)
{
    (void)state;
    struct lt_health h;

    lt_health_init(&h, PERIOD);
    assert_true(lt_health_due(&h, PERIOD, 1));
    assert_false(lt_health_due(&h, 0, 100000)); /* somebody is asking */
    lt_health_checked(&h);
    lt_health_note(&h, "h", &(struct lt_err){LT_E_UNREACHABLE, "x"}, 1000);
    assert_false(lt_health_due(&h, PERIOD, 1000 + PERIOD - 1));
    assert_true(lt_health_due(&h, PERIOD, 1000 + PERIOD));
    lt_health_checked(&h);
    assert_true(lt_health_due(&h, 10, 1010));
    lt_health_checked(&h);
    lt_health_note(&h, "h", NULL, 2000); /* a tenant's question is as good as ours */
    assert_false(lt_health_due(&h, PERIOD, 2000 + PERIOD - 1));
    lt_health_destroy(&h);
}

static void a_host_that_hangs_is_slow_not_up(void **state)
{
    (void)state;
    struct lt_health h;

    lt_health_init(&h, PERIOD);
    lt_health_note(&h, "h", NULL, 1000);
    assert_true(lt_health_due(&h, 500, 2000));
    says(&h, 2000 + 2999, "up", 3999, NULL);
    says(&h, 2000 + 3000, "slow", 4000, NULL);
    lt_health_note(&h, "h", &(struct lt_err){LT_E_TIMEOUT, "x"}, 12000);
    lt_health_checked(&h);
    says(&h, 12000, "unreachable", 11000, "timeout");
    assert_true(lt_health_due(&h, 500, 13000));
    says(&h, 17000, "unreachable", 16000, "timeout"); /* what is known is better than "slow" */
    lt_health_note(&h, "h", NULL, 17000);
    lt_health_checked(&h);
    says(&h, 25000, "up", 8000, NULL);
    lt_health_destroy(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_stays_up_by_itself),
        cmocka_unit_test(the_last_answer_counts),
        cmocka_unit_test(asked_when_due_and_once),
        cmocka_unit_test(a_host_that_hangs_is_slow_not_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
