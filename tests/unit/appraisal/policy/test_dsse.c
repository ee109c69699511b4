/* Signed envelopes: good under the pinned key alone, whatever they say of themselves. */
#include "appraisal/ima/table.h"
#include "appraisal/policy/dsse.h"
#include "common/limits.h"
#include "tests/support/unit.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define TYPE "application/vnd.keylime+json"
#define BODY                                                                                                 \
    "{\"meta\":{\"version\":1,\"generator\":1},\"release\":0,\"digests\":{},\"excludes\":[],\"keyrings\":{}" \
    ","                                                                                                      \
    "\"ima\":{\"ignored_keyrings\":[],\"log_hash_alg\":\"sha1\",\"dm_policy\":null},\"ima-buf\":{},"         \
    "\"verification-keys\":\"\"}"

static EVP_PKEY *ec, *ec2, *rsa, *small_rsa, *p384, *odd;

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

static int setup(void **state)
{
    (void)state;
    ec = EVP_EC_gen("P-256");
    ec2 = EVP_EC_gen("P-256");
    p384 = EVP_EC_gen("P-384");
    odd = EVP_EC_gen("secp256k1");
    rsa = EVP_RSA_gen(2048);
    small_rsa = EVP_RSA_gen(1024);
    return !(ec && ec2 && p384 && odd && rsa && small_rsa);
}

static int teardown(void **state)
{
    EVP_PKEY *all[] = {ec, ec2, rsa, small_rsa, p384, odd};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        EVP_PKEY_free(all[i]);
    return 0;
}

static char *sign(EVP_PKEY *key, const char *type, const char *body)
{
    LT_AUTOFREE char *pae = NULL;
    uint8_t sig[600];
    size_t n = sizeof sig;
    EVP_MD_CTX *c = EVP_MD_CTX_new();

    int len = asprintf(&pae, "DSSEv1 %zu %s %zu %s", strlen(type), type, strlen(body), body);
    assert_true(len > 0);
    assert_int_equal(EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(c, sig, &n, (uint8_t *)pae, (size_t)len), 1);
    EVP_MD_CTX_free(c);
    return lt_base64_dup(sig, n);
}

/* head: members of the signature besides "sig"; with their comma. */
static char *envelope(EVP_PKEY *key, const char *type, const char *body, const char *head)
{
    LT_AUTOFREE char *sig = sign(key, type, body), *payload = lt_base64_dup(body, strlen(body));
    char *out = NULL;

    assert_true(asprintf(&out,
                         "{\"payload\":\"%s\",\"payloadType\":\"%s\",\"signatures\":[{%s\"sig\":\"%s\"}]}",
                         payload, type, head, sig) > 0);
    return out;
}

static int open_it(const char *text, const char *pem)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;
    int rc = lt_dsse_open(text, strlen(text), pem, &p, &n, &err);

    assert_true((rc == 0) == (p != NULL));
    if (!rc) {
        assert_int_equal(n, strlen(BODY));
        assert_memory_equal(p, BODY, n);
    }
    return rc;
}

static void good(void **state)
{
    EVP_PKEY *keys[] = {ec, rsa, p384};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        LT_AUTOFREE char *text = envelope(keys[i], TYPE, BODY, ""), *pem = pem_of(keys[i]),
                         *other = pem_of(ec2);
        assert_true(lt_dsse_is(text, strlen(text)));
        OK(open_it(text, pem));
        FAILS(LT_E_BAD_SIGNATURE, open_it(text, other));
    }
    /* keyid says nothing, not even a wrong one or a certificate */
    LT_AUTOFREE char *pem = pem_of(ec), *wrong = pem_of(ec2);
    LT_AUTOFREE char *text = envelope(ec, TYPE, BODY, "\"keyid\":\"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t\",");
    OK(open_it(text, pem));
    LT_AUTOFREE char *claims = envelope(ec2, TYPE, BODY, "\"keyid\":\"as pinned\",");
    FAILS(LT_E_BAD_SIGNATURE, open_it(claims, pem));
    /* one of several is enough, and the escape of '/' that some writers put */
    LT_AUTOFREE char *a = sign(ec2, TYPE, BODY), *b = sign(ec, TYPE, BODY),
                     *payload = lt_base64_dup(BODY, strlen(BODY));
    LT_AUTOFREE char *two = NULL, *type = strdup("application\\/vnd.keylime+json");
    assert_true(
        asprintf(
            &two,
            "{\"signatures\":[{\"sig\":\"%s\"},{\"sig\":\"%s\"}],\"payloadType\":\"%s\",\"payload\":\"%s\"}",
            a, b, type, payload) > 0);
    OK(open_it(two, pem));
    OK(open_it(two, wrong));
}

static void compiled(void **state)
{
    LT_AUTOFREE char *pem = pem_of(ec), *other = pem_of(ec2), *text = envelope(ec, TYPE, BODY, "");
    struct lt_ima_table *t;
    struct lt_buf b;
    uint8_t digest[32];

    (void)state;
    OK(lt_ima_table_compile(text, strlen(text), pem, &b, &err));
    OK(lt_ima_table_open(b.p, b.n, &t, &err));
    lt_sha256(text, strlen(text), digest); /* named by the bytes that were given: the envelope's */
    assert_memory_equal(lt_ima_table_digest(t), digest, 32);
    lt_ima_table_close(t);
    lt_buf_free(&b);
    FAILS(LT_E_BAD_SIGNATURE, lt_ima_table_compile(text, strlen(text), other, &b, &err));
    FAILS(LT_E_REFUSED,
          lt_ima_table_compile(text, strlen(text), NULL, &b, &err)); /* no key: never on its own word */
    assert_non_null(strstr(err.msg, "no key is pinned"));
    FAILS(LT_E_REFUSED,
          lt_ima_table_compile(BODY, strlen(BODY), pem, &b, &err)); /* a key, and nothing signed */
    LT_AUTOFREE char *inner = envelope(ec, TYPE, "{}", "");
    FAILS(LT_E_MALFORMED, lt_ima_table_compile(inner, strlen(inner), pem, &b, &err));
}

static void refused(void **state)
{
    LT_AUTOFREE char *pem = pem_of(ec), *type = envelope(ec, "application/json", BODY, "");
    static const char *const bad[] = {
        "{\"payload\":\"\"}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\"}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[],\"signatures\":[]}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[],\"x\":1}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":{}}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[{}]}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"keyid\":\"x\"}]}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE
        "\",\"signatures\":[{\"sig\":\"AAAA\",\"sig\":\"AAAA\"}]}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":\"AAA\"}]}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":1}]}",
        "{\"payload\":\"A\",\"payloadType\":\"" TYPE "\",\"signatures\":[]}",
        "{\"payload\":1,\"payloadType\":\"" TYPE "\",\"signatures\":[]}",
        "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[]} 1",
    };

    (void)state;
    FAILS(LT_E_MALFORMED, open_it(type, pem)); /* signed, as something else */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(LT_E_MALFORMED, open_it(bad[i], pem));
        if (!strstr(err.msg, "envelope"))
            fail_msg("%s: %s", bad[i], err.msg);
    }
    FAILS(LT_E_BAD_SIGNATURE,
          open_it("{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[]}", pem));
    FAILS(LT_E_REFUSED, open_it("{}", pem));
    FAILS(LT_E_REFUSED, open_it("", pem));
    struct lt_buf b = LT_BUF(1 << 16);
    lt_buf_str(&b, "{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":[");
    for (unsigned i = 0; i <= LT_MAX_DSSE_SIGNATURES; i++)
        lt_buf_printf(&b, "%s{\"sig\":\"AAAA\"}", i ? "," : "");
    lt_buf_str(&b, "]}");
    LT_AUTOFREE char *crowd = lt_buf_take_str(&b);
    FAILS(LT_E_MALFORMED, open_it(crowd, pem));
}

static void keys(void **state)
{
    LT_AUTOFREE char *text = envelope(ec, TYPE, BODY, ""), *weak = pem_of(small_rsa), *curve = pem_of(odd);
    (void)state;
    FAILS(LT_E_CONFIG, open_it(text, ""));
    FAILS(LT_E_CONFIG, open_it(text, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"));
    FAILS(LT_E_CONFIG, open_it(text, weak));
    FAILS(LT_E_CONFIG, open_it(text, curve));
}

static int parse(const uint8_t *p, size_t n, void *pem)
{
    LT_AUTOFREE uint8_t *out = NULL;
    size_t out_n;
    return lt_dsse_open(p, n, pem, &out, &out_n, &err);
}

static void sweeps(void **state)
{
    LT_AUTOFREE char *pem = pem_of(ec), *text = envelope(ec, TYPE, BODY, "");
    (void)state;
    unit_every_prefix(parse, text, strlen(text), pem);
    unit_every_bit(parse, text, strlen(text), pem); /* no keyid in it: every character counts */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(compiled),
                                       cmocka_unit_test(refused), cmocka_unit_test(keys),
                                       cmocka_unit_test(sweeps)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
