/* The whole of tpm/ on what real TPMs made: quotes kept in tests/vectors, and the sample bundle. */
#include "common/hash.h"
#include "common/json.h"
#include "keylime/quote.h"
#include "tests/support/vectors.h"
#include "tpm/attest.h"
#include "tpm/pcr.h"
#include "tpm/signature.h"

static json_t *load(const char *name)
{
    size_t n;
    LT_AUTOFREE uint8_t *text = lt_vector_read(name, &n);
    json_t *j = lt_json_parse(text, n, VECTOR_MAX, &err);

    if (!j)
        fail_msg("%s: %s", name, err.msg);
    return j;
}

static void load_public(const json_t *o, const char *key, struct lt_public *out)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    OK(lt_json_base64(o, key, LT_MAX_PUBLIC, &p, &n, &err));
    OK(lt_public_parse(p, n, out, &err));
}

/* Signature, and every bit of the signed bytes; qualified name. */
static void check_evidence(const struct lt_public *ek, const struct lt_public *ak, struct lt_slice attest,
                           struct lt_slice sig, struct lt_attest *a)
{
    uint8_t qn[LT_TPM_NAME], turned[LT_MAX_ATTEST];
    struct lt_signature_key *key;

    OK(lt_public_check_ak(ak, &err));
    OK(lt_signature_key_new(ak, &key, &err));
    OK(lt_signature_check(key, sig, attest, &err));
    memcpy(turned, attest.p, attest.n);
    for (size_t bit = 0; bit < 8 * attest.n; bit += 7) {
        turned[bit / 8] ^= (uint8_t)(1u << bit % 8);
        FAILS(LT_E_BAD_SIGNATURE, lt_signature_check(key, sig, (struct lt_slice){turned, attest.n}, &err));
        turned[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    lt_signature_key_free(key);
    OK(lt_attest_parse(attest.p, attest.n, a, &err));
    OK(lt_tpm_qualified_name(ek, ak, qn, &err));
    assert_int_equal(a->qualified_signer.n, LT_TPM_NAME);
    assert_memory_equal(a->qualified_signer.p, qn, LT_TPM_NAME);
    OK(lt_tpm_qualified_name(ak, ek, qn, &err));
    assert_memory_not_equal(a->qualified_signer.p, qn, LT_TPM_NAME);
}

static void check_kind(const json_t *all, const char *kind)
{
    static const struct {
        uint16_t alg;
        uint32_t mask;
    } want[] = {{LT_HASH_SHA256, 0x104ff}, {LT_HASH_SHA1, 0xffffff}};
    json_t *o, *quotes;
    struct lt_public ek, ak;
    uint8_t name[LT_TPM_NAME], got[LT_TPM_NAME], digest[32];

    OK(lt_json_object(all, kind, &o, &err));
    load_public(o, "ek", &ek);
    load_public(o, "ak", &ak);
    OK(lt_json_hex(o, "name", name, sizeof name, &err));
    OK(lt_public_name(&ak, got, &err));
    assert_memory_equal(got, name, LT_TPM_NAME);
    OK(lt_json_array(o, "quotes", 2, &quotes, &err));
    for (size_t i = 0; i < 2; i++) {
        const char *text = json_string_value(json_array_get(quotes, i));
        LT_AUTOFREE char *back = NULL;
        struct lt_quote q;
        struct lt_attest a;
        OK(lt_quote_parse(text, &q, &err));
        check_evidence(&ek, &ak, (struct lt_slice){q.attest, q.attest_n},
                       (struct lt_slice){q.signature, q.signature_n}, &a);
        assert_int_equal(a.extra_data.n, 8);
        assert_memory_equal(a.extra_data.p, "ABCDEFGH", 8);
        assert_int_equal(a.bank_count, 1);
        assert_int_equal(a.banks[0].alg, want[i].alg);
        assert_int_equal(a.banks[0].mask, want[i].mask);
        assert_int_equal(q.pcrs.alg, want[i].alg);
        assert_int_equal(q.pcrs.mask, want[i].mask);
        lt_pcrs_digest(&q.pcrs, LT_HASH_SHA256, digest);
        assert_int_equal(a.pcr_digest.n, 32);
        assert_memory_equal(a.pcr_digest.p, digest, 32);
        OK(lt_quote_write(&q, &back, &err)); /* ours is tpm2_quote's, byte for byte */
        assert_string_equal(back, text);
        lt_quote_free(&q);
    }
}

static void test_swtpm_quotes(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *all = load("swtpm-quotes.json");
    if (!all)
        fail_msg("%s", err.msg);
    check_kind(all, "rsa");
    check_kind(all, "ecc");
}

/* One side of the sample bundle; its AK's kind of key. */
static void check_side(const json_t *o, uint16_t type, struct lt_public *ek, struct lt_attest *a,
                       uint8_t **attest)
{
    LT_AUTOFREE uint8_t *sig = NULL;
    struct lt_public ak;
    size_t attest_n, sig_n;

    load_public(o, "ek", ek);
    load_public(o, "ak", &ak);
    assert_int_equal(ak.type, type);
    OK(lt_json_base64(o, "attest", LT_MAX_ATTEST, attest, &attest_n, &err));
    OK(lt_json_base64(o, "signature", LT_MAX_SIGNATURE, &sig, &sig_n, &err));
    check_evidence(ek, &ak, (struct lt_slice){*attest, attest_n}, (struct lt_slice){sig, sig_n}, a);
    if (type == LT_TPM_ALG_ECC)
        OK(lt_public_check_ak_host(&ak, &err));
    else
        FAILS(LT_E_REFUSED, lt_public_check_ak_host(&ak, &err));
}

static void test_sample_bundle(void **state)
{
    (void)state;
    LT_JSON_AUTO json_t *all = load("bundle-sample.json");
    LT_AUTOFREE uint8_t *guest_attest = NULL, *host_attest = NULL, *header = NULL, *record = NULL;
    json_t *guest, *host, *residency;
    struct lt_public ek;
    struct lt_attest a;
    const char *nonce;
    uint8_t digest[32];
    size_t n;

    OK(lt_json_object(all, "guest", &guest, &err));
    check_side(guest, LT_TPM_ALG_RSA, &ek, &a, &guest_attest);
    OK(lt_json_string(guest, "nonce", &nonce, &err));
    assert_int_equal(a.extra_data.n, strlen(nonce));
    assert_memory_equal(a.extra_data.p, nonce, a.extra_data.n);
    /* The record names the guest's EK: tag, version, uuid, then ek_digest (protocol.md section 3). */
    OK(lt_json_object(all, "residency", &residency, &err));
    OK(lt_json_base64(residency, "record", 200, &record, &n, &err));
    OK(lt_public_ek_digest(&ek, digest, &err));
    assert_int_equal(n, 200);
    assert_memory_equal(record + 16 + 2 + 16, digest, 32);

    OK(lt_json_object(all, "host", &host, &err));
    check_side(host, LT_TPM_ALG_ECC, &ek, &a, &host_attest);
    OK(lt_json_base64(host, "header", 168, &header, &n, &err));
    lt_sha256(header, n, digest);
    assert_int_equal(a.extra_data.n, 32);
    assert_memory_equal(a.extra_data.p, digest, 32);
    static const uint8_t selection[] = {0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0};
    assert_int_equal(a.selection_raw.n, sizeof selection);
    assert_memory_equal(a.selection_raw.p, selection, sizeof selection);
    /* host_id is the first half of the EK's digest. */
    OK(lt_public_ek_digest(&ek, digest, &err));
    assert_memory_equal(header + 16 + 2 + 2, digest, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swtpm_quotes),
        cmocka_unit_test(test_sample_bundle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
