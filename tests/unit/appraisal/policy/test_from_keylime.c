/* Keylime's policies in our words: what they judge stays judged, and what has no word is refused by its key.
 */
#include "appraisal/boot/policy.h"
#include "appraisal/ima/table.h"
#include "appraisal/policy/from_keylime.h"
#include "appraisal/policy/policy.h"
#include "common/file.h"
#include "tests/support/unit.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define SHA1 "0000000000000000000000000000000000000001"
#define SHA384_MORE "00000000000000000000000000000001"
#define SHA512                                                                                               \
    A SHA1 "00000000000000000000000"                                                                         \
           "0"
#define RUNTIME                                                                                              \
    "{\"meta\":{\"version\":1,\"generator\":2},\"release\":0,\"digests\":{\"/bin/sh\":[\"" A "\"]},"         \
    "\"excludes\":[\"/tmp/\"],\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[],\"log_hash_alg\":\"sha1\","   \
    "\"dm_policy\":null},\"ima-buf\":{},\"verification-keys\":\"\"}"

static struct lt_slice slice(const char *s)
{
    return (struct lt_slice){(const uint8_t *)s, strlen(s)};
}

static struct lt_policy_guest *translated(const struct lt_from_keylime_in *in, struct lt_from_keylime *o)
{
    struct lt_policy_guest *p;
    uint8_t digest[LT_SHA256];

    OK(lt_from_keylime(in, o, &err));
    OK(lt_policy_guest_parse(o->policy.p, o->policy.n, &p, &err));
    assert_memory_equal(p->digest, o->policy.digest, LT_SHA256);
    lt_sha256(o->policy.p, o->policy.n, digest);
    assert_memory_equal(digest, o->policy.digest, LT_SHA256);
    return p;
}

static void refuses(int code, const struct lt_from_keylime_in *in, const char *word)
{
    struct lt_from_keylime o;

    FAILS(code, lt_from_keylime(in, &o, &err));
    if (!strstr(err.msg, word))
        fail_msg("%s: no %s in it", err.msg, word);
    assert_null(o.policy.p);
    assert_null(o.runtime.p);
    assert_null(o.boot.p);
}

static void test_pcrs(void **state)
{
    struct lt_from_keylime_in in = {
        .tpm_policy =
            "{\"22\":[\"" SHA1 "\",\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"" B
            "\",\"" SHA512 "\",\"" A SHA384_MORE "\"],\"0\":\"" B "\",\"mask\":\"0x400401\"}"};
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    uint8_t a[LT_SHA256], b[LT_SHA256];

    (void)state;
    memset(a, 0xaa, sizeof a);
    memset(b, 0xbb, sizeof b);
    struct lt_policy_guest *p = translated(&in, &o);
    assert_int_equal(p->pcrs.mask, 1u << 22 | 1);
    assert_int_equal(p->pcrs.accepted[22].count, 2);
    assert_true(lt_policy_digests_have(&p->pcrs.accepted[22], a));
    assert_true(lt_policy_digests_have(&p->pcrs.accepted[22], b));
    assert_true(lt_policy_digests_have(&p->pcrs.accepted[0], b));
    assert_false(lt_policy_digests_have(&p->pcrs.accepted[0], a));
    assert_int_equal(p->pcrs.accepted_384[22].count, 1);
    assert_int_equal(p->pcrs.accepted_384[0].count, 0);
    assert_false(p->measured.has_boot || p->measured.layer_count || p->accept_unlinked || p->accept_unjudged);
    lt_policy_guest_free(p);
}

static void test_pcrs_that_are_refused(void **state)
{
    static const struct {
        const char *policy, *word;
    } bad[] = {
        {"{\"10\":\"" A "\"}", "\"10\""},
        {"{\"16\":[\"" A "\"]}", "\"16\""},
        {"{\"24\":[\"" A "\"]}", "\"24\""},
        {"{\"022\":[\"" A "\"]}", "\"022\""},
        {"{\"-1\":[\"" A "\"]}", "\"-1\""},
        {"{\"\":[\"" A "\"]}", "tpm_policy"},
        {"{\"pcrs\":{}}", "\"pcrs\""},
        {"{\"7\":[]}", "\"7\""},
        {"{\"7\":[\"" SHA1 "\"]}", "\"7\""}, /* it could never match, and is not left out */
        {"{\"7\":\"xyz\"}", "\"7\""},
        {"{\"7\":[\"" A "0\"]}", "\"7\""},
        {"{\"7\":[7]}", "\"7\""},
        {"{\"7\":{\"a\":1}}", "\"7\""},
        {"{\"7\":null}", "\"7\""},
        {"{\"7\":\"" A "\",\"7\":\"" B "\"}", "tpm_policy"},
        {"{\"7\":\"" A "\",\"mask\":\"0x1\"}", "\"mask\""},
        {"{\"7\":\"" A "\",\"mask\":\"0x800080\"}", "\"mask\""}, /* 23 has no value */
        {"{\"mask\":\"0x01000000\"}", "\"mask\""},
        {"{\"mask\":\"1\"}", "\"mask\""},
        {"{\"mask\":1}", "\"mask\""},
        {"{\"mask\":\"0x\"}", "\"mask\""},
        {"{\"mask\":\"0x1 \"}", "\"mask\""},
        {"{\"mask\":\"0x100000001\"}", "\"mask\""},
        {"[]", "tpm_policy"},
        {"{", "tpm_policy"},
        {"7", "tpm_policy"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses(LT_E_MALFORMED, &(struct lt_from_keylime_in){.tpm_policy = bad[i].policy}, bad[i].word);
}

/* Keylime's tutorial: nothing is judged, and only the word makes that count. */
static void test_no_policy_at_all(void **state)
{
    static const char *const tpm[] = {NULL, "", "{}", "null", "{\"mask\":\"0x0\"}", "{\"mask\":\"0x10400\"}"};
    static const char *const boot[] = {NULL, "", "{}", "null", "{ }", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof tpm / sizeof *tpm; i++) {
        LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
        struct lt_from_keylime_in in = {.tpm_policy = tpm[i], .boot = boot[i]};
        struct lt_policy_guest *p = translated(&in, &o);
        assert_true(lt_slice_is((struct lt_slice){o.policy.p, o.policy.n}, "{}"));
        assert_false(p->accept_unjudged || p->accept_unlinked || p->accept_open_boot ||
                     p->accept_ek_unproven);
        lt_policy_guest_free(p);
    }
}

static void test_runtime_policy(void **state)
{
    LT_JSON_AUTO json_t *accept = NULL;
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    struct lt_from_keylime_in in = {.runtime = slice(RUNTIME)};
    LT_AUTOBUF struct lt_buf table = LT_BUF(1 << 20);

    (void)state;
    OK(lt_from_keylime_accept("open-boot,open-boot", false, &accept, &err));
    in.accept = accept;
    struct lt_policy_guest *p = translated(&in, &o);
    assert_int_equal(p->measured.layer_count, 1);
    assert_memory_equal(p->measured.layer[0].policy, o.runtime.digest, LT_SHA256);
    assert_true(p->measured.learn_keys && p->accept_open_boot);
    assert_false(p->measured.accept_violations || p->measured.accept_padded || p->accept_unlinked);
    assert_int_equal(o.runtime.n, strlen(RUNTIME));
    assert_true(lt_slice_is((struct lt_slice){o.runtime.p, o.runtime.n}, RUNTIME));
    OK(lt_ima_table_compile(o.runtime.p, o.runtime.n, NULL, &table, &err));
    lt_policy_guest_free(p);
}

static void test_older_keys(void **state)
{
    static const char keys[] = "{\"keyids\":[],\"pubkeys\":[]}";
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    struct lt_from_keylime_in in = {.runtime = slice(RUNTIME), .ima_keys = keys};
    struct lt_policy_guest *p = translated(&in, &o);
    LT_JSON_AUTO json_t *j = lt_json_parse(o.runtime.p, o.runtime.n, 4096, &err);

    (void)state;
    assert_string_equal(json_string_value(json_object_get(j, "verification-keys")), keys);
    assert_int_equal(json_object_size(j), 8);
    assert_memory_equal(p->measured.layer[0].policy, o.runtime.digest, LT_SHA256);
    lt_policy_guest_free(p);
    in.runtime = (struct lt_slice){0};
    refuses(LT_E_MALFORMED, &in, "ima_sign_verification_keys");
    in.runtime = slice("[1]");
    refuses(LT_E_MALFORMED, &in, "ima_sign_verification_keys");
    in = (struct lt_from_keylime_in){.runtime_key = "x"};
    refuses(LT_E_MALFORMED, &in, "runtime_policy_key");
    in.runtime = slice(RUNTIME);
    refuses(LT_E_MALFORMED, &in, "runtime_policy_key");
}

/* ---- signed ---- */

static char *pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;

    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    long n = BIO_get_mem_data(bio, &text);
    char *out = strndup(text, (size_t)n);
    BIO_free(bio);
    return out;
}

static char *sign(EVP_PKEY *key, const char *body)
{
    static const char type[] = "application/vnd.keylime+json";
    char pae[4096];
    uint8_t sig[256];
    size_t n = sizeof sig;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int len = snprintf(pae, sizeof pae, "DSSEv1 %zu %s %zu %s", strlen(type), type, strlen(body), body);

    assert_int_equal(EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(c, sig, &n, (uint8_t *)pae, (size_t)len), 1);
    EVP_MD_CTX_free(c);
    LT_JSON_AUTO json_t *j =
        json_pack("{s:o, s:s, s:[{s:s, s:o}]}", "payload", lt_json_new_base64(body, strlen(body)),
                  "payloadType", type, "signatures", "keyid", "", "sig", lt_json_new_base64(sig, n));
    return lt_json_dump(j);
}

static void test_signed_policies(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    LT_AUTOFREE char *pem = pem_of(key), *wrong = pem_of(other), *envelope = sign(key, RUNTIME);
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    struct lt_from_keylime_in in = {.runtime = slice(envelope)};

    (void)state;
    refuses(LT_E_BAD_SIGNATURE, &in,
            "runtime_policy_key"); /* who vouches for it? Nothing in the envelope does */
    in.runtime_key = wrong;
    refuses(LT_E_BAD_SIGNATURE, &in, "runtime_policy");
    in.runtime_key = pem;
    OK(lt_from_keylime(&in, &o, &err));
    assert_true(lt_slice_is((struct lt_slice){o.runtime.p, o.runtime.n},
                            RUNTIME)); /* checked once, and stored as what it is */
    lt_from_keylime_free(&o);
    in = (struct lt_from_keylime_in){.runtime = slice(envelope), .pinned_key = pem};
    OK(lt_from_keylime(&in, &o, &err));
    assert_true(lt_slice_is((struct lt_slice){o.runtime.p, o.runtime.n}, envelope));
    lt_from_keylime_free(&o);
    in.ima_keys = "{\"keyids\":[],\"pubkeys\":[]}";
    refuses(LT_E_MALFORMED, &in, "ima_sign_verification_keys");
    in.ima_keys = NULL;
    in.pinned_key = wrong;
    refuses(LT_E_BAD_SIGNATURE, &in, "policy_key");
    in.runtime_key = pem; /* is no way around it */
    refuses(LT_E_BAD_SIGNATURE, &in, "policy_key");
    in.runtime = slice(RUNTIME);
    in.runtime_key = NULL;
    refuses(LT_E_REFUSED, &in, "policy_key");
    o = (struct lt_from_keylime){0};
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* ---- measured boot ---- */

static void test_reference_state(void **state)
{
    static const char none[] =
        "{\"scrtm_and_bios\":[],\"kernels\":[],\"pk\":[],\"kek\":[],\"db\":[],\"dbx\":[],"
        "\"mokdig\":[],\"mokxdig\":[],\"has_secureboot\":false}";
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    struct lt_from_keylime_in in = {.boot = none};
    struct lt_policy_guest *p = translated(&in, &o);
    struct lt_boot_policy *b;

    (void)state;
    assert_true(p->measured.has_boot);
    assert_memory_equal(p->measured.boot, o.boot.digest, LT_SHA256);
    OK(lt_boot_policy_parse(o.boot.p, o.boot.n, &b, &err));
    lt_boot_policy_free(b);
    lt_policy_guest_free(p);
    in.boot = "{\"has_secureboot\":true,\"hw_keys\":[]}";
    refuses(LT_E_MALFORMED, &in, "hw_keys");
    in.boot = "[]";
    refuses(LT_E_MALFORMED, &in, "mb_policy");
    in.boot = "accept-all";
    refuses(LT_E_MALFORMED, &in, "mb_policy");
}

/* ---- words ---- */

static void test_accepted_words(void **state)
{
    static const char *const bad[] = {"unlinked", "resident;appraised", "all", "resident,,x"};
    LT_JSON_AUTO json_t *a = NULL, *b = NULL, *c = NULL;
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    char longer[300];

    (void)state;
    OK(lt_from_keylime_accept("resident, appraised", false, &a, &err));
    assert_int_equal(json_array_size(a), 0);
    OK(lt_from_keylime_accept("", true, &b, &err));
    assert_int_equal(json_array_size(b), 1);
    OK(lt_from_keylime_accept("bound, copyable, boot-only,tainted open-boot, unjudged, ek-unproven", true, &c,
                              &err));
    struct lt_from_keylime_in in = {.accept = c};
    struct lt_policy_guest *p = translated(&in, &o);
    assert_true(p->accept_bound && p->accept_copyable && p->accept_boot_only && p->accept_tainted &&
                p->accept_open_boot && p->accept_unjudged && p->accept_ek_unproven && p->accept_unlinked);
    lt_policy_guest_free(p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *none;
        FAILS(LT_E_CONFIG, lt_from_keylime_accept(bad[i], false, &none, &err));
        assert_null(none);
    }
    memset(longer, ' ', sizeof longer);
    longer[sizeof longer - 1] = 0;
    json_t *none;
    FAILS(LT_E_CONFIG, lt_from_keylime_accept(longer, false, &none, &err));
}

static void test_host_policies(void **state)
{
    LT_JSON_AUTO json_t *hosts = json_pack("[s]", A);
    struct lt_from_keylime_in in = {.host_policies = hosts};
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    struct lt_policy_guest *p = translated(&in, &o);

    (void)state;
    assert_int_equal(p->host_policies.count, 1);
    lt_policy_guest_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pcrs),
        cmocka_unit_test(test_pcrs_that_are_refused),
        cmocka_unit_test(test_no_policy_at_all),
        cmocka_unit_test(test_runtime_policy),
        cmocka_unit_test(test_older_keys),
        cmocka_unit_test(test_signed_policies),
        cmocka_unit_test(test_reference_state),
        cmocka_unit_test(test_accepted_words),
        cmocka_unit_test(test_host_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
