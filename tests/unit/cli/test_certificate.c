/* What guest add --cert puts into a payload: a pair that fits, under the CA, and one key for revocations. */
#include "cli/certificate.h"

#include "common/file.h"
#include "common/openssl.h"
#include "keylime/notice.h"
#include "tests/support/unit.h"

#include <ftw.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUEST "d432fbb3-d2f1-4a97-9ef7-75bd81c00000"

static char dir[] = "limetree-test-certificate-XXXXXX";

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    if (chdir(tmp ? tmp : P_tmpdir) || !mkdtemp(dir) || chdir(dir))
        return -1;
    OK(lt_ca_init("ca", "Guests", "http://127.0.0.1:1/guests.crl", 30, &err));
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return chdir("..") || nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct lt_slice file_of(const struct lt_cli_certificate *c, const char *name)
{
    for (int i = 0; i < LT_CLI_CERTIFICATE_FILES; i++)
        if (!strcmp(c->file[i].name, name))
            return c->file[i].bytes;
    fail_msg("no %s", name);
    return (struct lt_slice){0};
}

static X509 *certificate_in(struct lt_slice pem)
{
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    assert_non_null(x);
    return x;
}

static void test_the_pair_fits(void **state)
{
    LT_CLI_AUTOCERTIFICATE struct lt_cli_certificate c;
    (void)state;
    OK(lt_cli_certificate_make("ca", GUEST, "web.example,10.0.0.7", &c, &err));
    struct lt_slice private = file_of(&c, GUEST "-private.pem"), public = file_of(&c, GUEST "-public.pem");
    LT_AUTO(BIO) BIO *kb = BIO_new_mem_buf(private.p, (int)private.n);
    LT_AUTO(BIO) BIO *pb = BIO_new_mem_buf(public.p, (int)public.n);
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = PEM_read_bio_PrivateKey(kb, NULL, NULL, NULL);
    LT_AUTO(EVP_PKEY) EVP_PKEY *pub = PEM_read_bio_PUBKEY(pb, NULL, NULL, NULL);
    LT_AUTO(X509) X509 *leaf = certificate_in(file_of(&c, GUEST "-cert.crt"));
    LT_AUTO(X509) X509 *ca = certificate_in(file_of(&c, "cacert.crt"));
    assert_int_equal(X509_check_private_key(leaf, key), 1);
    assert_int_equal(EVP_PKEY_eq(key, pub), 1);
    assert_int_equal(X509_verify(leaf, X509_get0_pubkey(ca)), 1);
    assert_int_equal(X509_check_host(leaf, "web.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(leaf, "10.0.0.7", 0), 1);
    assert_true(file_of(&c, "cacrl.der").n > 0);
    for (int i = 0; i < LT_CLI_CERTIFICATE_FILES; i++)
        assert_int_equal(c.file[i].mode, strstr(c.file[i].name, "private") ? 0600 : 0644);
}

/* A message about one guest is checked by all the others. */
static void test_one_key_for_revocations(void **state)
{
    LT_CLI_AUTOCERTIFICATE struct lt_cli_certificate a, b;
    struct stat st;
    (void)state;
    OK(lt_cli_certificate_make("ca", "one", NULL, &a, &err));
    OK(lt_cli_certificate_make("ca", "two", NULL, &b, &err));
    assert_string_equal(a.revocation_key, b.revocation_key);
    assert_int_equal(stat("ca/RevocationNotifier-private.pem", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    struct lt_slice pem = file_of(&b, "RevocationNotifier-cert.crt");
    LT_AUTOFREE char *cert = strndup((const char *)pem.p, pem.n);
    LT_JSON_AUTO json_t *message = NULL, *msg = NULL;
    OK(lt_notice_check_key(a.revocation_key, &err));
    OK(lt_notice_sign("{\"type\":\"revocation\"}", a.revocation_key, &message, &err));
    OK(lt_notice_open(message, cert, &msg, &err));
    for (int i = 0; i < LT_CLI_CERTIFICATE_FILES; i++) /* the key is the tenant's alone */
        assert_null(memmem(a.file[i].bytes.p, a.file[i].bytes.n, a.revocation_key + 40, 200));
    assert_int_equal(chmod("ca/RevocationNotifier-private.pem", 0644), 0);
    struct lt_cli_certificate c;
    FAILS(LT_E_CONFIG, lt_cli_certificate_make("ca", "three", NULL, &c, &err));
    assert_int_equal(chmod("ca/RevocationNotifier-private.pem", 0600), 0);
}

static const char *state_of(const char *guest)
{
    static char out[16];
    struct lt_ca *ca;
    LT_JSON_AUTO json_t *list = NULL;
    json_t *one;
    size_t i;

    OK(lt_ca_open("ca", &ca, &err));
    OK(lt_ca_certificates(ca, &list, &err));
    lt_ca_close(ca);
    out[0] = 0;
    json_array_foreach(list, i, one) if (!strcmp(json_string_value(json_object_get(one, "guest")), guest))
        snprintf(out, sizeof out, "%s", json_string_value(json_object_get(one, "state")));
    return out;
}

static void test_what_was_not_brought_is_revoked(void **state)
{
    LT_CLI_AUTOCERTIFICATE struct lt_cli_certificate c;
    (void)state;
    OK(lt_cli_certificate_make("ca", "late", NULL, &c, &err));
    assert_string_equal(state_of("late"), "good");
    lt_cli_certificate_revoke(&c);
    assert_string_equal(state_of("late"), "revoked");
    assert_string_equal(state_of("three"), "revoked"); /* of the test before, which failed on the way */
}

static void test_bad_requests(void **state)
{
    struct lt_cli_certificate c;
    (void)state;
    assert_int_not_equal(lt_cli_certificate_make("none", GUEST, NULL, &c, &err), 0);
    assert_null(c.ca);
    assert_int_not_equal(lt_cli_certificate_make("ca", GUEST, "not a name", &c, &err), 0);
    FAILS(LT_E_USAGE, lt_cli_certificate_make("ca", GUEST, "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", &c, &err));
    lt_cli_certificate_free(&c);
    lt_cli_certificate_revoke(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_pair_fits),
        cmocka_unit_test(test_one_key_for_revocations),
        cmocka_unit_test(test_what_was_not_brought_is_revoked),
        cmocka_unit_test(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
