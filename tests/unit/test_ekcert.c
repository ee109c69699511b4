/* EK certificates from a CA made here: maker's root, intermediate, leaf in the shape of the EK Credential
 * Profile. */
#include "appraisal/ekcert.h"
#include "tests/unit/softkey.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define NOW 1800000000 /* 2027 */
#define DAY 86400
#define EK_USAGE "2.23.133.8.1"
#define TCG_SAN "critical,dirName:tcg"

static EVP_PKEY *root_key, *middle_key, *ek_key, *other_key;
static X509 *root, *middle;
static struct lt_public ek;

struct leaf {
    EVP_PKEY *key, *issuer_key;
    X509 *issuer;
    long from, to;
    const char *usage, *san, *constraints;
};

static void extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    static const char text[] = "[tcg]\ntcgManufacturer=id:00001014\ntcgModel=swtpm\ntcgVersion=id:00020170\n";
    BIO *b = BIO_new_mem_buf(text, -1);
    CONF *conf = NCONF_new(NULL);
    X509V3_CTX ctx;

    assert_int_equal(NCONF_load_bio(conf, b, NULL), 1);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509V3_set_nconf(&ctx, conf);
    X509_EXTENSION *e = X509V3_EXT_nconf_nid(conf, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
    NCONF_free(conf);
    BIO_free(b);
}

static X509 *certificate(const char *name, const struct leaf *l)
{
    X509 *x = X509_new(), *issuer = l->issuer ? l->issuer : x;
    uint8_t serial[8];

    lt_random(serial, sizeof serial);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial[0] + 1u);
    X509_time_adj_ex(X509_getm_notBefore(x), 0, l->from, &(time_t){NOW});
    X509_time_adj_ex(X509_getm_notAfter(x), 0, l->to, &(time_t){NOW});
    X509_set_pubkey(x, l->key);
    if (name)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)name, -1,
                                   -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    if (l->constraints)
        extension(x, issuer, NID_basic_constraints, l->constraints);
    if (l->usage)
        extension(x, issuer, NID_ext_key_usage, l->usage);
    if (l->san)
        extension(x, issuer, NID_subject_alt_name, l->san);
    assert_true(X509_sign(x, l->issuer_key, EVP_sha256()) > 0);
    return x;
}

static char *pem(X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p, *out;
    long n;

    assert_int_equal(PEM_write_bio_X509(b, x), 1);
    n = BIO_get_mem_data(b, &p);
    out = strndup(p, (size_t)n);
    BIO_free(b);
    return out;
}

static struct leaf good(void)
{
    return (struct leaf){ek_key, middle_key, middle, -DAY, 365 * DAY, EK_USAGE, TCG_SAN, "critical,CA:FALSE"};
}

static int setup(void **state)
{
    (void)state;
    OBJ_create("2.23.133.2.1", "tcgManufacturer", "TPM manufacturer");
    OBJ_create("2.23.133.2.2", "tcgModel", "TPM model");
    OBJ_create("2.23.133.2.3", "tcgVersion", "TPM version");
    root_key = soft_ecc("P-256");
    middle_key = soft_ecc("P-256");
    ek_key = soft_rsa(2048);
    other_key = soft_rsa(2048);
    soft_parse(ek_key, &soft_ek, &ek);
    root = certificate("maker root", &(struct leaf){root_key, root_key, NULL, -DAY, 9 * 365 * DAY, NULL, NULL,
                                                    "critical,CA:TRUE"});
    middle = certificate("maker middle", &(struct leaf){middle_key, root_key, root, -DAY, 9 * 365 * DAY, NULL,
                                                        NULL, "critical,CA:TRUE,pathlen:0"});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(middle);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(middle_key);
    EVP_PKEY_free(ek_key);
    EVP_PKEY_free(other_key);
    return 0;
}

static struct lt_ek_roots *roots_of(X509 *x)
{
    struct lt_ek_roots *r;
    LT_AUTOFREE char *text = pem(x);

    OK(lt_ek_roots_new(&r, &err));
    OK(lt_ek_roots_add(r, text, strlen(text), "root.pem", &err));
    assert_int_equal(lt_ek_roots_count(r), 1);
    return r;
}

static int check(const struct leaf *l, bool with_middle, int64_t now)
{
    struct lt_ek_roots *r = roots_of(root);
    X509 *x = certificate(NULL, l);
    char *chain[2] = {pem(x), pem(middle)};
    int rc = lt_ek_certificates_check(r, chain, with_middle ? 2 : 1, &ek, now, &err);

    free(chain[0]);
    free(chain[1]);
    X509_free(x);
    lt_ek_roots_free(r);
    return rc;
}

static void paths(void **state)
{
    struct leaf l = good();

    (void)state;
    OK(check(&l, true, NOW)); /* with a critical subjectAltName, as the profile wants it */
    FAILS(LT_E_REFUSED, check(&l, false, NOW));
    FAILS(LT_E_REFUSED, check(&l, true, NOW - 2 * DAY));
    FAILS(LT_E_REFUSED, check(&l, true, NOW + (int64_t)366 * DAY));
    l.issuer = root;
    l.issuer_key = root_key;
    OK(check(&l, false, NOW));
    l.issuer_key = other_key; /* names the root, not signed by it */
    FAILS(LT_E_REFUSED, check(&l, true, NOW));
    l = (struct leaf){ek_key, ek_key, NULL, -DAY, DAY, EK_USAGE, NULL, "critical,CA:FALSE"};
    FAILS(LT_E_REFUSED, check(&l, true, NOW)); /* self-signed */
}

static void leaves(void **state)
{
    struct leaf l = good();

    (void)state;
    l.key = other_key;
    FAILS(LT_E_REFUSED, check(&l, true, NOW));
    assert_non_null(strstr(err.msg, "not the EK"));
    l = good();
    l.usage = NULL;
    FAILS(LT_E_REFUSED, check(&l, true, NOW));
    assert_non_null(strstr(err.msg, EK_USAGE));
    l.usage = "serverAuth,2.23.133.8.3"; /* tcg-kp-AIKCertificate is another */
    FAILS(LT_E_REFUSED, check(&l, true, NOW));
    l.usage = "serverAuth," EK_USAGE;
    OK(check(&l, true, NOW));
    l = good();
    l.constraints = "critical,CA:TRUE";
    FAILS(LT_E_REFUSED, check(&l, true, NOW));
    l = good();
    l.san = NULL;
    l.constraints = NULL;
    OK(check(&l, true, NOW));
}

static void foreign_root(void **state)
{
    struct leaf self = {other_key, other_key, NULL, -DAY, DAY, NULL, NULL, "critical,CA:TRUE"}, l = good();
    X509 *foreign = certificate("maker root", &self), *x = certificate(NULL, &l);
    struct lt_ek_roots *r = roots_of(foreign);
    char *chain[3] = {pem(x), pem(middle), pem(root)}; /* the chain's own root proves nothing */

    (void)state;
    FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, chain, 3, &ek, NOW, &err));
    for (int i = 0; i < 3; i++)
        free(chain[i]);
    X509_free(foreign);
    X509_free(x);
    lt_ek_roots_free(r);
}

static void hostile_text(void **state)
{
    struct lt_ek_roots *r = roots_of(root);
    struct leaf l = good();
    X509 *x = certificate(NULL, &l);
    LT_AUTOFREE char *good_pem = pem(x), *large = malloc(2 * LT_MAX_CERTIFICATE + 2);
    char *chain[LT_MAX_CERTIFICATES + 1];

    (void)state;
    for (size_t n = 0; n < strlen(good_pem) - 1; n++) {
        LT_AUTOFREE char *cut = strndup(good_pem, n);
        chain[0] = cut;
        if (!lt_ek_certificates_check(r, chain, 1, &ek, NOW, &err))
            fail_msg("%zu characters: accepted", n);
    }
    chain[0] = good_pem;
    chain[1] = good_pem + 1;
    FAILS(LT_E_MALFORMED, lt_ek_certificates_check(r, chain, 2, &ek, NOW, &err));
    FAILS(LT_E_MALFORMED, lt_ek_certificates_check(r, chain, 0, &ek, NOW, &err));
    FAILS(LT_E_MALFORMED, lt_ek_certificates_check(r, chain, LT_MAX_CERTIFICATES + 1, &ek, NOW, &err));
    memset(large, 'A', 2 * LT_MAX_CERTIFICATE + 1);
    large[2 * LT_MAX_CERTIFICATE + 1] = 0;
    chain[0] = large;
    FAILS(LT_E_TOO_LARGE, lt_ek_certificates_check(r, chain, 1, &ek, NOW, &err));
    FAILS(LT_E_MALFORMED, lt_ek_roots_add(r, "x", 1, "x.pem", &err));
    FAILS(LT_E_MALFORMED, lt_ek_roots_add(r, "", 0, "empty.pem", &err));
    X509_free(x);
    lt_ek_roots_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(leaves),
        cmocka_unit_test(foreign_root),
        cmocka_unit_test(hostile_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
