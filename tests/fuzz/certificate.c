/* EK certificates: input is DER, put into PEM here (so that base64 does not stand in the way of the fuzzer),
 * checked against itself as root, with its own RSA key as the EK. What is not DER is never good. The bytes as
 * they are are read as a chip's, too. */
#include "appraisal/checks/ek_certificates.h"

#include "tests/fuzz/fuzz.h"
#include "tpm/certkey.h"
#include "tpm/certs.h"
#include "tpm/der.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

static char *pem(const uint8_t *p, size_t n)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *text, *copy;

    FUZZ_REQUIRE(b && PEM_write_bio(b, PEM_STRING_X509, "", p, (long)n) > 0);
    long size = BIO_get_mem_data(b, &text);
    copy = strndup(text, (size_t)size);
    BIO_free(b);
    FUZZ_REQUIRE(copy);
    return copy;
}

/* RSA: the EK is the certificate's own key, so that the check goes on to the path. */
static struct lt_slice modulus_of(X509 *x)
{
    struct lt_slice inner, modulus = {0};
    const unsigned char *bits;
    uint8_t tag;
    int size;

    if (x && X509_PUBKEY_get0_param(NULL, &bits, &size, NULL, X509_get_X509_PUBKEY(x)) == 1 && size > 0) {
        struct lt_reader r = lt_reader(bits, (size_t)size, "key");
        if (!lt_der_next(&r, &tag, &inner, LT_NO_ERR)) {
            r = lt_reader(inner.p, inner.n, "key");
            if (lt_der_next_uint(&r, &modulus, LT_NO_ERR))
                modulus = (struct lt_slice){0};
        }
    }
    return modulus;
}

static int take(void *arg, struct lt_slice der, struct lt_err *e)
{
    struct lt_slice *out = arg;

    FUZZ_REQUIRE(der.n > 1 && der.n <= LT_MAX_CERTIFICATE && der.p[0] == LT_DER_SEQUENCE);
    (void)e;
    *out = der;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_public rsa = {.type = LT_TPM_ALG_RSA, .rsa_exponent = 65537};
    struct lt_ek_certificates_roots *roots;
    struct lt_err e = {0};
    struct lt_slice one;
    bool der =
        !lt_certs_read((struct lt_slice){p, n}, 1, take, &one, LT_NO_ERR) && !lt_der_check(one, LT_NO_ERR);

    if (!n || n > LT_MAX_CERTIFICATE)
        return 0;
    const unsigned char *at = p;
    X509 *x = d2i_X509(NULL, &at, (long)n);
    rsa.rsa_modulus = modulus_of(x);
    LT_AUTOFREE char *leaf = pem(p, n);
    char *chain[2] = {leaf, leaf};
    FUZZ_REQUIRE(!lt_ek_certificates_roots_new(&roots, LT_NO_ERR));
    if (!lt_ek_certificates_roots_add(roots, leaf, strlen(leaf), "fuzz", LT_NO_ERR))
        FUZZ_REQUIRE(lt_ek_certificates_roots_count(roots) == 1);
    int rc = lt_ek_certificates_check(roots, chain, 2, &rsa, 1800000000, &e);
    FUZZ_REQUIRE(rc && e.code == rc && e.msg[0]); /* a leaf is never its own root */
    FUZZ_REQUIRE(der || rc == LT_E_MALFORMED);
    lt_ek_certificates_roots_free(roots);
    X509_free(x);
    return 0;
}
