/* The provider's copy of a host's inventory: what it refuses, and how it finds a guest. */
#include "provider/residents.h"
#include "tests/support/mock_host.h"
#include "tests/support/unit.h"

static void finds_every_guest(void **state)
{
    struct mock_host h;
    struct lt_residents *r = NULL;
    uint8_t uuid[16];
    uint32_t place;

    (void)state;
    mock_host_init(&h);
    mock_host_populate(&h, 100, 57);
    LT_JSON_AUTO json_t *j = mock_host_inventory(&h);
    OK(lt_residents_from_json(j, &r, &err));
    assert_int_equal(r->count, 57);
    assert_memory_equal(lt_residents_root(r), lt_merkle_root(h.tree), 32);
    for (uint32_t i = 0; i < 57; i++) {
        mock_uuid(100 + i, uuid);
        assert_true(lt_residents_find(r, uuid, NULL, &place));
        assert_memory_equal(r->records[place].guest_uuid, uuid, 16);
    }
    mock_uuid(99, uuid);
    assert_false(lt_residents_find(r, uuid, NULL, &place));
    mock_uuid(157, uuid);
    assert_false(lt_residents_find(r, uuid, NULL, &place));
    assert_false(lt_residents_find(NULL, uuid, NULL, &place));
    lt_residents_unref(r);
    mock_host_free(&h);
}

/* A vTPM with two EKs has two records: the one with the smaller ek_digest is told. */
static void two_records_of_one_guest(void **state)
{
    struct mock_host h;
    struct lt_residents *r = NULL;
    uint8_t uuid[16];
    uint32_t place;

    (void)state;
    mock_host_init(&h);
    mock_host_populate(&h, 1, 9);
    memcpy(uuid, h.records[3].guest_uuid, 16);
    memcpy(h.records[6].guest_uuid, uuid, 16);
    lt_merkle_free(h.tree);
    OK(lt_residency_inventory_tree(h.records, h.count, &h.tree, &err));
    LT_JSON_AUTO json_t *j = mock_host_inventory(&h);
    OK(lt_residents_from_json(j, &r, &err));
    assert_true(lt_residents_find(r, uuid, NULL, &place));
    assert_int_equal(place, 3);
    lt_residents_unref(r);
    mock_host_free(&h);
}

/* Lists are found whoever has them; records without one are nobody's. */
static void finds_who_names_a_list(void **state)
{
    static const uint8_t lists[3][32] = {{1}, {2}, {3}}, none[32];
    struct mock_host h;
    struct lt_residents *r = NULL;
    const uint32_t *place;

    (void)state;
    mock_host_init(&h);
    mock_host_populate(&h, 1, 30);
    for (uint32_t i = 1; i <= 12; i++)
        mock_host_seal(&h, i, lists[i % 2 ? 0 : 2]);
    LT_JSON_AUTO json_t *j = mock_host_inventory(&h);
    OK(lt_residents_from_json(j, &r, &err));
    assert_int_equal(r->sealed, 12);
    for (unsigned k = 0; k < 3; k += 2) {
        assert_int_equal(lt_residents_of_openers(r, lists[k], &place), 6);
        for (unsigned i = 0; i < 6; i++)
            assert_memory_equal(r->records[place[i]].openers_digest, lists[k], 32);
    }
    assert_int_equal(lt_residents_of_openers(r, lists[1], &place), 0);
    assert_int_equal(lt_residents_of_openers(r, none, &place), 0);
    assert_int_equal(lt_residents_of_openers(NULL, lists[0], &place), 0);
    lt_residents_unref(r);
    mock_host_free(&h);
}

static void empty_is_legal(void **state)
{
    struct mock_host h;
    struct lt_residents *r = NULL;

    (void)state;
    mock_host_init(&h);
    LT_JSON_AUTO json_t *j = mock_host_inventory(&h);
    OK(lt_residents_from_json(j, &r, &err));
    assert_int_equal(r->count, 0);
    lt_residents_unref(r);
    mock_host_free(&h);
}

static void refuse(json_t *j)
{
    struct lt_residents *r = (void *)1;
    FAILS(LT_E_MALFORMED, lt_residents_from_json(j, &r, &err));
    assert_null(r);
    json_decref(j);
}

static void refuses_what_is_wrong(void **state)
{
    struct mock_host h;
    json_t *j, *list;

    (void)state;
    mock_host_init(&h);
    mock_host_populate(&h, 1, 5);

    j = mock_host_inventory(&h); /* order */
    list = json_object_get(j, "records");
    json_array_append(list, json_array_get(list, 0));
    json_array_remove(list, 0);
    refuse(j);

    j = mock_host_inventory(&h); /* a record twice */
    list = json_object_get(j, "records");
    json_array_insert(list, 1, json_array_get(list, 0));
    refuse(j);

    j = mock_host_inventory(&h); /* one missing: the root is another */
    json_array_remove(json_object_get(j, "records"), 2);
    refuse(j);

    j = mock_host_inventory(&h);
    json_array_set_new(json_object_get(j, "records"), 1, json_integer(3));
    refuse(j);

    j = mock_host_inventory(&h);
    json_array_set_new(json_object_get(j, "records"), 1, json_string("TFQxOlJFU0lERU5U"));
    refuse(j);

    j = mock_host_inventory(&h);
    json_object_set_new(j, "seq", json_integer(-1));
    refuse(j);

    j = mock_host_inventory(&h);
    json_object_del(j, "root");
    refuse(j);
    refuse(json_string("inventory"));
    mock_host_free(&h);
}

/* No bit of a record is ignored: with any one turned, parsing, order or root fails. */
static int parse_record(const uint8_t *p, size_t n, void *state)
{
    struct lt_residents *r = NULL;
    LT_JSON_AUTO json_t *j = json_deep_copy(state);
    json_array_set_new(json_object_get(j, "records"), 2, lt_json_new_base64(p, n));
    int rc = lt_residents_from_json(j, &r, &err);
    lt_residents_unref(r);
    return rc;
}

static void every_bit_and_prefix_of_a_record(void **state)
{
    struct mock_host h;
    uint8_t raw[LT_RESIDENCY_RECORD];

    (void)state;
    mock_host_init(&h);
    mock_host_populate(&h, 1, 5);
    for (uint16_t version = 1; version <= 2; version++) {
        h.records[2].version = version;
        lt_merkle_free(h.tree);
        OK(lt_residency_inventory_tree(h.records, h.count, &h.tree, &err));
        const size_t n = lt_residency_record_write(&h.records[2], raw);
        LT_JSON_AUTO json_t *j = mock_host_inventory(&h);
        unit_every_prefix(parse_record, raw, n, j);
        unit_every_bit(parse_record, raw, n, j);
    }
    mock_host_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_guest),      cmocka_unit_test(two_records_of_one_guest),
        cmocka_unit_test(finds_who_names_a_list), cmocka_unit_test(empty_is_legal),
        cmocka_unit_test(refuses_what_is_wrong),  cmocka_unit_test(every_bit_and_prefix_of_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
