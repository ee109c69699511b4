#include "tpm/signature.h"

#include "common/hash.h"
#include "common/openssl.h"
#include "tpm/der.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "TPMT_SIGNATURE"

/* Only read after it is made, so threads may share it. What OpenSSL fetches for a verification it fetches
 * here, once: each check copies the context, since a verification writes in it. */
struct lt_signature_key {
    EVP_PKEY_CTX *ready;
    uint16_t alg;  /* LT_TPM_ALG_RSASSA or LT_TPM_ALG_ECDSA */
    uint16_t hash; /* LT_HASH_SHA256 or LT_HASH_SHA384 */
    size_t size;   /* bytes of the modulus or of a coordinate */
};

static EVP_PKEY_CTX *prepare(EVP_PKEY *pkey, uint16_t alg, uint16_t hash)
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);

    if (c && EVP_PKEY_verify_init(c) == 1 &&
        (alg == LT_TPM_ALG_ECDSA || EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1) &&
        EVP_PKEY_CTX_set_signature_md(c, hash == LT_HASH_SHA384 ? EVP_sha384() : EVP_sha256()) == 1)
        return c;
    EVP_PKEY_CTX_free(c);
    return NULL;
}

int lt_signature_key_new(const struct lt_public *p, struct lt_signature_key **out, struct lt_err *e)
{
    EVP_PKEY *pkey;
    struct lt_signature_key k = {.alg = p->type == LT_TPM_ALG_RSA ? LT_TPM_ALG_RSASSA : LT_TPM_ALG_ECDSA,
                                 .hash = p->scheme == LT_TPM_ALG_NULL ? LT_HASH_SHA256 : p->scheme_hash};

    *out = NULL;
    if ((p->scheme != LT_TPM_ALG_NULL && p->scheme != k.alg) ||
        (k.hash != LT_HASH_SHA256 && k.hash != LT_HASH_SHA384))
        return lt_fail(e, LT_E_UNSUPPORTED, "key: signs by scheme 0x%04x with hash 0x%04x", p->scheme,
                       p->scheme_hash);
    k.size = p->type == LT_TPM_ALG_RSA ? p->rsa_modulus.n : lt_tpm_curve_size(p->curve);
    LT_TRY(lt_public_pkey(p, &pkey, e));
    lt_openssl_begin();
    k.ready = prepare(pkey, k.alg, k.hash);
    bool starved = !k.ready && lt_openssl_no_memory();
    EVP_PKEY_free(pkey);
    if (!k.ready && !starved)
        return lt_fail(e, LT_E_UNSUPPORTED, "key: not one that OpenSSL verifies with");
    if (starved || !(*out = malloc(sizeof k))) {
        EVP_PKEY_CTX_free(k.ready);
        return lt_fail(e, LT_E_NO_MEMORY, "key: no memory");
    }
    **out = k;
    return 0;
}

void lt_signature_key_free(struct lt_signature_key *k)
{
    if (k)
        EVP_PKEY_CTX_free(k->ready);
    free(k);
}

static bool is_zero(struct lt_slice s)
{
    uint8_t any = 0;
    for (size_t i = 0; i < s.n; i++)
        any |= s.p[i];
    return !any;
}

/* What OpenSSL verifies: the RSA number itself, or SEQUENCE { r, s }. */
static int parse(const struct lt_signature_key *k, struct lt_slice sig, struct lt_buf *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(sig.p, sig.n, WHAT);
    uint16_t alg, hash;

    if (sig.n > LT_MAX_SIGNATURE)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": %zu bytes > %d", sig.n, LT_MAX_SIGNATURE);
    LT_TRY(lt_read_u16(&r, &alg, e));
    LT_TRY(lt_read_u16(&r, &hash, e));
    if (alg != k->alg || hash != k->hash)
        return lt_fail(e, LT_E_BAD_SIGNATURE,
                       WHAT ": algorithm 0x%04x with hash 0x%04x; the key's is 0x%04x with %s", alg, hash,
                       k->alg, lt_hash_name(k->hash));
    if (alg == LT_TPM_ALG_RSASSA) {
        struct lt_slice s;
        LT_TRY(lt_read_slice16(&r, k->size, &s, e));
        if (s.n != k->size)
            return lt_fail(e, LT_E_MALFORMED, WHAT ": %zu bytes under a modulus of %zu", s.n, k->size);
        lt_buf_put(out, s.p, s.n);
    } else {
        LT_AUTOBUF struct lt_buf numbers = LT_BUF(LT_MAX_SIGNATURE);
        struct lt_slice x, y;
        LT_TRY(lt_read_slice16(&r, k->size, &x, e));
        LT_TRY(lt_read_slice16(&r, k->size, &y, e));
        if (is_zero(x) || is_zero(y))
            return lt_fail(e, LT_E_MALFORMED, WHAT ": r or s is zero");
        lt_der_uint(&numbers, x);
        lt_der_uint(&numbers, y);
        LT_TRY(lt_buf_ok(&numbers, e));
        lt_der_put(out, LT_DER_SEQUENCE, numbers.p, numbers.n);
    }
    LT_TRY(lt_reader_end(&r, e));
    return lt_buf_ok(out, e);
}

int lt_signature_check(const struct lt_signature_key *k, struct lt_slice sig, struct lt_slice message,
                       struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf raw = LT_BUF(LT_MAX_SIGNATURE);
    uint8_t digest[LT_MAX_DIGEST];

    LT_TRY(parse(k, sig, &raw, e));
    lt_hash(k->hash, &message, 1, digest);
    lt_openssl_begin();
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_dup(k->ready);
    int ok = c ? EVP_PKEY_verify(c, raw.p, raw.n, digest, lt_hash_size(k->hash)) : 0;
    bool starved = !c || (ok != 1 && lt_openssl_no_memory());
    EVP_PKEY_CTX_free(c);
    if (starved)
        return lt_fail(e, LT_E_NO_MEMORY, "signature: no memory to check it");
    if (ok != 1)
        return lt_fail(e, LT_E_BAD_SIGNATURE, "signature does not verify under the key");
    return 0;
}
