#include "tpm/certkey.h"

#include "tpm/der.h"

#include <openssl/objects.h>
#include <openssl/x509.h>

/* RSAPublicKey: SEQUENCE { modulus, publicExponent } (RFC 8017 A.1.1). */
static int rsa(struct lt_slice bits, const struct lt_public *p, struct lt_err *e)
{
    struct lt_reader r = lt_reader(bits.p, bits.n, "RSAPublicKey");
    struct lt_slice inner, modulus, exponent;
    uint64_t number = 0;
    uint8_t tag;

    LT_TRY(lt_der_next(&r, &tag, &inner, e));
    LT_TRY(lt_reader_end(&r, e));
    r = lt_reader(inner.p, inner.n, "RSAPublicKey");
    LT_TRY(lt_der_next_uint(&r, &modulus, e));
    LT_TRY(lt_der_next_uint(&r, &exponent, e));
    LT_TRY(lt_reader_end(&r, e));
    if (tag != LT_DER_SEQUENCE || exponent.n > sizeof number)
        return lt_fail(e, LT_E_MALFORMED, "RSAPublicKey: tag 0x%02x, exponent of %zu bytes", tag, exponent.n);
    for (size_t i = 0; i < exponent.n; i++)
        number = number << 8 | exponent.p[i];
    if (p->type != LT_TPM_ALG_RSA || number != p->rsa_exponent || !lt_slice_eq(modulus, p->rsa_modulus))
        return lt_fail(e, LT_E_REFUSED, "its key is not the EK");
    return 0;
}

int lt_certkey_certifies(const X509 *x, const struct lt_public *p, struct lt_err *e)
{
    X509_PUBKEY *key = X509_get_X509_PUBKEY(x);
    LT_AUTOBUF struct lt_buf spki = LT_BUF(LT_MAX_PUBLIC);
    ASN1_OBJECT *alg = NULL;
    const unsigned char *bits;
    uint8_t *der = NULL;
    int size;

    if (!key || X509_PUBKEY_get0_param(&alg, &bits, &size, NULL, key) != 1 || size < 0)
        return lt_fail(e, LT_E_MALFORMED, "no SubjectPublicKeyInfo");
    int nid = OBJ_obj2nid(alg);
    if (nid == NID_rsaEncryption || nid == NID_rsaesOaep)
        return rsa((struct lt_slice){bits, (size_t)size}, p, e);
    if (p->type == LT_TPM_ALG_RSA)
        return lt_fail(e, LT_E_REFUSED, "its key is not the EK");
    LT_TRY(lt_public_spki(p, &spki, e));
    int n = i2d_X509_PUBKEY(key, &der);
    bool same = n > 0 && lt_slice_eq((struct lt_slice){der, (size_t)n}, (struct lt_slice){spki.p, spki.n});
    OPENSSL_free(der);
    return same ? 0 : lt_fail(e, LT_E_REFUSED, "its key is not the EK");
}
