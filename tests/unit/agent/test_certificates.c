/* What the agent reads from NV, and what the provider adds at enrolment. */
#include "agent/certificates.h"
#include "provider/certificates.h"
#include "tests/support/softkey.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

/* Any certificate does: nothing is judged here. */
static size_t make(uint64_t serial, uint8_t *out, size_t max)
{
    EVP_PKEY *key = soft_ecc("P-256");
    X509 *x = X509_new();
    uint8_t *der = NULL;

    ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 60);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    int n = i2d_X509(x, &der);
    assert_true(n > 0 && (size_t)n <= max);
    memcpy(out, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
    EVP_PKEY_free(key);
    return (size_t)n;
}

static uint64_t serial_of(const char *pem)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    uint64_t v;

    assert_non_null(x);
    assert_int_equal(ASN1_INTEGER_get_uint64(&v, X509_get_serialNumber(x)), 1);
    X509_free(x);
    BIO_free(b);
    return v;
}

static void split(void **state)
{
    struct lt_bundle_certificates c = {0};
    uint8_t nv[4096];
    size_t n = make(1, nv, 1024);

    (void)state;
    memset(nv + n, 0xff, 100); /* the first index is padded */
    n += 100;
    n += make(2, nv + n, 1024);
    n += make(3, nv + n, 1024); /* directly behind */
    memset(nv + n, 0, 50);
    OK(lt_agent_ek_certificates_split((struct lt_slice){nv, n + 50}, &c, &err));
    assert_int_equal(c.count, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(serial_of(c.pem[i]), i + 1);
    LT_AUTOFREE char *text = lt_agent_ek_certificates_text(&c);
    /* leaf first, the chain reversed */
    assert_int_equal(serial_of(text), 1);
    assert_int_equal(serial_of(strstr(text + 10, "-----BEGIN")), 3);
    lt_agent_ek_certificates_free(&c);
    LT_AUTOFREE char *none = lt_agent_ek_certificates_text(&c);
    assert_string_equal(none, "");
}

static void split_hostile(void **state)
{
    uint8_t nv[LT_MAX_CERTIFICATES * 1024 + 1024];
    struct lt_bundle_certificates c = {0};
    size_t one = make(1, nv, 1024), n = 0;

    (void)state;
    for (size_t cut = 0; cut < one; cut++) { /* a certificate cut short is none */
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, nv, cut);
        OK(lt_agent_ek_certificates_split((struct lt_slice){exact, cut}, &c, &err));
        assert_int_equal(c.count, 0);
        free(exact);
    }
    memcpy(nv + one, "garbage", 7);
    OK(lt_agent_ek_certificates_split((struct lt_slice){nv, one + 7}, &c, &err));
    assert_int_equal(c.count, 1);
    lt_agent_ek_certificates_free(&c);
    for (unsigned i = 0; i <= LT_MAX_CERTIFICATES; i++)
        n += make(i, nv + n, 1024);
    FAILS(LT_E_TOO_LARGE, lt_agent_ek_certificates_split((struct lt_slice){nv, n}, &c, &err));
    assert_int_equal(c.count, LT_MAX_CERTIFICATES);
    lt_agent_ek_certificates_free(&c);
    uint8_t *large = malloc(LT_MAX_CERTIFICATE + 5);
    memcpy(large, (uint8_t[]){0x30, 0x82, (LT_MAX_CERTIFICATE + 1) >> 8, (LT_MAX_CERTIFICATE + 1) & 0xff}, 4);
    FAILS(LT_E_TOO_LARGE,
          lt_agent_ek_certificates_split((struct lt_slice){large, LT_MAX_CERTIFICATE + 5}, &c, &err));
    free(large);
}

static json_t *text(uint64_t serial)
{
    struct lt_bundle_certificates c = {0};
    uint8_t der[1024];
    size_t n = make(serial, der, sizeof der);

    OK(lt_agent_ek_certificates_split((struct lt_slice){der, n}, &c, &err));
    json_t *j = json_string(c.pem[0]);
    lt_agent_ek_certificates_free(&c);
    return j;
}

static void join(void **state)
{
    LT_JSON_AUTO json_t *leaf = text(1), *a = text(2), *b = text(3), *empty = json_array(), *out, *again,
                        *kept;
    LT_JSON_AUTO json_t *agent = json_pack("[O]", leaf), *given = json_pack("[OOO]", a, b, a), *bare;

    (void)state;
    OK(lt_provider_certificates_join(agent, NULL, NULL, &out, &err));
    assert_true(json_equal(out, agent));
    json_decref(out);
    OK(lt_provider_certificates_join(agent, given, NULL, &out, &err));
    assert_int_equal(json_array_size(out), 3); /* each once */
    assert_true(json_equal(json_array_get(out, 0), leaf) && json_equal(json_array_get(out, 2), b));
    /* enrolled again without a word: what was given stays; with none: it goes */
    OK(lt_provider_certificates_join(agent, NULL, out, &kept, &err));
    assert_true(json_equal(kept, out));
    OK(lt_provider_certificates_join(agent, empty, out, &again, &err));
    assert_true(json_equal(again, agent));
    /* the chip shows nothing: issuers alone would be taken for its certificate */
    FAILS(LT_E_REFUSED, lt_provider_certificates_join(empty, given, NULL, &bare, &err));
    assert_null(bare);
    OK(lt_provider_certificates_join(empty, NULL, out, &bare, &err));
    assert_int_equal(json_array_size(bare), 0);
}

static void join_hostile(void **state)
{
    LT_JSON_AUTO json_t *leaf = text(1), *agent = json_pack("[O]", leaf), *many = json_array(), *out = NULL;
    static const char *const bad[] = {"", "x",
                                      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    LT_AUTOFREE char *large = malloc(2 * LT_MAX_CERTIFICATE + 2);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        LT_JSON_AUTO json_t *given = json_pack("[s]", bad[i]);
        FAILS(LT_E_MALFORMED, lt_provider_certificates_join(agent, given, NULL, &out, &err));
    }
    LT_JSON_AUTO json_t *number = json_pack("[i]", 1);
    FAILS(LT_E_MALFORMED, lt_provider_certificates_join(agent, number, NULL, &out, &err));
    memset(large, 'A', 2 * LT_MAX_CERTIFICATE + 1);
    large[2 * LT_MAX_CERTIFICATE + 1] = 0;
    LT_JSON_AUTO json_t *long_text = json_pack("[s]", large);
    FAILS(LT_E_MALFORMED, lt_provider_certificates_join(agent, long_text, NULL, &out, &err));
    for (unsigned i = 0; i < LT_MAX_CERTIFICATES; i++)
        json_array_append_new(many, text(i + 10));
    FAILS(LT_E_TOO_LARGE, lt_provider_certificates_join(agent, many, NULL, &out, &err));
    assert_null(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split),
        cmocka_unit_test(split_hostile),
        cmocka_unit_test(join),
        cmocka_unit_test(join_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
