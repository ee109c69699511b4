#include "common/run/conf.h"

#include "common/file.h"
#include "tests/support/unit.h"

#include <unistd.h>

struct settings {
    char *listen, *ca, *extra;
    int64_t period;
    bool verbose;
};

static const struct lt_conf_key keys[] = {
    {"listen", LT_CONF_TEXT, offsetof(struct settings, listen), "127.0.0.1:0", 0, 0, "Address and port."},
    {"ca", LT_CONF_TEXT, offsetof(struct settings, ca), NULL, 0, 0, "Certificate file."},
    {"extra", LT_CONF_TEXT, offsetof(struct settings, extra), "", 0, 0, "More."},
    {"period", LT_CONF_INT, offsetof(struct settings, period), "60", 1, 3600, "Seconds between rounds."},
    {"verbose", LT_CONF_BOOL, offsetof(struct settings, verbose), "no", 0, 0, "Say more."},
};
#define KEYS (sizeof keys / sizeof *keys)

static char path[] = P_tmpdir "/limetree-test-conf-XXXXXX";

static int load(struct settings *s, const char *text, size_t n, const char *const *overrides)
{
    *s = (struct settings){0};
    if (text && lt_file_write(path, text, n, 0600, &err))
        return err.code;
    return lt_conf_load(keys, KEYS, s, text ? path : NULL, overrides, &err);
}

static void drop(struct settings *s)
{
    lt_conf_free(keys, KEYS, s);
    assert_null(s->ca);
}

static void test_order(void **state)
{
    (void)state;
    static const char text[] =
        "# a comment\n\n  ca =  /etc/ca.pem \t\r\nperiod=5\nlisten = a = b\nverbose = yes";
    struct settings s;

    OK(load(&s, text, sizeof text - 1, (const char *const[]){"period = 7", "extra=x y", NULL}));
    assert_string_equal(s.ca, "/etc/ca.pem");
    assert_string_equal(s.listen, "a = b");
    assert_string_equal(s.extra, "x y");
    assert_int_equal(s.period, 7);
    assert_true(s.verbose);
    drop(&s);
    OK(load(&s, NULL, 0, (const char *const[]){"ca=c", NULL}));
    assert_string_equal(s.listen, "127.0.0.1:0");
    assert_string_equal(s.extra, "");
    assert_int_equal(s.period, 60);
    assert_false(s.verbose);
    drop(&s);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"ca=x\nperoid=5\n", "peroid"},
        {"ca=x\n\nperiod=0\n", "line 3"},
        {"ca=x\nperiod=3601", "3601"},
        {"ca=x\nperiod=", "period"},
        {"ca=x\nperiod=5s", "5s"},
        {"ca=x\nperiod=0x5", "0x5"},
        {"ca=x\nperiod=99999999999999999999", "period"},
        {"ca=x\nverbose=true", "verbose"},
        {"ca=x\nverbose", "'='"},
        {"period=5\n", "\"ca\""},
        {"ca=\n", "\"ca\""},
        {"=x\n", "unknown"},
    };
    struct settings s;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err = (struct lt_err){0};
        if (load(&s, cases[i].text, strlen(cases[i].text), NULL) != LT_E_CONFIG ||
            !strstr(err.msg, cases[i].says))
            fail_msg("case %zu: %d (%s)", i, err.code, err.msg);
        drop(&s);
    }
    FAILS(LT_E_CONFIG, load(&s, "ca=x\0\nperoid=5\n", 15, NULL)); /* nothing hides behind a NUL */
    drop(&s);
    FAILS(LT_E_CONFIG, load(&s, NULL, 0, (const char *const[]){"ca=x", "nonsense", NULL}));
    assert_non_null(strstr(err.msg, "-o nonsense"));
    drop(&s);
    s = (struct settings){0};
    FAILS(LT_E_IO, lt_conf_load(keys, KEYS, &s, "/nonexistent/limetree.conf", NULL, &err));
    drop(&s);
}

/* One key of a file that is another program's. */
static void test_peek(void **state)
{
    static const char text[] =
        "# theirs\nrole = host\nlocal_socket = /a\nperiod = never\nlocal_socket = /b \n";
    char *out;

    (void)state;
    OK(lt_file_write(path, text, sizeof text - 1, 0600, &err));
    OK(lt_conf_peek(path, "local_socket", &out, &err));
    assert_string_equal(out, "/b");
    free(out);
    OK(lt_conf_peek(path, "listen", &out, &err));
    assert_string_equal(out, "");
    free(out);
    OK(lt_file_write(path, "local_socket\n", 13, 0600, &err));
    FAILS(LT_E_CONFIG, lt_conf_peek(path, "local_socket", &out, &err));
    free(out);
}

static void test_help(void **state)
{
    (void)state;
    LT_AUTOFREE char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_non_null(f);
    lt_conf_help(keys, KEYS, f);
    fclose(f);
    for (size_t i = 0; i < KEYS; i++) {
        assert_non_null(strstr(text, keys[i].key));
        assert_non_null(strstr(text, keys[i].help));
    }
    assert_non_null(strstr(text, "period = 60\n"));
    assert_non_null(strstr(text, "ca (must be set)\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_peek),
        cmocka_unit_test(test_help),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return rc;
}
