#include "common/json.h"

#include "common/limits.h"
#include "tests/support/unit.h"

static json_t *parse(const char *s)
{
    return lt_json_parse(s, strlen(s), 4096, &err);
}

static void test_parse(void **state)
{
    (void)state;
    static const char *const good[] = {"{}", "[]", "1", "\"x\"", "null", " {\"a\": [1, 2, {\"b\": null}]} "};
    static const char *const bad[] = {"",
                                      "{",
                                      "{}x",
                                      "{} {}",
                                      "{\"a\":1,\"a\":2}",
                                      "[1,]",
                                      "{'a':1}",
                                      "\"\\u0000\"",
                                      "nul",
                                      "{\"a\":{\"b\":1,\"b\":1}}",
                                      "\"\x80\"",
                                      "01",
                                      "[1e999]",
                                      "99999999999999999999",
                                      "//x\n{}"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        LT_JSON_AUTO json_t *j = parse(good[i]);
        assert_non_null(j);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *j = parse(bad[i]);
        if (j || err.code != LT_E_MALFORMED)
            fail_msg("%s: accepted", bad[i]);
    }
    LT_JSON_AUTO json_t *fits = lt_json_parse("[1,2]", 5, 5, &err);
    assert_non_null(fits);
    assert_null(lt_json_parse("[1,2]", 5, 4, &err));
    assert_int_equal(err.code, LT_E_TOO_LARGE);
    assert_null(lt_json_parse("[1\0]", 4, 4096, &err));
}

static void test_depth(void **state)
{
    (void)state;
    char s[2 * 1000 + 1];
    static const size_t depths[] = {1,   2, LT_MAX_JSON_DEPTH - 1, LT_MAX_JSON_DEPTH, LT_MAX_JSON_DEPTH + 1,
                                    1000};

    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        memset(s, '[', depths[i]);
        memset(s + depths[i], ']', depths[i]);
        LT_JSON_AUTO json_t *j = lt_json_parse(s, 2 * depths[i], sizeof s, &err);
        assert_int_equal(j != NULL, depths[i] <= LT_MAX_JSON_DEPTH);
    }
    /* Brackets in strings are text, also behind an escaped quote. */
    LT_JSON_AUTO json_t *text = parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[{{{{\"]");
    assert_non_null(text);
}

/* What is small as text and large as a tree is refused before it is one. */
static void test_growth(void **state)
{
    static const struct {
        const char *unit;
        size_t count;
    } rows[] = {
        {"{},", LT_MAX_JSON_CONTAINERS}, {"[],", LT_MAX_JSON_CONTAINERS}, {"1,", LT_MAX_JSON_VALUES + 1}};
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t unit = strlen(rows[i].unit), n = unit * rows[i].count;
        LT_AUTOFREE char *s = malloc(n + 4);
        s[0] = '[';
        for (size_t k = 0; k < rows[i].count; k++)
            memcpy(s + 1 + k * unit, rows[i].unit, unit);
        memcpy(s + 1 + n, "1]", 3);
        assert_null(lt_json_parse(s, n + 3, n + 3, &err));
        assert_int_equal(err.code, LT_E_TOO_LARGE);
    }
}

static void test_getters(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *o = parse(
        "{\"o\":{},\"a\":[1,2,3],\"s\":\"text\",\"i\":7,\"t\":true,\"f\":false,\"n\":null,\"x\":\"00fF\","
        "\"u\":\"06fb1000-1062-4d70-8ff0-fb4da8cb0293\",\"b\":\"Zm9v\",\"r\":1.5}");
    json_t *v;
    const char *s;
    int64_t i;
    bool b;
    uint8_t bytes[16], *p;
    size_t n;

    OK(lt_json_object(o, "o", &v, &err));
    OK(lt_json_array(o, "a", 3, &v, &err));
    assert_int_equal(json_array_size(v), 3);
    OK(lt_json_string(o, "s", &s, &err));
    assert_string_equal(s, "text");
    OK(lt_json_int(o, "i", 7, 7, &i, &err));
    assert_int_equal(i, 7);
    OK(lt_json_bool(o, "t", &b, &err));
    assert_true(b);
    OK(lt_json_bool(o, "f", &b, &err));
    assert_false(b);
    OK(lt_json_hex(o, "x", bytes, 2, &err));
    assert_memory_equal(bytes, "\x00\xff", 2);
    OK(lt_json_uuid(o, "u", bytes, &err));
    assert_int_equal(bytes[15], 0x93);
    OK(lt_json_base64(o, "b", 3, &p, &n, &err));
    assert_int_equal(n, 3);
    assert_memory_equal(p, "foo", 3);
    free(p);
    assert_true(lt_json_has(o, "i"));
    assert_false(lt_json_has(o, "n"));
    assert_false(lt_json_has(o, "missing"));
    assert_false(lt_json_has(NULL, "i"));
}

/* Missing, of another type, out of range: the message names the key, the result is zeroed. */
static void test_getter_refusals(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *o = parse("{\"key\":1.5,\"a\":[1,2,3],\"s\":\"zz\",\"i\":7,\"n\":null}");
    static const char *const wrong[] = {"key", "missing", "n"};
    json_t *v = o;
    const char *s = "";
    int64_t i = 1;
    bool b = true;
    uint8_t bytes[16], *p = bytes;
    size_t n = 1;

    for (size_t k = 0; k < 3; k++) {
        const char *w = wrong[k];
        FAILS(LT_E_MALFORMED, lt_json_object(o, w, &v, &err));
        FAILS(LT_E_MALFORMED, lt_json_array(o, w, 9, &v, &err));
        FAILS(LT_E_MALFORMED, lt_json_string(o, w, &s, &err));
        FAILS(LT_E_MALFORMED, lt_json_int(o, w, INT64_MIN, INT64_MAX, &i, &err));
        FAILS(LT_E_MALFORMED, lt_json_bool(o, w, &b, &err));
        FAILS(LT_E_MALFORMED, lt_json_hex(o, w, bytes, 2, &err));
        FAILS(LT_E_MALFORMED, lt_json_uuid(o, w, bytes, &err));
        FAILS(LT_E_MALFORMED, lt_json_base64(o, w, 9, &p, &n, &err));
        assert_non_null(strstr(err.msg, w));
        assert_true(!v && !s && !i && !b && !p && !n);
    }
    FAILS(LT_E_TOO_LARGE, lt_json_array(o, "a", 2, &v, &err));
    assert_null(v);
    FAILS(LT_E_MALFORMED, lt_json_int(o, "i", 8, 9, &i, &err));
    FAILS(LT_E_MALFORMED, lt_json_int(o, "i", 0, 6, &i, &err));
    assert_int_equal(i, 0);
    FAILS(LT_E_MALFORMED, lt_json_hex(o, "s", bytes, 1, &err));
    FAILS(LT_E_MALFORMED, lt_json_uuid(o, "s", bytes, &err));
    FAILS(LT_E_MALFORMED, lt_json_base64(o, "s", 9, &p, &n, &err));
    FAILS(LT_E_MALFORMED, lt_json_string(json_array_get(o, 0), "s", &s, &err)); /* no object at all */
    FAILS(LT_E_MALFORMED, lt_json_bool(NULL, "s", &b, &err));
}

static void test_only(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *o = parse("{\"a\":1,\"b\":2}");

    OK(lt_json_only(o, (const char *const[]){"b", "a", "c", NULL}, &err));
    FAILS(LT_E_MALFORMED, lt_json_only(o, (const char *const[]){"a", NULL}, &err));
    assert_non_null(strstr(err.msg, "\"b\""));
    FAILS(LT_E_MALFORMED, lt_json_only(o, (const char *const[]){NULL}, &err));
}

static void test_new_values(void **state)
{
    (void)state;
    static const uint8_t uuid[16] = {0x06, 0xfb, 0x10};
    LT_JSON_AUTO json_t *o =
        json_pack("{so so so so so}", "hex", lt_json_new_hex("\xab\x01", 2), "b64",
                  lt_json_new_base64("foob", 4), "uuid", lt_json_new_uuid(uuid), "text",
                  lt_json_new_text("gr\xc3\xbc\xc3\x9f"), "bad", lt_json_new_text("a\xff\"\n"));
    LT_AUTOFREE char *s = lt_json_dump(o), *pretty = lt_json_pretty(o);

    assert_string_equal(
        s, "{\"hex\":\"ab01\",\"b64\":\"Zm9vYg==\",\"uuid\":\"06fb1000-0000-0000-0000-000000000000\","
           "\"text\":\"gr\xc3\xbc\xc3\x9f\",\"bad\":\"a\\\\xff\\\"\\n\"}");
    assert_memory_equal(pretty, "{\n  \"hex\": \"ab01\",\n", 19);
    assert_string_equal(pretty + strlen(pretty) - 3, "\n}\n");
    LT_JSON_AUTO json_t *back = parse(pretty);
    assert_true(json_equal(o, back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),           cmocka_unit_test(test_depth),
        cmocka_unit_test(test_growth),          cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getter_refusals), cmocka_unit_test(test_only),
        cmocka_unit_test(test_new_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
