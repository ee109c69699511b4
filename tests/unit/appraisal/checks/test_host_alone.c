/* A host by itself, as its provider judges it (docs/protocol.md section 5): 5, 6, 7, 9 and 10 are made by the
 * same functions, each can fail alone, and what only guests have is named as not made and decides nothing. */
#include "tests/support/appraisal/forge.h"

struct row {
    const char *name;
    void (*after)(struct forge *f);
    enum lt_verdict_result result;
    const char *reason, *states;
};

static void judge(struct forge *f, bool boot_only, struct lt_verdict *v)
{
    lt_verdict_init(v);
    lt_checks_host_alone(v);
    f->host.guest = NULL;
    f->host.proof = NULL;
    lt_checks_appraise_host(&f->host, &f->facts, v);
    lt_verdict_conclude(v, LT_VERDICT_LINK_RESIDENT, boot_only);
}

static void publish(struct forge *f, struct lt_policy_digests *published)
{
    *published = (struct lt_policy_digests){1, &f->host_policy->digest};
    f->host.accepted = published;
}

static void signature(struct forge *f)
{
    f->quote.signature[f->quote.signature_n - 1] ^= 1;
}

static void never_activated(struct forge *f)
{
    f->host_id->activated = LT_CHECKS_FACT_UNKNOWN;
}

static void no_roots(struct forge *f)
{
    f->host_id->certificate = LT_CHECKS_FACT_UNKNOWN;
}

static void no_roots_accepted(struct forge *f)
{
    no_roots(f);
    f->host.accept_ek_unproven = true;
}

/* What was refused is more than unproven. */
static void refused_certificate(struct forge *f)
{
    f->host_id->certificate = LT_CHECKS_FACT_NO;
    f->host.accept_ek_unproven = true;
}

static void off_policy(struct forge *f)
{
    f->host_policy->pcrs.accepted[7].d[0][0] ^= 1;
}

static void unpublished(struct forge *f)
{
    f->host.accepted = NULL;
}

static void another_published(struct forge *f)
{
    static uint8_t other[LT_SHA256];
    static struct lt_policy_digests published = {1, &other};

    f->host.accepted = &published;
}

static void clock_seen(struct forge *f)
{
    f->host_history.count = 1;
    f->host_history.entry[0].clock = f->host_clock;
    f->host_history.entry[0].clock.clock_ms++;
}

static void no_history(struct forge *f)
{
    f->host.history = NULL;
}

static void late(struct forge *f)
{
    f->host.t5_ms = f->host.t1_ms + LT_WINDOW_MS + 1;
}

static const struct row rows[] = {
    {"all is well", NULL, LT_VERDICT_TRUSTED, "", "----PPP-PP-"},
    {"signature", signature, LT_VERDICT_FAILED, "host-quote", "----F----P-"},
    {"never activated", never_activated, LT_VERDICT_UNCHECKED, "host-identity", "----P----P-"},
    {"no roots", no_roots, LT_VERDICT_UNCHECKED, "host-identity", "----P----P-"},
    {"no roots, accepted", no_roots_accepted, LT_VERDICT_TRUSTED, "", "----PPP-PP-"},
    {"certificate refused", refused_certificate, LT_VERDICT_FAILED, "host-identity", "----PF---P-"},
    {"off policy", off_policy, LT_VERDICT_FAILED, "host-policy", "----PPF--P-"},
    {"none published", unpublished, LT_VERDICT_UNCHECKED, "host-policy", "----PP---P-"},
    {"another published", another_published, LT_VERDICT_UNCHECKED, "host-policy", "----PP---P-"},
    {"clock below", clock_seen, LT_VERDICT_UNCHECKED, "host-clock", "----PPP-FP-"},
    {"no history", no_history, LT_VERDICT_UNCHECKED, "host-clock", "----PPP--P-"},
    {"late", late, LT_VERDICT_STALE, "window", "----PPP-PF-"},
};

static void each_check_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lt_policy_digests published;
        char is[LT_CHECKS + 1];
        struct lt_verdict v;
        struct forge f;

        forge_init(&f);
        forge_build(&f);
        publish(&f, &published);
        if (rows[i].after)
            rows[i].after(&f);
        judge(&f, true, &v);
        forge_states(&v, is);
        if (v.result != rows[i].result || strcmp(v.reason, rows[i].reason) || strcmp(is, rows[i].states))
            fail_msg("%s: %s [%s] %s", rows[i].name, lt_verdict_result_slug(v.result), v.reason, is);
        forge_free(&f);
    }
}

static void a_level_is_accepted_by_name(void **state)
{
    struct lt_policy_digests published;
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_build(&f);
    publish(&f, &published);
    judge(&f, false, &v);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_BOOT_ONLY);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "level");
    forge_free(&f);
}

/* Named, each of them, and an answer that never came says nothing else of them. */
static void what_is_not_made_is_named(void **state)
{
    static const enum lt_check others[] = {LT_CHECK_GUEST_QUOTE,  LT_CHECK_GUEST_CLOCK,
                                           LT_CHECK_GUEST_POLICY, LT_CHECK_BATCH_INCLUSION,
                                           LT_CHECK_RESIDENCY,    LT_CHECK_SANDWICH};
    struct lt_err e = {LT_E_HOST_UNREACHABLE, "no answer"};
    struct lt_verdict v;

    (void)state;
    lt_verdict_init(&v);
    lt_checks_host_alone(&v);
    lt_verdict_no_answer(&v, LT_VERDICT_UNREACHABLE, &e);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_non_null(strstr(v.check[others[i]].message, "a host by itself"));
    assert_string_equal(v.check[LT_CHECK_HOST_QUOTE].message, "no answer");
    assert_string_equal(v.reason, "host-unreachable");
}

/* Leaving everything out trusts nobody. */
static void nothing_made_is_not_trusted(void **state)
{
    struct lt_verdict v;

    (void)state;
    lt_verdict_init(&v);
    lt_verdict_leave_out(&v, (1u << LT_CHECKS) - 1, "nothing applies");
    lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_check_alone),
        cmocka_unit_test(a_level_is_accepted_by_name),
        cmocka_unit_test(what_is_not_made_is_named),
        cmocka_unit_test(nothing_made_is_not_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
