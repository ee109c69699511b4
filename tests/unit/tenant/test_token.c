/* Tokens of guests: of trusted ones alone, as long as that is fresh, bound to receiver, nonce and transport
 * key. */
#include "verifier/token/token.h"

#include "common/run/clock.h"
#include "common/run/cond.h"
#include "tests/support/tenant_rig.h"

static json_t *keys_of(struct rig *r)
{
    return rig_call(r, "GET", "token-keys", NULL, 200);
}

static json_t *ask(struct rig *r, const struct rig_guest *g, const char *query, int want)
{
    char path[256];

    snprintf(path, sizeof path, "guests/%s/token%s", g->text, query);
    return rig_call(r, "GET", path, NULL, want);
}

static const char good[] = "?aud=vault&nonce=12345678";

/* The claims of a token of the guest; a new reference. */
static json_t *claims_of(struct rig *r, const struct rig_guest *g)
{
    LT_JSON_AUTO json_t *reply = ask(r, g, good, 200), *keys = keys_of(r);
    const char *token = json_string_value(json_object_get(reply, "token"));
    const struct lt_token_expected x = {.aud = "vault", .nonce = "12345678", .now = lt_clock_wall_s()};

    assert_non_null(token);
    json_t *c = lt_token_verify(token, strlen(token), keys, &x, &err);
    if (!c)
        fail_msg("%s", err.msg);
    return c;
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void begin(struct rig *r)
{
    rig_make(r);
    rig_start(r);
    rig_transport(r, &r->guest[0]);
    rig_adopt(r, &r->guest[0]);
}

static void test_a_trusted_guest(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    LT_JSON_AUTO json_t *c = claims_of(&r, g);
    const json_t *guest = json_object_get(json_object_get(c, "submods"), "guest"),
                 *host = json_object_get(json_object_get(c, "submods"), "host");
    int64_t iat = json_integer_value(json_object_get(c, "iat")),
            exp = json_integer_value(json_object_get(c, "exp"));
    assert_true(exp > iat && exp <= iat + r.conf.period_s);
    assert_string_equal(text(c, "sub"), g->text);
    assert_non_null(strstr(text(c, "iss"), r.tenant_id));
    assert_string_equal(text(guest, "limetree.uuid"), g->text);
    assert_string_equal(text(guest, "limetree.link"), "copyable");
    assert_non_null(strstr(text(guest, "ear.appraisal-policy-id"), "urn:limetree:policy:sha256:"));
    assert_true(json_is_array(json_object_get(guest, "limetree.not_made")));
    assert_string_equal(text(host, "ear.status"), "affirming");
    assert_int_equal(strlen(text(host, "limetree.host")), 32);
    const json_t *jwk = json_object_get(json_object_get(c, "cnf"), "jwk");
    assert_string_equal(text(jwk, "kty"), "RSA");
    assert_int_equal(strlen(text(jwk, "n")), 342); /* 256 bytes */
    assert_string_equal(text(jwk, "e"), "AQAB");
    rig_free(&r);
}

static void test_what_must_be_asked(void **state)
{
    static const char *const bad[] = {"",
                                      "?aud=vault",
                                      "?nonce=12345678",
                                      "?aud=&nonce=12345678",
                                      "?aud=vault&nonce=1234567",
                                      "?aud=vault&nonce=1234%205678",
                                      "?aud=va%0Ault&nonce=12345678"};
    struct rig r;
    (void)state;
    begin(&r);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        rig_drop(ask(&r, &r.guest[0], bad[i], 400));
    rig_drop(rig_call(&r, "GET", "guests/00000000-0000-4000-8000-0000000000ff/token?aud=v&nonce=12345678",
                      NULL, 404));
    rig_free(&r);
}

static void test_not_of_others(void **state)
{
    struct rig r;
    char path[64];
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_drop(ask(&r, &r.guest[1], good, 404)); /* not added */
    rig_adopt(&r, &r.guest[1]);
    rig_drop(ask(&r, &r.guest[1], good, 409)); /* no key to bind it to */
    json_decref(claims_of(&r, g));
    g->mode = GUEST_FAILS;
    rig_ask(&r, g);
    rig_wait(&r, g, "unreachable");
    rig_drop(ask(&r, g, good, 409));
    g->mode = GUEST_ANSWERS;
    rig_ask(&r, g);
    rig_wait(&r, g, "trusted");
    json_decref(claims_of(&r, g));
    g->mode = GUEST_FORGES;
    rig_ask(&r, g);
    rig_wait(&r, g, "failed");
    rig_drop(ask(&r, g, good, 409));
    g->mode = GUEST_ANSWERS;
    for (int i = 0; i < 3; i++) { /* rounds that were judged otherwise have ended */
        unsigned asked = g->asked;
        rig_ask(&r, g);
        rig_wait_asked(g, asked + 1);
    }
    snprintf(path, sizeof path, "guests/%s/clear", g->text);
    rig_drop(rig_call(&r, "POST", path, json_object(), 200));
    rig_wait(&r, g, "trusted");
    json_decref(claims_of(&r, g));
    rig_free(&r);
}

/* It is not older than a period: the next round brings another. */
static void test_no_longer_than_a_period(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    r.conf.period_s = 2;
    rig_start(&r);
    rig_transport(&r, &r.guest[0]);
    rig_adopt(&r, &r.guest[0]);
    r.guest[0].mode = GUEST_HOLDS; /* no news from now on, and a trusted verdict that stands a while */
    uint64_t until = lt_clock_ms() + 20000;
    for (;;) {
        LT_AUTOFREE char *body = NULL;
        LT_JSON_AUTO json_t *shown = rig_show(&r, &r.guest[0]);
        if (strcmp(text(json_object_get(shown, "verdict"), "result"), "trusted"))
            break;
        struct lt_http_reply reply;
        char path[160];
        snprintf(path, sizeof path, "/federation/v1/guests/%s/token%s", r.guest[0].text, good);
        OK(check_call(r.operator, "GET", lt_http_server_address(r.tenant->server), path, NULL, &reply, &err));
        body = (char *)reply.body;
        if (reply.status == 503)
            break;
        assert_int_equal(reply.status, 200);
        assert_true(lt_clock_ms() < until);
    }
    rig_release(&r.guest[0]);
    rig_free(&r);
}

static void test_another_life(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    LT_JSON_AUTO json_t *reply = ask(&r, &r.guest[0], good, 200);
    rig_stop(&r);
    rig_start(&r);
    LT_JSON_AUTO json_t *keys = rig_call(&r, "POST", "token-keys", json_object(), 200);
    assert_int_equal(json_array_size(json_object_get(keys, "keys")), 2);
    const char *token = json_string_value(json_object_get(reply, "token"));
    const struct lt_token_expected x = {.aud = "vault", .nonce = "12345678", .now = lt_clock_wall_s()};
    json_t *c = lt_token_verify(token, strlen(token), keys, &x, &err); /* by the key of before */
    assert_non_null(c);
    json_decref(c);
    struct lt_http_reply again = {0};
    char path[160];
    snprintf(path, sizeof path, "/federation/v1/guests/%s/token%s", r.guest[0].text, good);
    for (uint64_t until = lt_clock_ms() + 20000;
         again.status != 200;) { /* 503: until this life has had a round */
        assert_true(lt_clock_ms() < until);
        OK(check_call(r.operator, "GET", lt_http_server_address(r.tenant->server), path, NULL, &again, &err));
        free((char *)again.body);
    }
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_trusted_guest), cmocka_unit_test(test_what_must_be_asked),
        cmocka_unit_test(test_not_of_others),   cmocka_unit_test(test_no_longer_than_a_period),
        cmocka_unit_test(test_another_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
