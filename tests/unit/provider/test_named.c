/* Lists of openers that no record names any more: told for a while, of the guests that had them. */
#include "provider/limits.h"
#include "provider/named.h"
#include "tests/support/mock_host.h"
#include "tests/support/unit.h"

#define NOW UINT64_C(1000000)

static const uint8_t lists[8][32] = {{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}};

/* Guests first, first + 1, …, all with that list (NULL: none). */
static struct lt_residents *residents(uint32_t first, uint32_t count, const uint8_t *list)
{
    struct lt_residents *r = NULL;
    struct mock_host h;

    mock_host_init(&h);
    mock_host_populate(&h, first, count);
    for (uint32_t i = 0; list && i < count; i++) {
        h.records[i].version = 2;
        memcpy(h.records[i].openers_digest, list, 32);
    }
    lt_merkle_free(h.tree);
    OK(lt_residency_inventory_tree(h.records, h.count, &h.tree, &err));
    LT_JSON_AUTO json_t *j = mock_host_inventory(&h);
    OK(lt_residents_from_json(j, &r, &err));
    mock_host_free(&h);
    return r;
}

static void note(struct lt_named *n, struct lt_residents *was, struct lt_residents *now, uint64_t now_ms)
{
    lt_named_note(n, was, now, now_ms);
    lt_residents_unref(was);
    lt_residents_unref(now);
}

static bool is_guest(void *arg, const uint8_t uuid[16])
{
    uint8_t want[16];

    mock_uuid(*(const uint32_t *)arg, want);
    return !memcmp(uuid, want, sizeof want);
}

static bool had(const struct lt_named *n, uint32_t guest, unsigned list, uint64_t now_ms)
{
    return lt_named_find(n, lists[list], now_ms, is_guest, &guest);
}

static void what_was_replaced(void **state)
{
    struct lt_named n = {0};

    (void)state;
    assert_false(had(&n, 1, 0, NOW));
    note(&n, NULL, residents(1, 5, lists[0]), NOW);
    note(&n, residents(1, 5, NULL), residents(1, 5, lists[0]), NOW);
    note(&n, residents(1, 5, lists[0]), residents(1, 6, lists[0]), NOW); /* that is not replaced */
    assert_int_equal(n.count, 0);
    note(&n, residents(1, 5, lists[0]), residents(1, 5, lists[1]), NOW);
    for (uint32_t i = 1; i <= 5; i++)
        assert_true(had(&n, i, 0, NOW));
    assert_false(had(&n, 1, 1, NOW)); /* that is in its record */
    assert_false(had(&n, 6, 0, NOW));
    assert_false(had(&n, 1, 2, NOW));
    note(&n, residents(1, 5, lists[1]), residents(3, 3, lists[1]), NOW); /* 1 and 2 have ended */
    assert_true(had(&n, 2, 1, NOW));
    assert_false(had(&n, 3, 1, NOW));
    lt_named_free(&n);
}

static void for_a_while(void **state)
{
    struct lt_named n = {0};

    (void)state;
    note(&n, residents(1, 2, lists[0]), residents(1, 2, lists[1]), NOW);
    assert_true(had(&n, 1, 0, NOW + LT_PROVIDER_NAMED_MS - 1));
    assert_false(had(&n, 1, 0, NOW + LT_PROVIDER_NAMED_MS));
    note(&n, residents(1, 2, lists[1]), residents(1, 2, lists[2]), NOW + LT_PROVIDER_NAMED_MS);
    assert_int_equal(n.count, 2); /* the others were dropped */
    lt_named_free(&n);
}

/* A guest that changes its list all the time has its newest ones, each once, and takes no other's place. */
static void a_few_of_each_guest(void **state)
{
    struct lt_named n = {0};

    (void)state;
    note(&n, residents(9, 1, lists[0]), residents(9, 1, NULL), NOW);
    for (unsigned i = 0; i < 7; i++)
        note(&n, residents(1, 1, lists[i]), residents(1, 1, lists[i + 1]), NOW + 1 + i);
    assert_int_equal(n.count, LT_NAMED_PER_GUEST + 1);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(had(&n, 1, i, NOW + 9), i >= 7 - LT_NAMED_PER_GUEST);
    assert_true(had(&n, 9, 0, NOW + 9));
    for (unsigned i = 0; i < 9; i++)
        note(&n, residents(1, 1, lists[i % 2]), residents(1, 1, lists[2]), NOW + 20 + i);
    assert_true(had(&n, 1, 0, NOW + 30) && had(&n, 1, 1, NOW + 30));
    assert_int_equal(n.count, LT_NAMED_PER_GUEST + 1);
    lt_named_free(&n);
}

/* Of too many those stay that were replaced last. */
static void the_newest_of_a_host(void **state)
{
    struct lt_residents *full = residents(1, LT_PROVIDER_NAMED_MAX, lists[0]), *none = residents(1, 1, NULL);
    struct lt_named n = {0};

    (void)state;
    lt_named_note(&n, full, none, NOW);
    assert_int_equal(n.count, LT_PROVIDER_NAMED_MAX);
    note(&n, residents(70000, 1, lists[1]), residents(1, 1, NULL), NOW + 1);
    assert_int_equal(n.count, LT_PROVIDER_NAMED_MAX);
    assert_true(had(&n, 70000, 1, NOW + 2));
    lt_residents_unref(full);
    lt_residents_unref(none);
    lt_named_free(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_replaced),
        cmocka_unit_test(for_a_while),
        cmocka_unit_test(a_few_of_each_guest),
        cmocka_unit_test(the_newest_of_a_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
