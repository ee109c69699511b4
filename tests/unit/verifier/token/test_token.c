/* Verdict tokens: what is believed, and all that is not. */
#include "common/limits.h"
#include "tests/support/unit.h"
#include "verifier/token/keys.h"

#include <sys/stat.h>
#include <unistd.h>

#define NOW 1800000000

static json_t *key, *other, *jwks;
static const struct lt_token_expected good = {
    .aud = "vault", .nonce = "12345678", .issuer = "urn:x", .now = NOW};

static int make(void **state)
{
    (void)state;
    key = lt_token_key_new(&err);
    other = lt_token_key_new(&err);
    assert_non_null(key);
    assert_non_null(other);
    jwks = json_pack("{s:[o]}", "keys", lt_token_key_public(key));
    return 0;
}

static int drop(void **state)
{
    (void)state;
    json_decref(jwks);
    lt_token_key_free(key);
    lt_token_key_free(other);
    return 0;
}

static json_t *claims(void)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:{s:{s:s}, s:{s:s}}}", "eat_profile", LT_TOKEN_PROFILE,
                     "iss", "urn:x", "aud", "vault", "eat_nonce", "12345678", "iat", (json_int_t)NOW - 5,
                     "exp", (json_int_t)NOW + 30, "submods", "guest", "ear.status", "affirming", "host",
                     "ear.status", "affirming");
}

/* Takes c. */
static char *token_of(const json_t *by, json_t *c)
{
    char *out;

    OK(lt_token_sign(by, c, &out, &err));
    json_decref(c);
    return out;
}

static void refused(int code, const char *token, const struct lt_token_expected *x, const json_t *keys)
{
    err = (struct lt_err){0};
    json_t *c = lt_token_verify(token, strlen(token), keys, x, &err);
    if (c || err.code != code)
        fail_msg("%s: %d (%s), not %d", token, err.code, err.msg, code);
}

static void test_a_good_one(void **state)
{
    (void)state;
    LT_AUTOFREE char *token = token_of(key, claims());
    struct lt_token_expected x = good;
    json_t *c = lt_token_verify(token, strlen(token), jwks, &x, &err);
    assert_non_null(c);
    assert_string_equal(json_string_value(json_object_get(c, "iss")), "urn:x");
    json_decref(c);
    x.issuer = NULL;
    c = lt_token_verify(token, strlen(token), jwks, &x, &err);
    assert_non_null(c);
    json_decref(c);
}

static void test_for_somebody_else(void **state)
{
    (void)state;
    LT_AUTOFREE char *token = token_of(key, claims());
    struct lt_token_expected x = good;
    x.aud = "vaul";
    refused(LT_E_REFUSED, token, &x, jwks);
    x = good;
    x.nonce = "12345679";
    refused(LT_E_REFUSED, token, &x, jwks);
    x = good;
    x.issuer = "urn:y";
    refused(LT_E_REFUSED, token, &x, jwks);
    x = good;
    x.now = NOW + 30;
    refused(LT_E_REFUSED, token, &x, jwks);
    x.now = NOW - 5 - LT_TOKEN_SKEW_S - 1;
    refused(LT_E_REFUSED, token, &x, jwks);
}

static void test_keys_that_are_not_ours(void **state)
{
    (void)state;
    LT_AUTOFREE char *token = token_of(other, claims());
    refused(LT_E_BAD_SIGNATURE, token, &good, jwks);
    /* another key under the id of ours */
    json_t *forged = json_deep_copy(other);
    json_object_set(forged, "kid", json_object_get(key, "kid"));
    LT_AUTOFREE char *second = token_of(forged, claims());
    refused(LT_E_BAD_SIGNATURE, second, &good, jwks);
    lt_token_key_free(forged);
    LT_AUTOFREE char *third = token_of(key, claims());
    LT_JSON_AUTO json_t *twice =
        json_pack("{s:[o, o]}", "keys", lt_token_key_public(key), lt_token_key_public(key));
    refused(LT_E_BAD_SIGNATURE, third, &good, twice);
    LT_JSON_AUTO json_t *none = json_pack("{s:[]}", "keys");
    refused(LT_E_BAD_SIGNATURE, third, &good, none);
    LT_JSON_AUTO json_t *no_set = json_object();
    refused(LT_E_MALFORMED, third, &good, no_set);
}

/* A key of another kind under that id: it is not asked. */
static void test_keys_of_another_kind(void **state)
{
    static const char *const wrong[][2] = {
        {"kty", "RSA"}, {"kty", "oct"}, {"crv", "P-384"}, {"alg", "HS256"}, {"use", "enc"}};
    (void)state;
    LT_AUTOFREE char *token = token_of(key, claims());
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *k = lt_token_key_public(key);
        json_object_set_new(k, wrong[i][0], json_string(wrong[i][1]));
        LT_JSON_AUTO json_t *set = json_pack("{s:[o]}", "keys", k);
        refused(LT_E_UNSUPPORTED, token, &good, set);
    }
}

static char *part(const char *json)
{
    return lt_token_base64url(json, strlen(json));
}

/* A header of one's own before the payload and signature of a good token. */
static void with_header(const char *header, int code)
{
    LT_AUTOFREE char *token = token_of(key, claims()), *head = part(header);
    char text[4096], h[512];

    snprintf(h, sizeof h, "%s", head);
    snprintf(text, sizeof text, "%s%s", h, strchr(token, '.'));
    refused(code, text, &good, jwks);
    snprintf(text, sizeof text, "%s.%.*s.", h, (int)strcspn(strchr(token, '.') + 1, "."),
             strchr(token, '.') + 1);
    refused(LT_E_MALFORMED, text, &good, jwks); /* without a signature */
}

static void test_headers(void **state)
{
    (void)state;
    const char *kid = json_string_value(json_object_get(key, "kid"));
    char h[512];
    static const char *const algs[] = {"none", "None", "HS256", "ES384", "RS256", "es256", ""};
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++) {
        snprintf(h, sizeof h, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"eat+jwt\"}", algs[i], kid);
        with_header(h, LT_E_UNSUPPORTED);
    }
    static const char *const more[] = {
        "\"jwk\":{}",      "\"jku\":\"https://h/\"", "\"x5c\":[]",       "\"crit\":[\"b64\"],\"b64\":false",
        "\"zip\":\"DEF\"", "\"cty\":\"JWT\"",        "\"alg\":\"ES256\""};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        snprintf(h, sizeof h, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"eat+jwt\",%s}", kid, more[i]);
        with_header(h, LT_E_MALFORMED);
    }
    snprintf(h, sizeof h, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    with_header(h, LT_E_UNSUPPORTED);
    snprintf(h, sizeof h, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    with_header(h, LT_E_MALFORMED);
    with_header("{\"alg\":\"ES256\",\"typ\":\"eat+jwt\"}", LT_E_MALFORMED);
    with_header("{\"alg\":\"ES256\",\"kid\":7,\"typ\":\"eat+jwt\"}", LT_E_MALFORMED);
    with_header("[]", LT_E_MALFORMED);
    with_header("{", LT_E_MALFORMED);
    snprintf(h, sizeof h, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"eat+jwt\" }",
             kid); /* means the same */
    with_header(h, LT_E_BAD_SIGNATURE);
}

static void without(const char *name, int code)
{
    json_t *c = claims();
    json_object_del(c, name);
    LT_AUTOFREE char *token = token_of(key, c);
    refused(code, token, &good, jwks);
}

static void with(const char *name, json_t *value, int code)
{
    json_t *c = claims();
    json_object_set_new(c, name, value);
    LT_AUTOFREE char *token = token_of(key, c);
    refused(code, token, &good, jwks);
}

static void test_claims(void **state)
{
    static const char *const needed[] = {"eat_profile", "iss", "aud", "eat_nonce", "iat", "exp", "submods"};
    (void)state;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        without(needed[i], LT_E_MALFORMED);
    with("eat_profile", json_string("tag:else"), LT_E_UNSUPPORTED);
    with("aud", json_pack("[s, s]", "vault", "else"), LT_E_MALFORMED); /* one receiver */
    with("eat_nonce", json_pack("[s]", "12345678"), LT_E_MALFORMED);
    with("exp", json_string("later"), LT_E_MALFORMED);
    with("exp", json_integer(-1), LT_E_MALFORMED);
    with("submods", json_object(), LT_E_MALFORMED);
    with("submods", json_pack("{s:{s:s}}", "host", "ear.status", "affirming"), LT_E_MALFORMED);
    with("submods", json_pack("{s:{}}", "guest"), LT_E_MALFORMED);
    with("submods", json_pack("{s:{s:s}}", "guest", "ear.status", "contraindicated"), LT_E_REFUSED);
    with("submods",
         json_pack("{s:{s:s}, s:{s:s}}", "guest", "ear.status", "affirming", "host", "ear.status", "warning"),
         LT_E_REFUSED);
}

/* Every prefix, and every character turned. */
static void test_every_byte(void **state)
{
    (void)state;
    LT_AUTOFREE char *token = token_of(key, claims());
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++) {
        assert_null(lt_token_verify(token, i, jwks, &good, &err));
        char was = token[i];
        token[i] = was == 'A' ? 'B' : 'A';
        json_t *c = lt_token_verify(token, n, jwks, &good, &err);
        /* the last character of 64 bytes carries two bits that say nothing */
        if (c && i + 1 < n)
            fail_msg("character %zu of %zu may be another", i, n);
        json_decref(c);
        token[i] = was;
    }
    LT_AUTOFREE char *long_one = malloc((LT_MAX_TOKEN + 1));
    memset(long_one, 'A', (LT_MAX_TOKEN + 1));
    err = (struct lt_err){0};
    assert_null(lt_token_verify(long_one, (LT_MAX_TOKEN + 1), jwks, &good, &err));
    assert_int_equal(err.code, LT_E_TOO_LARGE);
}

static void test_words(void **state)
{
    char long_one[300];
    (void)state;
    memset(long_one, 'x', sizeof long_one);
    OK(lt_token_check_nonce("12345678", &err));
    FAILS(LT_E_MALFORMED, lt_token_check_nonce("1234567", &err));
    FAILS(LT_E_MALFORMED, lt_token_check_nonce(NULL, &err));
    FAILS(LT_E_MALFORMED, lt_token_check_nonce("1234 5678", &err));
    FAILS(LT_E_MALFORMED, lt_token_check_nonce("12345678\n", &err));
    FAILS(LT_E_MALFORMED, lt_token_check_nonce("1234567\xc3\xa4", &err));
    long_one[64] = 0;
    OK(lt_token_check_nonce(long_one, &err));
    long_one[64] = 'x';
    long_one[65] = 0;
    FAILS(LT_E_MALFORMED, lt_token_check_nonce(long_one, &err));
    OK(lt_token_check_audience("a", &err));
    FAILS(LT_E_MALFORMED, lt_token_check_audience("", &err));
    FAILS(LT_E_MALFORMED, lt_token_check_audience(NULL, &err));
}

static void test_public_keys_are_public(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *pub = lt_token_key_public(key);
    assert_null(json_object_get(pub, "d"));
    assert_non_null(json_object_get(pub, "kid"));
    assert_int_equal(json_object_size(pub), 7);
}

/* ---- keys ---- */

static size_t count(struct lt_token_keys *k, int64_t now)
{
    LT_JSON_AUTO json_t *j = lt_token_keys_public(k, now);
    return json_array_size(json_object_get(j, "keys"));
}

static void sign_and_verify(struct lt_token_keys *k, int64_t now)
{
    LT_JSON_AUTO json_t *c = claims(), *set = NULL;
    LT_AUTOFREE char *token = NULL;
    OK(lt_token_keys_sign(k, c, now, &token, &err));
    set = lt_token_keys_public(k, now);
    json_t *is = lt_token_verify(token, strlen(token), set, &good, &err);
    assert_non_null(is);
    json_decref(is);
}

static void test_rotation(void **state)
{
    char dir[64] = "/tmp/lt-token-XXXXXX", path[96];
    struct lt_token_keys *k;
    struct stat st;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/keys.json", dir);
    const struct lt_token_keys_conf c = {.path = path, .age_s = 1000, .life_s = 60};
    OK(lt_token_keys_open(&c, NOW, &k, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    sign_and_verify(k, NOW);
    LT_JSON_AUTO json_t *mine = claims();
    LT_AUTOFREE char *old = NULL;
    OK(lt_token_keys_sign(k, mine, NOW, &old, &err));
    OK(lt_token_keys_rotate(k, NOW, &err));
    assert_int_equal(count(k, NOW), 2);
    lt_token_keys_free(k);
    OK(lt_token_keys_open(&c, NOW, &k, &err)); /* another life */
    assert_int_equal(count(k, NOW + 60), 2);
    LT_JSON_AUTO json_t *set = lt_token_keys_public(k, NOW);
    json_t *is = lt_token_verify(old, strlen(old), set, &good, &err); /* the old one's last token is good */
    assert_non_null(is);
    json_decref(is);
    assert_int_equal(count(k, NOW + 60 + LT_TOKEN_SKEW_S + 1), 1); /* until it has ended */
    sign_and_verify(k, NOW + 1001);                                /* too old: replaced by itself */
    assert_int_equal(count(k, NOW + 1001), 2);
    int rc = 0;
    for (int i = 0; !rc && i < 2 * LT_TOKEN_KEYS_MAX; i++)
        rc = lt_token_keys_rotate(k, NOW + 1002, &err);
    assert_int_equal(rc, LT_E_BUSY);
    sign_and_verify(k, NOW + 1003);
    lt_token_keys_free(k);
    assert_int_equal(chmod(path, 0644), 0);
    assert_true(lt_token_keys_open(&c, NOW, &k, &err) < 0); /* others can read it */
    assert_int_equal(chmod(path, 0600), 0);
    static const char *const bad[] = {"", "{}", "{\"keys\":[]}", "{\"keys\":[{}]}",
                                      "{\"keys\":[{\"key\":{},\"made\":1}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FILE *f = fopen(path, "w");
        fputs(bad[i], f);
        fclose(f);
        FAILS(LT_E_CONFIG, lt_token_keys_open(&c, NOW, &k, &err));
    }
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_one),
        cmocka_unit_test(test_for_somebody_else),
        cmocka_unit_test(test_keys_that_are_not_ours),
        cmocka_unit_test(test_keys_of_another_kind),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_public_keys_are_public),
        cmocka_unit_test(test_rotation),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
