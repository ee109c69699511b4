#include "tests/support/unit.h"

static const uint8_t data[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a};

static void test_integers(void **state)
{
    (void)state;
    struct lt_reader r = lt_reader(data, sizeof data, "data");
    uint8_t a;
    uint16_t b;
    uint32_t c;
    uint64_t d;

    OK(lt_read_u8(&r, &a, &err));
    OK(lt_read_u16(&r, &b, &err));
    OK(lt_read_u32(&r, &c, &err));
    assert_int_equal(a, 0x01);
    assert_int_equal(b, 0x0203);
    assert_int_equal(c, 0x04050607);
    assert_int_equal(lt_reader_left(&r), 3);
    FAILS(LT_E_MALFORMED, lt_reader_end(&r, &err));
    OK(lt_read_u16le(&r, &b, &err));
    assert_int_equal(b, 0x0908);
    OK(lt_read_u8(&r, &a, &err));
    OK(lt_reader_end(&r, &err));
    FAILS(LT_E_MALFORMED, lt_read_u8(&r, &a, &err));
    r = lt_reader(data, sizeof data, "data");
    OK(lt_read_u64(&r, &d, &err));
    assert_true(d == 0x0102030405060708);
    r.at = 0;
    OK(lt_read_u32le(&r, &c, &err));
    assert_int_equal(c, 0x04030201);
}

/* A failure leaves the cursor where it was and the result zeroed. */
static void test_failure_moves_nothing(void **state)
{
    (void)state;
    struct lt_reader r = lt_reader(data, 1, "data");
    uint16_t b = 0xffff;
    uint32_t c = 0xffffffff;
    uint64_t d = UINT64_MAX;
    uint8_t copy[4] = {9, 9, 9, 9};
    struct lt_slice s = {data, 5};

    FAILS(LT_E_MALFORMED, lt_read_u16(&r, &b, &err));
    FAILS(LT_E_MALFORMED, lt_read_u32(&r, &c, &err));
    FAILS(LT_E_MALFORMED, lt_read_u64(&r, &d, &err));
    FAILS(LT_E_MALFORMED, lt_read_copy(&r, copy, 4, &err));
    FAILS(LT_E_MALFORMED, lt_read_slice(&r, 2, &s, &err));
    FAILS(LT_E_MALFORMED, lt_read_slice(&r, SIZE_MAX, &s, &err));
    FAILS(LT_E_MALFORMED, lt_read_expect(&r, "\x01\x02", 2, &err));
    FAILS(LT_E_MALFORMED, lt_read_expect(&r, "\x02", 1, &err));
    assert_int_equal(b, 0);
    assert_int_equal(c, 0);
    assert_true(d == 0);
    assert_memory_equal(copy, "\0\0\0\0", 4);
    assert_true(!s.p && !s.n);
    assert_int_equal(r.at, 0);
    OK(lt_read_expect(&r, "\x01", 1, &err));
    assert_int_equal(r.at, 1);
}

static void test_slice16(void **state)
{
    (void)state;
    static const uint8_t in[] = {0x00, 0x03, 'a', 'b', 'c', 0x00, 0x04, 'd'};
    struct lt_reader r = lt_reader(in, sizeof in, "list");
    struct lt_slice s;

    FAILS(LT_E_MALFORMED, lt_read_slice16(&r, 2, &s, &err)); /* above its ceiling */
    assert_int_equal(r.at, 0);
    OK(lt_read_slice16(&r, 3, &s, &err));
    assert_int_equal(s.n, 3);
    assert_ptr_equal(s.p, in + 2);
    FAILS(LT_E_MALFORMED, lt_read_slice16(&r, 10, &s, &err)); /* beyond the end */
    assert_int_equal(r.at, 5);
    assert_null(s.p);
    assert_non_null(strstr(err.msg, "list"));
    assert_true(lt_slice_eq((struct lt_slice){0}, (struct lt_slice){in, 0}));
    assert_true(lt_slice_eq((struct lt_slice){in, 2}, (struct lt_slice){(const uint8_t *)"\0\3", 2}));
    assert_false(lt_slice_eq((struct lt_slice){in, 2}, (struct lt_slice){in + 1, 2}));
    assert_false(lt_slice_eq((struct lt_slice){in, 2}, (struct lt_slice){in, 3}));
}

static void test_writer(void **state)
{
    (void)state;
    LT_AUTOBUF struct lt_buf b = LT_BUF(64);

    lt_buf_u8(&b, 1);
    lt_buf_u16(&b, 0x0203);
    lt_buf_u32(&b, 0x04050607);
    lt_buf_u64(&b, 0x08090a0b0c0d0e0f);
    lt_buf_put16(&b, "xy", 2);
    lt_buf_str(&b, "z");
    lt_buf_printf(&b, "%d-%s", 42, "q");
    OK(lt_buf_ok(&b, &err));
    static const uint8_t want[] = "\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\0\2xyz42-q";
    assert_int_equal(b.n, sizeof want - 1);
    assert_memory_equal(b.p, want, b.n);
}

/* Up to the maximum, not a byte beyond; a failure sticks, and nothing is written half. */
static void test_writer_maximum(void **state)
{
    (void)state;
    LT_AUTOBUF struct lt_buf b = LT_BUF(1000);
    static const uint8_t big[70000];

    for (int i = 0; i < 1000; i++)
        lt_buf_u8(&b, (uint8_t)i);
    OK(lt_buf_ok(&b, &err));
    lt_buf_u8(&b, 0);
    FAILS(LT_E_TOO_LARGE, lt_buf_ok(&b, &err));
    assert_int_equal(b.n, 1000);
    assert_int_equal(b.p[999], 999 & 0xff);
    assert_null(lt_buf_take_str(&b));
    assert_null(b.p);
    b = LT_BUF(100000);
    lt_buf_put16(&b, big, sizeof big);
    FAILS(LT_E_TOO_LARGE, lt_buf_ok(&b, &err));
    lt_buf_free(&b);
    b = LT_BUF(3);
    lt_buf_printf(&b, "%s", "four");
    lt_buf_str(&b, "a"); /* would fit, but the failure sticks */
    FAILS(LT_E_TOO_LARGE, lt_buf_ok(&b, &err));
    assert_int_equal(b.n, 0);
    lt_buf_free(&b);
    lt_buf_put(&b, NULL, 0);
    lt_buf_put(&b, big, SIZE_MAX);
    FAILS(LT_E_TOO_LARGE, lt_buf_ok(&b, &err));
}

static void test_take_str(void **state)
{
    (void)state;
    struct lt_buf b = LT_BUF(3);
    char *s = lt_buf_take_str(&b);

    assert_string_equal(s, "");
    free(s);
    lt_buf_str(&b, "abc");
    s = lt_buf_take_str(&b);
    assert_string_equal(s, "abc");
    assert_null(b.p);
    assert_int_equal(b.max, 3);
    free(s);
}

static void test_hex(void **state)
{
    (void)state;
    char text[21];
    uint8_t back[10];

    lt_hex(data, 10, text);
    assert_string_equal(text, "0102030405060708090a");
    OK(lt_unhex("0102030405060708090A", back, 10, &err));
    assert_memory_equal(back, data, 10);
    static const char *const bad[] = {"", "0", "012", "01020", "010g", "0x01", "01 2", "+102", "010203"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(back, 7, 2);
        FAILS(LT_E_MALFORMED, lt_unhex(bad[i], back, 2, &err));
        assert_memory_equal(back, "\0\0", 2);
    }
    FAILS(LT_E_MALFORMED, lt_unhex(NULL, back, 2, &err));
    OK(lt_unhex("", back, 0, &err));
}

/* Every length, every place, every byte: what lt_unhex reads, but for upper case. */
static void test_unhex_lower(void **state)
{
    (void)state;
    uint8_t want[9], got[9];

    assert_true(lt_unhex_lower("", 0, got));
    for (size_t n = 1; n <= 9; n++)
        for (size_t at = 0; at < 2 * n; at++)
            for (int c = 0; c < 256; c++) {
                char text[19] = "0123456789abcdef01";
                text[at] = (char)c;
                text[2 * n] = 0;
                bool good = !lt_unhex(text, want, n, LT_NO_ERR) && !(c >= 'A' && c <= 'F');
                assert_int_equal(lt_unhex_lower(text, n, got), good);
                if (good)
                    assert_memory_equal(got, want, n);
            }
}

static struct lt_slice slice(const char *s)
{
    return (struct lt_slice){(const uint8_t *)s, s ? strlen(s) : 0};
}

static void test_slices(void **state)
{
    (void)state;
    assert_true(lt_slice_is(slice("ima"), "ima") && lt_slice_is(slice(NULL), ""));
    assert_false(lt_slice_is(slice("ima"), "im") || lt_slice_is(slice("im"), "ima"));
    assert_true(lt_slice_begins(slice("ima-ng"), "ima") && lt_slice_begins(slice(NULL), ""));
    assert_false(lt_slice_begins(slice("im"), "ima"));
    assert_true(lt_slice_holds(slice("an ima"), "ima"));
    assert_false(lt_slice_holds(slice("an im"), "ima") || lt_slice_holds(slice(NULL), ""));
}

/* RFC 4648 section 10, and every length with every byte. */
static void test_base64(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    uint8_t all[256], *back;
    size_t n;

    for (size_t i = 0; i < 7; i++) {
        LT_AUTOFREE char *s = lt_base64_dup(pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(s, pairs[i][1]);
        assert_int_equal(lt_base64_size(strlen(pairs[i][0])), strlen(s) + 1);
    }
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)(i * 7);
    for (size_t k = 0; k <= 256; k++) {
        LT_AUTOFREE char *s = lt_base64_dup(all, k);
        OK(lt_unbase64(s, strlen(s), k, &back, &n, &err));
        assert_int_equal(n, k);
        assert_memory_equal(back, all, k);
        free(back);
        if (k)
            FAILS(LT_E_TOO_LARGE, lt_unbase64(s, strlen(s), k - 1, &back, &n, &err));
    }
}

static void test_base64_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"Z",         "Zg",   "Zg=",  "Zm9",   "Zg==Zg==", "====",
                                      "=AAA",      "Z===", "Zh==", "Zm9=",  "Zm8 ",     "Zm\n8",
                                      "Zm9v\nZm9", "Zm-v", "Zm_v", "Zm9v=", "A=A=",     "AA=A"};
    uint8_t *out;
    size_t n;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (lt_unbase64(bad[i], strlen(bad[i]), 100, &out, &n, &err) != LT_E_MALFORMED)
            fail_msg("\"%s\": %d", bad[i], err.code);
        assert_null(out);
        assert_int_equal(n, 0);
    }
    /* Each character: accepted exactly if it is of the alphabet. */
    for (int c = 0; c < 256; c++) {
        char s[4] = {(char)c, 'A', 'A', 'A'};
        bool in = c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", c);
        assert_int_equal(lt_unbase64(s, 4, 3, &out, &n, &err) == 0, in);
        free(out);
    }
}

static void test_memory(void **state)
{
    (void)state;
    uint8_t secret[4] = {1, 2, 3, 4};
    char *a = strdup("x"), *b = lt_take(&a);

    assert_null(a);
    assert_string_equal(b, "x");
    free(b);
    assert_true(lt_equal_ct("abc", "abc", 3));
    assert_false(lt_equal_ct("abc", "abd", 3));
    assert_true(lt_equal_ct("abc", "abd", 2));
    lt_wipe(secret, 4);
    assert_memory_equal(secret, "\0\0\0\0", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_failure_moves_nothing),
        cmocka_unit_test(test_slice16),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_maximum),
        cmocka_unit_test(test_take_str),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_unhex_lower),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_base64_refusals),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
