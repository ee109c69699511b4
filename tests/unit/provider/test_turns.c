/* Tenants that wait for one host's activations: none waits behind all of another's, and none can take all
 * places. */
#include "provider/turns.h"
#include "tests/support/unit.h"

#include <string.h>

#define MAX 16
static struct lt_turn pool[MAX];

/* A list from its tenants' letters, oldest first. */
static struct lt_turn *list_of(const char *tenants)
{
    struct lt_turn *first = NULL, **end = &first;

    for (size_t i = 0; tenants[i]; i++) {
        pool[i] = (struct lt_turn){.tenant = {(uint8_t)tenants[i]}};
        *end = &pool[i];
        end = &pool[i].next;
    }
    return first;
}

static const uint8_t *tenant(char c)
{
    static uint8_t id[16];
    id[0] = (uint8_t)c;
    return id;
}

static void in_turn(void **state)
{
    static const struct {
        const char *waiting, *served;
    } rows[] = {
        {"AAAAB", "BAAAA"}, /* A has just been served */
        {"AAAABBBBC", "BCABABABA"}, {"BBBB", "BBBB"}, {"AAAA", "AAAA"}, {"", ""}, {"ABC", "BCA"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lt_turn *list = list_of(rows[i].waiting), *t;
        char served[MAX + 1] = "";
        uint8_t last[16] = {'A'};
        for (size_t n = 0; (t = lt_turns_take(&list, last)); n++) {
            assert_null(t->next);
            served[n] = (char)t->tenant[0];
            memcpy(last, t->tenant, sizeof last);
        }
        assert_null(list);
        assert_string_equal(served, rows[i].served);
    }
}

static void room_for_who_has_none(void **state)
{
    struct lt_turn *list = list_of("AABBBAC"), *t;

    (void)state;
    assert_int_equal(lt_turns_count(list, NULL), 7);
    assert_int_equal(lt_turns_count(list, tenant('B')), 3);
    assert_null(lt_turns_yield(&list, tenant('C'))); /* it has one already */
    t = lt_turns_yield(&list, tenant('D'));
    assert_ptr_equal(t, &pool[5]); /* the newest of A, who has as many as B and was first */
    assert_int_equal(lt_turns_count(list, NULL), 6);
    assert_ptr_equal(lt_turns_yield(&list, tenant('D')), &pool[4]); /* now B has the most */
    assert_int_equal(lt_turns_count(list, tenant('B')), 2);
    list = list_of("ABC");
    assert_null(lt_turns_yield(&list, tenant('D')));
    list = NULL;
    assert_null(lt_turns_yield(&list, tenant('D')));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_turn), cmocka_unit_test(room_for_who_has_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
