/* Host quotes and proofs as JSON of docs/api.md. */
#include "residency/proof.h"
#include "tests/support/unit.h"

static json_t *json(const char *text)
{
    json_t *j = lt_json_parse(text, strlen(text), 1 << 20, &err);
    if (!j)
        fail_msg("%s: %s", text, err.msg);
    return j;
}

static void paths(void **state)
{
    struct lt_merkle_path p = {.index = 5, .count = 3}, back;

    (void)state;
    lt_random(p.nodes, 3 * LT_MERKLE_NODE);
    LT_JSON_AUTO json_t *j = lt_residency_path_to_json(&p);
    OK(lt_residency_path_from_json(j, &back, &err));
    assert_memory_equal(&p, &back, sizeof p);
    json_t *nodes = json_object_get(j, "path");
    while (json_array_size(nodes) < LT_MAX_PATH)
        json_array_append_new(nodes, lt_json_new_hex(p.nodes[0], LT_MERKLE_NODE));
    OK(lt_residency_path_from_json(j, &back, &err));
    assert_int_equal(back.count, LT_MAX_PATH);
    json_array_append_new(nodes, lt_json_new_hex(p.nodes[0], LT_MERKLE_NODE));
    FAILS(LT_E_TOO_LARGE, lt_residency_path_from_json(j, &back, &err));
}

static void bad_paths(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "null",
        "{\"index\":0}",
        "{\"path\":[]}",
        "{\"index\":-1,\"path\":[]}",
        "{\"index\":4294967296,\"path\":[]}",
        "{\"index\":1.5,\"path\":[]}",
        "{\"index\":\"1\",\"path\":[]}",
        "{\"index\":0,\"path\":{}}",
        "{\"index\":0,\"path\":[1]}",
        "{\"index\":0,\"path\":[\"\"]}",
        "{\"index\":0,\"path\":[\"00\"]}",
        "{\"index\":0,\"path\":[null]}",
    };
    struct lt_merkle_path p;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        LT_JSON_AUTO json_t *j = json(texts[i]);
        err.code = 0;
        if (!lt_residency_path_from_json(j, &p, &err) || !err.code)
            fail_msg("%s: accepted", texts[i]);
        assert_int_equal(p.count, 0);
    }
}

static void proofs(void **state)
{
    struct lt_proof p = {
        .batch = {.index = 1, .count = 1}, .resident = true, .residency = {.index = 2, .count = 2}};
    struct lt_proof back;
    uint8_t bytes[LT_RESIDENCY_RECORD + 1];

    (void)state;
    memset(bytes, 7, sizeof bytes);
    LT_JSON_AUTO json_t *j = lt_proof_to_json(&p);
    for (size_t n = 0; n <= LT_RESIDENCY_RECORD + 1; n++) {
        const bool right = n == LT_RESIDENCY_RECORD_1 || n == LT_RESIDENCY_RECORD;
        memset(p.record, 0, sizeof p.record);
        memset(p.record, 7, right ? n : 0);
        p.record_n = n;
        json_object_set_new(json_object_get(j, "residency"), "record", lt_json_new_base64(bytes, n));
        if (right) {
            OK(lt_proof_from_json(j, &back, &err));
            assert_memory_equal(&p, &back, sizeof p);
            LT_JSON_AUTO json_t *again = lt_proof_to_json(&back);
            assert_true(json_equal(j, again));
        } else
            FAILS(n > LT_RESIDENCY_RECORD ? LT_E_TOO_LARGE : LT_E_MALFORMED,
                  lt_proof_from_json(j, &back, &err));
    }
    json_object_set_new(j, "residency", json_true());
    FAILS(LT_E_MALFORMED, lt_proof_from_json(j, &back, &err));
    json_object_del(j, "residency");
    FAILS(LT_E_MALFORMED, lt_proof_from_json(j, &back, &err)); /* null is said, not left out */
    json_object_set_new(j, "residency", json_null());
    OK(lt_proof_from_json(j, &back, &err));
    assert_false(back.resident);
    json_object_set_new(j, "batch", json_null());
    FAILS(LT_E_MALFORMED, lt_proof_from_json(j, &back, &err));
}

static void host_quotes(void **state)
{
    uint8_t attest[100], signature[70];
    struct lt_residency_host_quote q = {.attest = attest,
                                        .attest_n = 100,
                                        .signature = signature,
                                        .signature_n = 70},
                                   back;

    (void)state;
    lt_random(q.header, LT_RESIDENCY_HEADER);
    lt_random(attest, sizeof attest);
    lt_random(signature, sizeof signature);
    q.pcrs.alg = LT_HASH_SHA256;
    q.pcrs.mask = LT_RESIDENCY_HOST_PCR_MASK;
    for (int i = 0; i < 16; i++)
        lt_random(q.pcrs.value[i], 32);
    LT_JSON_AUTO json_t *j = lt_residency_host_quote_to_json(&q);
    OK(lt_residency_host_quote_from_json(j, &back, &err));
    assert_memory_equal(back.header, q.header, LT_RESIDENCY_HEADER);
    assert_true(lt_slice_eq((struct lt_slice){back.attest, back.attest_n}, (struct lt_slice){attest, 100}));
    assert_true(
        lt_slice_eq((struct lt_slice){back.signature, back.signature_n}, (struct lt_slice){signature, 70}));
    assert_memory_equal(&back.pcrs, &q.pcrs, sizeof q.pcrs);
    lt_residency_host_quote_free(&back);

    static const char *const keys[] = {"header", "attest", "signature", "pcrs"};
    for (int i = 0; i < 4; i++) {
        json_t *kept = json_incref(json_object_get(j, keys[i]));
        json_object_del(j, keys[i]);
        FAILS(LT_E_MALFORMED, lt_residency_host_quote_from_json(j, &back, &err));
        json_object_set_new(j, keys[i], json_string("!"));
        FAILS(LT_E_MALFORMED, lt_residency_host_quote_from_json(j, &back, &err));
        assert_null(back.attest);
        json_object_set_new(j, keys[i], kept);
    }
    json_object_del(json_object_get(j, "pcrs"), "15");
    FAILS(LT_E_MALFORMED, lt_residency_host_quote_from_json(j, &back, &err));
    uint8_t large[LT_MAX_ATTEST + 1] = {0};
    json_object_set_new(j, "attest", lt_json_new_base64(large, sizeof large));
    FAILS(LT_E_TOO_LARGE, lt_residency_host_quote_from_json(j, &back, &err));
}

static void pcr_names(void **state)
{
    static const struct {
        const char *name;
        bool ok;
    } names[] = {{"0", true},   {"9", true},    {"10", true},  {"23", true},  {"24", false}, {"00", false},
                 {"01", false}, {"-1", false},  {"", false},   {" 1", false}, {"1 ", false}, {"1x", false},
                 {"x", false},  {"100", false}, {"99", false}, {"+1", false}};
    uint8_t zeros[32] = {0};
    struct lt_pcrs p;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        LT_JSON_AUTO json_t *j = json_object();
        json_object_set_new(j, names[i].name, lt_json_new_hex(zeros, 32));
        if ((lt_residency_pcrs_from_json(j, LT_HASH_SHA256, &p, &err) == 0) != names[i].ok)
            fail_msg("\"%s\"", names[i].name);
        if (names[i].ok)
            assert_int_equal(p.mask, 1u << atoi(names[i].name));
        assert_int_not_equal(lt_residency_pcrs_from_json(j, LT_HASH_SHA1, &p, &err), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),       cmocka_unit_test(bad_paths), cmocka_unit_test(proofs),
        cmocka_unit_test(host_quotes), cmocka_unit_test(pcr_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
