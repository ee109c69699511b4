/* The vault's key: policies against values computed elsewhere (tests/vectors/sealing/make.py) and by a chip
 * (tests/integration/test_seal_chip.py); its public area, exact. */
#include "residency/proof.h"
#include "tests/support/sealing.h"
#include "vtpm/seal/key.h"

#include <openssl/ec.h>
#include <openssl/objects.h>

static void same_hex(const json_t *j, const char *key, const void *is, size_t n)
{
    size_t want_n;
    LT_AUTOFREE uint8_t *want = sealing_bytes(j, key, &want_n);

    assert_int_equal(n, want_n);
    assert_memory_equal(is, want, n);
}

static void read_states(const json_t *j, struct lt_seal_key_states *out)
{
    const json_t *list = json_object_get(j, "states");

    out->count = (unsigned)json_array_size(list);
    for (unsigned i = 0; i < out->count; i++)
        OK(lt_residency_pcrs_from_json(json_array_get(list, i), LT_HASH_SHA256, &out->state[i], &err));
}

static void check_publics(const json_t *key, const uint8_t policy[32])
{
    uint8_t template[LT_SEAL_KEY_TEMPLATE];
    enum lt_seal_key_kind kind;
    size_t n;
    LT_AUTOFREE uint8_t *hmac = sealing_bytes(key, "hmac_public", &n);

    OK(lt_seal_key_check((struct lt_slice){hmac, n}, policy, &kind, &err));
    assert_int_equal(kind, LT_SEAL_KEY_HMAC);
    LT_AUTOFREE uint8_t *ecdh = sealing_bytes(key, "ecdh_public", &n);
    OK(lt_seal_key_check((struct lt_slice){ecdh, n}, policy, &kind, &err));
    assert_int_equal(kind, LT_SEAL_KEY_ECDH);
    n = lt_seal_key_template(LT_SEAL_KEY_HMAC, policy, template);
    same_hex(key, "hmac_template", template, n);
    FAILS(LT_E_REFUSED,
          lt_seal_key_check((struct lt_slice){template, n}, policy, &kind, &err)); /* no key yet */
    n = lt_seal_key_template(LT_SEAL_KEY_ECDH, policy, template);
    same_hex(key, "ecdh_template", template, n);
    FAILS(LT_E_REFUSED, lt_seal_key_check((struct lt_slice){template, n}, policy, &kind, &err));
}

static void vectors(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    const json_t *keys = json_object_get(j, "keys");

    (void)state;
    same_hex(j, "nv.name", lt_seal_key_nv_name, LT_TPM_NAME);
    same_hex(j, "nv.unwritten", lt_seal_key_nv_name_unwritten, LT_TPM_NAME);
    assert_int_equal(json_array_size(keys), 3);
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        const uint64_t generation = strtoull(json_string_value(json_object_get(key, "generation")), NULL, 10);
        struct lt_seal_key_states s;
        uint8_t digest[32], message[LT_SEAL_KEY_MESSAGE];
        read_states(key, &s);
        for (unsigned k = 0; k < s.count; k++) {
            LT_JSON_AUTO json_t *one =
                json_pack("{s:O}", "d", json_array_get(json_object_get(key, "pcr_policies"), k));
            lt_seal_key_pcr_policy(&s.state[k], digest);
            same_hex(one, "d", digest, 32);
            assert_int_equal(lt_seal_key_find(&s, &s.state[k]), k);
        }
        lt_seal_key_or_policy(&s, digest);
        same_hex(key, "or_policy", digest, 32);
        lt_seal_key_policy(&s, generation, digest);
        same_hex(key, "policy", digest, 32);
        check_publics(key, digest);
        lt_seal_key_message(generation, 3, message);
        same_hex(key, "message", message, sizeof message);
    }
}

struct sweep {
    uint8_t policy[32];
    enum lt_seal_key_kind kind;
    const uint8_t *original;
    size_t fixed; /* bytes before the unique field */
};

/* Not 0 for what is refused, or where all that is the key's own was changed. */
static int judge(const uint8_t *p, size_t n, void *state)
{
    const struct sweep *s = state;
    enum lt_seal_key_kind kind;
    int rc = lt_seal_key_check((struct lt_slice){p, n}, s->policy, &kind, &err);

    if (!rc && !memcmp(p, s->original, s->fixed) && memcmp(p, s->original, n)) {
        assert_int_equal(kind, s->kind);
        return 1; /* another key of the same kind */
    }
    return rc;
}

/* Attributes, scheme, policy, sizes, parent's word: whatever bit is turned, it is not VK. */
static void every_bit_of_a_public_area(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    const json_t *key = json_array_get(json_object_get(j, "keys"), 1);
    size_t n, policy_n;
    LT_AUTOFREE uint8_t *policy = sealing_bytes(key, "policy", &policy_n);
    LT_AUTOFREE uint8_t *hmac = sealing_bytes(key, "hmac_public", &n);
    struct sweep s = {.kind = LT_SEAL_KEY_HMAC, .original = hmac, .fixed = n - 32};

    (void)state;
    memcpy(s.policy, policy, 32);
    unit_every_prefix(judge, hmac, n, &s);
    unit_every_bit(judge, hmac, n, &s);
    LT_AUTOFREE uint8_t *ecdh = sealing_bytes(key, "ecdh_public", &n);
    s = (struct sweep){.kind = LT_SEAL_KEY_ECDH, .original = ecdh, .fixed = n - 32 - 34};
    memcpy(s.policy, policy, 32);
    unit_every_prefix(judge, ecdh, n, &s);
    unit_every_bit(judge, ecdh, n, &s);
}

/* Any other states, order, generation: another policy, and the key is refused. */
static void policy_tells_everything(void **state)
{
    struct lt_seal_key_states s = {.count = 2}, t;
    uint8_t p[32], q[32];

    (void)state;
    s.state[0] = sealing_state("a", LT_OPENERS_STATE_MIN);
    s.state[1] = sealing_state("b", LT_OPENERS_STATE_MIN);
    lt_seal_key_policy(&s, 7, p);
    lt_seal_key_policy(&s, 8, q);
    assert_memory_not_equal(p, q, 32);
    for (int what = 0; what < 5; what++) {
        t = s;
        if (what == 0)
            t.count = 1;
        else if (what == 1)
            t.state[t.count++] = sealing_state("c", LT_OPENERS_STATE_MIN);
        else if (what == 2)
            t.state[0] = s.state[1], t.state[1] = s.state[0];
        else if (what == 3)
            t.state[1] = sealing_state("b", LT_OPENERS_STATE_MIN | 2);
        else
            t.state[1].value[14][31] ^= 1;
        lt_seal_key_policy(&t, 7, q);
        assert_memory_not_equal(p, q, 32);
    }
    assert_int_equal(lt_seal_key_find(&s, &t.state[1]), s.count);
}

static void selections(void **state)
{
    uint8_t s[LT_SEAL_KEY_SELECTION];

    (void)state;
    lt_seal_key_selection(LT_OPENERS_STATE_MIN, s);
    assert_memory_equal(s, "\0\0\0\1\0\x0b\3\x95\x53\0", 10);
    lt_seal_key_selection(0x800001, s);
    assert_memory_equal(s + 6, "\3\1\0\x80", 4);
}

/* x is a hash, so nobody chose the point; it lies on P-256, and y is its even one. */
static void point(void **state)
{
    static const char tag[17] = "LT1:VAULT-POINT\0";
    LT_JSON_AUTO json_t *j = sealing_vectors();
    uint8_t x[32], y[32], want[32], km[32], sec1[65] = {4};

    (void)state;
    lt_seal_key_point(x, y);
    same_hex(j, "point.x", x, 32);
    same_hex(j, "point.y", y, 32);
    lt_sha256(tag, sizeof tag, want);
    assert_memory_equal(x, want, 32);
    assert_int_equal(y[31] & 1, 0);
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *p = EC_POINT_new(group);
    memcpy(sec1 + 1, x, 32);
    memcpy(sec1 + 33, y, 32);
    assert_int_equal(EC_POINT_oct2point(group, p, sec1, sizeof sec1, NULL), 1);
    EC_POINT_free(p);
    EC_GROUP_free(group);

    size_t n;
    LT_AUTOFREE uint8_t *ax = sealing_bytes(j, "point.answer_x", &n),
                        *ay = sealing_bytes(j, "point.answer_y", &n);
    OK(lt_seal_key_of_point((struct lt_slice){ax, 32}, (struct lt_slice){ay, 32}, km, &err));
    same_hex(j, "point.km", km, 32);
}

static void short_and_long_coordinates(void **state)
{
    const uint8_t padded[33] = {0, 0, 5, 6};
    uint8_t a[32], b[32];

    (void)state;
    OK(lt_seal_key_of_point((struct lt_slice){padded, 32}, (struct lt_slice){padded, 32}, a, &err));
    OK(lt_seal_key_of_point((struct lt_slice){padded + 2, 30}, (struct lt_slice){padded + 1, 31}, b, &err));
    assert_memory_equal(a, b, 32); /* a chip may leave zeros in front away */
    for (int i = 0; i < 2; i++)
        for (size_t n = 0; n <= 33; n += 33) {
            const struct lt_slice bad = {padded, n}, good = {padded, 32};
            FAILS(LT_E_TPM, lt_seal_key_of_point(i ? good : bad, i ? bad : good, a, &err));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(every_bit_of_a_public_area),
        cmocka_unit_test(policy_tells_everything),
        cmocka_unit_test(selections),
        cmocka_unit_test(point),
        cmocka_unit_test(short_and_long_coordinates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
