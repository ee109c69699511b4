/* A runtime policy learnt from a list is the one under which that list stands. */
#include "appraisal/imalearn.h"
#include "tests/unit/ima_lines.h"

static int appraise(const struct lt_buf *list, const uint8_t pcr[32], const json_t *policy)
{
    LT_AUTOBUF struct lt_buf table = {0};
    LT_AUTOFREE char *text = lt_json_dump(policy);
    struct lt_ima_layers layers = {.count = 1, .layer[0].name = "learnt"};
    struct lt_ima_progress p = {0};
    struct lt_ima_result r = {0};
    struct lt_ima_table *t;

    OK(lt_ima_table_compile(text, strlen(text), NULL, &table, &err));
    OK(lt_ima_table_open(table.p, table.n, &t, &err));
    layers.layer[0].table = t;
    const struct lt_ima_input in = {
        .list = {list->p, list->n}, .bank = LT_HASH_SHA256, .pcr = pcr, .layers = &layers};
    int rc = lt_ima_appraise(&in, &p, &r, &err);
    lt_ima_progress_free(&p);
    lt_ima_table_close(t);
    return rc;
}

static void stands_under_what_it_taught(void **state)
{
    LT_AUTOBUF struct lt_buf list = LT_BUF(65536);
    LT_AUTOJSON json_t *policy = NULL;
    uint8_t pcr[32] = {0}, other[32];
    (void)state;

    ima_file(&list, pcr, "/init");
    ima_file(&list, pcr, "/usr/bin/with space");
    lt_sha256("second", 6, other);
    ima_line(&list, pcr, other, "/init"); /* changed since: both are learnt */
    ima_file(&list, pcr, "/usr/bin/\xc3\xbc\x62ung");
    ima_file(&list, pcr, "/init"); /* told once */
    OK(lt_ima_learn((struct lt_slice){list.p, list.n}, &policy, &err));
    json_t *digests = json_object_get(policy, "digests");
    assert_int_equal(json_object_size(digests), 3);
    assert_int_equal(json_array_size(json_object_get(digests, "/init")), 2);
    assert_string_equal(json_string_value(json_object_get(json_object_get(policy, "ima"), "log_hash_alg")),
                        "sha1");
    OK(appraise(&list, pcr, policy));
    ima_file(&list, pcr, "/usr/bin/new");
    assert_int_equal(appraise(&list, pcr, policy), LT_E_REFUSED);
    json_object_del(digests, "/init");
    assert_int_equal(appraise(&list, pcr, policy), LT_E_REFUSED);
}

/* boot_aggregate follows from the boot PCRs, a violation is no file. */
static void what_is_not_learnt(void **state)
{
    LT_AUTOBUF struct lt_buf list = LT_BUF(65536);
    LT_AUTOJSON json_t *policy = NULL;
    uint8_t pcr[32] = {0}, zeros[32] = {0};
    (void)state;

    ima_file(&list, pcr, "boot_aggregate");
    ima_line(&list, pcr, zeros, "/etc/motd");
    OK(lt_ima_learn((struct lt_slice){list.p, list.n}, &policy, &err));
    assert_int_equal(json_object_size(json_object_get(policy, "digests")), 0);
}

static void refused(void **state)
{
    LT_AUTOBUF struct lt_buf list = LT_BUF(65536);
    uint8_t pcr[32] = {0};
    json_t *policy = NULL;
    (void)state;

    ima_file(&list, pcr, "/init");
    ima_file(&list, pcr, "/tmp/\xff\xfe");
    assert_int_not_equal(lt_ima_learn((struct lt_slice){list.p, list.n}, &policy, &err), 0);
    assert_null(policy);
    assert_non_null(strstr(err.msg, "entry 1"));
    assert_int_not_equal(lt_ima_learn((struct lt_slice){(const uint8_t *)"10 ab\n", 6}, &policy, &err), 0);
    OK(lt_ima_learn((struct lt_slice){(const uint8_t *)"", 0}, &policy, &err));
    json_decref(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_under_what_it_taught),
        cmocka_unit_test(what_is_not_learnt),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
