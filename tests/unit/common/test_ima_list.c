/* How lists are cut: units, the frames of the binary form, every prefix and every bit. */
#include "common/ima_list.h"
#include "tests/support/vectors.h"

static struct lt_slice text(const char *s)
{
    return (struct lt_slice){(const uint8_t *)s, strlen(s)};
}

static void lines(void **state)
{
    static const struct {
        const char *text;
        uint64_t ask, skipped;
        size_t at;
    } cases[] = {{"10 a\n10 b\n", 0, 0, 0},
                 {"10 a\n10 b\n", 1, 1, 5},
                 {"10 a\n10 b\n", 2, 2, 10},
                 {"10 a\n10 b\n", 9, 2, 10},
                 {"10 a\nb\n\n", 3, 3, 8},
                 {"10 a\n10", 2, 1, 5},
                 {"", 1, 0, 0},
                 {"10 a", 1, 0, 0}};
    uint64_t skipped, first;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct lt_slice list = text(cases[i].text);
        assert_int_equal(lt_ima_list_skip(list, cases[i].ask, &skipped), cases[i].at);
        assert_int_equal(skipped, cases[i].skipped);
        first = cases[i].ask;
        assert_int_equal(lt_ima_list_from(list, &first), cases[i].ask == cases[i].skipped ? cases[i].at : 0);
        assert_int_equal(first, cases[i].ask == cases[i].skipped ? cases[i].ask : 0);
    }
    assert_int_equal(lt_ima_list_units(text("10 a\nb\n\n")), 3);
    assert_false(lt_ima_list_is_binary(text("10 a")) || lt_ima_list_is_binary(text(" 9 a")) ||
                 lt_ima_list_is_binary(text("")));
}

static void u32(struct lt_buf *b, bool big, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        lt_buf_u8(b, (uint8_t)(v >> 8 * (big ? 3 - i : i)));
}

/* One entry; data_n is what its length says. */
static void entry(struct lt_buf *b, bool big, size_t hash_n, const char *name, uint32_t data_n)
{
    u32(b, big, 10);
    for (size_t i = 0; i < hash_n; i++)
        lt_buf_u8(b, 0xa5);
    u32(b, big, (uint32_t)strlen(name));
    lt_buf_str(b, name);
    if (!strcmp(name, "ima"))
        lt_buf_put(b, "12345678901234567890", 20);
    u32(b, big, data_n);
    for (uint32_t i = 0; i < data_n && i < 40; i++)
        lt_buf_u8(b, 'x');
}

/* Of each width of hash and either order of bytes; template ima has its own shape. */
static void frames(void **state)
{
    static const size_t widths[] = {20, 32, 48, 64};

    (void)state;
    for (int k = 0; k < 8; k++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
        struct lt_ima_list_frame f;
        size_t at = 0, hash_n = 0;
        entry(&b, k & 1, widths[k / 2], "ima-ng", 40);
        entry(&b, k & 1, widths[k / 2], "ima", 7);
        entry(&b, k & 1, widths[k / 2], "d-ng|n-ng", 0);
        const struct lt_slice list = {b.p, b.n};
        assert_true(lt_ima_list_is_binary(list));
        OK(lt_ima_list_frame_next(list, &at, &hash_n, &f, &err));
        assert_int_equal(hash_n, widths[k / 2]);
        assert_int_equal(f.pcr, 10);
        assert_int_equal(f.big_endian, k & 1);
        assert_int_equal(f.data.n, 40);
        OK(lt_ima_list_frame_next(list, &at, &hash_n, &f, &err));
        assert_int_equal(f.data.n, 20 + 4 + 7);
        OK(lt_ima_list_frame_next(list, &at, &hash_n, &f, &err));
        assert_true(f.name.n == 9 && !f.data.n);
        assert_int_equal(at, b.n);
        assert_int_equal(lt_ima_list_units(list), 3);
    }
}

static void no_frames(void **state)
{
    static const struct {
        const char *name;
        uint32_t data_n;
    } cases[] = {{"", 4},           {"IMA-ng", 4},          {"ima\xff", 4}, {"ima-ng", 41},
                 {"ima-ng", 65537}, {"ima-ng", UINT32_MAX}, {"ima", 4097},  {"ima", UINT32_MAX}};
    char long_name[200];

    (void)state;
    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
        struct lt_ima_list_frame f;
        size_t at = 0, hash_n = 0;
        memset(long_name, 'a', 129);
        long_name[129] = 0;
        if (i < sizeof cases / sizeof *cases)
            entry(&b, false, 20, cases[i].name, cases[i].data_n);
        else
            entry(&b, false, 20, long_name, 4);
        FAILS(LT_E_MALFORMED, lt_ima_list_frame_next((struct lt_slice){b.p, b.n}, &at, &hash_n, &f, &err));
        assert_int_equal(at, 0);
        assert_int_equal(lt_ima_list_units((struct lt_slice){b.p, b.n}), 0);
    }
}

/* A guest's own: every prefix holds the entries that are whole; a bit turned anywhere is no crash. */
static void real(void **state)
{
    size_t n, at = 0, hash_n = 0;
    LT_AUTOFREE uint8_t *p = lt_vector_read("guest-logs/ovmf/ima_binary_runtime_measurements", &n);
    struct lt_ima_list_frame f;
    uint64_t whole = 0;

    (void)state;
    for (size_t end = 0; end <= n; end++) {
        uint8_t *copy = malloc(end ? end : 1);
        memcpy(copy, p, end);
        if (!lt_ima_list_frame_next((struct lt_slice){copy, end}, &at, &hash_n, &f, LT_NO_ERR))
            whole++;
        assert_int_equal(lt_ima_list_units((struct lt_slice){copy, end}), whole);
        free(copy);
    }
    assert_int_equal(whole, 57);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(lt_ima_list_units((struct lt_slice){p, n}) <= n);
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(frames),
                                       cmocka_unit_test(no_frames), cmocka_unit_test(real)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
