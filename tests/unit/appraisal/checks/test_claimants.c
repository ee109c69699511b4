/* Which of several hosts' verdicts is a guest's: nobody but the guest and its host turns it red. */
#include "appraisal/checks/claimants.h"
#include "tests/support/unit.h"

#include <string.h>

enum kind { NO_PROOF, FAILED, UNCHECKED, ALMOST, LEVEL, TRUSTED, KINDS };

static struct lt_verdict of_kind[KINDS];

static int setup(void **state)
{
    (void)state;
    for (int k = FAILED; k < KINDS; k++) {
        struct lt_verdict *v = &of_kind[k];
        lt_verdict_init(v);
        lt_check_open(v, LT_CHECK_HOST_QUOTE); /* 4 rests on 5 */
        lt_check_close(v, LT_CHECK_HOST_QUOTE);
        for (int c = 0; c < LT_CHECKS; c++) {
            if (k == UNCHECKED && c > LT_CHECK_HOST_QUOTE)
                continue;
            if (!lt_check_open(v, c))
                continue;
            if (k == FAILED && c == LT_CHECK_HOST_POLICY)
                lt_check_fault(v, c, "off policy");
            if (k == ALMOST && c == LT_CHECK_SANDWICH)
                lt_check_fault(v, c, "young");
            lt_check_close(v, c);
        }
        v->link = k == TRUSTED ? LT_VERDICT_LINK_RESIDENT : LT_VERDICT_LINK_COPYABLE;
        v->level = LT_VERDICT_LEVEL_APPRAISED;
        lt_verdict_conclude(v, LT_VERDICT_LINK_RESIDENT, false);
    }
    assert_int_equal(of_kind[FAILED].result, LT_VERDICT_FAILED);
    assert_int_equal(of_kind[UNCHECKED].result, LT_VERDICT_UNCHECKED);
    assert_int_equal(of_kind[ALMOST].result, LT_VERDICT_UNCHECKED);
    assert_string_equal(of_kind[LEVEL].reason, "level");
    assert_int_equal(of_kind[TRUSTED].result, LT_VERDICT_TRUSTED);
    assert_true(lt_claimants_verdict_holds(&of_kind[TRUSTED]) && lt_claimants_verdict_holds(&of_kind[LEVEL]));
    assert_false(lt_claimants_verdict_holds(&of_kind[ALMOST]) ||
                 lt_claimants_verdict_holds(&of_kind[FAILED]));
    return 0;
}

static enum lt_claimants_choice choose(const enum kind *kinds, unsigned n, int its_host, unsigned *which)
{
    struct lt_claimant c[4];

    for (unsigned i = 0; i < n; i++)
        c[i] = (struct lt_claimant){kinds[i] ? &of_kind[kinds[i]] : NULL, (int)i == its_host};
    return lt_claimants_choose(c, n, which);
}

static void table(void **state)
{
    static const struct {
        unsigned n;
        enum kind kinds[4];
        int its_host; /* -1: not known */
        enum lt_claimants_choice choice;
        unsigned which;
    } rows[] = {
        /* one that fails beside one that passes is never the verdict, whoever is its host */
        {2, {FAILED, TRUSTED}, -1, LT_CLAIMANTS_CHOICE_ONE, 1},
        {2, {FAILED, TRUSTED}, 0, LT_CLAIMANTS_CHOICE_ONE, 1},
        {2, {TRUSTED, FAILED}, 0, LT_CLAIMANTS_CHOICE_ONE, 0},
        {4, {FAILED, FAILED, FAILED, LEVEL}, -1, LT_CLAIMANTS_CHOICE_ONE, 3},
        {2, {LEVEL, TRUSTED}, 0, LT_CLAIMANTS_CHOICE_ONE, 1},
        /* two copies: the host of before, else the first */
        {2, {TRUSTED, TRUSTED}, 1, LT_CLAIMANTS_CHOICE_ONE, 1},
        {2, {TRUSTED, TRUSTED}, -1, LT_CLAIMANTS_CHOICE_ONE, 0},
        /* none holds: its host's word, red or not */
        {2, {FAILED, UNCHECKED}, 0, LT_CLAIMANTS_CHOICE_ONE, 0},
        {2, {FAILED, UNCHECKED}, 1, LT_CLAIMANTS_CHOICE_ONE, 1},
        {2, {ALMOST, UNCHECKED}, 1, LT_CLAIMANTS_CHOICE_ONE, 1},
        /* which says nothing: transport */
        {2, {FAILED, NO_PROOF}, 1, LT_CLAIMANTS_CHOICE_SILENT, 1},
        {4, {FAILED, ALMOST, FAILED, NO_PROOF}, 3, LT_CLAIMANTS_CHOICE_SILENT, 3},
        /* and is not known: the best that is no failure */
        {2, {UNCHECKED, ALMOST}, -1, LT_CLAIMANTS_CHOICE_ONE, 1},
        {2, {FAILED, UNCHECKED}, -1, LT_CLAIMANTS_CHOICE_ONE, 1},
        {2, {FAILED, FAILED}, -1, LT_CLAIMANTS_CHOICE_UNDECIDED, 0},
        {2, {FAILED, NO_PROOF}, -1, LT_CLAIMANTS_CHOICE_UNDECIDED, 0},
        {2, {NO_PROOF, NO_PROOF}, -1, LT_CLAIMANTS_CHOICE_UNDECIDED, 0},
        {1, {FAILED}, -1, LT_CLAIMANTS_CHOICE_ONE, 0}, /* one claimant: as ever */
        {1, {NO_PROOF}, -1, LT_CLAIMANTS_CHOICE_UNDECIDED, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned which = 99;
        enum lt_claimants_choice is = choose(rows[i].kinds, rows[i].n, rows[i].its_host, &which);
        if (is != rows[i].choice || which != rows[i].which)
            fail_msg("row %zu: %d of %u, not %d of %u", i, is, which, rows[i].choice, rows[i].which);
    }
}

/* All there is: nobody but its host makes a contested guest fail, and one that holds is always taken. */
static void every_combination(void **state)
{
    enum kind k[3];

    (void)state;
    for (unsigned all = 0; all < KINDS * KINDS * KINDS * 4; all++) {
        int its_host = (int)(all % 4) - 1;
        bool trusted = false;
        unsigned which, rest = all / 4;
        for (int i = 0; i < 3; i++, rest /= KINDS) {
            k[i] = rest % KINDS;
            trusted |= k[i] == TRUSTED;
        }
        enum lt_claimants_choice is = choose(k, 3, its_host, &which);
        assert_true(which < 3);
        if (is == LT_CLAIMANTS_CHOICE_ONE && k[which] == FAILED)
            assert_int_equal(which, its_host);
        if (is == LT_CLAIMANTS_CHOICE_ONE)
            assert_int_not_equal(k[which], NO_PROOF);
        assert_int_equal(is == LT_CLAIMANTS_CHOICE_ONE && k[which] == TRUSTED, trusted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(every_combination),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
