/* limetree-agent's parts that need no TPM: activation tag, contact, IMA list, configuration. */
#include "agent/conf.h"
#include "agent/contact.h"
#include "agent/measurements.h"
#include "agent/registration.h"
#include "common/file.h"
#include "common/ima_list.h"
#include "keylime/auth_tag.h"
#include "tests/support/unit.h"

#include <unistd.h>

static void auth_tag(void **state)
{
    (void)state;
    uint8_t mac[LT_AUTH_TAG];
    char tag[2 * LT_AUTH_TAG + 1];

    /* keylime-api A.1 */
    lt_auth_tag("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", 32, "tenant-a.vm-0001", mac);
    lt_hex(mac, sizeof mac, tag);
    assert_string_equal(tag, "7fcc6111e546a96a388b7f647ae2a02e466b090d7db9983cdedd3915ef9dd3d2"
                             "436876c583a794a4db36efa084b3e562");
}

static void contact(void **state)
{
    (void)state;
    static const struct {
        const char *text, *address;
        unsigned port;
    } good[] = {{"10.0.0.1:9002", "10.0.0.1", 9002},
                {"[::1]:1", "::1", 1},
                {"vm.example:65535", "vm.example", 65535}};
    static const char *const bad[] = {
        "",           ":",    "host", "host:", ":9002",   "host:0",
        "host:65536", "h:-1", "h: 1", "h:+1",  "h:9002x", "h:99999999999999999999"};
    struct lt_http_address c;
    char name[400];

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        OK(lt_contact_parse(good[i].text, &c, &err));
        assert_string_equal(c.host, good[i].address);
        assert_int_equal(c.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(LT_E_CONFIG, lt_contact_parse(bad[i], &c, &err));
    memset(name, 'a', 256);
    strcpy(name + 256, ":1");
    FAILS(LT_E_CONFIG, lt_contact_parse(name, &c, &err));
    OK(lt_contact_parse(name + 1, &c, &err));
}

static void contact_of_a_wildcard(void **state)
{
    (void)state;
    struct lt_http_address c;

    OK(lt_contact_parse("10.1.2.3:9002", &c, &err));
    OK(lt_contact_resolve(&c, "http://127.0.0.1:8890", &err));
    assert_string_equal(c.host, "10.1.2.3");
    OK(lt_contact_parse("0.0.0.0:9002", &c, &err));
    OK(lt_contact_resolve(&c, "http://127.0.0.1:8890", &err));
    assert_string_equal(c.host, "127.0.0.1");
    assert_int_equal(c.port, 9002);
    OK(lt_contact_parse("0.0.0.0:9002", &c, &err));
    FAILS(LT_E_CONFIG, lt_contact_resolve(&c, "http://127.0.0.1", &err));
    FAILS(LT_E_CONFIG,
          lt_contact_resolve(&c, "http://127.0.0.1:8890/", &err)); /* its paths would begin with two */
}

static void ima_entries(void **state)
{
    (void)state;
    static const char three[] = "a\nb\nc\n";
    static const struct {
        const char *text;
        uint64_t ask, first;
        const char *rest;
    } cases[] = {
        {three, 0, 0, three}, {three, 1, 1, "b\nc\n"}, {three, 3, 3, ""},
        {three, 4, 0, three}, {"", 0, 0, ""},          {"", 1, 0, ""},
        {"a\nb", 1, 1, "b"},  {"a\nb", 2, 0, "a\nb"},  {three, UINT64_MAX, 0, three},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct lt_slice list = {(const uint8_t *)cases[i].text, strlen(cases[i].text)};
        uint64_t first = cases[i].ask;
        assert_string_equal(cases[i].text + lt_ima_list_from(list, &first), cases[i].rest);
        assert_int_equal(first, cases[i].first);
    }
}

/* What Keylime's wire carries: UTF-8 as it is; else all of it escaped, with its backslashes: a name may hold
 * what looks like the next entry. */
static void ima_text(void **state)
{
#define HEAD "10 61b2b0f573bbf93c1485a03f8cc33639315cd5c3 ima-ng sha256:00 "
    static const char *const cases[][2] = {
        {"", ""},
        {"10 a\n10 b\n", "10 a\n10 b\n"},
        {HEAD "/\xc3\xa9\\x41\n", HEAD "/\xc3\xa9\\x41\n"},
        {HEAD "/\xeb\\x41\n" HEAD "/\\x41\n", HEAD "/\\xeb\\x5cx41\n" HEAD "/\\x5cx41\n"},
        {HEAD "/\\x41\nb\xff\n" HEAD "/\\x41\nc\n", HEAD "/\\x5cx41\nb\\xff\n" HEAD "/\\x5cx41\nc\n"},
        {HEAD "/\\x41\n" HEAD "\xff\n", HEAD "/\\x5cx41\n" HEAD "\\xff\n"},
        {HEAD "/\xff", HEAD "/\\xff"},
        {"\xff\n" HEAD "/\\\n", "\\xff\n" HEAD "/\\x5c\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LT_AUTOFREE char *text = lt_measurements_ima_text(cases[i][0], strlen(cases[i][0]));
        assert_string_equal(text, cases[i][1]);
    }
}

/* The binary list beside the text, where it is; else the text. */
static void ima_bytes(void **state)
{
    char dir[] = "/tmp/lt-agent-XXXXXX", text[64], binary[64];
    uint8_t *p;
    size_t n;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "%s/ascii_runtime_measurements_sha256", dir);
    snprintf(binary, sizeof binary, "%s/binary_runtime_measurements_sha256", dir);
    FAILS(LT_E_NOT_FOUND, lt_measurements_ima_read(text, &p, &n, &err));
    OK(lt_file_write(text, "text\xff", 5, 0600, &err));
    OK(lt_measurements_ima_read(text, &p, &n, &err));
    assert_int_equal(n, 5);
    free(p);
    OK(lt_file_write(binary, "bin", 3, 0600, &err));
    OK(lt_measurements_ima_read(text, &p, &n, &err));
    assert_memory_equal(p, "bin", 4);
    free(p);
    OK(lt_measurements_ima_read(binary, &p, &n, &err)); /* of another name: as it is */
    assert_int_equal(n, 3);
    free(p);
    unlink(text);
    unlink(binary);
    rmdir(dir);
}

static void logs(void **state)
{
    (void)state;
    char dir[] = "/tmp/lt-agent-XXXXXX", list[64], count[64];
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    assert_non_null(mkdtemp(dir));
    snprintf(list, sizeof list, "%s/ascii_runtime_measurements", dir);
    snprintf(count, sizeof count, "%s/runtime_measurements_count", dir);
    FAILS(LT_E_NOT_FOUND, lt_measurements_read(list, 100, &p, &n, &err));
    FAILS(LT_E_NOT_FOUND, lt_measurements_read("", 100, &p, &n, &err));
    assert_int_equal(lt_measurements_ima_count(list), 0);
    assert_int_equal(lt_measurements_ima_count(""), 0);
    FILE *f = fopen(list, "w");
    fputs("one\ntwo\nthree\nhalf", f);
    fclose(f);
    assert_int_equal(lt_measurements_ima_count(list), 3);
    FAILS(LT_E_TOO_LARGE, lt_measurements_read(list, 17, &p, &n, &err));
    OK(lt_measurements_read(list, 18, &p, &n, &err));
    assert_int_equal(n, 18);
    /* The kernel's counter is cheaper than its list. */
    f = fopen(count, "w");
    fputs("4711\n", f);
    fclose(f);
    assert_int_equal(lt_measurements_ima_count(list), 4711);
    unlink(list);
    unlink(count);
    rmdir(dir);
}

static int with(const char *const *overrides, struct lt_agent_options *o)
{
    struct lt_agent_conf c = {0};
    int rc = lt_conf_load(lt_agent_keys, lt_agent_key_count, &c, NULL, overrides, &err);

    assert_int_equal(rc, 0);
    rc = lt_agent_options(&c, o, &err);
    o->listen = NULL; /* c's */
    lt_conf_free(lt_agent_keys, lt_agent_key_count, &c);
    return rc;
}

static void configuration(void **state)
{
    (void)state;
    static const char *const bad[] = {"role=both",
                                      "role=",
                                      "ek_alg=dsa",
                                      "ak_alg=sm2",
                                      "ak_handle=1",
                                      "ak_handle=0x81800000",
                                      "ak_handle=0x8101003g",
                                      "ak_handle=0x181010030",
                                      "ak_handle=0x81010001",
                                      "ak_handle=0x81000001"};
    struct lt_agent_options o;

    OK(with((const char *const[]){NULL}, &o));
    assert_false(o.host);
    assert_int_equal(o.ek_alg, LT_TPM_ALG_RSA);
    assert_int_equal(o.ak_alg, LT_TPM_ALG_RSA);
    assert_int_equal(o.ak_handle, 0x81010020);
    OK(with((const char *const[]){"role=host", NULL}, &o));
    assert_true(o.host);
    assert_int_equal(o.ak_alg, LT_TPM_ALG_ECC);
    assert_int_equal(o.ak_handle, 0x81010030);
    OK(with((const char *const[]){"role=host", "ak_alg=rsa", "ek_alg=ecc", "ak_handle=0x8101ABCD", NULL},
            &o));
    assert_int_equal(o.ak_alg, LT_TPM_ALG_RSA);
    assert_int_equal(o.ek_alg, LT_TPM_ALG_ECC);
    assert_int_equal(o.ak_handle, 0x8101abcd);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(LT_E_CONFIG, with((const char *const[]){bad[i], NULL}, &o));
    /* AK_h without a place for its secret would be another key after each start. */
    FAILS(LT_E_CONFIG, with((const char *const[]){"role=host", "state_dir=", NULL}, &o));
    OK(with((const char *const[]){"state_dir=", NULL}, &o));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auth_tag),
        cmocka_unit_test(contact),
        cmocka_unit_test(contact_of_a_wildcard),
        cmocka_unit_test(ima_entries),
        cmocka_unit_test(ima_text),
        cmocka_unit_test(ima_bytes),
        cmocka_unit_test(logs),
        cmocka_unit_test(configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
