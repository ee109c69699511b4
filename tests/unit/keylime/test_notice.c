#include "keylime/notice.h"
#include "tests/support/vectors.h"

#include "common/limits.h"

/* tests/vectors/README.md: made with Python's cryptography, as Keylime's programs sign and verify. */
static json_t *vectors;

static const char *text(const char *key)
{
    const char *s;

    OK(lt_json_string(vectors, key, &s, &err));
    return s;
}

static json_t *message(const char *msg, const char *signature)
{
    json_t *j = json_pack("{s:s, s:s}", "msg", msg, "signature", signature);

    assert_non_null(j);
    return j;
}

static int load(void **state)
{
    (void)state;
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("keylime-notice.json", &n);

    vectors = lt_json_parse(p, n, n, &err);
    assert_non_null(vectors);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

static void others_are_understood(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *body = message(text("msg"), text("signature")), *msg = NULL;
    const char *agent;

    OK(lt_notice_check(body, &err));
    OK(lt_notice_open(body, text("certificate"), &msg, &err));
    OK(lt_json_string(msg, "agent_id", &agent, &err));
    assert_string_equal(agent, "d432fbb3-d2f1-4a97-9ef7-75bd81c00000");
}

static void what_is_signed_is_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *key, *certificate;
    } pairs[] = {{"key", "certificate"}, {NULL, "other_certificate"}};

    for (size_t i = 0; i < 2; i++) {
        const char *key = pairs[i].key
                              ? text(pairs[i].key)
                              : json_string_value(json_object_get(json_object_get(vectors, "other"), "key"));
        LT_JSON_AUTO json_t *body = NULL, *msg = NULL, *none = NULL;

        OK(lt_notice_check_key(key, &err));
        OK(lt_notice_sign("{\"a\":1}", key, &body, &err));
        OK(lt_notice_check(body, &err));
        OK(lt_notice_open(body, text(pairs[i].certificate), &msg, &err));
        assert_int_equal(json_integer_value(json_object_get(msg, "a")), 1);
        FAILS(LT_E_BAD_SIGNATURE, lt_notice_open(body, text(pairs[!i].certificate), &none, &err));
        assert_null(none);
    }
}

static void other_schemes_are_refused(void **state)
{
    (void)state;
    const char *kind;
    json_t *value;

    json_object_foreach(json_object_get(vectors, "refused"), kind, value)
    {
        LT_JSON_AUTO json_t *body = message(text("msg"), json_string_value(value)), *msg = NULL;

        OK(lt_notice_check(body, &err));
        if (lt_notice_open(body, text("certificate"), &msg, &err) != LT_E_BAD_SIGNATURE)
            fail_msg("%s: %d", kind, err.code);
        assert_null(msg);
    }
}

static void unsigned_is_refused(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *body = NULL, *same = NULL, *msg = NULL;

    OK(lt_notice_sign(text("msg"), NULL, &body, &err));
    OK(lt_notice_sign(text("msg"), "", &same, &err));
    assert_true(json_equal(body, same));
    assert_string_equal(json_string_value(json_object_get(body, "signature")), "");
    OK(lt_notice_check(body, &err)); /* Keylime sends such ones: queued, and then refused */
    FAILS(LT_E_BAD_SIGNATURE, lt_notice_open(body, text("certificate"), &msg, &err));
}

static void every_bit_of_msg_is_signed(void **state)
{
    (void)state;
    LT_AUTOFREE char *msg = strdup(text("msg"));

    for (size_t i = 0; msg[i]; i++) {
        char was = msg[i];
        LT_JSON_AUTO json_t *none = NULL;

        msg[i] = was == 'x' ? 'y' : 'x';
        LT_JSON_AUTO json_t *body = json_pack("{s:s, s:s}", "msg", msg, "signature", text("signature"));
        if (body) /* else it is no UTF-8 any more */
            FAILS(LT_E_BAD_SIGNATURE, lt_notice_open(body, text("certificate"), &none, &err));
        msg[i] = was;
    }
}

static void signed_but_no_object(void **state)
{
    (void)state;
    static const char *const kinds[] = {"not_an_object", "not_json"};

    for (size_t i = 0; i < 2; i++) {
        LT_JSON_AUTO json_t *msg = NULL;
        FAILS(LT_E_MALFORMED,
              lt_notice_open(json_object_get(vectors, kinds[i]), text("certificate"), &msg, &err));
        assert_null(msg);
    }
}

static void malformed_bodies(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"msg\":\"{}\"}",
        "{\"signature\":\"\"}",
        "{\"msg\":{},\"signature\":\"\"}",
        "{\"msg\":\"{}\",\"signature\":null}",
        "{\"msg\":\"{}\",\"signature\":\"*\"}",
        "{\"msg\":\"{}\",\"signature\":\"QQ\"}",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        LT_JSON_AUTO json_t *body = lt_json_parse(bad[i], strlen(bad[i]), 4096, &err), *msg = NULL;
        assert_non_null(body);
        FAILS(LT_E_MALFORMED, lt_notice_check(body, &err));
        FAILS(LT_E_MALFORMED, lt_notice_open(body, text("certificate"), &msg, &err));
    }
}

static void ceilings(void **state)
{
    (void)state;
    LT_AUTOFREE char *long_one = malloc(LT_MAX_NOTICE + 2);
    LT_JSON_AUTO json_t *none = NULL;

    memset(long_one, ' ', LT_MAX_NOTICE + 1);
    long_one[LT_MAX_NOTICE + 1] = 0;
    LT_JSON_AUTO json_t *body = message(long_one, "");
    FAILS(LT_E_MALFORMED, lt_notice_check(body, &err));
    FAILS(LT_E_TOO_LARGE, lt_notice_sign(long_one, text("key"), &none, &err));
    FAILS(LT_E_MALFORMED, lt_notice_check_key(long_one, &err));
    const struct lt_notice n = {.type = LT_NOTICE_REVOCATION, .meta_data = long_one};
    char *out;
    FAILS(LT_E_TOO_LARGE, lt_notice_text(&n, &out, &err));
    assert_null(out);
    LT_AUTOFREE char *big = calloc(1, 8192 / 8 + 2), *sig = lt_base64_dup(big, 8192 / 8 + 1);
    LT_JSON_AUTO json_t *fat = message("{}", sig);
    if (lt_notice_check(fat, &err) == 0)
        fail_msg("a signature of more than RSA-8192 is taken");
}

static void keys_that_do_not_do(void **state)
{
    (void)state;
    const char *kind;
    json_t *value, *out;

    json_object_foreach(json_object_get(vectors, "unfit_keys"), kind, value)
    {
        FAILS(LT_E_UNSUPPORTED, lt_notice_check_key(json_string_value(value), &err));
        FAILS(LT_E_UNSUPPORTED, lt_notice_sign("{}", json_string_value(value), &out, &err));
        assert_null(out);
    }
    FAILS(LT_E_MALFORMED, lt_notice_check_key(text("encrypted_key"), &err));
    FAILS(LT_E_MALFORMED, lt_notice_check_key(text("certificate"), &err));
    FAILS(LT_E_MALFORMED, lt_notice_check_key("", &err));
    LT_JSON_AUTO json_t *body = message(text("msg"), text("signature"));
    FAILS(LT_E_UNSUPPORTED, lt_notice_open(body, text("ec_certificate"), &out, &err));
    FAILS(LT_E_MALFORMED, lt_notice_open(body, text("key"), &out, &err));
    FAILS(LT_E_MALFORMED, lt_notice_open(body, "", &out, &err));
}

static void says_all_keys(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *context = json_pack("{s:s}", "message", "it is \"off\"");
    const struct lt_notice n = {
        .type = LT_NOTICE_REVOCATION,
        .agent_id = "vm-1",
        .ip = "10.0.0.7",
        .port = 9002,
        .tpm_policy = "{\"mask\": \"0x400\"}",
        .meta_data = "{}",
        .event_id = "ima.validation.ima-ng.not_in_allowlist",
        .severity_label = "info",
        .context = context,
        .event_time_s = 1782813605,
    };
    LT_AUTOFREE char *msg = NULL;

    OK(lt_notice_text(&n, &msg, &err));
    LT_JSON_AUTO json_t *j = lt_json_parse(msg, strlen(msg), LT_MAX_NOTICE, &err);
    LT_JSON_AUTO json_t *want = json_pack(
        "{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "type", "revocation", "agent_id", "vm-1", "ip",
        "10.0.0.7", "port", 9002, "tpm_policy", "{\"mask\": \"0x400\"}", "meta_data", "{}", "event_time",
        "Tue Jun 30 10:00:05 2026", "event_id", "ima.validation.ima-ng.not_in_allowlist", "severity_label",
        "info", "context", "{\"message\":\"it is \\\"off\\\"\"}");
    assert_true(json_equal(j, want));

    const struct lt_notice bare = {.type = "comm_error"};
    LT_AUTOFREE char *least = NULL;
    OK(lt_notice_text(&bare, &least, &err));
    assert_non_null(strstr(least, "\"context\":\"{}\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_understood),      cmocka_unit_test(what_is_signed_is_accepted),
        cmocka_unit_test(other_schemes_are_refused),  cmocka_unit_test(unsigned_is_refused),
        cmocka_unit_test(every_bit_of_msg_is_signed), cmocka_unit_test(signed_but_no_object),
        cmocka_unit_test(malformed_bodies),           cmocka_unit_test(ceilings),
        cmocka_unit_test(keys_that_do_not_do),        cmocka_unit_test(says_all_keys),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
