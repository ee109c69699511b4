/* The inventory's table: whose turn it is. */
#include "tests/support/unit.h"

#include "vtpm/inventory.h"
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

/* ---- the vault ---- */

/* A keeper of one entry, of uuid 1. */
struct vault {
    struct lt_seal_entry entry;
    int rc; /* what is answered instead */
    const char *leak;
    unsigned asked;
};

static int vault_entry(void *ctx, const uint8_t uuid[LT_UUID], struct lt_seal_entry *out, struct lt_err *e)
{
    struct vault *v = ctx;

    v->asked++;
    if (v->rc || uuid[0] != 1)
        return lt_fail(e, v->rc ? v->rc : LT_E_NOT_FOUND, "no entry");
    return lt_seal_entry_copy(&v->entry, out, e);
}

static int vault_of_ek(void *ctx, const uint8_t ek_digest[LT_SHA256], uint8_t uuid[LT_UUID], struct lt_err *e)
{
    const struct vault *v = ctx;
    (void)uuid;
    return memcmp(ek_digest, v->entry.ek_digest, 32) ? lt_fail(e, LT_E_NOT_FOUND, "none") : 0;
}

static const char *vault_leak(void *ctx)
{
    const struct vault *v = ctx;
    return v->leak;
}

static void add_opener(struct vault *v, uint8_t id)
{
    const struct lt_openers_one one = {.kind = LT_OPENERS_ESCROW, .digest = {id}};
    OK(lt_openers_add(&v->entry.openers, &one, &err));
}

static void digest_is(const struct lt_vtpm_resident *r, const struct vault *v)
{
    uint8_t digest[LT_SHA256];
    OK(lt_openers_digest(&v->entry.openers, digest, &err));
    assert_memory_equal(r->record.openers_digest, digest, 32);
}

/* Two residents that were examined: 1 sealed, 2 without an entry. */
static void examined(struct lt_vtpm_inventory *inv, const struct lt_seal_keeper *keeper)
{
    struct vault *v = keeper->ctx;

    pthread_mutex_init(&inv->lock, NULL);
    pthread_cond_init(&inv->wake, NULL);
    inv->conf.keeper = keeper;
    inv->ready = inv->listed = true;
    for (uint8_t id = 1; id <= 2; id++) {
        add(inv, id);
        struct lt_vtpm_resident *r = inv->list[id - 1];
        r->marks.dirty = r->waits = false;
        r->why = (struct lt_err){0};
        r->have_ek = true;
        r->record.ek_digest[0] = id;
        r->record.flags = LT_RESIDENCY_RUNNING;
    }
    v->entry.ek_digest[0] = 1;
    lt_vtpm_table_entry(inv->list[0], 0, &v->entry);
    lt_vtpm_table_entry(inv->list[1], LT_E_NOT_FOUND, &v->entry);
}

static void next_snapshot(struct lt_vtpm_inventory *inv)
{
    const struct lt_inventory_snapshot *s;
    OK(lt_inventory_snapshot(inv, &s, &err)); /* empty: no pair of theirs lives */
    lt_inventory_snapshot_put(s);
}

static void gone(struct lt_vtpm_inventory *inv, struct vault *v)
{
    empty(inv);
    lt_inventory_snapshot_put((const struct lt_inventory_snapshot *)(const void *)inv->current);
    lt_seal_entry_free(&v->entry);
}

#define VAULT                                                                                                \
    struct vault v = {.entry = {.origin = LT_SEAL_MADE}};                                                    \
    const struct lt_seal_keeper keeper = {vault_entry, vault_of_ek, vault_leak, &v};                         \
    struct lt_vtpm_inventory inv = {0};                                                                      \
    (void)state

static void what_an_entry_says(void **state)
{
    VAULT;
    add_opener(&v, 1);
    examined(&inv, &keeper);
    struct lt_vtpm_resident *r = inv.list[0];

    assert_int_equal(r->record.version, 2);
    assert_int_equal(r->record.flags, LT_RESIDENCY_RUNNING | LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
    digest_is(r, &v);
    assert_int_equal(inv.list[1]->record.version, 1);
    assert_int_equal(inv.list[1]->record.flags, LT_RESIDENCY_RUNNING);
    (void)lt_fail(&r->unsealed, LT_E_STATE_PLAIN, "state-plain");
    lt_vtpm_table_entry(r, 0, &v.entry);
    assert_int_equal(r->record.flags, LT_RESIDENCY_RUNNING | LT_RESIDENCY_BORN);
    digest_is(r, &v);
    r->record.ek_digest[0] = 3; /* another vTPM's */
    lt_vtpm_table_entry(r, 0, &v.entry);
    assert_int_equal(r->record.version, 1);
    assert_int_equal(r->record.flags, LT_RESIDENCY_RUNNING);
    assert_memory_equal(r->record.openers_digest, (uint8_t[32]){0}, 32);
    gone(&inv, &v);
}

static void openers_grow(void **state)
{
    VAULT;
    add_opener(&v, 1);
    examined(&inv, &keeper);
    next_snapshot(&inv);
    assert_int_equal(v.asked, 0); /* nothing has changed: a quote costs nothing more */
    add_opener(&v, 2);
    lt_inventory_entries_changed(&inv);
    next_snapshot(&inv);
    digest_is(inv.list[0], &v);
    assert_int_equal(inv.list[0]->record.flags & LT_RESIDENCY_SEALED, LT_RESIDENCY_SEALED);
    assert_false(inv.list[0]->marks.dirty);
    assert_true(inv.list[1]->marks.dirty); /* it may have got one */
    assert_int_equal(v.asked, 2);
    next_snapshot(&inv);
    assert_int_equal(v.asked, 2);
    gone(&inv, &v);
}

static void the_entry_is_gone(void **state)
{
    VAULT;
    add_opener(&v, 1);
    examined(&inv, &keeper);
    v.rc = LT_E_VAULT_LOCKED;
    lt_inventory_entries_changed(&inv);
    next_snapshot(&inv);
    assert_int_equal(inv.list[0]->record.version, 1);
    assert_int_equal(inv.list[0]->record.flags, LT_RESIDENCY_RUNNING);
    assert_true(inv.list[0]->marks.dirty);
    gone(&inv, &v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_takes_every_turn),
        cmocka_unit_test(none_is_due),
        cmocka_unit_test(a_reset_of_the_host),
        cmocka_unit_test(what_an_entry_says),
        cmocka_unit_test(openers_grow),
        cmocka_unit_test(the_entry_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
