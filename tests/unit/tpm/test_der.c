/* DER: what is allowed, what is not, and where. */
#include "tpm/der.h"

#include "tests/support/unit.h"

static int check(const char *hex)
{
    uint8_t bytes[256];
    size_t n = unit_hex(hex, bytes, sizeof bytes);
    uint8_t *exact = malloc(n ? n : 1); /* its own size, for the sanitizer */

    memcpy(exact, bytes, n);
    int rc = lt_der_check((struct lt_slice){exact, n}, &err);
    free(exact);
    return rc;
}

static void allowed(void **state)
{
    static const char *const good[] = {
        "0500",
        "3000",
        "020100",
        "02020080",
        "0201ff",
        "0101ff",
        "010100",
        "030100",
        "0302 0780",
        "0603 2a8648",
        "30060101ff020101",
        "3007 0603550403 0500",
        "3106 0201 01 0201 02",
        "3106 0201 01 0201 01",
        "a003 020101",
        "8000",
        "0c03414243",
        "0481 80 00000000000000000000000000000000 00000000000000000000000000000000 "
        "00000000000000000000000000000000"
        "00000000000000000000000000000000 00000000000000000000000000000000 00000000000000000000000000000000"
        "00000000000000000000000000000000 00000000000000000000000000000000",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        OK(check(good[i]));
}

static void forbidden(void **state)
{
    static const struct {
        const char *hex, *says;
    } bad[] = {
        {"", "DER"},
        {"05", "DER"},
        {"0501", "byte 0: length 1"},
        {"050100", "NULL with contents"},
        {"0500 00", "byte 2: 1 bytes behind"},
        {"1f8101 00", "tag of several bytes"},
        {"3080 0500 0000", "byte 0: an indefinite length"},
        {"30810500", "not in its shortest form"},
        {"3082 0002 0500", "begins with zero"},
        {"30850000000002 0500", "a length of 5 bytes"},
        {"308401000000 00", "length 16777216"},
        {"3003 020001", "byte 2: an INTEGER"},
        {"3004 02020001", "byte 2: an INTEGER"},
        {"3004 0202ff80", "byte 2: an INTEGER"},
        {"3004 0a020001", "byte 2: an INTEGER"},
        {"3003 010101", "BOOLEAN"},
        {"3004 01020000", "BOOLEAN"},
        {"3004 03020801", "BIT STRING"},
        {"3004 03020101", "BIT STRING"},
        {"3003 030101", "BIT STRING"},
        {"0300", "BIT STRING"},
        {"0600", "OBJECT IDENTIFIER"},
        {"0602 8001", "OBJECT IDENTIFIER"},
        {"0602 2a86", "OBJECT IDENTIFIER"},
        {"1000", "not constructed"},
        {"1100", "not constructed"},
        {"3002 0000", "byte 2: an end-of-contents"},
        {"2405 0403 414243", "a string in parts"},
        {"3106 0201 02 0201 01", "byte 5: a SET not in order"},
        {"3008 0603551d0f 010100", "byte 7: a default value written out"},
        {"a003 020201", "byte 2: length 2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(LT_E_MALFORMED, check(bad[i].hex));
        if (!strstr(err.msg, "not DER: ") || !strstr(err.msg, bad[i].says))
            fail_msg("%s: %s", bad[i].hex, err.msg);
    }
}

static void depth(void **state)
{
    uint8_t nest[2 * 40];

    (void)state;
    for (unsigned levels = 1; levels <= 40; levels++) {
        for (unsigned i = 0; i < levels; i++) {
            nest[2 * i] = LT_DER_SEQUENCE;
            nest[2 * i + 1] = (uint8_t)(2 * (levels - 1 - i));
        }
        int rc = lt_der_check((struct lt_slice){nest, 2 * (size_t)levels}, &err);
        assert_int_equal(rc, levels <= 16 ? 0 : LT_E_MALFORMED);
    }
    assert_non_null(strstr(err.msg, "nested deeper"));
}

static void numbers(void **state)
{
    static const uint8_t good[] = {0x02, 0x02, 0x00, 0x80, 0x02, 0x01, 0x00}, negative[] = {0x02, 0x01, 0x80};
    struct lt_reader r = lt_reader(good, sizeof good, "numbers");
    struct lt_slice v;

    (void)state;
    OK(lt_der_next_uint(&r, &v, &err));
    assert_true(v.n == 1 && v.p[0] == 0x80);
    OK(lt_der_next_uint(&r, &v, &err));
    assert_true(v.n == 1 && v.p[0] == 0);
    OK(lt_reader_end(&r, &err));
    r = lt_reader(negative, sizeof negative, "numbers");
    FAILS(LT_E_MALFORMED, lt_der_next_uint(&r, &v, &err));
}

static int parser(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    return lt_der_check((struct lt_slice){p, n}, &err);
}

static void every_prefix(void **state)
{
    static const uint8_t one[] = {0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x0f,
                                  0x01, 0x01, 0xff, 0x04, 0x02, 0x05, 0x00};

    (void)state;
    unit_every_prefix(parser, one, sizeof one, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed), cmocka_unit_test(forbidden),    cmocka_unit_test(depth),
        cmocka_unit_test(numbers), cmocka_unit_test(every_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
