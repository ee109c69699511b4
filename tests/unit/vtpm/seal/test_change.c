/* Which change of openers may follow which, and which entries are taken: the rules that docs/sealing.md
 * section 3 rests on. tests/model/ shows why there is no other order. */
#include "tests/support/sealing.h"
#include "vtpm/seal/change.h"

static const uint8_t host[32] = {7}, other_host[32] = {8};
static struct lt_pcrs a, b, c;
static struct lt_seal_key_states in_a, in_ab;

static int setup(void **state)
{
    (void)state;
    a = sealing_state("a", LT_OPENERS_STATE_MIN);
    b = sealing_state("b", LT_OPENERS_STATE_MIN);
    c = sealing_state("c", LT_OPENERS_STATE_MIN | 1 << 11);
    in_a = (struct lt_seal_key_states){.count = 1, .state = {a}};
    in_ab = (struct lt_seal_key_states){.count = 2, .state = {a, b}};
    return 0;
}

static struct lt_openers_one of(const uint8_t ek[32], const struct lt_pcrs *state, bool closed)
{
    struct lt_openers_one one = {.kind = LT_OPENERS_STATE, .closed = closed, .state = *state};

    memcpy(one.digest, ek, 32);
    return one;
}

static void add(struct lt_seal_entry *x, const uint8_t ek[32], const struct lt_pcrs *state, bool closed)
{
    const struct lt_openers_one one = of(ek, state, closed);

    OK(lt_openers_add(&x->openers, &one, &err));
}

/* 'a' open, 'A' closed, of this host; "-" where it is not in the list; in the order of the list. */
static const char *shown(const struct lt_seal_entry *x)
{
    static char text[LT_MAX_OPENERS + 1];
    const struct lt_pcrs *const states[] = {&a, &b, &c};

    memset(text, 0, sizeof text);
    for (unsigned i = 0; i < x->openers.count; i++) {
        text[i] = '?';
        for (int k = 0; k < 3; k++) {
            const struct lt_openers_one one = of(host, states[k], false);
            if (lt_openers_same(&one, &x->openers.one[i]))
                text[i] = (char)((x->openers.one[i].closed ? 'A' : 'a') + k);
        }
    }
    return text;
}

static int plan(const struct lt_seal_key_states *before, const struct lt_pcrs *add_, unsigned drop,
                struct lt_seal_change *out)
{
    return lt_seal_change_plan(before, host, add_, add_ != NULL, &drop, drop != UINT_MAX, out, &err);
}

static void step(const struct lt_seal_change *ch, enum lt_seal_change_step s, struct lt_seal_entry *x,
                 const char *want)
{
    OK(lt_seal_change_apply(ch, s, x, &err));
    assert_string_equal(shown(x), want);
    assert_true(
        lt_seal_change_listed(lt_seal_change_states(ch, s), host, x)); /* whatever was committed opens */
}

/* Add: burn as it was, grow the lists, and only then a key that answers there. */
static void adding(void **state)
{
    struct lt_seal_entry x = sealing_entry(1);
    struct lt_seal_change ch;

    (void)state;
    add(&x, host, &a, false);
    assert_int_equal(plan(&in_a, &b, UINT_MAX, &ch), 0);
    for (enum lt_seal_change_step s = 0; s < LT_SEAL_CHANGE_STEPS; s++)
        assert_int_equal(lt_seal_change_states(&ch, s)->count, s >= LT_SEAL_CHANGE_WRAP ? 2 : 1);
    step(&ch, LT_SEAL_CHANGE_BURN, &x, "a");
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "ab");
    step(&ch, LT_SEAL_CHANGE_WRAP, &x, "ab");
    assert_false(lt_seal_change_closes(&ch, &x));
    step(&ch, LT_SEAL_CHANGE_CLOSE, &x, "ab");
    lt_seal_entry_free(&x);
}

/* Drop: closed only in the file after the one whose key does not answer there any more. */
static void dropping(void **state)
{
    struct lt_seal_entry x = sealing_entry(1);
    struct lt_seal_change ch;

    (void)state;
    add(&x, host, &a, false);
    add(&x, host, &b, false);
    add(&x, other_host, &b, false); /* another host's state is not ours to close */
    assert_int_equal(plan(&in_ab, NULL, 1, &ch), 0);
    step(&ch, LT_SEAL_CHANGE_BURN, &x, "ab?");
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "ab?");
    step(&ch, LT_SEAL_CHANGE_WRAP, &x, "ab?");
    assert_true(lt_seal_change_closes(&ch, &x));
    step(&ch, LT_SEAL_CHANGE_CLOSE, &x, "aB?");
    assert_false(lt_seal_change_closes(&ch, &x));
    assert_false(x.openers.one[2].closed);
    assert_false(
        lt_seal_change_listed(&in_ab, host, &x)); /* the old key's file is not taken with this list */
    lt_seal_entry_free(&x);
}

static void both_and_again(void **state)
{
    struct lt_seal_entry x = sealing_entry(1);
    struct lt_seal_change ch;

    (void)state;
    add(&x, host, &a, false);
    add(&x, host, &b, false);
    assert_int_equal(plan(&in_ab, &c, 0, &ch), 0);
    step(&ch, LT_SEAL_CHANGE_BURN, &x, "ab");
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "abc");
    step(&ch, LT_SEAL_CHANGE_WRAP, &x, "abc");
    step(&ch, LT_SEAL_CHANGE_CLOSE, &x, "Abc");
    const struct lt_seal_key_states now = *lt_seal_change_states(&ch, LT_SEAL_CHANGE_WRAP);
    assert_int_equal(plan(&now, &a, 0, &ch), 0); /* a closed one opens again, and stands there again */
    step(&ch, LT_SEAL_CHANGE_BURN, &x, "Abc");
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "Abca");
    assert_true(lt_seal_change_listed(&ch.after, host, &x));
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "Abca"); /* begun again: once more is enough */
    step(&ch, LT_SEAL_CHANGE_WRAP, &x, "Abca");
    step(&ch, LT_SEAL_CHANGE_CLOSE, &x, "ABca");
    lt_seal_entry_free(&x);
}

/* Power cut after the grow: the list names b, the key does not answer there. Nobody may call it closed
 * before another wrap stands, for a file that was pending may answer there; then it is. */
static void begun_and_left(void **state)
{
    struct lt_seal_entry x = sealing_entry(1);
    struct lt_seal_change ch;

    (void)state;
    add(&x, host, &a, false);
    assert_int_equal(plan(&in_a, &b, UINT_MAX, &ch), 0);
    step(&ch, LT_SEAL_CHANGE_BURN, &x, "a");
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "ab");
    assert_int_equal(plan(&in_a, &c, UINT_MAX, &ch), 0); /* another wish now */
    step(&ch, LT_SEAL_CHANGE_BURN, &x, "ab");
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "abc");
    step(&ch, LT_SEAL_CHANGE_WRAP, &x, "abc");
    const struct lt_seal_key_states now = ch.after; /* cut again */
    assert_int_equal(plan(&now, NULL, UINT_MAX, &ch), 0);
    step(&ch, LT_SEAL_CHANGE_BURN, &x, "abc");
    step(&ch, LT_SEAL_CHANGE_GROW, &x, "abc");
    step(&ch, LT_SEAL_CHANGE_WRAP, &x, "abc");
    step(&ch, LT_SEAL_CHANGE_CLOSE, &x, "aBc");
    lt_seal_entry_free(&x);
}

static void what_is_no_change(void **state)
{
    struct lt_seal_change ch;
    const struct lt_pcrs two[] = {b, b}, one[] = {a}, bad = sealing_state("a", 1u << 10);
    const unsigned twice[] = {0, 0};

    (void)state;
    FAILS(LT_E_USAGE, lt_seal_change_plan(&in_a, host, two, 2, NULL, 0, &ch, &err));
    FAILS(LT_E_USAGE, lt_seal_change_plan(&in_a, host, one, 1, NULL, 0, &ch, &err));
    FAILS(LT_E_USAGE, lt_seal_change_plan(&in_a, host, one, 1, twice, 1, &ch, &err)); /* added and dropped */
    FAILS(LT_E_USAGE, lt_seal_change_plan(&in_ab, host, NULL, 0, twice, 2, &ch, &err));
    FAILS(LT_E_USAGE, plan(&in_ab, NULL, 2, &ch));
    FAILS(LT_E_USAGE, plan(&in_a, NULL, 0, &ch)); /* none would be left */
    FAILS(LT_E_MALFORMED, plan(&in_a, &bad, UINT_MAX, &ch));
}

static void how_many_states(void **state)
{
    struct lt_pcrs more[LT_MAX_SEAL_STATES];
    struct lt_seal_change ch;
    char name[2] = {'k'};
    const unsigned first = 0;

    (void)state;
    for (unsigned i = 0; i < LT_MAX_SEAL_STATES; i++) {
        name[0]++;
        more[i] = sealing_state(name, LT_OPENERS_STATE_MIN);
    }
    OK(lt_seal_change_plan(&in_a, host, more, LT_MAX_SEAL_STATES - 1, NULL, 0, &ch, &err));
    assert_int_equal(ch.after.count, LT_MAX_SEAL_STATES);
    FAILS(LT_E_TOO_LARGE, lt_seal_change_plan(&in_a, host, more, LT_MAX_SEAL_STATES, NULL, 0, &ch, &err));
    OK(lt_seal_change_plan(&in_a, host, more, LT_MAX_SEAL_STATES, &first, 1, &ch, &err));
}

/* A list without room: said before anything is committed. */
static void full_lists(void **state)
{
    struct lt_seal_entry x = sealing_entry(1);
    struct lt_seal_change ch;

    (void)state;
    add(&x, host, &a, false);
    for (unsigned i = 1; i < LT_MAX_OPENERS; i++) {
        struct lt_openers_one one = sealing_opener(LT_OPENERS_ESCROW, 0);
        lt_put_u32(one.digest, i);
        OK(lt_openers_add(&x.openers, &one, &err));
    }
    assert_int_equal(plan(&in_a, &b, UINT_MAX, &ch), 0);
    OK(lt_seal_change_apply(&ch, LT_SEAL_CHANGE_BURN, &x, &err));
    FAILS(LT_E_TOO_LARGE, lt_seal_change_apply(&ch, LT_SEAL_CHANGE_GROW, &x, &err));
    lt_seal_entry_free(&x);
}

/* Taken: each state of the key, open, of this host. */
static void listed(void **state)
{
    (void)state;
    for (int what = 0; what < 6; what++) {
        struct lt_seal_entry x = sealing_entry(1);
        add(&x, host, &a, false);
        if (what == 0)
            add(&x, host, &b, false);
        else if (what == 1)
            add(&x, host, &b, true); /* closed */
        else if (what == 2)
            add(&x, other_host, &b, false); /* of another TPM */
        else if (what == 3)
            add(&x, host, &c, false); /* another state */
        else if (what == 4) {         /* one PCR of it is another */
            struct lt_pcrs d = b;
            d.value[12][0] ^= 1;
            add(&x, host, &d, false);
        }
        assert_int_equal(lt_seal_change_listed(&in_ab, host, &x), what == 0);
        assert_true(lt_seal_change_listed(&in_a, host, &x)); /* lists may be longer than the key's states */
        assert_false(lt_seal_change_listed(&in_a, other_host, &x));
        lt_seal_entry_free(&x);
    }
}

static void new_entries(void **state)
{
    struct lt_seal_entry x = sealing_entry(1);
    struct lt_openers_one one = sealing_opener(LT_OPENERS_ESCROW, 5);

    (void)state;
    OK(lt_openers_add(&x.openers, &one, &err));
    OK(lt_seal_change_complete(&in_ab, host, &x, &err));
    assert_string_equal(shown(&x), "ab?");
    OK(lt_seal_change_complete(&in_ab, host, &x, &err)); /* again: the same */
    assert_string_equal(shown(&x), "ab?");
    FAILS(LT_E_USAGE, lt_seal_change_complete(&in_a, host, &x, &err)); /* b is not the vault's any more */
    assert_string_equal(shown(&x), "ab?");
    memset(x.authority, 9, 32);
    OK(lt_seal_change_complete(&in_ab, host, &x, &err));
    assert_int_equal(x.openers.one[0].kind, LT_OPENERS_AUTHORITY);
    assert_int_equal(x.openers.one[0].digest[0], 9);
    assert_string_equal(shown(&x), "?ab?");
    x.openers.one[1].closed = true; /* a new entry's states are open */
    OK(lt_seal_change_complete(&in_ab, host, &x, &err));
    assert_string_equal(shown(&x), "?ab?");
    one = sealing_opener(LT_OPENERS_HANDOVER, 5);
    OK(lt_openers_add(&x.openers, &one, &err));
    FAILS(LT_E_USAGE, lt_seal_change_complete(&in_ab, host, &x, &err));
    lt_seal_entry_free(&x);
}

/* What only an authority may change, this version leaves alone. */
static void authorities(void **state)
{
    struct lt_seal_entry x = sealing_entry(1);
    struct lt_seal_change ch;

    (void)state;
    memset(x.authority, 1, 32);
    OK(lt_seal_change_complete(&in_a, host, &x, &err));
    assert_int_equal(plan(&in_a, &b, UINT_MAX, &ch), 0);
    for (enum lt_seal_change_step s = 0; s < LT_SEAL_CHANGE_STEPS; s++)
        FAILS(LT_E_UNSUPPORTED, lt_seal_change_apply(&ch, s, &x, &err));
    lt_seal_entry_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adding),
        cmocka_unit_test(dropping),
        cmocka_unit_test(both_and_again),
        cmocka_unit_test(begun_and_left),
        cmocka_unit_test(what_is_no_change),
        cmocka_unit_test(how_many_states),
        cmocka_unit_test(full_lists),
        cmocka_unit_test(listed),
        cmocka_unit_test(new_entries),
        cmocka_unit_test(authorities),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
