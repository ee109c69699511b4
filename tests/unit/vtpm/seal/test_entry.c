/* ENTRY and S of docs/sealing.md sections 1 and 2. */
#include "tests/support/sealing.h"

static void secret_uuids(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    const char *domain;
    json_t *want;

    (void)state;
    assert_int_equal(json_object_size(json_object_get(j, "secrets")), 3);
    json_object_foreach(json_object_get(j, "secrets"), domain, want)
    {
        uint8_t raw[LT_UUID], s[LT_UUID];
        char text[LT_UUID_TEXT];
        OK(lt_uuid_parse(domain, raw, &err));
        lt_seal_secret_uuid(raw, s);
        lt_uuid_format(s, text);
        assert_string_equal(text, json_string_value(want));
    }
}

static void keys(void **state)
{
    char a[LT_SEAL_KEY], b[LT_SEAL_KEY];

    (void)state;
    lt_seal_key_new(a);
    lt_seal_key_new(b);
    assert_memory_not_equal(a, b, LT_SEAL_KEY);
    assert_int_equal(a[LT_SEAL_KEY - 1], '=');
    LT_AUTOFREE uint8_t *raw = NULL;
    size_t n;
    OK(lt_unbase64(a, LT_SEAL_KEY, 32, &raw, &n, &err));
    assert_int_equal(n, 32);
}

static struct lt_seal_entry example(void)
{
    struct lt_seal_entry x = sealing_entry(7);
    struct lt_openers_one one = sealing_opener(LT_OPENERS_STATE, 3);

    OK(lt_openers_add(&x.openers, &one, &err));
    one = sealing_opener(LT_OPENERS_ESCROW, 4);
    OK(lt_openers_add(&x.openers, &one, &err));
    return x;
}

static int parse(const uint8_t *p, size_t n, void *state)
{
    const struct lt_buf *original = state;
    struct lt_reader r = lt_reader(p, n, "entry");
    struct lt_seal_entry x;
    int rc = lt_seal_entry_read(&r, &x, &err);

    if (!rc) {
        rc = lt_reader_end(&r, &err);
        assert_int_equal(lt_seal_entry_size(&x), r.at);
        LT_AUTOBUF struct lt_buf again = LT_BUF(n);
        lt_seal_entry_write(&x, &again);
        OK(lt_buf_ok(&again, &err));
        assert_memory_equal(again.p, p, again.n);
        rc = rc ? rc : memcmp(p, original->p, n);
    } else
        assert_int_equal(r.at, 0);
    lt_seal_entry_free(&x);
    return rc;
}

static void every_prefix_and_bit(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
    struct lt_seal_entry x = example();

    (void)state;
    lt_seal_entry_write(&x, &b);
    OK(lt_buf_ok(&b, &err));
    unit_every_prefix(parse, b.p, b.n, &b);
    unit_every_bit(parse, b.p, b.n, &b);
    lt_seal_entry_free(&x);
}

static void vectors(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    json_t *list = json_object_get(json_object_get(j, "vault"), "entries"), *one;
    size_t i;

    (void)state;
    assert_int_equal(json_array_size(list), 2);
    json_array_foreach(list, i, one)
    {
        struct lt_seal_entry x;
        LT_JSON_AUTO json_t *named = json_pack("{s:O}", "x", one);
        size_t n;
        LT_AUTOFREE uint8_t *raw = sealing_bytes(named, "x", &n);
        struct lt_reader r = lt_reader(raw, n, "entry");
        OK(lt_seal_entry_read(&r, &x, &err));
        assert_int_equal(lt_reader_left(&r), 0);
        assert_int_equal(x.uuid[0], i + 1);
        assert_int_equal(x.origin, i ? LT_SEAL_MADE : LT_SEAL_IMPORTED);
        assert_int_equal(x.openers.count, i + 1);
        lt_seal_entry_free(&x);
    }
}

/* What stands where a key has to: refused whatever it is. */
static void no_key(void **state)
{
    static const char *const keys_[] = {
        "0123456789012345678901234567890123456789012", /* 43 */
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB="}; /* bits behind */
    struct lt_seal_entry x = example(), back;

    (void)state;
    for (size_t i = 0; i < sizeof keys_ / sizeof *keys_; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
        memset(x.key, 0, sizeof x.key);
        memcpy(x.key, keys_[i], strlen(keys_[i]));
        lt_seal_entry_write(&x, &b);
        struct lt_reader r = lt_reader(b.p, b.n, "entry");
        FAILS(LT_E_MALFORMED, lt_seal_entry_read(&r, &back, &err));
        assert_null(strstr(err.msg, "AAAA")); /* no message shows one */
    }
    lt_seal_entry_free(&x);
}

static void longer_than_a_list_may_be(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
    struct lt_seal_entry x = sealing_entry(1), back;

    (void)state;
    lt_seal_entry_write(&x, &b);
    lt_put_u32(b.p + b.n - 18 - 4, LT_MAX_OPENERS_BYTES + 1);
    struct lt_reader r = lt_reader(b.p, b.n, "entry");
    FAILS(LT_E_TOO_LARGE, lt_seal_entry_read(&r, &back, &err));
    lt_seal_entry_free(&x);
}

static void copies(void **state)
{
    static const struct lt_seal_entry nothing;
    struct lt_seal_entry x = example(), copy;

    (void)state;
    OK(lt_seal_entry_copy(&x, &copy, &err));
    assert_ptr_not_equal(x.openers.one, copy.openers.one);
    assert_true(lt_openers_prefix(&x.openers, &copy.openers));
    assert_memory_equal(x.key, copy.key, LT_SEAL_KEY);
    lt_seal_entry_free(&x);
    assert_memory_equal(&x, &nothing, sizeof x); /* wiped */
    lt_seal_entry_free(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secret_uuids), cmocka_unit_test(keys),   cmocka_unit_test(every_prefix_and_bit),
        cmocka_unit_test(vectors),      cmocka_unit_test(no_key), cmocka_unit_test(longer_than_a_list_may_be),
        cmocka_unit_test(copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
