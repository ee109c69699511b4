/* Guests without a host (docs/protocol.md section 5): checks 1-3 and 10 alone, trusted by the names that
 * their policy accepts and by no others, and never by what was not made. */
#include "tests/support/appraisal/forge.h"

#define ACCEPT(words) "[" words "]"
#define WHY "no provider is configured"

struct row {
    const char *name, *accept;
    void (*plan)(struct forge *f);
    void (*after)(struct forge *f);
    enum lt_verdict_result result;
    const char *reason, *states;
};

static struct lt_checks_ek vouched;

static void judge(struct forge *f, struct lt_verdict *v)
{
    lt_verdict_init(v);
    lt_checks_appraise_guest(&f->guest, &f->facts, v);
    if (!lt_verdict_stopped(v))
        lt_checks_unlinked(&f->host, &f->facts, WHY, v);
    lt_verdict_conclude(v, lt_checks_least_link(f->guest_policy), f->guest_policy->accept_boot_only);
}

static void certified(struct forge *f)
{
    vouched = (struct lt_checks_ek){.certified = LT_CHECKS_FACT_YES};
    f->guest.ek = &vouched;
}

static void pinned(struct forge *f)
{
    vouched = (struct lt_checks_ek){.pinned = LT_CHECKS_FACT_YES, .certified = LT_CHECKS_FACT_NO};
    f->guest.ek = &vouched;
}

static void another(struct forge *f)
{
    vouched = (struct lt_checks_ek){.pinned = LT_CHECKS_FACT_NO, .certified = LT_CHECKS_FACT_YES};
    f->guest.ek = &vouched;
}

static void refused(struct forge *f)
{
    vouched = (struct lt_checks_ek){.certified = LT_CHECKS_FACT_NO, .text = "a maker that nobody knows"};
    f->guest.ek = &vouched;
}

static void late(struct forge *f)
{
    certified(f);
    f->host.t5_ms = f->host.t1_ms + LT_WINDOW_MS + 1;
}

static void used(struct forge *f)
{
    certified(f);
    f->host.nonce_used = true;
}

static void off_policy(struct forge *f)
{
    certified(f);
    f->guest_policy->pcrs.accepted[4].d[0][0] ^= 1;
}

static void forged(struct forge *f)
{
    certified(f);
    f->sig_g.p[f->sig_g.n - 1] ^= 1;
}

static void replayed(struct forge *f)
{
    certified(f);
    f->history.has_clock = true;
    f->history.clock = f->guest_clock;
    f->history.clock.clock_ms++;
}

static void names_nothing(struct forge *f)
{
    f->guest_named = 0;
}

static void no_policy(struct forge *f)
{
    certified(f);
    f->guest.policy = NULL;
}

/* The host's half is forged healthy all along: nobody looks at it. */
static const struct row rows[] = {
    {"certified", ACCEPT("\"unlinked\""), NULL, certified, LT_VERDICT_TRUSTED, "", "PPP------P-"},
    {"pinned", ACCEPT("\"unlinked\""), NULL, pinned, LT_VERDICT_TRUSTED, "", "PPP------P-"},
    {"nobody vouches", ACCEPT("\"unlinked\""), NULL, NULL, LT_VERDICT_UNCHECKED, "ek-unproven",
     "PPP------P-"},
    {"refused chain", ACCEPT("\"unlinked\""), NULL, refused, LT_VERDICT_UNCHECKED, "ek-unproven",
     "PPP------P-"},
    {"nobody, accepted", ACCEPT("\"unlinked\",\"ek-unproven\""), NULL, NULL, LT_VERDICT_TRUSTED, "",
     "PPP------P-"},
    {"another EK", ACCEPT("\"unlinked\",\"ek-unproven\""), NULL, another, LT_VERDICT_UNCHECKED, "other-ek",
     "---------P-"},
    {"not accepted", ACCEPT(""), NULL, certified, LT_VERDICT_UNCHECKED, "unlinked", "PPP------P-"},
    {"other words",
     ACCEPT("\"copyable\",\"boot-only\",\"tainted\",\"open-boot\",\"ek-unproven\",\"unjudged\""), NULL,
     certified, LT_VERDICT_UNCHECKED, "unlinked", "PPP------P-"},
    {"late", ACCEPT("\"unlinked\""), NULL, late, LT_VERDICT_STALE, "window", "PPP------F-"},
    {"a nonce twice", ACCEPT("\"unlinked\""), NULL, used, LT_VERDICT_STALE, "window", "PPP------F-"},
    {"off policy", ACCEPT("\"unlinked\",\"unjudged\""), NULL, off_policy, LT_VERDICT_FAILED, "guest-policy",
     "PPF--------"},
    {"forged", ACCEPT("\"unlinked\""), NULL, forged, LT_VERDICT_FAILED, "guest-quote", "F----------"},
    {"replayed", ACCEPT("\"unlinked\""), NULL, replayed, LT_VERDICT_FAILED, "guest-clock", "PFP--------"},
    {"unjudged", ACCEPT("\"unlinked\",\"unjudged\""), names_nothing, certified, LT_VERDICT_TRUSTED, "",
     "PP-------P-"},
    {"unjudged, not accepted", ACCEPT("\"unlinked\""), names_nothing, certified, LT_VERDICT_UNCHECKED,
     "guest-policy", "PP-------P-"},
    {"no policy", ACCEPT("\"unlinked\",\"unjudged\""), NULL, no_policy, LT_VERDICT_UNCHECKED, "guest-policy",
     "PP-------P-"},
};

static void each_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char states[LT_CHECKS + 1];
        struct lt_verdict v;
        struct forge f;
        forge_init(&f);
        f.accept = rows[i].accept;
        if (rows[i].plan)
            rows[i].plan(&f);
        forge_build(&f);
        if (rows[i].after)
            rows[i].after(&f);
        judge(&f, &v);
        forge_states(&v, states);
        if (v.result != rows[i].result || strcmp(v.reason, rows[i].reason) || strcmp(states, rows[i].states))
            fail_msg("%s: %s %s %s", rows[i].name, lt_verdict_result_slug(v.result), v.reason, states);
        assert_false(f.facts.accepted || f.facts.resident || f.facts.host_genuine);
        forge_free(&f);
    }
}

/* Nothing measured a command line, and the policy takes a host's word for it: without a host it is nobody's.
 */
static void a_command_line_that_nobody_says(void **state)
{
    static const char *const accept[] = {ACCEPT("\"unlinked\""), ACCEPT("\"unlinked\",\"open-boot\"")};

    (void)state;
    for (int open = 0; open < 2; open++) {
        struct lt_verdict v;
        struct forge f;
        forge_init(&f);
        forge_measure(&f);
        f.dark_guest = true;
        f.pin_digests = true;
        f.accept = accept[open];
        forge_build(&f);
        certified(&f);
        judge(&f, &v);
        assert_int_equal(v.result, open ? LT_VERDICT_TRUSTED : LT_VERDICT_UNCHECKED);
        assert_string_equal(v.reason, open ? "" : "guest-policy");
        if (!open)
            assert_non_null(strstr(v.check[LT_CHECK_GUEST_POLICY].message, "domain digest"));
        forge_judge(&f, &v); /* with its host that word is judged */
        assert_true(lt_verdict_passed(&v, LT_CHECK_GUEST_POLICY) &&
                    lt_verdict_passed(&v, LT_CHECK_RESIDENCY));
        forge_free(&f);
    }
}

static bool has_line(const json_t *list, const char *check, const char *part, const char *message)
{
    const json_t *line;
    size_t i;

    json_array_foreach((json_t *)list, i, line)
    {
        const char *p = json_string_value(json_object_get(line, "part"));
        if (!strcmp(json_string_value(json_object_get(line, "check")), check) &&
            (part ? p && !strcmp(p, part) : !p) &&
            strstr(json_string_value(json_object_get(line, "message")), message))
            return true;
    }
    return false;
}

/* The verdict says all that was not made, and why. */
static void it_says_so(void **state)
{
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    f.accept = ACCEPT("\"unlinked\",\"ek-unproven\",\"unjudged\"");
    f.guest_named = 0;
    forge_build(&f);
    refused(&f);
    judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, NULL);
    LT_JSON_AUTO json_t *weak = json_pack("[sss]", "unlinked", "unjudged", "ek-unproven");
    const json_t *not_made = json_object_get(j, "not_made");
    assert_true(json_equal(json_object_get(j, "weak"), weak));
    assert_string_equal(json_string_value(json_object_get(j, "link")), "unlinked");
    assert_true(json_is_null(json_object_get(j, "host_level")) && json_is_null(json_object_get(j, "host")));
    for (enum lt_check c = LT_CHECK_BATCH_INCLUSION; c < LT_CHECKS; c++)
        assert_int_equal(has_line(not_made, lt_check_slug(c), NULL, WHY), c != LT_CHECK_WINDOW);
    assert_true(has_line(not_made, "guest-policy", NULL, "unjudged"));
    assert_true(has_line(not_made, "guest-quote", "ek-unproven", "a maker that nobody knows"));
    forge_free(&f);
}

/* A linked guest is judged as ever, whatever its policy accepts, and whoever vouches for its EK. */
static void words_change_nothing_of_a_link(void **state)
{
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    f.accept = ACCEPT("\"copyable\",\"boot-only\",\"unlinked\",\"ek-unproven\",\"unjudged\"");
    forge_build(&f);
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    assert_int_equal(v.weak, 0);
    assert_int_not_equal(v.link, LT_VERDICT_LINK_UNLINKED);
    forge_free(&f);
    forge_init(&f);
    f.accept = ACCEPT("\"copyable\",\"boot-only\",\"unlinked\",\"ek-unproven\",\"unjudged\"");
    f.listed = false;
    forge_build(&f);
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "residency");
    f.history.absent_before = true;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    forge_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row),
        cmocka_unit_test(a_command_line_that_nobody_says),
        cmocka_unit_test(it_says_so),
        cmocka_unit_test(words_change_nothing_of_a_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
