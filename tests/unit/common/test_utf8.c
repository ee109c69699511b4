/* UTF-8 by RFC 3629, and the names that are none. */
#include "common/utf8.h"
#include "tests/support/unit.h"

static struct lt_slice bytes(const char *s)
{
    return (struct lt_slice){(const uint8_t *)s, strlen(s)};
}

static void escapes(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"/bin/a", "/bin/a"},
        {"/a\\b\\x41", "/a\\b\\x41"},
        {"/\xc3\xa9\xe2\x82\xac\xf0\x9f\x8d\x8b", "/\xc3\xa9\xe2\x82\xac\xf0\x9f\x8d\x8b"},
        {"/\xeb", "/\\xeb"},
        {"/\xeb\\x41\xc3\xa9", "/\\xeb\\x5cx41\xc3\xa9"},
        {"/\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80",
         "/\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80"}, /* overlong and so on */
        {"/\xe2\x82", "/\\xe2\\x82"},
        {"12345678\xff", "12345678\\xff"},
        {"\xff"
         "12345678\n",
         "\\xff12345678\n"},
    };
    char out[LT_UTF8_ESCAPED(64)];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(lt_utf8_escape(bytes(cases[i][0]), out), strlen(cases[i][1]));
        assert_string_equal(out, cases[i][1]);
        assert_int_equal(lt_utf8_valid(bytes(cases[i][0])), !strcmp(cases[i][0], cases[i][1]));
        assert_true(lt_utf8_valid(bytes(out)));
    }
}

/* A byte of the upper half anywhere among ASCII is seen, however long the text. */
static void everywhere(void **state)
{
    uint8_t text[40];

    (void)state;
    memset(text, 'a', sizeof text);
    for (size_t n = 1; n <= sizeof text; n++)
        for (size_t at = 0; at < n; at++) {
            text[at] = 0x80;
            assert_false(lt_utf8_valid((struct lt_slice){text, n}));
            text[at] = 'a';
            assert_true(lt_utf8_valid((struct lt_slice){text, n}));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(escapes), cmocka_unit_test(everywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
