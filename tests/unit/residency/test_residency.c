/* The bytes of docs/protocol.md section 3. */
#include "common/json.h"
#include "residency/activation.h"
#include "tests/support/softkey.h"
#include "tests/support/unit.h"

static const struct lt_residency_record record = {
    .version = 1,
    .guest_uuid = {1, 2, 3},
    .ek_digest = {4, 5, 6},
    .incarnation = {7, 8, 9},
    .start_reset = 0x01020304,
    .start_restart = 0x05060708,
    .start_clock_ms = 0x1112131415161718,
    .firmware_digest = {10},
    .domain_digest = {11},
    .flags = LT_RESIDENCY_RUNNING | LT_RESIDENCY_TAINTED,
    .previous_host_ak_name = {0, 0x0b, 12},
};

static const struct lt_residency_header header = {
    .host_id = {1, 2},
    .batch_seq = 0x0102030405060708,
    .n = 12,
    .batch_root = {3},
    .inventory_seq = 4,
    .m = 5,
    .inventory_root = {6},
    .policy_digest = {7},
    .ima_count = 8,
    .flags = 1,
};

/* Accepted only if the fields say the same bytes again; returns whether they are the original's. */
static int parse_record(const uint8_t *p, size_t n, void *original)
{
    uint8_t again[LT_RESIDENCY_RECORD];
    struct lt_residency_record r;
    int rc = lt_residency_record_parse(p, n, &r, &err);

    if (rc)
        return rc;
    assert_int_equal(lt_residency_record_write(&r, again), n);
    assert_memory_equal(again, p, n);
    return memcmp(again, original, n);
}

static int parse_header(const uint8_t *p, size_t n, void *original)
{
    uint8_t again[LT_RESIDENCY_HEADER];
    struct lt_residency_header h;
    int rc = lt_residency_header_parse(p, n, &h, &err);

    if (rc)
        return rc;
    lt_residency_header_write(&h, again);
    assert_memory_equal(again, p, LT_RESIDENCY_HEADER);
    return memcmp(again, original, LT_RESIDENCY_HEADER);
}

static void record_bytes(void **state)
{
    uint8_t b[LT_RESIDENCY_RECORD];
    struct lt_residency_record back;

    (void)state;
    const size_t n = lt_residency_record_write(&record, b);
    assert_int_equal(n, 200);
    assert_memory_equal(b, "LT1:RESIDENT\0\0\0\0\0\1\1\2\3", 21);
    assert_memory_equal(b + 82, "\1\2\3\4\5\6\7\x08\x11\x12\x13\x14\x15\x16\x17\x18", 16);
    assert_memory_equal(b + 162, "\0\0\0\x41\0\x0b\x0c", 7);
    OK(lt_residency_record_parse(b, n, &back, &err));
    assert_memory_equal(&back, &record, sizeof back);
    unit_every_prefix(parse_record, b, n, b);
    unit_every_bit(parse_record, b, n, b);
    b[17] = 3;
    FAILS(LT_E_UNSUPPORTED, lt_residency_record_parse(b, n, &back, &err));
    b[17] = 0;
    FAILS(LT_E_UNSUPPORTED, lt_residency_record_parse(b, n, &back, &err));
}

/* Version 2: version 1 with another number in front and the digest behind. */
static void record_of_version_2(void **state)
{
    uint8_t b[LT_RESIDENCY_RECORD], old[LT_RESIDENCY_RECORD];
    struct lt_residency_record r = record, back;

    (void)state;
    memset(old, 0x55, sizeof old);
    r.version = 0; /* a host that knows of no vault */
    assert_int_equal(lt_residency_record_write(&r, old), 200);
    for (size_t i = 200; i < sizeof old; i++)
        assert_int_equal(old[i], 0x55);
    r.version = 2;
    memcpy(r.openers_digest, "0123456789abcdef0123456789ABCDEF", 32);
    assert_int_equal(lt_residency_record_write(&r, b), 232);
    assert_memory_equal(b + 16, "\0\2", 2);
    assert_memory_equal(b + 18, old + 18, 200 - 18);
    assert_memory_equal(b + 200, "0123456789abcdef0123456789ABCDEF", 32);
    OK(lt_residency_record_parse(b, sizeof b, &back, &err));
    assert_memory_equal(&back, &r, sizeof back);
    unit_every_prefix(parse_record, b, sizeof b, b);
    unit_every_bit(parse_record, b, sizeof b, b);
    FAILS(LT_E_MALFORMED, lt_residency_record_parse(b, 200, &back, &err));
    b[17] = 1; /* a version 1 with bytes behind it */
    FAILS(LT_E_MALFORMED, lt_residency_record_parse(b, sizeof b, &back, &err));
}

static void header_bytes(void **state)
{
    uint8_t b[LT_RESIDENCY_HEADER];
    struct lt_residency_header back;

    (void)state;
    lt_residency_header_write(&header, b);
    assert_memory_equal(b, "LT1:HOST-QUOTE\0\0\0\1\0\x0b\1\2", 22);
    assert_memory_equal(b + 36, "\1\2\3\4\5\6\7\x08\0\0\0\x0c\3", 13);
    assert_memory_equal(b + 164, "\0\0\0\1", 4);
    OK(lt_residency_header_parse(b, sizeof b, &back, &err));
    assert_int_equal(back.n, 12);
    assert_int_equal(back.m, 5);
    unit_every_prefix(parse_header, b, sizeof b, b);
    unit_every_bit(parse_header, b, sizeof b, b);
    b[19] = 4;
    FAILS(LT_E_UNSUPPORTED, lt_residency_header_parse(b, sizeof b, &back, &err));
}

static void header_sizes(void **state)
{
    static const struct {
        uint32_t n, m;
        bool ok;
    } cases[] = {{1, 0, true},
                 {LT_MAX_BATCH, LT_MAX_INVENTORY, true},
                 {0, 1, false},
                 {LT_MAX_BATCH + 1, 1, false},
                 {1, LT_MAX_INVENTORY + 1, false},
                 {UINT32_MAX, UINT32_MAX, false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_residency_header h = header;
        uint8_t b[LT_RESIDENCY_HEADER];
        h.n = cases[i].n;
        h.m = cases[i].m;
        lt_residency_header_write(&h, b);
        assert_int_equal(lt_residency_header_parse(b, sizeof b, &h, &err) == 0, cases[i].ok);
    }
}

/* Preimages spelled out, so that the test does not repeat the code. */
static void evidence_and_commitment(void **state)
{
    const char nonce[LT_RESIDENCY_NONCE + 1] = "abcdefghijklmnopqrstuvwxyz012345";
    uint8_t tenant[16], uuid[16], ek[32], name[LT_TPM_NAME], evidence[32], want[32], is[32], pre[180];
    static const uint8_t evidence_pre[] = "LT1:EVIDENCE\0\0\0\0\0\3abc\0\2de";

    (void)state;
    lt_residency_evidence_digest((struct lt_slice){(const uint8_t *)"abc", 3},
                                 (struct lt_slice){(const uint8_t *)"de", 2}, evidence);
    lt_sha256(evidence_pre, sizeof evidence_pre - 1, want);
    assert_memory_equal(evidence, want, 32);
    memset(tenant, 1, 16);
    memset(uuid, 2, 16);
    memset(ek, 3, 32);
    memset(name, 4, LT_TPM_NAME);
    memcpy(pre, "LT1:COMMITMENT\0\0\0\1", 18);
    memset(pre + 18, 1, 16);
    memset(pre + 34, 2, 16);
    memset(pre + 50, 3, 32);
    memset(pre + 82, 4, 34);
    memcpy(pre + 116, nonce, 32);
    memcpy(pre + 148, evidence, 32);
    lt_sha256(pre, sizeof pre, want);
    lt_residency_commitment(tenant, uuid, ek, name, nonce, evidence, is);
    assert_memory_equal(is, want, 32);
}

static void ak_pcr_and_activation(void **state)
{
    uint8_t name[LT_TPM_NAME] = {0, 0x0b, 1}, pre[64] = {0}, event[32], want[32], is[32];
    uint8_t secret[32] = {9}, host[16] = {8}, challenge[32] = {7}, message[98] = "LT1:ACTIVATE";

    (void)state;
    memcpy(pre, "LT1:AK-HOST", 11);
    memcpy(pre + 16, name, LT_TPM_NAME);
    lt_sha256(pre, 16 + LT_TPM_NAME, event);
    lt_residency_ak_host_event(name, is);
    assert_memory_equal(is, event, 32);
    memset(pre, 0, 32);
    memcpy(pre + 32, event, 32);
    lt_sha256(pre, 64, want);
    lt_residency_ak_host_pcr(name, is);
    assert_memory_equal(is, want, 32);

    memcpy(message + 16, host, 16);
    memcpy(message + 32, name, LT_TPM_NAME);
    memcpy(message + 66, challenge, 32);
    lt_hmac(LT_HASH_SHA256, secret, 32, message, sizeof message, want);
    lt_activation_proof(secret, host, name, challenge, is);
    assert_memory_equal(is, want, 32);
}

/* Who asks: another challenge each time, and only the right proof will do. */
static void activation(void **state)
{
    const uint8_t name[LT_TPM_NAME] = {0, 0x0b, 1}, host[LT_RESIDENCY_HOST_ID] = {8};
    struct lt_activation a, b;
    struct lt_public ek;

    (void)state;
    EVP_PKEY *k = soft_ecc("P-256");
    soft_parse(k, &soft_ek, &ek);
    OK(lt_activation_begin(&ek, name, host, &a, &err));
    OK(lt_activation_begin(&ek, name, host, &b, &err));
    assert_string_not_equal(a.body, b.body);
    assert_memory_not_equal(a.proof, b.proof, 32);
    LT_JSON_AUTO json_t *good = json_pack("{s:o}", "proof", lt_json_new_hex(a.proof, 32)),
                        *none = json_object();
    OK(lt_activation_check(&a, good, &err));
    FAILS(LT_E_REFUSED, lt_activation_check(&b, good, &err));
    FAILS(LT_E_MALFORMED, lt_activation_check(&b, none, &err));
    lt_activation_end(&a);
    lt_activation_end(&b);
    ek.name_alg = LT_HASH_SHA1; /* no credential for such a key */
    assert_int_not_equal(lt_activation_begin(&ek, name, host, &a, &err), 0);
    assert_null(a.body);
    lt_activation_end(&a);
    EVP_PKEY_free(k);
}

static void inventory(void **state)
{
    struct lt_residency_record r[3] = {record, record, record};
    struct lt_merkle *t;
    struct lt_merkle_path path;
    uint8_t bytes[LT_RESIDENCY_RECORD], leaf[32], empty[32];

    (void)state;
    r[1].ek_digest[0] = 5;
    r[2].ek_digest[0] = 6;
    r[1].version = 2;
    OK(lt_residency_inventory_tree(r, 3, &t, &err));
    for (uint32_t i = 0; i < 3; i++) {
        lt_merkle_leaf(bytes, lt_residency_record_write(&r[i], bytes), leaf);
        OK(lt_merkle_path(t, i, &path, &err));
        OK(lt_merkle_verify(leaf, &path, 3, lt_merkle_root(t), &err));
    }
    lt_merkle_free(t);
    OK(lt_residency_inventory_tree(r, 0, &t, &err));
    lt_sha256("", 0, empty);
    assert_memory_equal(lt_merkle_root(t), empty, 32);
    lt_merkle_free(t);
    r[2].ek_digest[0] = 5;
    FAILS(LT_E_REFUSED, lt_residency_inventory_tree(r, 3, &t, &err)); /* the same EK twice */
    r[2].ek_digest[0] = 4;
    FAILS(LT_E_REFUSED, lt_residency_inventory_tree(r, 3, &t, &err)); /* not ascending */
    FAILS(LT_E_TOO_LARGE, lt_residency_inventory_tree(r, LT_MAX_INVENTORY + 1, &t, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_bytes),
        cmocka_unit_test(record_of_version_2),
        cmocka_unit_test(header_bytes),
        cmocka_unit_test(header_sizes),
        cmocka_unit_test(evidence_and_commitment),
        cmocka_unit_test(ak_pcr_and_activation),
        cmocka_unit_test(activation),
        cmocka_unit_test(inventory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
