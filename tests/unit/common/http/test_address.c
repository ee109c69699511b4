/* HOST:PORT: what listeners may be, what peers may be, and what neither may. */
#include "common/http/address.h"
#include "common/limits.h"
#include "tests/support/unit.h"

static void good(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        unsigned port;
        bool peer;
    } list[] = {
        {"127.0.0.1:9002", "127.0.0.1", 9002, true},
        {"vm-1.example:65535", "vm-1.example", 65535, true},
        {"my_vm:00080", "my_vm", 80, true},
        {"[::1]:1", "::1", 1, true},
        {"[::ffff:10.0.0.1]:9", "::ffff:10.0.0.1", 9, true},
        {"0.0.0.0:0", "0.0.0.0", 0, false},
        {"[::]:0", "::", 0, false},
        {"[fe80::1%eth0]:9", "fe80::1%eth0", 9, false},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct lt_http_address a;
        OK(lt_http_address_parse(list[i].text, &a, &err));
        assert_string_equal(a.host, list[i].host);
        assert_int_equal(a.port, list[i].port);
        assert_int_equal(lt_http_address_check_peer(list[i].text, &err), list[i].peer ? 0 : LT_E_MALFORMED);
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const list[] = {"",
                                       ":",
                                       "host",
                                       "host:",
                                       ":9002",
                                       "host:65536",
                                       "host:100000",
                                       "h:-1",
                                       "h: 1",
                                       "h:+1",
                                       "h:9002x",
                                       "h:9002 ",
                                       "h:1/x",
                                       "a@b:1",
                                       "a b:1",
                                       "a%41:1",
                                       "a/b:1",
                                       "a#b:1",
                                       "a?b:1",
                                       "::1:9002",
                                       "a:1:2",
                                       "[]:1",
                                       "[::1:1",
                                       "::1]:1",
                                       "[::1]",
                                       "[::1]9",
                                       "[::1]x:9",
                                       "[host]:1",
                                       "[::1]]:1",
                                       "[[::1]]:1",
                                       "[%eth0]:1",
                                       "[fe80::1%]:1",
                                       "[::1%a/b]:1",
                                       "http://a:80",
                                       "\xc3\xa9:1",
                                       "h:\xd9\xa1",
                                       "h:99999999999999999999"};
    struct lt_http_address a;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        FAILS(LT_E_MALFORMED, lt_http_address_parse(list[i], &a, &err));
        FAILS(LT_E_MALFORMED, lt_http_address_check_peer(list[i], &err));
    }
}

static void ceilings(void **state)
{
    (void)state;
    char name[400] = {0};
    struct lt_http_address a;

    memset(name, 'a', 256);
    strcpy(name + 256, ":1");
    FAILS(LT_E_MALFORMED, lt_http_address_parse(name, &a, &err));
    OK(lt_http_address_parse(name + 1, &a, &err));
    assert_int_equal(strlen(a.host), 255);
    OK(lt_http_address_check_peer(name + 1, &err));
    memset(name, ':', 300);
    name[0] = '[';
    strcpy(name + 256, "]:00001");
    assert_int_equal(strlen(name), LT_MAX_ADDRESS); /* the longest there is */
    OK(lt_http_address_check_peer(name, &err));
}

static void urls(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "https://",
                                      "http://a:1",
                                      "HTTPS://a:1",
                                      "https://a",
                                      "https://:1",
                                      "https://a:0",
                                      "a:1",
                                      "https://a:1/",
                                      "https://a:1 ",
                                      "https://a\\:1",
                                      "https://u@a:1",
                                      "https://[fe80::1%e]:1",
                                      "https://a:1?x"};
    struct lt_http_address a;

    OK(lt_http_address_parse_url("provider", "https://[::1]:8981", "https://", &a, &err));
    assert_string_equal(a.host, "::1");
    assert_int_equal(a.port, 8981);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(LT_E_CONFIG, lt_http_address_parse_url("provider", bad[i], "https://", &a, &err));
    assert_string_equal(err.msg, "provider = https://a:1?x: not https://HOST:PORT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(refused),
                                       cmocka_unit_test(ceilings), cmocka_unit_test(urls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
