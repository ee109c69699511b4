/* The reader without a tree: what RFC 8259 allows, what it does not, where; and the keyed hash of the tables.
 */
#include "common/json.h"
#include "common/json_pull.h"
#include "common/siphash.h"
#include "tests/support/unit.h"

/* Any value, walked to its end. */
static int walk(struct lt_json_pull *s, int depth, struct lt_err *e)
{
    struct lt_json_pull_list l;
    struct lt_slice text;
    int64_t v;

    if (depth == 8)
        return lt_json_pull_fail(s, e, "too deep");
    switch (lt_json_pull_peek(s)) {
    case '{':
        LT_TRY(lt_json_pull_object(s, &l, e));
        for (;;) {
            LT_TRY(lt_json_pull_key(s, &l, 64, &text, e));
            if (l.end)
                return 0;
            LT_TRY(walk(s, depth + 1, e));
        }
    case '[':
        LT_TRY(lt_json_pull_array(s, &l, e));
        for (;;) {
            LT_TRY(lt_json_pull_item(s, &l, e));
            if (l.end)
                return 0;
            LT_TRY(walk(s, depth + 1, e));
        }
    case '"':
        return lt_json_pull_string(s, 64, &text, e);
    case '0':
        return lt_json_pull_int(s, -1000, 1000, &v, e);
    default:
        return lt_json_pull_null(s, e);
    }
}

static int whole(const uint8_t *p, size_t n, void *state)
{
    LT_JSON_PULL_AUTO struct lt_json_pull s = lt_json_pull(p, n, "text");

    (void)state;
    int rc = walk(&s, 0, &err);
    return rc ? rc : lt_json_pull_end(&s, &err);
}

static int text(const char *s)
{
    return whole((const uint8_t *)s, strlen(s), NULL);
}

static void accepted(void **state)
{
    static const char *const good[] = {
        "null",
        " 0 ",
        "-0",
        "-1000",
        "[]",
        "{}",
        "[ ]",
        "{\n}",
        "[null]",
        "[1,2,[3,{}]]",
        "\"\"",
        "{\"a\":{\"b\":[\"c\",null]},\"a\":1}", /* twice: the walker's business */
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\xc3\xa9\xf0\x9f\x98\x80\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        OK(text(good[i]));
        LT_JSON_AUTO json_t *j = lt_json_parse(good[i], strlen(good[i]), 1000, &err);
        if (!j && i != 11)
            fail_msg("jansson differs: %s", good[i]);
    }
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{,}",
        "nul",
        "nulL",
        "true",
        "00",
        "01",
        "-",
        "-01",
        "+1",
        "1.0",
        "1e3",
        "1E3",
        "1001",
        "99999999999999999999",
        "'a'",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\u0000\"",
        "\"\\ud83d\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ude00\"",
        "\"\n\"",
        "\"\x1f\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xc3(\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf8\x88\x80\x80\x80\"",
        "null null",
        "[] x",
        "\xef\xbb\xbf[]",
        "\"\\t\xff\"",
        "\"\\t\n\"",
        "[[[[[[[[[]]]]]]]]]",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(LT_E_MALFORMED, text(bad[i]));
        if (!strstr(err.msg, "text at byte "))
            fail_msg("%s: no place: %s", bad[i], err.msg);
    }
    assert_true(whole((const uint8_t *)"1\0", 2, NULL));
    assert_true(whole((const uint8_t *)"[\0]", 3, NULL));
    assert_true(whole((const uint8_t *)"\"\0\"", 3, NULL));
}

static void strings(void **state)
{
    static const char doc[] = "[\"plain\",\"a\\u0041\\u00e9\\ud83d\\ude00\\/\",\"\"]";
    LT_JSON_PULL_AUTO struct lt_json_pull s = lt_json_pull(doc, sizeof doc - 1, "doc");
    struct lt_json_pull_list l;
    struct lt_slice v;

    (void)state;
    OK(lt_json_pull_array(&s, &l, &err));
    OK(lt_json_pull_item(&s, &l, &err));
    OK(lt_json_pull_string(&s, 5, &v, &err));
    assert_ptr_equal(v.p, doc + 2); /* no copy */
    OK(lt_json_pull_item(&s, &l, &err));
    OK(lt_json_pull_string(&s, 9, &v, &err));
    assert_int_equal(v.n, 9);
    assert_memory_equal(v.p, "aA\xc3\xa9\xf0\x9f\x98\x80/", 9);
    OK(lt_json_pull_item(&s, &l, &err));
    OK(lt_json_pull_string(&s, 0, &v, &err));
    assert_int_equal(v.n, 0);
    OK(lt_json_pull_item(&s, &l, &err));
    assert_true(l.end);
    OK(lt_json_pull_end(&s, &err));

    /* the ceilings, in the text and decoded */
    for (size_t max = 0; max < 9; max++) {
        LT_JSON_PULL_AUTO struct lt_json_pull t = lt_json_pull(doc + 9, sizeof doc - 10, "doc");
        FAILS(LT_E_MALFORMED, lt_json_pull_string(&t, max, &v, &err));
        assert_non_null(strstr(err.msg, "a string of more than"));
        t.at = 0;
    }
    struct lt_json_pull t = lt_json_pull("\"plain\"", 7, "doc");
    FAILS(LT_E_MALFORMED, lt_json_pull_string(&t, 4, &v, &err));
}

static void sweeps(void **state)
{
    static const char doc[] = "{\"k\":[1,\"\\u00e9\\n\xc3\xa9\",{\"x\":null}]}";
    (void)state;
    unit_every_prefix(whole, doc, sizeof doc - 1, NULL);
    /* whatever one bit makes of it, jansson agrees on what is JSON of our kind */
    char copy[sizeof doc];
    for (size_t bit = 0; bit < 8 * (sizeof doc - 1); bit++) {
        memcpy(copy, doc, sizeof doc);
        copy[bit / 8] ^= (char)(1u << bit % 8);
        LT_JSON_AUTO json_t *j = lt_json_parse(copy, sizeof doc - 1, 1000, &err);
        if (!whole((uint8_t *)copy, sizeof doc - 1, NULL) && !j)
            fail_msg("bit %zu: %s", bit, copy);
    }
}

static void siphash(void **state)
{
    uint8_t key[16], in[64];
    (void)state;
    for (int i = 0; i < 64; i++)
        in[i] = (uint8_t)i;
    memcpy(key, in, 16);
    /* appendix A of the paper, and vectors_sip64 of its reference code */
    assert_true(lt_siphash(key, in, 15) == 0xa129ca6149be45e5);
    assert_true(lt_siphash(key, in, 0) == 0x726fdb47dd0e0e31);
    assert_true(lt_siphash(key, in, 1) == 0x74f839c593dc67fd);
    assert_true(lt_siphash(key, in, 8) == 0x93f5f5799a932462);
    assert_true(lt_siphash(key, in, 63) == 0x958a324ceb064572);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(accepted), cmocka_unit_test(refused),
                                       cmocka_unit_test(strings), cmocka_unit_test(sweeps),
                                       cmocka_unit_test(siphash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
