/* Birth records and certificates of limetree-localca. */
#include "tests/support/unit.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/limits.h"
#include "vtpm/birth.h"
#include "vtpm/ekcert.h"

#include <ftw.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t uuid_a[16] = {0xaa, 1}, uuid_b[16] = {0xbb, 2};
static const char ID_A[] = "aa010000-0000-0000-0000-000000000000";
static char root[64];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    strcpy(root, P_tmpdir "/lt-birth-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static char *record_path(const char *spki)
{
    uint8_t digest[32];
    char name[80];

    lt_sha256(spki, strlen(spki), digest);
    lt_hex(digest, 32, name);
    strcat(name, ".json");
    LT_AUTOFREE char *dir = lt_file_path(root, ID_A);
    return lt_file_path(dir, name);
}

static int check(const uint8_t uuid[16], const char *spki, uid_t owner, bool *born)
{
    uint8_t digest[32];
    lt_sha256(spki, strlen(spki), digest);
    return lt_birth_check(root, uuid, digest, owner, born, &err);
}

static void test_records(void **state)
{
    (void)state;
    bool born;
    struct stat st;

    OK(check(uuid_a, "ek one", getuid(), &born));
    assert_false(born);
    OK(lt_birth_write(root, uuid_a, "a \"name\"", "ek one", 6, &err));
    OK(lt_birth_write(root, uuid_a, "a", "ek two", 6, &err));
    OK(lt_birth_write(root, uuid_a, "a", "ek one", 6, &err)); /* once more: replaced whole */
    OK(check(uuid_a, "ek one", getuid(), &born));
    assert_true(born);
    OK(check(uuid_a, "ek two", getuid(), &born));
    assert_true(born);
    FAILS(LT_E_REFUSED, check(uuid_a, "ek three", getuid(), &born)); /* born with others */
    assert_false(born);
    FAILS(LT_E_REFUSED, check(uuid_b, "ek one", getuid(), &born)); /* another's */
    assert_false(born);
    OK(check(uuid_b, "ek three", getuid(), &born)); /* nobody's */
    assert_false(born);
    FAILS(LT_E_REFUSED, check(uuid_a, "ek one", getuid() + 1, &born)); /* a stranger's file */
    LT_AUTOFREE char *path = record_path("ek one");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    LT_AUTOFREE char *dir = lt_file_path(root, ID_A);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

/* Whatever bit of a record turns, it never speaks for an EK it was not made for. */
static void test_damaged_record(void **state)
{
    (void)state;
    LT_AUTOFREE char *path = record_path("ek one");
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;
    bool born;

    OK(lt_birth_write(root, uuid_a, "a", "ek one", 6, &err));
    OK(lt_file_read(path, LT_MAX_BIRTH, &text, &n, &err));
    for (size_t k = 0; k + 2 < n; k += 7) {
        OK(lt_file_write(path, text, k, 0600, &err));
        FAILS(LT_E_REFUSED, check(uuid_a, "ek one", getuid(), &born));
    }
    const char *wanted[] = {"limetree-birth/1", ID_A, "\"ek\": \""};
    for (size_t i = 0; i < 3; i++) {
        char *at = strstr((char *)text, wanted[i]);
        assert_non_null(at);
        at += strlen(wanted[i]) - 1 + (i == 2 ? 3 : 0);
        char saved = *at;
        *at = saved == '1' ? '2' : saved == '0' ? '1' : 'A';
        OK(lt_file_write(path, text, n, 0600, &err));
        FAILS(LT_E_REFUSED, check(uuid_a, "ek one", getuid(), &born));
        *at = saved;
    }
    OK(lt_file_write(path, text, n, 0600, &err));
    OK(check(uuid_a, "ek one", getuid(), &born));
    assert_true(born);
    /* A link, to whatever, is no record. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    FAILS(LT_E_REFUSED, check(uuid_a, "ek one", getuid(), &born));
}

/* ---- certificates ---- */

static X509 *make_ca(EVP_PKEY *key)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"vTPM CA", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_gmtime_adj(X509_getm_notBefore(x), -10);
    X509_gmtime_adj(X509_getm_notAfter(x), 1000);
    X509_set_pubkey(x, key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    static const struct {
        int nid;
        const char *value;
    } list[] = {{NID_basic_constraints, "critical,CA:TRUE"},
                {NID_subject_key_identifier, "hash"},
                {NID_key_usage, "critical,keyCertSign"}};
    for (size_t i = 0; i < 3; i++) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, list[i].nid, list[i].value);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static X509 *issue(const struct lt_ekcert *c, const char *ek, X509 *ca, EVP_PKEY *ca_key)
{
    EVP_PKEY *key;
    struct lt_buf der = LT_BUF(LT_MAX_CERTIFICATE);

    OK(lt_ekcert_key(ek, &key, &err));
    OK(lt_ekcert_issue(c, key, ca, ca_key, &der, &err));
    const unsigned char *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    assert_non_null(x);
    assert_ptr_equal(p, der.p + der.n);
    assert_int_equal(X509_check_issued(ca, x), X509_V_OK);
    assert_int_equal(X509_verify(x, ca_key), 1);
    EVP_PKEY_free(key);
    lt_buf_free(&der);
    return x;
}

static char *rsa_hex(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    BIGNUM *n = NULL;
    assert_true(EVP_PKEY_get_bn_param(key, "n", &n));
    char *hex = BN_bn2hex(n);
    BN_free(n);
    EVP_PKEY_free(key);
    return hex;
}

static char *ec_text(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-384");
    BIGNUM *x = NULL, *y = NULL;
    char *text = NULL;
    assert_true(EVP_PKEY_get_bn_param(key, "qx", &x) && EVP_PKEY_get_bn_param(key, "qy", &y));
    char *xs = BN_bn2hex(x), *ys = BN_bn2hex(y);
    assert_true(asprintf(&text, "x=%s,y=%s,id=secp384r1", xs, ys) > 0);
    OPENSSL_free(xs);
    OPENSSL_free(ys);
    BN_free(x);
    BN_free(y);
    EVP_PKEY_free(key);
    return text;
}

static const struct lt_ekcert ek_cert = {.subject = "n:aa010000-0000-0000-0000-000000000000",
                                         .tpm_manufacturer = "id:00001014",
                                         .tpm_model = "swtpm",
                                         .tpm_version = "id:20191023",
                                         .platform_manufacturer = "Acme",
                                         .platform_model = "M",
                                         .platform_version = "1"};

static void has_profile(X509 *x, const char *eku, const char *identity, uint32_t usage)
{
    char text[128], *print = NULL;
    int critical;
    BIO *out = BIO_new(BIO_s_mem());

    EXTENDED_KEY_USAGE *list = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
    assert_int_equal(sk_ASN1_OBJECT_num(list), 1);
    OBJ_obj2txt(text, sizeof text, sk_ASN1_OBJECT_value(list, 0), 1);
    assert_string_equal(text, eku);
    EXTENDED_KEY_USAGE_free(list);
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, &critical, NULL);
    assert_int_equal(critical, 1);
    assert_int_equal(sk_GENERAL_NAME_num(names), 1);
    GENERAL_NAME *one = sk_GENERAL_NAME_value(names, 0);
    assert_int_equal(one->type, GEN_DIRNAME);
    X509_NAME_print_ex(out, one->d.directoryName, 0, XN_FLAG_ONELINE & ~XN_FLAG_SPC_EQ);
    long n = BIO_get_mem_data(out, &print);
    assert_int_equal(n, strlen(identity));
    assert_memory_equal(print, identity, (size_t)n);
    GENERAL_NAMES_free(names);
    BIO_free(out);
    assert_int_equal(X509_get_key_usage(x), usage);
    BASIC_CONSTRAINTS *constraints = X509_get_ext_d2i(x, NID_basic_constraints, &critical, NULL);
    assert_int_equal(constraints->ca, 0);
    BASIC_CONSTRAINTS_free(constraints);
    assert_int_equal(X509_get_version(x), X509_VERSION_3);
    assert_string_equal((const char *)ASN1_STRING_get0_data(X509_get0_notAfter(x)), "99991231235959Z");
    assert_non_null(X509_get0_authority_key_id(x));
}

static void test_certificates(void **state)
{
    (void)state;
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *stranger = EVP_EC_gen("P-256"), *key;
    X509 *ca = make_ca(ca_key);
    struct lt_ekcert platform = ek_cert, signing = ek_cert;
    struct lt_buf der = LT_BUF(LT_MAX_CERTIFICATE);
    char *rsa = rsa_hex(), *ec = ec_text();
    const char *tpm = "2.23.133.2.1=id:00001014, 2.23.133.2.2=swtpm, 2.23.133.2.3=id:20191023";

    X509 *x = issue(&ek_cert, rsa, ca, ca_key);
    has_profile(x, "2.23.133.8.1", tpm, KU_KEY_ENCIPHERMENT);
    X509 *again = issue(&ek_cert, rsa, ca, ca_key);
    assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(x), X509_get0_serialNumber(again)), 0);
    X509_free(again);
    X509_free(x);
    x = issue(&ek_cert, ec, ca, ca_key);
    has_profile(x, "2.23.133.8.1", tpm, KU_KEY_AGREEMENT);
    X509_free(x);
    platform.platform = true;
    x = issue(&platform, rsa, ca, ca_key);
    has_profile(x, "2.23.133.8.2", "2.23.133.5.1.1=Acme, 2.23.133.5.1.4=M, 2.23.133.5.1.5=1",
                KU_KEY_ENCIPHERMENT);
    X509_free(x);
    signing.allow_signing = true;
    x = issue(&signing, rsa, ca, ca_key);
    has_profile(x, "2.23.133.8.1", tpm, KU_DIGITAL_SIGNATURE);
    X509_free(x);
    OK(lt_ekcert_key(rsa, &key, &err));
    FAILS(LT_E_CONFIG, lt_ekcert_issue(&ek_cert, key, ca, stranger, &der, &err));
    assert_int_equal(der.n, 0);
    EVP_PKEY_free(key);
    OPENSSL_free(rsa);
    free(ec);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(stranger);
}

static void test_bad_keys(void **state)
{
    (void)state;
    char odd[514], short_one[64];
    static const char *const list[] = {
        "", "zz", "x=", "x=1,y=2", "x=1,y=2,id=secp384r1,more", "x=1,y=2,id=secp384r1", "x=,y=,id=secp256r1"};
    EVP_PKEY *key;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        FAILS(LT_E_MALFORMED, lt_ekcert_key(list[i], &key, &err));
        assert_null(key);
    }
    FAILS(LT_E_UNSUPPORTED, lt_ekcert_key("x=1,y=2,id=secp521r1", &key, &err));
    memset(odd, 'a', sizeof odd - 1);
    odd[513] = 0;
    FAILS(LT_E_MALFORMED, lt_ekcert_key(odd, &key, &err)); /* an odd number of digits */
    memset(short_one, 'a', sizeof short_one - 1);
    short_one[63] = 0;
    FAILS(LT_E_MALFORMED, lt_ekcert_key(short_one, &key, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_record, setup, teardown),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_bad_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
