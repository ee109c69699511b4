/* What Keylime's `add` says: as its tenant sends it, and as nobody should. */
#include "keylime/add.h"

#include "keylime/algs.h"
#include "tests/support/softkey.h"
#include "tests/support/unit.h"

static json_t *body(void)
{
    struct lt_buf pub = LT_BUF(LT_MAX_PUBLIC);
    EVP_PKEY *key = soft_ecc("P-256");

    soft_public(key, &soft_ak_ecc, &pub);
    EVP_PKEY_free(key);
    json_t *j = json_pack(
        "{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:n, s:s, s:s, s:s, s:s, s:[s], s:[ss], s:[s],"
        " s:o, s:s, s:s}",
        "v", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "cloudagent_ip", "192.0.2.7", "cloudagent_port",
        9002, "verifier_ip", "198.51.100.1", "verifier_port", "8881", "tpm_policy", "{\"mask\": \"0x0\"}",
        "runtime_policy", "e30=", "runtime_policy_name", "", "runtime_policy_key", "", "mb_policy_name", "",
        "mb_policy", "ima_sign_verification_keys", "", "metadata", "{}", "revocation_key", "PEM", "tmp", "x",
        "accept_tpm_hash_algs", "sha256", "accept_tpm_encryption_algs", "ecc", "rsa",
        "accept_tpm_signing_algs", "ecdsa", "ak_tpm", lt_json_new_base64(pub.p, pub.n), "mtls_cert", "CERT",
        "supported_version", "2.6");
    lt_buf_free(&pub);
    assert_non_null(j);
    return j;
}

static void refuses(const char *key, json_t *value, int code)
{
    LT_JSON_AUTO json_t *j = body();
    struct lt_add a;

    if (value)
        json_object_set_new(j, key, value);
    else
        json_object_del(j, key);
    FAILS(code, lt_add_read(j, &a, &err));
    assert_non_null(strstr(err.msg, key));
    assert_null(a.given);
}

static void as_sent(void **state)
{
    LT_KEYLIME_AUTOADD struct lt_add a;
    LT_JSON_AUTO json_t *j = body();

    (void)state;
    OK(lt_add_read(j, &a, &err));
    assert_string_equal(a.address, "192.0.2.7:9002");
    assert_string_equal(a.tpm_policy, "{\"mask\": \"0x0\"}");
    assert_int_equal(a.runtime_n, 2);
    assert_string_equal((char *)a.runtime, "{}");
    assert_null(a.boot);
    assert_null(a.runtime_key);
    assert_string_equal(a.runtime_name, "");
    assert_int_equal(json_integer_value(json_object_get(a.given, "verifier_port")), 8881);
    assert_string_equal(json_string_value(json_object_get(a.given, "verifier_ip")), "198.51.100.1");
    assert_string_equal(json_string_value(json_object_get(a.given, "meta_data")), "{}");
    assert_int_equal(json_integer_value(json_object_get(a.given, "port")), 9002);
}

/* Not in what is told back. */
static void secrets_stay(void **state)
{
    LT_KEYLIME_AUTOADD struct lt_add a;
    LT_JSON_AUTO json_t *j = body();

    (void)state;
    OK(lt_add_read(j, &a, &err));
    LT_AUTOFREE char *told = lt_json_dump(a.given);
    assert_null(strstr(told, "AAECAw"));
    assert_null(strstr(told, "PEM"));
}

static void other_forms(void **state)
{
    LT_KEYLIME_AUTOADD struct lt_add a;
    LT_JSON_AUTO json_t *j = body();

    (void)state;
    json_object_set_new(j, "cloudagent_port", json_string("65535"));
    json_object_set_new(j, "cloudagent_ip", json_string("2001:db8::1"));
    json_object_set_new(j, "mb_policy", json_string("{\"a\":1}"));
    json_object_set_new(j, "mb_policy_name", json_string("boot-1"));
    json_object_set_new(j, "runtime_policy", json_string(""));
    json_object_set_new(j, "mtls_cert", json_null());
    json_object_set_new(j, "something_new", json_true());
    OK(lt_add_read(j, &a, &err));
    assert_string_equal(a.address, "[2001:db8::1]:65535");
    assert_string_equal(a.boot, "{\"a\":1}");
    assert_string_equal(a.boot_name, "boot-1");
    assert_null(a.runtime);
    assert_true(json_is_null(json_object_get(a.given, "mtls_cert")));
}

static void bad_forms(void **state)
{
    (void)state;
    refuses("ak_tpm", NULL, LT_E_MALFORMED);
    refuses("ak_tpm", json_string("AAAA"), LT_E_MALFORMED);
    refuses("cloudagent_port", json_string("9002x"), LT_E_MALFORMED);
    refuses("cloudagent_port", json_string("-1"), LT_E_MALFORMED);
    refuses("cloudagent_port", json_integer(65536), LT_E_MALFORMED);
    refuses("cloudagent_port", json_integer(0), LT_E_MALFORMED);
    refuses("verifier_port", json_true(), LT_E_MALFORMED);
    refuses("tpm_policy", NULL, LT_E_MALFORMED);
    refuses("tpm_policy", json_object(), LT_E_MALFORMED);
    refuses("runtime_policy", json_string("not base64"), LT_E_MALFORMED);
    refuses("runtime_policy_name", json_string("../x"), LT_E_MALFORMED);
    refuses("mb_policy_name", json_string("a/b"), LT_E_MALFORMED);
    refuses("accept_tpm_hash_algs", NULL, LT_E_MALFORMED);
    refuses("accept_tpm_hash_algs", json_string("sha256"), LT_E_MALFORMED);
    refuses("accept_tpm_signing_algs", json_pack("[i]", 1), LT_E_MALFORMED);
    json_t *many = json_array();
    for (int i = 0; i <= LT_ALGS_MAX; i++)
        json_array_append_new(many, json_string("x"));
    refuses("accept_tpm_hash_algs", many, LT_E_TOO_LARGE);
    char *large = malloc(70001);
    memset(large, 'x', 70000);
    large[70000] = 0;
    refuses("metadata", json_string(large), LT_E_TOO_LARGE);
    refuses("tpm_policy", json_string(large), LT_E_TOO_LARGE);
    free(large);
}

static void algorithms(void **state)
{
    struct lt_public rsa, ecc;
    LT_JSON_AUTO json_t *lists = json_pack("{s:[ss], s:[ss], s:[ss]}", "accept_tpm_hash_algs", "sha512",
                                           "sha256", "accept_tpm_encryption_algs", "ecc", "rsa",
                                           "accept_tpm_signing_algs", "ecschnorr", "rsassa");
    (void)state;
    EVP_PKEY *keys[] = {soft_rsa(2048), soft_ecc("P-256")};
    soft_parse(keys[0], &soft_ak_rsa, &rsa);
    soft_parse(keys[1], &soft_ak_ecc, &ecc);
    EVP_PKEY_free(keys[0]);
    EVP_PKEY_free(keys[1]);
    assert_string_equal(lt_algs_name(&rsa, LT_ALGS_HASH), "sha256");
    assert_string_equal(lt_algs_name(&rsa, LT_ALGS_ENC), "rsa2048");
    assert_string_equal(lt_algs_name(&rsa, LT_ALGS_SIGN), "rsassa");
    assert_string_equal(lt_algs_name(&ecc, LT_ALGS_ENC), "ecc256");
    OK(lt_algs_accepted(lists, &rsa, &err));
    FAILS(LT_E_MALFORMED, lt_algs_accepted(lists, &ecc, &err)); /* no ecdsa */
    assert_non_null(strstr(err.msg, "accept_tpm_signing_algs"));
    json_object_set_new(lists, "accept_tpm_encryption_algs", json_pack("[s]", "rsa2048"));
    OK(lt_algs_accepted(lists, &rsa, &err));
    json_object_set_new(lists, "accept_tpm_encryption_algs", json_pack("[s]", "rsa4096"));
    FAILS(LT_E_MALFORMED, lt_algs_accepted(lists, &rsa, &err));
    json_object_set_new(lists, "accept_tpm_encryption_algs", json_array());
    FAILS(LT_E_MALFORMED, lt_algs_accepted(lists, &rsa, &err));
    json_object_set_new(lists, "accept_tpm_encryption_algs",
                        json_pack("[s]", "")); /* nothing has that name */
    rsa.rsa_bits = 2047;
    FAILS(LT_E_MALFORMED, lt_algs_accepted(lists, &rsa, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_sent),   cmocka_unit_test(secrets_stay), cmocka_unit_test(other_forms),
        cmocka_unit_test(bad_forms), cmocka_unit_test(algorithms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
