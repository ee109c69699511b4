#include "common/json.h"
#include "common/run/log.h"
#include "common/utf8.h"
#include "tests/support/unit.h"

#include <unistd.h>

static void shows(const char *s, const char *want)
{
    char out[256];
    lt_utf8_show(s, out, sizeof out);
    assert_string_equal(out, want);
}

static void what_a_terminal_obeys_is_shown(void **state)
{
    (void)state;
    shows("", "");
    shows("plain, \xc3\xa9, \xe2\x82\xac, \xf0\x9f\x8c\xb3",
          "plain, \xc3\xa9, \xe2\x82\xac, \xf0\x9f\x8c\xb3");
    shows("\x1b[2J\n\t\x7f", "\\x1b[2J\\x0a\\x09\\x7f");
    shows("a\xc2\x9b"
          "2J\xc2\x85",
          "a\\u{9b}2J\\u{85}");
    shows("\xe2\x80\xae"
          "gpj\xe2\x81\xa6\xe2\x80\x8b\xef\xbb\xbf\xd8\x9c",
          "\\u{202e}gpj\\u{2066}\\u{200b}\\u{feff}\\u{61c}");
    shows("\xf3\xa0\x80\x81", "\\u{e0001}");
    shows("\x9b\xff\xc2", "\\x9b\\xff\\xc2");
}

static void what_does_not_fit_is_cut(void **state)
{
    (void)state;
    for (size_t size = 1; size < 40; size++) {
        char out[40];
        memset(out, 'x', sizeof out);
        lt_utf8_show("\xc2\x9b\xc2\x9b\xf3\xa0\x80\x81 and so on", out, size);
        assert_true(strlen(out) < size);
    }
}

/* Every character: JSON reads back as it was, and nothing hidden stands in it. */
static void json_for_lines(void **state)
{
    (void)state;
    for (uint32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 0x101) {
        char s[8];
        if (c >= 0xd800 && c < 0xe000)
            continue;
        json_t *j = json_array(), *back;
        int n = c < 0x80    ? snprintf(s, sizeof s, "%c", (char)c)
                : c < 0x800 ? snprintf(s, sizeof s, "%c%c", (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)))
                : c < 0x10000 ? snprintf(s, sizeof s, "%c%c%c", (char)(0xe0 | c >> 12),
                                         (char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f)))
                              : snprintf(s, sizeof s, "%c%c%c%c", (char)(0xf0 | c >> 18),
                                         (char)(0x80 | (c >> 12 & 0x3f)), (char)(0x80 | (c >> 6 & 0x3f)),
                                         (char)(0x80 | (c & 0x3f)));
        json_array_append_new(j, json_stringn(s, (size_t)n));
        LT_AUTOFREE char *text = lt_json_dump_plain(j);
        assert_non_null(text);
        size_t left = strlen(text);
        for (const char *p = text; left;) {
            uint32_t is;
            size_t step = lt_utf8_next((const uint8_t *)p, left, &is);
            assert_false(lt_utf8_hidden(is));
            p += step;
            left -= step;
        }
        assert_non_null(back = lt_json_parse(text, strlen(text), 100, &err));
        assert_true(json_equal(j, back));
        json_decref(j);
        json_decref(back);
    }
    assert_null(lt_json_dump_plain(NULL));
}

static void log_lines(void **state)
{
    char path[] = "/tmp/lt-log-XXXXXX", line[1024] = "";
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    OK(lt_log_open("test", path, LT_LOG_INFO, &err));
    lt_log(LT_LOG_INFO, "told",
           "name \xc2\x9b"
           "2J");
    lt_log_fields(LT_LOG_DEBUG, "told", json_pack("{s:s}", "guest", "dropped"));
    lt_log_fields(LT_LOG_WARNING, "told",
                  json_pack("{s:s, s:s}", "guest", "\xe2\x80\xae", "event", "not mine"));
    ssize_t n = read(fd, line, sizeof line - 1);
    assert_true(n > 0);
    assert_non_null(strstr(line, "\"message\":\"name \\u009B2J\"}\n"));
    assert_non_null(strstr(line, "\"event\":\"told\",\"guest\":\"\\u202E\"}\n"));
    assert_null(strstr(line, "dropped"));
    OK(lt_log_open("test", NULL, LT_LOG_INFO, &err));
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_terminal_obeys_is_shown),
        cmocka_unit_test(what_does_not_fit_is_cut),
        cmocka_unit_test(json_for_lines),
        cmocka_unit_test(log_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
