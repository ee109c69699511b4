/* The table of checks, how a verdict is concluded, and its JSON. */
#include "appraisal/checks/verdict.h"
#include "tests/support/unit.h"

static void pass_all(struct lt_verdict *v)
{
    lt_verdict_init(v);
    v->link = LT_VERDICT_LINK_RESIDENT;
    v->level = LT_VERDICT_LEVEL_APPRAISED;
    /* Check 4 rests on 5, so the order of the numbers will not do. */
    lt_check_open(v, LT_CHECK_HOST_QUOTE);
    assert_true(lt_check_close(v, LT_CHECK_HOST_QUOTE));
    for (int c = 0; c < LT_CHECKS; c++) {
        assert_true(lt_check_open(v, c));
        assert_true(lt_check_close(v, c));
    }
}

static void table(void **state)
{
    static const struct {
        const char *slug;
        unsigned rests_on; /* by number, as the protocol counts */
    } want[LT_CHECKS] = {
        {"guest-quote", 0},
        {"guest-clock", 1 << 1},
        {"guest-policy", 1 << 1},
        {"batch-inclusion", 1 << 1 | 1 << 5},
        {"host-quote", 0},
        {"host-identity", 1 << 5},
        {"host-policy", 1 << 5 | 1 << 6},
        {"residency", 1 << 5 | 1 << 6 | 1 << 7},
        {"host-clock", 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8},
        {"window", 0},
        {"sandwich", 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9},
    };

    (void)state;
    for (int c = 0; c < LT_CHECKS; c++) {
        assert_string_equal(lt_check_slug(c), want[c].slug);
        assert_int_equal(lt_verdict_rules[c].rests_on << 1, want[c].rests_on);
    }
}

static void nothing_is_trusted_by_default(void **state)
{
    struct lt_verdict v;

    (void)state;
    lt_verdict_init(&v);
    lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    memset(&v, 0, sizeof v);
    for (int c = 0; c < LT_CHECKS; c++)
        v.check[c].weight = LT_CHECK_WEIGHT_NONE; /* not made, and nobody says why */
    lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "internal");
}

static void levels(void **state)
{
    struct lt_verdict v;

    (void)state;
    for (int link = LT_VERDICT_LINK_NONE; link <= LT_VERDICT_LINK_RESIDENT; link++)
        for (int level = LT_VERDICT_LEVEL_NONE; level <= LT_VERDICT_LEVEL_APPRAISED; level++)
            for (int accept = 0; accept < 6; accept++) {
                enum lt_verdict_link least = LT_VERDICT_LINK_COPYABLE + accept / 2;
                pass_all(&v);
                v.link = link;
                v.level = level;
                lt_verdict_conclude(&v, least, accept & 1);
                bool ok = link >= (int)least && (level == LT_VERDICT_LEVEL_APPRAISED ||
                                                 (level == LT_VERDICT_LEVEL_BOOT_ONLY && (accept & 1)));
                assert_int_equal(v.result, ok ? LT_VERDICT_TRUSTED : LT_VERDICT_UNCHECKED);
                assert_string_equal(v.reason, ok ? "" : "level");
            }
}

/* The first row of "What a failure means" that applies, whatever else failed. */
static void first_row_that_applies(void **state)
{
    struct lt_verdict v;

    (void)state;
    for (unsigned failing = 1; failing < 1u << LT_CHECKS; failing++) {
        pass_all(&v);
        for (int c = 0; c < LT_CHECKS; c++)
            if (failing >> c & 1)
                lt_check_fault(&v, c, "planted");
        lt_verdict_conclude(&v, LT_VERDICT_LINK_RESIDENT, false);
        enum lt_verdict_result want = failing & 0xff                 ? LT_VERDICT_FAILED
                                      : failing & (1 << 8 | 1 << 10) ? LT_VERDICT_UNCHECKED
                                                                     : LT_VERDICT_STALE;
        assert_int_equal(v.result, want);
        unsigned deciding = want == LT_VERDICT_FAILED      ? failing & 0xff
                            : want == LT_VERDICT_UNCHECKED ? failing & 0x500
                                                           : failing;
        assert_string_equal(v.reason, lt_check_slug(__builtin_ctz(deciding)));
    }
}

static void no_answer(void **state)
{
    struct lt_err e;
    struct lt_verdict v;

    (void)state;
    (void)lt_fail(&e, LT_E_HOST_UNREACHABLE, "the host does not answer");
    lt_verdict_init(&v);
    lt_check_open(&v, LT_CHECK_GUEST_QUOTE);
    lt_check_close(&v, LT_CHECK_GUEST_QUOTE);
    lt_verdict_no_answer(&v, LT_VERDICT_UNREACHABLE, &e);
    assert_int_equal(v.result, LT_VERDICT_UNREACHABLE);
    assert_string_equal(v.reason, "host-unreachable");
    assert_true(lt_verdict_passed(&v, LT_CHECK_GUEST_QUOTE));
    assert_string_equal(v.check[LT_CHECK_RESIDENCY].message, "the host does not answer");
    lt_verdict_init(&v);
    lt_check_open(&v, LT_CHECK_GUEST_QUOTE);
    lt_check_fault(&v, LT_CHECK_GUEST_QUOTE, "bad");
    lt_verdict_no_answer(&v, LT_VERDICT_UNREACHABLE, &e);
    assert_int_equal(v.result, LT_VERDICT_FAILED); /* silence afterwards does not soften it */
    assert_string_equal(v.reason, "guest-quote");
}

static void lacking_live_and_offline(void **state)
{
    struct lt_verdict v;

    (void)state;
    lt_verdict_init(&v);
    lt_check_open(&v, LT_CHECK_WINDOW);
    lt_check_lack(&v, LT_CHECK_WINDOW, "part", "absent");
    assert_false(lt_check_close(&v, LT_CHECK_WINDOW));
    assert_int_equal(v.check[LT_CHECK_WINDOW].state, LT_CHECK_NOT_MADE);
    assert_string_equal(v.check[LT_CHECK_WINDOW].message, "absent");
    lt_check_fault(&v, LT_CHECK_WINDOW, "bad"); /* a failure outweighs what is absent */
    assert_string_equal(v.check[LT_CHECK_WINDOW].message, "bad");
    lt_verdict_init_offline(&v);
    lt_check_open(&v, LT_CHECK_WINDOW);
    lt_check_lack(&v, LT_CHECK_WINDOW, "part", "absent");
    assert_true(lt_check_close(&v, LT_CHECK_WINDOW));
    assert_int_equal(v.part_count, 1);
    for (int i = 0; i < LT_VERDICT_PARTS; i++) { /* no room for a line: the check does not stand */
        lt_check_open(&v, LT_CHECK_HOST_QUOTE);
        lt_check_lack(&v, LT_CHECK_HOST_QUOTE, "part", "line %d", i);
    }
    assert_false(lt_check_close(&v, LT_CHECK_HOST_QUOTE));
}

static void as_json(void **state)
{
    struct lt_verdict v;

    (void)state;
    pass_all(&v);
    v.level = LT_VERDICT_LEVEL_BOOT_ONLY;
    v.has_host = v.has_batch = v.tainted = true;
    memset(v.host_id, 0xab, 16);
    v.batch_n = 3;
    v.batch_seq = 42;
    lt_check_fault(&v, LT_CHECK_SANDWICH, "too young \xff");
    lt_check_omit(&v, LT_CHECK_HOST_POLICY, "ima", "not in this version");
    lt_check_note(&v, LT_CHECK_GUEST_CLOCK, "first", "the first round");
    lt_verdict_conclude(&v, LT_VERDICT_LINK_RESIDENT, true);
    LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, json_pack("{s:i}", "age_ms", 1));
    LT_JSON_AUTO json_t *want = json_pack(
        "{s:s,s:s,s:s,s:s,s:b,s:s,s:[ssssssssss],s:[{s:s,s:s}],s:[{s:s,s:s,s:s}],s:[{s:s,s:s,s:s}],s:{s:i,s:"
        "i},s:{s:i}}",
        "result", "unchecked", "reason", "sandwich", "link", "resident", "host_level", "boot-only", "tainted",
        1, "host", "abababababababababababababababab", "passed", "guest-quote", "guest-clock", "guest-policy",
        "batch-inclusion", "host-quote", "host-identity", "host-policy", "residency", "host-clock", "window",
        "failed", "check", "sandwich", "message", "too young \\xff", "not_made", "check", "host-policy",
        "part", "ima", "message", "not in this version", "notes", "check", "guest-clock", "part", "first",
        "message", "the first round", "batch", "n", 3, "seq", 42, "times", "age_ms", 1);
    assert_non_null(want);
    if (!json_equal(j, want)) {
        LT_AUTOFREE char *text = lt_json_pretty(j);
        fail_msg("%s", text);
    }
    lt_verdict_init(&v);
    LT_JSON_AUTO json_t *empty = lt_verdict_to_json(&v, NULL);
    assert_true(json_is_null(json_object_get(empty, "reason")) &&
                json_is_null(json_object_get(empty, "link")));
    assert_true(json_is_null(json_object_get(empty, "host")) &&
                json_is_null(json_object_get(empty, "batch")));
    assert_int_equal(json_array_size(json_object_get(empty, "not_made")), LT_CHECKS);
}

/* Every way in which checks may end, unlinked, under every choice of words: trusted is what passed 1, 2, 3
 * and 10 (3 may be unjudged), with nothing of a host made, and each of its weaknesses accepted. */
enum end { PASS, FAIL, GAP, LEFT, ENDS };

static void end_as(struct lt_verdict *v, enum lt_check c, enum end how)
{
    if (!lt_check_open(v, c))
        return;
    if (how == FAIL)
        lt_check_fault(v, c, "planted");
    else if (how == GAP)
        lt_check_lack(v, c, "part", "planted");
    else if (how == LEFT)
        lt_verdict_leave_out(v, 1u << c, "planted");
    lt_check_close(v, c);
}

static void unlinked_case(unsigned ends, unsigned weak, unsigned refused, bool said)
{
    static const enum lt_check made[] = {LT_CHECK_GUEST_QUOTE, LT_CHECK_GUEST_CLOCK, LT_CHECK_GUEST_POLICY,
                                         LT_CHECK_WINDOW};
    struct lt_verdict v;
    bool good = true;

    lt_verdict_init(&v);
    for (int i = 0; i < 4; i++, ends /= ENDS) {
        bool left = made[i] == LT_CHECK_GUEST_POLICY && ends % ENDS == LEFT;
        if (made[i] != LT_CHECK_GUEST_POLICY && ends % ENDS == LEFT)
            return;
        end_as(&v, made[i], ends % ENDS);
        good = good && (ends % ENDS == PASS || left);
    }
    lt_verdict_leave_out(&v, 0x5f8, "no host");
    v.link = said ? LT_VERDICT_LINK_UNLINKED : LT_VERDICT_LINK_NONE;
    for (int w = 0; w < LT_VERDICT_WEAKNESSES; w++)
        if (weak >> w & 1)
            lt_verdict_weakened(&v, w, !(refused >> w & 1));
    lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
    bool is = weak >> LT_VERDICT_WEAK_UNLINKED & 1;
    bool trusted = good && said && is && !(weak & refused);
    if ((v.result == LT_VERDICT_TRUSTED) != trusted)
        fail_msg("weak %x refused %x said %d: %s %s", weak, refused, said, lt_verdict_result_slug(v.result),
                 v.reason);
}

static void every_unlinked_end(void **state)
{
    (void)state;
    for (unsigned ends = 0; ends < ENDS * ENDS * ENDS * ENDS; ends++)
        for (unsigned weak = 0; weak < 1u << LT_VERDICT_WEAKNESSES; weak++)
            for (unsigned refused = 0; refused < 1u << LT_VERDICT_WEAKNESSES; refused++)
                for (int said = 0; said < 2; said++)
                    unlinked_case(ends, weak, refused, said);
}

/* What failed before it was left out has failed. */
static void leaving_out_hides_nothing(void **state)
{
    struct lt_verdict v;

    (void)state;
    for (int c = 0; c < LT_CHECKS; c++) {
        pass_all(&v);
        lt_check_fault(&v, c, "planted");
        lt_verdict_leave_out(&v, 1u << c, "no host");
        v.link = LT_VERDICT_LINK_UNLINKED;
        lt_verdict_weakened(&v, LT_VERDICT_WEAK_UNLINKED, true);
        lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
        assert_int_not_equal(v.result, LT_VERDICT_TRUSTED);
        assert_int_equal(v.check[c].state, LT_CHECK_NOT_PASSED);
        assert_string_equal(v.check[c].message, "planted");
    }
}

/* The first that is not accepted is the reason; each is told. */
static void weaknesses(void **state)
{
    struct lt_verdict v;

    (void)state;
    pass_all(&v);
    lt_verdict_leave_out(&v, 0x5f8, "no host");
    v.link = LT_VERDICT_LINK_UNLINKED;
    lt_verdict_weakened(&v, LT_VERDICT_WEAK_EK_UNPROVEN, false);
    lt_verdict_weakened(&v, LT_VERDICT_WEAK_UNLINKED, true);
    lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "ek-unproven");
    LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, NULL);
    LT_JSON_AUTO json_t *want = json_pack("[ss]", "unlinked", "ek-unproven");
    assert_true(json_equal(json_object_get(j, "weak"), want));
    lt_verdict_weakened(&v, LT_VERDICT_WEAK_UNLINKED, false);
    lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
    assert_string_equal(v.reason, "unlinked");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(nothing_is_trusted_by_default),
        cmocka_unit_test(levels),
        cmocka_unit_test(first_row_that_applies),
        cmocka_unit_test(no_answer),
        cmocka_unit_test(lacking_live_and_offline),
        cmocka_unit_test(as_json),
        cmocka_unit_test(every_unlinked_end),
        cmocka_unit_test(leaving_out_hides_nothing),
        cmocka_unit_test(weaknesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
