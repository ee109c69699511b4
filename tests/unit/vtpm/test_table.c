/* The inventory's table: whose turn it is. */
#include "tests/support/unit.h"

#include "vtpm/table.h"

static void add(struct lt_vtpm_inventory *inv, uint8_t id)
{
    const uint8_t uuid[LT_UUID] = {id};
    assert_non_null(lt_vtpm_table_add(inv, uuid));
}

static uint8_t due(struct lt_vtpm_inventory *inv)
{
    struct lt_vtpm_marks marks;
    uint64_t until = UINT64_MAX;
    const struct lt_vtpm_resident *r = lt_vtpm_table_due(inv, &marks, &until);
    return r ? r->uuid[0] : 0;
}

static void empty(struct lt_vtpm_inventory *inv)
{
    while (inv->count)
        lt_vtpm_table_remove(inv, inv->list[0]);
    free(inv->list);
}

/* One that is dirty again as soon as it was looked at (a guest resets itself in a loop). */
static void nobody_takes_every_turn(void **state)
{
    struct lt_vtpm_inventory inv = {0};
    unsigned seen[5] = {0};
    (void)state;

    for (uint8_t id = 1; id <= 4; id++)
        add(&inv, id);
    for (int i = 0; i < 8; i++) {
        uint8_t id = due(&inv);
        assert_in_range(id, 1, 4);
        seen[id]++;
        inv.list[0]->marks.dirty = inv.list[2]->marks.dirty = true;
    }
    assert_int_equal(seen[2], 1);
    assert_int_equal(seen[4], 1);
    assert_int_equal(seen[1], 3);
    assert_int_equal(seen[3], 3);
    empty(&inv);
}

static void none_is_due(void **state)
{
    struct lt_vtpm_inventory inv = {0};
    struct lt_vtpm_marks marks;
    uint64_t until = UINT64_MAX;
    (void)state;

    assert_int_equal(due(&inv), 0);
    for (uint8_t id = 1; id <= 3; id++)
        add(&inv, id);
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(due(&inv), 0);
    inv.list[1]->retry_ms = UINT64_MAX - 5;
    assert_null(lt_vtpm_table_due(&inv, &marks, &until));
    assert_int_equal(until, UINT64_MAX - 5);
    lt_vtpm_table_remove(&inv, inv.list[0]);
    inv.list[0]->marks = (struct lt_vtpm_marks){.dirty = true, .redraw = true};
    assert_non_null(lt_vtpm_table_due(&inv, &marks, &until));
    assert_true(marks.redraw);
    empty(&inv);
}

/* Whoever had an incarnation under the old counts keeps snapshots waiting until he has a new one. */
static void a_reset_of_the_host(void **state)
{
    struct lt_vtpm_inventory inv = {0};
    (void)state;

    for (uint8_t id = 1; id <= 2; id++) {
        add(&inv, id);
        inv.list[id - 1]->waits = inv.list[id - 1]->marks.dirty = false;
        inv.list[id - 1]->have_incarnation = id == 1;
    }
    lt_vtpm_table_counts(&inv, 0, 0);
    inv.ready = true;
    lt_vtpm_table_counts(&inv, 0, 0);
    assert_true(inv.ready);
    lt_vtpm_table_counts(&inv, 1, 0);
    assert_false(inv.ready);
    assert_true(inv.list[0]->waits && inv.list[0]->marks.redraw);
    assert_false(inv.list[1]->waits || inv.list[1]->marks.redraw);
    empty(&inv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_takes_every_turn),
        cmocka_unit_test(none_is_due),
        cmocka_unit_test(a_reset_of_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
