/* Our failures by Keylime's names. */
#include "keylime/events.h"
#include "tests/support/unit.h"

static void expect(const char *check, const char *cause, const char *id)
{
    char out[LT_EVENTS_ID];

    lt_events_id(check, cause, out);
    assert_string_equal(out, id);
}

static void test_ids(void **state)
{
    (void)state;
    expect("guest-quote", NULL, "qoute_validation.quote_validation");
    expect("guest-quote", "anything", "qoute_validation.quote_validation");
    expect("guest-quote", "bank", "qoute_validation.invalid_hash_alg");
    expect("guest-quote", "pcr-missing", "pcr_validation.missing_pcr_16");
    expect("guest-quote", "pcr-16", "pcr_validation.invalid_pcr_16");
    expect("guest-policy", "pcr-0", "pcr_validation.invalid_pcr_0");
    expect("guest-policy", "pcr-missing", "pcr_validation.missing_pcrs");
    expect("guest-policy", "boot-log-pcr-23", "measured_boot.invalid_pcr_23");
    expect("guest-policy", "ima-not-listed", "ima.validation.ima-ng.not_in_allowlist");
    expect("guest-policy", "ima", "ima.pcr_mismatch");
    expect("residency", NULL, "limetree.residency");
    expect("host-policy", "pcr-7", "limetree.host-policy");
}

/* What is no PCR's number, or a cause of another check, does not become part of an id. */
static void test_odd_causes(void **state)
{
    static const char *const odd[] = {"pcr-", "pcr-x", "pcr-7x", "pcr-123", "pcr--1", "pcr- 1", "", "PCR-7"};

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        expect("guest-policy", odd[i], "limetree.guest-policy");
    expect("guest-policy", NULL, "limetree.guest-policy");
    expect("guest-clock", "ima", "limetree.guest-clock");
}

/* Every row is reached, and every id fits. */
static void test_every_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < lt_events_rule_count; i++) {
        const struct lt_events_rule *r = &lt_events_rules[i];
        char cause[64], out[LT_EVENTS_ID];
        size_t n = r->cause ? strlen(r->cause) : 0;
        bool number = n && r->cause[n - 1] == '-';

        snprintf(cause, sizeof cause, "%s%s", r->cause ? r->cause : "", number ? "15" : "");
        lt_events_id(r->check ? r->check : "batch-inclusion", r->cause ? cause : NULL, out);
        assert_memory_equal(out, r->id, strlen(r->id));
        assert_string_equal(out + strlen(r->id), number ? "15" : r->check ? "" : "batch-inclusion");
        assert_true(strlen(out) < LT_EVENTS_ID - 1);
        assert_int_equal(lt_events_severity(out), LT_EVENTS_EMERGENCY);
    }
    assert_string_equal(lt_events_label(LT_EVENTS_EMERGENCY), "emergency");
    assert_string_equal(lt_events_label(0), "info");
    assert_null(lt_events_label(7));
    assert_null(lt_events_label(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_odd_causes),
        cmocka_unit_test(test_every_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
