/* EK certificates from a CA made here: maker's root, intermediate, leaf in the shape of the EK Credential
 * Profile. */
#include "appraisal/checks/ek_certificates.h"
#include "tests/support/softkey.h"

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
    const EVP_MD *md; /* NULL: SHA-256 */
};

static void extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    static const char text[] =
        "[tcg]\ntcgManufacturer=id:00001014\ntcgModel=swtpm\ntcgVersion=id:00020170\n"
        "[one]\ntcgManufacturer=id:00001014\n+tcgModel=swtpm\n+tcgVersion=id:00020170\n"
        "[half]\ntcgManufacturer=id:00001014\ntcgVersion=id:00020170\n";
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
    assert_true(X509_sign(x, l->issuer_key, l->md ? l->md : EVP_sha256()) > 0);
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
    return (struct leaf){ek_key,  middle_key,          middle, -DAY, 365 * DAY, EK_USAGE,
                         TCG_SAN, "critical,CA:FALSE", NULL};
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
                                                    "critical,CA:TRUE", NULL});
    middle = certificate("maker middle", &(struct leaf){middle_key, root_key, root, -DAY, 9 * 365 * DAY, NULL,
                                                        NULL, "critical,CA:TRUE,pathlen:0", NULL});
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

static struct lt_ek_certificates_roots *roots_of(X509 *x)
{
    struct lt_ek_certificates_roots *r;
    LT_AUTOFREE char *text = pem(x);

    OK(lt_ek_certificates_roots_new(&r, &err));
    OK(lt_ek_certificates_roots_add(r, text, strlen(text), "root.pem", &err));
    assert_int_equal(lt_ek_certificates_roots_count(r), 1);
    return r;
}

static int check(const struct leaf *l, bool with_middle, int64_t now)
{
    struct lt_ek_certificates_roots *r = roots_of(root);
    X509 *x = certificate(NULL, l);
    char *chain[2] = {pem(x), pem(middle)};
    int rc = lt_ek_certificates_check(r, chain, with_middle ? 2 : 1, &ek, now, &err);

    free(chain[0]);
    free(chain[1]);
    X509_free(x);
    lt_ek_certificates_roots_free(r);
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
    l = (struct leaf){ek_key, ek_key, NULL, -DAY, DAY, EK_USAGE, NULL, "critical,CA:FALSE", NULL};
    FAILS(LT_E_REFUSED, check(&l, true, NOW)); /* self-signed */
}

static enum lt_ek_certificates_standing standing_of(const struct leaf *l, bool with_middle, X509 *anchor)
{
    struct lt_ek_certificates_roots *r = roots_of(anchor);
    X509 *x = certificate(NULL, l);
    char *chain[2] = {pem(x), pem(middle)};

    err = (struct lt_err){0};
    enum lt_ek_certificates_standing is =
        lt_ek_certificates_standing(r, chain, with_middle ? 2 : 1, &ek, &err);
    free(chain[0]);
    free(chain[1]);
    X509_free(x);
    lt_ek_certificates_roots_free(r);
    return is;
}

/* What speaks against a host is only what a maker signed for its EK. */
static void standing(void **state)
{
    struct lt_ek_certificates_roots *r = roots_of(root);
    char *junk[] = {(char *)"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    struct leaf l = good();
    X509 *foreign = certificate("another maker", &(struct leaf){other_key, other_key, NULL, -DAY, DAY, NULL,
                                                                NULL, "critical,CA:TRUE", NULL});

    (void)state;
    assert_int_equal(standing_of(&l, true, root),
                     LT_EK_CERTIFICATES_SIGNED); /* so an expired one is expired */
    l.usage = NULL;
    assert_int_equal(standing_of(&l, true, root), LT_EK_CERTIFICATES_SIGNED);
    l = good();
    assert_int_equal(standing_of(&l, false, root), LT_EK_CERTIFICATES_NO_ROOT);
    assert_string_equal(err.msg, "issuer \"CN=maker middle\"");
    assert_int_equal(standing_of(&l, true, foreign), LT_EK_CERTIFICATES_NO_ROOT);
    assert_string_equal(err.msg, "issuer \"CN=maker root\"");
    l.key = other_key;
    assert_int_equal(standing_of(&l, true, root), LT_EK_CERTIFICATES_UNPROVEN);
    assert_int_equal(standing_of(&l, true, foreign), LT_EK_CERTIFICATES_UNPROVEN);
    l = good();
    l.issuer_key = other_key; /* names its issuer, not signed by it */
    assert_int_equal(standing_of(&l, true, root), LT_EK_CERTIFICATES_UNPROVEN);
    l = (struct leaf){ek_key, ek_key, NULL, -DAY, DAY, EK_USAGE, NULL, "critical,CA:FALSE", NULL};
    assert_int_equal(standing_of(&l, true, root),
                     LT_EK_CERTIFICATES_NO_ROOT); /* its own root, which nobody chose */
    assert_int_equal(lt_ek_certificates_standing(r, junk, 1, &ek, &err), LT_EK_CERTIFICATES_UNPROVEN);
    assert_int_equal(lt_ek_certificates_standing(r, junk, 0, &ek, &err), LT_EK_CERTIFICATES_UNPROVEN);
    X509_free(foreign);
    lt_ek_certificates_roots_free(r);
}

/* Nobody signed which certificates come behind the leaf: those that cannot be read take nothing away from a
 * path that is whole without them, and put nothing in the place of one that is not. */
static void junk_behind_the_leaf(void **state)
{
    static char junk[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", text[] = "x",
                none[] = "";
    char *const bad[] = {junk, text, none};
    struct lt_ek_certificates_roots *r = roots_of(root);
    struct leaf l = good();
    X509 *x = certificate(NULL, &l);
    LT_AUTOFREE char *leaf = pem(x), *between = pem(middle);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        OK(lt_ek_certificates_check(r, (char *[]){leaf, between, bad[i]}, 3, &ek, NOW, &err));
        OK(lt_ek_certificates_check(r, (char *[]){leaf, bad[i], between}, 3, &ek, NOW, &err));
        FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, (char *[]){leaf, bad[i]}, 2, &ek, NOW, &err));
        FAILS(LT_E_MALFORMED,
              lt_ek_certificates_check(r, (char *[]){bad[i], leaf, between}, 3, &ek, NOW, &err));
    }
    X509_free(x);
    lt_ek_certificates_roots_free(r);
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
    l.constraints = NULL;
    OK(check(&l, true, NOW));
}

static void names(void **state)
{
    static const char *const good_names[] = {"dirName:tcg", "critical,dirName:one",
                                             "email:ek@example.org,dirName:tcg"};
    static const char *const bad_names[] = {NULL, "dirName:half", "critical,DNS:chip.example.org"};
    struct leaf l = good();

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        l.san = good_names[i];
        OK(check(&l, true, NOW));
        l.san = bad_names[i];
        FAILS(LT_E_REFUSED, check(&l, true, NOW));
        assert_non_null(strstr(err.msg, "subject alternative name has no TPM m"));
    }
}

/* Issuers: basic constraints, path length, strength. */
static void issuers(void **state)
{
    static const struct {
        const char *constraints, *usage, *says;
    } bad[] = {
        {"critical,CA:FALSE", NULL, "CA"},
        {NULL, NULL, "CA"},
        {"critical,CA:TRUE,pathlen:0", "serverAuth",
         NULL}, /* good: names of usages bind no issuer of EK leaves */
    };
    struct lt_ek_certificates_roots *r = roots_of(root);
    EVP_PKEY *weak = soft_rsa(1024);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct leaf m = {middle_key, root_key, root, -DAY, DAY, bad[i].usage, NULL, bad[i].constraints, NULL};
        struct leaf l = good();
        X509 *issuer = certificate("maker middle", &m), *x = certificate(NULL, &l);
        char *chain[2] = {pem(x), pem(issuer)};
        int rc = lt_ek_certificates_check(r, chain, 2, &ek, NOW, &err);
        if ((rc == 0) != !bad[i].says || (rc && rc != LT_E_REFUSED))
            fail_msg("%zu: %d %s", i, rc, err.msg);
        free(chain[0]);
        free(chain[1]);
        X509_free(issuer);
        X509_free(x);
    }
    struct leaf l = good(), m = {weak, root_key, root, -DAY, DAY, NULL, NULL, "critical,CA:TRUE", NULL};
    X509 *issuer = certificate("maker weak", &m);
    l.issuer = issuer;
    l.issuer_key = weak;
    X509 *x = certificate(NULL, &l);
    char *chain[2] = {pem(x), pem(issuer)};
    FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, chain, 2, &ek, NOW, &err));
    assert_non_null(strstr(err.msg, "1024 bits"));
    free(chain[0]);
    free(chain[1]);
    X509_free(issuer);
    X509_free(x);
    EVP_PKEY_free(weak);
    l = good();
    l.md = EVP_sha1();
    FAILS(LT_E_REFUSED, check(&l, true, NOW));
    assert_non_null(strstr(err.msg, "too weak"));
    lt_ek_certificates_roots_free(r);
}

static X509 *with_oaep(const struct leaf *l);

/* A leaf under a middle that says pathlen:0 cannot have an issuer between. */
static void path_length(void **state)
{
    struct leaf m = {other_key, middle_key, middle, -DAY, DAY, NULL, NULL, "critical,CA:TRUE", NULL},
                l = good();
    X509 *third = certificate("maker third", &m);
    struct lt_ek_certificates_roots *r = roots_of(root);

    (void)state;
    l.issuer = third;
    l.issuer_key = other_key;
    X509 *x = certificate(NULL, &l);
    char *chain[3] = {pem(x), pem(third), pem(middle)};
    FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, chain, 3, &ek, NOW, &err));
    assert_non_null(strstr(err.msg, "path length"));
    free(chain[0]);
    X509_free(x);
    x = with_oaep(&l); /* where OpenSSL sees the path without its leaf */
    chain[0] = pem(x);
    FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, chain, 3, &ek, NOW, &err));
    assert_non_null(strstr(err.msg, "path length"));
    for (int i = 0; i < 3; i++)
        free(chain[i]);
    X509_free(third);
    X509_free(x);
    lt_ek_certificates_roots_free(r);
}

static int check_der(const uint8_t *der, size_t n)
{
    struct lt_ek_certificates_roots *r = roots_of(root);
    BIO *b = BIO_new(BIO_s_mem());
    char *p, *chain[2] = {NULL, pem(middle)};

    PEM_write_bio(b, "CERTIFICATE", "", der, (long)n);
    long size = BIO_get_mem_data(b, &p);
    chain[0] = strndup(p, (size_t)size);
    int rc = lt_ek_certificates_check(r, chain, 2, &ek, NOW, &err);
    BIO_free(b);
    free(chain[0]);
    free(chain[1]);
    lt_ek_certificates_roots_free(r);
    return rc;
}

static int der_parser(const uint8_t *der, size_t n, void *state)
{
    (void)state;
    return check_der(der, n);
}

/* A leaf with its key marked id-RSAES-OAEP. */
static X509 *with_oaep(const struct leaf *l)
{
    X509 *x = certificate(NULL, l);
    const unsigned char *bits;
    int n;

    assert_int_equal(X509_PUBKEY_get0_param(NULL, &bits, &n, NULL, X509_get_X509_PUBKEY(x)), 1);
    unsigned char *copy = OPENSSL_memdup(bits, (size_t)n);
    assert_int_equal(X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(x), OBJ_nid2obj(NID_rsaesOaep), V_ASN1_NULL,
                                            NULL, copy, n),
                     1);
    assert_true(X509_sign(x, l->issuer_key, l->md ? l->md : EVP_sha256()) > 0);
    return x;
}

static int check_oaep(const struct leaf *l)
{
    X509 *x = with_oaep(l);
    uint8_t *der = NULL;
    int n = i2d_X509(x, &der);
    const unsigned char *p = der;
    X509 *again = d2i_X509(NULL, &p, n);

    assert_non_null(again);
    assert_null(X509_get0_pubkey(again)); /* OpenSSL has no such key */
    int rc = check_der(der, (size_t)n);
    X509_free(x);
    X509_free(again);
    OPENSSL_free(der);
    return rc;
}

static void oaep(void **state)
{
    struct leaf l = good();
    struct lt_public mine;

    (void)state;
    OK(check_oaep(&l));
    l.issuer = root;
    l.issuer_key = root_key;
    OK(check_oaep(&l));
    l.issuer_key = other_key;
    FAILS(LT_E_REFUSED, check_oaep(&l));
    l = good();
    l.from = DAY;
    FAILS(LT_E_REFUSED, check_oaep(&l));
    assert_non_null(strstr(err.msg, "not yet valid"));
    l = good();
    l.to = -1;
    FAILS(LT_E_REFUSED, check_oaep(&l));
    l = good();
    l.usage = "critical,serverAuth";
    FAILS(LT_E_REFUSED, check_oaep(&l));
    l = good();
    l.md = EVP_sha1();
    FAILS(LT_E_REFUSED, check_oaep(&l));
    l = good();
    lt_public_copy(&mine, &ek);
    soft_parse(other_key, &soft_ek, &ek);
    int rc = check_oaep(&l);
    lt_public_copy(&ek, &mine);
    assert_int_equal(rc, LT_E_REFUSED);
    assert_non_null(strstr(err.msg, "not the EK"));
}

/* What an authority says of the names below it binds a leaf whatever its key is called. */
static void name_constraints(void **state)
{
    static const char *const constraints[] = {
        "critical,excluded;dirName:tcg", "critical,permitted;dirName:half", "critical,permitted;dirName:tcg"};
    struct lt_ek_certificates_roots *r = roots_of(root);

    (void)state;
    for (int i = 0; i < 6; i++) {
        struct leaf m = {middle_key, root_key, root, -DAY, DAY, NULL, NULL, "critical,CA:TRUE", NULL},
                    l = good();
        X509 *constrained = certificate("maker constrained", &m);
        extension(constrained, root, NID_name_constraints, constraints[i / 2]);
        assert_true(X509_sign(constrained, root_key, EVP_sha256()) > 0);
        l.issuer = constrained;
        X509 *x = i % 2 ? with_oaep(&l) : certificate(NULL, &l);
        char *chain[2] = {pem(x), pem(constrained)};
        int rc = lt_ek_certificates_check(r, chain, 2, &ek, NOW, &err);
        if (rc != (i / 2 == 2 ? 0 : LT_E_REFUSED) || (rc && !strstr(err.msg, "subtree violation")))
            fail_msg("%s, %s: %d %s", constraints[i / 2], i % 2 ? "OAEP" : "RSA", rc, rc ? err.msg : "");
        free(chain[0]);
        free(chain[1]);
        X509_free(constrained);
        X509_free(x);
    }
    lt_ek_certificates_roots_free(r);
}

static int under(X509 *anchor, const struct leaf *l, int64_t now)
{
    struct lt_ek_certificates_roots *r = roots_of(anchor);
    X509 *x = certificate(NULL, l);
    char *chain[1] = {pem(x)};
    int rc = lt_ek_certificates_check(r, chain, 1, &ek, now, &err);

    free(chain[0]);
    X509_free(x);
    lt_ek_certificates_roots_free(r);
    return rc;
}

/* An intermediate counts as an anchor, with all that binds an issuer; a leaf is none. */
static void anchors(void **state)
{
    struct leaf m = {middle_key, root_key, root, -9 * DAY, -8 * DAY, NULL, NULL, "critical,CA:TRUE", NULL},
                third_of = {other_key, middle_key, middle, -DAY, DAY, NULL, NULL, "critical,CA:TRUE", NULL},
                l = good();
    X509 *old = certificate("maker middle", &m), *third = certificate("maker third", &third_of),
         *leaf = certificate(NULL, &l);
    LT_AUTOFREE char *leaf_pem = pem(leaf);
    struct lt_ek_certificates_roots *r;

    (void)state;
    OK(under(middle, &l, NOW));
    FAILS(LT_E_REFUSED, under(middle, &l, NOW + (int64_t)366 * DAY));
    FAILS(LT_E_REFUSED, under(old, &l, NOW)); /* the anchor's own time is over */
    assert_non_null(strstr(err.msg, "EK certificate 1 of the path"));
    l.issuer = third;
    l.issuer_key = other_key;
    r = roots_of(middle); /* pathlen:0 binds an anchor too */
    X509 *x = certificate(NULL, &l);
    char *chain[2] = {pem(x), pem(third)};
    FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, chain, 2, &ek, NOW, &err));
    assert_non_null(strstr(err.msg, "path length"));
    FAILS(LT_E_REFUSED, lt_ek_certificates_roots_add(r, leaf_pem, strlen(leaf_pem), "leaf.pem", &err));
    assert_non_null(strstr(err.msg, "leaf.pem"));
    assert_int_equal(lt_ek_certificates_roots_count(r), 1);
    free(chain[0]);
    free(chain[1]);
    X509_free(x);
    X509_free(old);
    X509_free(third);
    X509_free(leaf);
    lt_ek_certificates_roots_free(r);
}

/* What OpenSSL reads and DER forbids is named. */
static void not_der(void **state)
{
    struct leaf l = good();
    X509 *x = certificate(NULL, &l);
    uint8_t *der = NULL;
    size_t n = (size_t)i2d_X509(x, &der);
    LT_AUTOFREE uint8_t *bad = malloc(n + 2);

    (void)state;
    OK(check_der(der, n));
    for (size_t cut = 0; cut < n; cut++)
        assert_int_not_equal(check_der(der, cut), 0);
    memcpy(bad, der, n);
    bad[n] = 0x05; /* what is no padding (tpm/certs.h) stays refused */
    FAILS(LT_E_MALFORMED, check_der(bad, n + 1));
    /* 30 82 hh ll: one more byte of length than needed */
    assert_true(der[0] == 0x30 && der[1] == 0x82);
    memcpy(bad, "\x30\x83\x00", 3);
    memcpy(bad + 3, der + 2, n - 2);
    const unsigned char *p = bad;
    X509 *lenient = d2i_X509(NULL, &p, (long)n + 1);
    assert_non_null(lenient); /* OpenSSL would have */
    X509_free(lenient);
    FAILS(LT_E_MALFORMED, check_der(bad, n + 1));
    assert_non_null(strstr(
        err.msg,
        "EK certificate 0: PEM block 0: not DER: byte 0: a length that begins with zero (some makers'"));
    /* 30 80 … 00 00 */
    memcpy(bad, "\x30\x80", 2);
    memcpy(bad + 2, der + 4, n - 4);
    memcpy(bad + n - 2, "\0", 2);
    FAILS(LT_E_MALFORMED, check_der(bad, n));
    assert_non_null(strstr(err.msg, "indefinite"));
    X509_free(x);
    OPENSSL_free(der);
}

/* No bit of a certificate is beside the point, but for the PEM around it. */
static void every_bit(void **state)
{
    struct leaf l = good();
    X509 *x = certificate(NULL, &l);
    uint8_t *der = NULL;
    size_t n = (size_t)i2d_X509(x, &der);

    (void)state;
    unit_every_bit(der_parser, der, n, NULL);
    X509_free(x);
    OPENSSL_free(der);
}

static void foreign_root(void **state)
{
    struct leaf self = {other_key, other_key, NULL, -DAY, DAY, NULL, NULL, "critical,CA:TRUE", NULL},
                l = good();
    X509 *foreign = certificate("maker root", &self), *x = certificate(NULL, &l);
    struct lt_ek_certificates_roots *r = roots_of(foreign);
    char *chain[3] = {pem(x), pem(middle), pem(root)}; /* the chain's own root proves nothing */

    (void)state;
    FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, chain, 3, &ek, NOW, &err));
    for (int i = 0; i < 3; i++)
        free(chain[i]);
    X509_free(foreign);
    X509_free(x);
    lt_ek_certificates_roots_free(r);
}

static void hostile_text(void **state)
{
    struct lt_ek_certificates_roots *r = roots_of(root);
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
    chain[1] = good_pem + 1; /* as good as not there: what is missing is the issuer */
    FAILS(LT_E_REFUSED, lt_ek_certificates_check(r, chain, 2, &ek, NOW, &err));
    assert_non_null(strstr(err.msg, "issuer"));
    FAILS(LT_E_MALFORMED, lt_ek_certificates_check(r, chain, 0, &ek, NOW, &err));
    FAILS(LT_E_MALFORMED, lt_ek_certificates_check(r, chain, LT_MAX_CERTIFICATES + 1, &ek, NOW, &err));
    memset(large, 'A', 2 * LT_MAX_CERTIFICATE + 1);
    large[2 * LT_MAX_CERTIFICATE + 1] = 0;
    chain[0] = large;
    FAILS(LT_E_TOO_LARGE, lt_ek_certificates_check(r, chain, 1, &ek, NOW, &err));
    FAILS(LT_E_MALFORMED, lt_ek_certificates_roots_add(r, "x", 1, "x.pem", &err));
    FAILS(LT_E_MALFORMED, lt_ek_certificates_roots_add(r, "", 0, "empty.pem", &err));
    X509_free(x);
    lt_ek_certificates_roots_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(leaves),
        cmocka_unit_test(names),
        cmocka_unit_test(issuers),
        cmocka_unit_test(path_length),
        cmocka_unit_test(oaep),
        cmocka_unit_test(not_der),
        cmocka_unit_test(every_bit),
        cmocka_unit_test(foreign_root),
        cmocka_unit_test(hostile_text),
        cmocka_unit_test(name_constraints),
        cmocka_unit_test(anchors),
        cmocka_unit_test(standing),
        cmocka_unit_test(junk_behind_the_leaf),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
