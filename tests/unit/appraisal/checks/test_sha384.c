/* A guest whose TPM works with SHA-384: P-384 EK by the TCG's high template, AK and bank of SHA-384. Checks 1
 * to 3 judge it as any other; what version 1 of the commitment has no room for is said. */
#include "appraisal/checks/round.h"
#include "tests/support/softkey.h"

#define PEM "-----BEGIN PUBLIC KEY-----\nforged\n-----END PUBLIC KEY-----\n"
#define MASK 0x010011u /* PCR 0, 4, 16 */

#define LAYER "4444444444444444444444444444444444444444444444444444444444444444"

struct plan {
    struct soft_shape ak;
    uint16_t bank, transport_bank, digest_hash;
    bool rsa, foreign_ek;
};

struct made {
    struct lt_buf ak, ek, attest, sig, policy;
    struct lt_pcrs pcrs;
    struct lt_checks_identity_guest *id;
    struct lt_policy_guest *parsed;
    struct lt_history_guest history;
    struct lt_checks_guest_round round;
    struct lt_history_round_facts facts;
};

static const struct plan good = {
    {LT_HASH_SHA384, 0x00050072, 0, LT_TPM_ALG_ECDSA, LT_HASH_SHA384}, LT_HASH_SHA384, 0, 0, false, false};

static void quote_pcrs(struct made *m, const struct plan *p)
{
    uint16_t transport = p->transport_bank ? p->transport_bank : p->bank;
    const struct lt_slice pem = {(const uint8_t *)PEM, strlen(PEM)};
    uint8_t event[LT_MAX_DIGEST];

    m->pcrs = (struct lt_pcrs){.alg = p->bank, .mask = MASK};
    memset(m->pcrs.value[0], 0x11, lt_hash_size(p->bank));
    memset(m->pcrs.value[4], 0x44, lt_hash_size(p->bank));
    lt_hash(transport, &pem, 1, event);
    lt_pcr_extend(transport, m->pcrs.value[16], event);
}

static void quote(struct made *m, const struct plan *p, EVP_PKEY *ak_key, const struct lt_public *ek)
{
    uint8_t selection[] = {0, 0, 0, 1, (uint8_t)(p->bank >> 8), (uint8_t)p->bank, 3, 0x11, 0x00, 0x01};
    uint16_t hash = p->digest_hash ? p->digest_hash : p->ak.scheme_hash;
    uint8_t digest[LT_MAX_DIGEST];
    struct lt_public ak;
    struct lt_tpm_name signer;

    soft_parse(ak_key, &p->ak, &ak);
    lt_tpm_any_qualified_name(ek, &ak, &signer);
    m->attest = LT_BUF(LT_MAX_ATTEST);
    lt_buf_u32(&m->attest, LT_TPM_GENERATED);
    lt_buf_u16(&m->attest, LT_TPM_ST_ATTEST_QUOTE);
    lt_buf_put16(&m->attest, signer.p, signer.n);
    lt_buf_put16(&m->attest, m->round.nonce, LT_RESIDENCY_NONCE);
    lt_buf_u64(&m->attest, 5000);
    lt_buf_u32(&m->attest, 1);
    lt_buf_u32(&m->attest, 0);
    lt_buf_u8(&m->attest, 1);
    lt_buf_u64(&m->attest, 1);
    lt_buf_put(&m->attest, selection, sizeof selection);
    lt_pcrs_digest(&m->pcrs, hash, digest);
    lt_buf_put16(&m->attest, digest, lt_hash_size(hash));
    m->sig = LT_BUF(LT_MAX_SIGNATURE);
    soft_sign_by(ak_key, p->ak.scheme_hash, m->attest.p, m->attest.n, &m->sig);
}

static void policy(struct made *m, const struct plan *p)
{
    char hex[2 * LT_MAX_DIGEST + 1];

    lt_hex(m->pcrs.value[4], p->bank == LT_HASH_SHA384 ? LT_SHA384 : LT_SHA256, hex);
    m->policy = LT_BUF(1024);
    lt_buf_printf(&m->policy, "{\"pcrs\":{\"4\":[\"%s\"]}}", hex);
    OK(lt_policy_guest_parse(m->policy.p, m->policy.n, &m->parsed, &err));
}

static void make(struct made *m, const struct plan *p)
{
    EVP_PKEY *ek_key = soft_ecc("P-384"), *other = soft_ecc("P-384"),
             *ak_key = p->rsa ? soft_rsa(2048) : soft_ecc("P-384");
    struct lt_public ek;

    *m = (struct made){.ak = LT_BUF(LT_MAX_PUBLIC), .ek = LT_BUF(LT_MAX_PUBLIC)};
    soft_public(ak_key, &p->ak, &m->ak);
    soft_public(ek_key, &soft_ek_high, &m->ek);
    soft_parse(p->foreign_ek ? other : ek_key, &soft_ek_high, &ek);
    lt_random_alnum(m->round.nonce, LT_RESIDENCY_NONCE);
    quote_pcrs(m, p);
    quote(m, p, ak_key, &ek);
    policy(m, p);
    m->id = lt_checks_identity_guest_new((struct lt_slice){m->ek.p, m->ek.n},
                                         (struct lt_slice){m->ak.p, m->ak.n});
    m->id->activated = LT_CHECKS_FACT_YES;
    m->round.identity = m->id;
    m->round.required_pcrs = MASK;
    m->round.attest = (struct lt_slice){m->attest.p, m->attest.n};
    m->round.signature = (struct lt_slice){m->sig.p, m->sig.n};
    m->round.pcrs = &m->pcrs;
    m->round.pubkey = PEM;
    m->round.policy = m->parsed;
    m->round.history = &m->history;
    EVP_PKEY_free(ek_key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(ak_key);
}

static void drop(struct made *m)
{
    struct lt_buf *bufs[] = {&m->ak, &m->ek, &m->attest, &m->sig, &m->policy};

    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        lt_buf_free(bufs[i]);
    lt_checks_identity_guest_free(m->id);
    lt_policy_guest_free(m->parsed);
}

/* States of checks 1 to 3. */
static void expect(const char *what, const struct plan *p, const char *want, bool linkable)
{
    static const uint8_t none[32];
    struct lt_verdict v;
    struct made m;
    char is[4] = "";

    make(&m, p);
    lt_verdict_init(&v);
    lt_checks_appraise_guest(&m.round, &m.facts, &v);
    for (int i = 0; i < 3; i++)
        is[i] = "-PF"[v.check[i].state];
    if (strcmp(is, want))
        fail_msg("%s: %s, not %s: %s %s", what, is, want, v.check[0].message, v.check[2].message);
    assert_int_equal(m.id->linkable, linkable);
    /* No commitment of a Name that it cannot carry. */
    assert_int_equal(!memcmp(m.facts.commitment, none, 32), !linkable);
    drop(&m);
}

static void test_good(void **state)
{
    struct plan p = good;
    (void)state;

    expect("P-384", &p, "PPP", false);
    p.rsa = true;
    p.ak.scheme = LT_TPM_ALG_RSASSA;
    expect("RSA with SHA-384", &p, "PPP", false);
    p = good;
    p.ak.name_alg = LT_HASH_SHA256; /* a Name that version 1 carries, under an EK of the high template */
    expect("Name of SHA-256", &p, "PPP", true);
    p.bank = LT_HASH_SHA256;
    expect("bank of SHA-256, signed with SHA-384", &p, "PPP", true);
    p.ak.scheme_hash = LT_HASH_SHA256;
    expect("only the EK is P-384", &p, "PPP", true);
    p.bank = LT_HASH_SHA384;
    expect("bank of SHA-384, signed with SHA-256", &p, "PPP", true);
}

static void test_bad(void **state)
{
    struct plan p = good;
    (void)state;

    p.foreign_ek = true;
    expect("an AK under another EK", &p, "F--", false);
    p = good;
    p.digest_hash = LT_HASH_SHA256;
    expect("PCR digest by another hash", &p, "F--", false);
    p = good;
    p.transport_bank = LT_HASH_SHA256;
    expect("PCR 16 as of another bank", &p, "F--", false);
    p = good;
    p.bank = LT_HASH_SHA1;
    p.ak.name_alg = LT_HASH_SHA256;
    expect("a bank of SHA-1", &p, "F--", true);
}

/* The signed selection is of one bank, the values came as another's. */
static void test_relabelled_values(void **state)
{
    struct lt_verdict v;
    struct made m;
    (void)state;

    make(&m, &good);
    m.pcrs.alg = LT_HASH_SHA256;
    lt_verdict_init(&v);
    lt_checks_appraise_guest(&m.round, &m.facts, &v);
    assert_false(lt_verdict_passed(&v, LT_CHECK_GUEST_QUOTE));
    assert_non_null(strstr(v.check[0].message, "signed selection is of 0x000c"));
    drop(&m);
}

/* A policy of SHA-256 values accepts nothing of the other bank. */
static void test_policy_of_the_other_bank(void **state)
{
    static const char text[] =
        "{\"pcrs\":{\"4\":[\"4444444444444444444444444444444444444444444444444444444444444444\"]}}";
    struct lt_policy_guest *narrow;
    struct lt_verdict v;
    struct made m;
    (void)state;

    make(&m, &good);
    OK(lt_policy_guest_parse(text, strlen(text), &narrow, &err));
    m.round.policy = narrow;
    lt_verdict_init(&v);
    lt_checks_appraise_guest(&m.round, &m.facts, &v);
    assert_true(lt_verdict_passed(&v, LT_CHECK_GUEST_QUOTE));
    assert_int_equal(v.check[LT_CHECK_GUEST_POLICY].state,
                     LT_CHECK_NOT_MADE); /* no word against it, either */
    assert_non_null(strstr(v.check[LT_CHECK_GUEST_POLICY].message, "no values of the bank sha384"));
    lt_verdict_conclude(&v, LT_VERDICT_LINK_RESIDENT, false);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    lt_policy_guest_free(narrow);
    drop(&m);
}

/* Boot policies and layers are of SHA-256: not made, never failed. */
static void test_documents_of_the_other_bank(void **state)
{
    static const char *const texts[] = {"{\"boot\":\"" LAYER "\"}",
                                        "{\"layers\":[{\"name\":\"a\",\"policy\":\"" LAYER "\"}],"
                                        "\"accept\":[\"open-boot\"]}"};
    struct lt_verdict v;
    struct made m;
    (void)state;

    make(&m, &good);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct lt_policy_guest *p;
        OK(lt_policy_guest_parse(texts[i], strlen(texts[i]), &p, &err));
        m.round.policy = p;
        lt_verdict_init(&v);
        lt_checks_appraise_guest(&m.round, &m.facts, &v);
        lt_verdict_conclude(&v, LT_VERDICT_LINK_RESIDENT, false);
        assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
        assert_int_equal(v.check[LT_CHECK_GUEST_POLICY].state, LT_CHECK_NOT_MADE);
        lt_policy_guest_free(p);
    }
    drop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_relabelled_values),
        cmocka_unit_test(test_policy_of_the_other_bank),
        cmocka_unit_test(test_documents_of_the_other_bank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
