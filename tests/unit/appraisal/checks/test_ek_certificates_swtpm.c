/* EK certificates that swtpm_setup really made, with a CA of its own: what the lab and the demo stand on. */
#include "appraisal/checks/ek_certificates.h"

#include "common/file.h"
#include "tests/support/softkey.h"

#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/lt-ekcert-XXXXXX";

static int forget(const char *path, const struct stat *s, int kind, struct FTW *f)
{
    (void)s;
    (void)kind;
    (void)f;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(dir, forget, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const char *text)
{
    LT_AUTOFREE char *path = lt_file_path(dir, name);
    OK(lt_file_write(path, text, strlen(text), 0600, &err));
}

/* false: not on this machine. */
static bool manufacture(void)
{
    char config[1024], command[1024];

    snprintf(config, sizeof config,
             "statedir = %s\nsigningkey = %s/signkey.pem\nissuercert = %s/issuercert.pem\n"
             "certserial = %s/certserial\n",
             dir, dir, dir, dir);
    put("localca.conf", config);
    put("localca.options", "--platform-manufacturer Unit\n--platform-version 1.0\n--platform-model Test\n");
    snprintf(config, sizeof config,
             "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = %s/localca.conf\n"
             "create_certs_tool_options = %s/localca.options\nactive_pcr_banks = sha256\n",
             dir, dir);
    put("setup.conf", config);
    snprintf(command, sizeof command,
             "cd %s && mkdir state certs && swtpm_setup --tpm2 --tpmstate %s/state --config %s/setup.conf "
             "--create-ek-cert --vmid unit --write-ek-cert-files %s/certs --pcr-banks sha256 >log 2>&1",
             dir, dir, dir, dir);
    int status = system(command); /* NOLINT: fixed words and a directory of mkdtemp */
    return WIFEXITED(status) && !WEXITSTATUS(status);
}

static char *text_of(const char *name)
{
    LT_AUTOFREE char *path = lt_file_path(dir, name);
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    OK(lt_file_read(path, 65536, &p, &n, &err));
    return strndup((char *)p, n);
}

static char *leaf_of(const char *name, struct lt_public *ek)
{
    LT_AUTOFREE char *path = lt_file_path(dir, name);
    LT_AUTOFREE uint8_t *der = NULL;
    BIO *b = BIO_new(BIO_s_mem());
    char *p;
    size_t n;

    OK(lt_file_read(path, LT_MAX_CERTIFICATE, &der, &n, &err));
    const unsigned char *at = der;
    X509 *x = d2i_X509(NULL, &at, (long)n);
    assert_non_null(x);
    bool rsa = EVP_PKEY_is_a(X509_get0_pubkey(x), "RSA");
    soft_parse(X509_get0_pubkey(x), rsa ? &soft_ek : &soft_ek_high, ek);
    PEM_write_bio(b, "CERTIFICATE", "", der, (long)n);
    long size = BIO_get_mem_data(b, &p);
    char *pem = strndup(p, (size_t)size);
    BIO_free(b);
    X509_free(x);
    return pem;
}

static int check(const char *root, char *leaf, char *middle, const struct lt_public *ek, int64_t now)
{
    char *chain[2] = {leaf, middle};
    LT_AUTOFREE char *text = text_of(root);
    struct lt_ek_certificates_roots *r;

    OK(lt_ek_certificates_roots_new(&r, &err));
    OK(lt_ek_certificates_roots_add(r, text, strlen(text), root, &err));
    int rc = lt_ek_certificates_check(r, chain, middle ? 2 : 1, ek, now, &err);
    lt_ek_certificates_roots_free(r);
    return rc;
}

static void swtpm(void **state)
{
    static const char *const leaves[] = {"certs/ek-rsa2048.crt", "certs/ek-secp384r1.crt"};
    static const char root[] = "swtpm-localca-rootca-cert.pem";
    int64_t now = time(NULL) + 60;

    (void)state;
    assert_non_null(mkdtemp(dir));
    if (!manufacture()) {
        print_message("skipped: swtpm_setup does not run here (scripts/setup installs it)\n");
        skip();
    }
    LT_AUTOFREE char *middle = text_of("issuercert.pem");
    for (size_t i = 0; i < 2; i++) {
        struct lt_public ek;
        LT_AUTOFREE char *leaf = leaf_of(leaves[i], &ek);
        OK(check(root, leaf, middle, &ek, now));
        FAILS(LT_E_REFUSED, check(root, leaf, NULL, &ek, now)); /* the issuer is missing */
        assert_non_null(strstr(err.msg, "issuer"));
        OK(check("issuercert.pem", leaf, NULL, &ek, now)); /* an issuer that the operator named */
        FAILS(LT_E_REFUSED, check(root, leaf, middle, &ek, now - 86400));
        struct lt_public other;
        LT_AUTOFREE char *unused = leaf_of(leaves[1 - i], &other);
        FAILS(LT_E_REFUSED, check(root, leaf, middle, &other, now));
        assert_non_null(strstr(err.msg, "not the EK"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(swtpm)};
    return cmocka_run_group_tests(tests, NULL, teardown);
}
