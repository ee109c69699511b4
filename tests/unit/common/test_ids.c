#include "common/ids.h"

#include "tests/support/unit.h"

static const char text[] = "06fb1000-1062-4d70-8ff0-fb4da8cb0293";

static void test_uuid(void **state)
{
    (void)state;
    uint8_t u[LT_UUID];
    char back[LT_UUID_TEXT];

    OK(lt_uuid_parse(text, u, &err));
    assert_memory_equal(u, "\x06\xfb\x10\x00\x10\x62\x4d\x70\x8f\xf0\xfb\x4d\xa8\xcb\x02\x93", 16);
    lt_uuid_format(u, back);
    assert_string_equal(back, text);
    OK(lt_uuid_parse("06FB1000-1062-4D70-8FF0-FB4DA8CB0293", u, &err));
    lt_uuid_format(u, back);
    assert_string_equal(back, text);
}

static void test_uuid_refusals(void **state)
{
    (void)state;
    uint8_t u[LT_UUID];
    char s[40];

    FAILS(LT_E_MALFORMED, lt_uuid_parse(NULL, u, &err));
    for (size_t k = 0; k < strlen(text); k++) {
        snprintf(s, sizeof s, "%.*s", (int)k, text);
        FAILS(LT_E_MALFORMED, lt_uuid_parse(s, u, &err));
    }
    snprintf(s, sizeof s, "%s0", text);
    FAILS(LT_E_MALFORMED, lt_uuid_parse(s, u, &err));
    snprintf(s, sizeof s, "{%s}", text);
    FAILS(LT_E_MALFORMED, lt_uuid_parse(s, u, &err));
    FAILS(LT_E_MALFORMED, lt_uuid_parse("06fb100010624d708ff0fb4da8cb0293", u, &err));
    FAILS(LT_E_MALFORMED, lt_uuid_parse("06fb100-01062-4d70-8ff0-fb4da8cb0293", u, &err));
    /* Any one character replaced by what does not belong there. */
    for (size_t i = 0; i < strlen(text); i++) {
        static const char others[] = "-g /:\n0";
        for (const char *c = others; *c; c++) {
            bool dash = text[i] == '-';
            if (dash ? *c == '-' : *c == '0')
                continue;
            strcpy(s, text);
            s[i] = *c;
            memset(u, 1, sizeof u);
            FAILS(LT_E_MALFORMED, lt_uuid_parse(s, u, &err));
            assert_memory_equal(u, (uint8_t[16]){0}, 16);
        }
    }
}

static void test_uuid_random(void **state)
{
    (void)state;
    uint8_t a[LT_UUID], b[LT_UUID];

    for (int i = 0; i < 64; i++) {
        lt_uuid_random(a);
        lt_uuid_random(b);
        assert_memory_not_equal(a, b, LT_UUID);
        assert_int_equal(a[6] >> 4, 4); /* RFC 9562 section 5.4 */
        assert_int_equal(a[8] >> 6, 2);
    }
}

static void test_uuid_of_an_id(void **state)
{
    (void)state;
    uint8_t u[LT_UUID], v[LT_UUID];
    char s[LT_UUID_TEXT];

    lt_uuid_of_id(text, u);
    OK(lt_uuid_parse(text, v, &err));
    assert_memory_equal(u, v, LT_UUID);
    lt_uuid_of_id("d432fbb3-d2f1-4a97-9ef7-75bd81c00000x", u); /* nearly one */
    assert_int_equal(u[6] >> 4, 8);
    assert_int_equal(u[8] >> 6, 2);
    lt_uuid_of_id("a", u);
    lt_uuid_format(u, s);
    assert_string_equal(s, "09429aa7-193f-85ff-a18d-00e290e4447a"); /* printf LT1:AGENT-IDa | sha256sum, but
                                                                       for version and variant */
}

static void test_agent_id(void **state)
{
    (void)state;
    char s[LT_ID_MAX + 2];

    assert_true(lt_id_ok(text));
    assert_true(lt_id_ok("a"));
    assert_true(lt_id_ok("tenant-a.vm_0001"));
    assert_true(lt_id_ok("..."));
    assert_false(lt_id_ok(NULL));
    assert_false(lt_id_ok(""));
    assert_false(lt_id_ok("."));
    assert_false(lt_id_ok(".."));
    memset(s, 'a', sizeof s);
    s[LT_ID_MAX] = 0;
    assert_true(lt_id_ok(s));
    s[LT_ID_MAX] = 'a';
    s[LT_ID_MAX + 1] = 0;
    assert_false(lt_id_ok(s));
    for (int c = 1; c < 256; c++) {
        char id[] = {'x', (char)c, 0};
        bool in = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", c) != NULL;
        assert_int_equal(lt_id_ok(id), in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uuid),        cmocka_unit_test(test_uuid_refusals),
        cmocka_unit_test(test_uuid_random), cmocka_unit_test(test_uuid_of_an_id),
        cmocka_unit_test(test_agent_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
