#include "tpm/credential.h"

#include "common/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#define LABEL "IDENTITY"
#define MAX_ID_OBJECT (2 + LT_MAX_DIGEST + 2 + LT_MAX_DIGEST)
#define MAX_SECRET 512 /* RSA-4096; an ECC point is at most 136 */

static const uint8_t magic[8] = {0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1};

void lt_credential_kdfa(uint16_t hash, struct lt_slice key, const char *label, struct lt_slice u,
                        struct lt_slice v, uint32_t bits, uint8_t *out)
{
    LT_AUTOBUF struct lt_buf in = LT_BUF(LT_MAX_CREDENTIAL);
    uint8_t block[LT_MAX_DIGEST];
    size_t size = lt_hash_size(hash);

    lt_buf_u32(&in, 0); /* the counter's place */
    lt_buf_put(&in, label, strlen(label) + 1);
    lt_buf_put(&in, u.p, u.n);
    lt_buf_put(&in, v.p, v.n);
    lt_buf_u32(&in, bits);
    if (in.failed)
        abort(); /* as lt_hash: no key from half an input */
    for (uint32_t i = 1, left = bits / 8; left; i++) {
        size_t n = left < size ? left : size;
        lt_put_u32(in.p, i);
        lt_hmac(hash, key.p, key.n, in.p, in.n, block);
        memcpy(out, block, n);
        out += n;
        left -= (uint32_t)n;
    }
    lt_wipe(block, sizeof block);
}

void lt_credential_kdfe(uint16_t hash, struct lt_slice z, const char *label, struct lt_slice u,
                        struct lt_slice v, uint32_t bits, uint8_t *out)
{
    uint8_t counter[4], block[LT_MAX_DIGEST];
    size_t size = lt_hash_size(hash);
    const struct lt_slice in[] = {{counter, 4}, z, {(const uint8_t *)label, strlen(label) + 1}, u, v};

    for (uint32_t i = 1, left = bits / 8; left; i++) {
        size_t n = left < size ? left : size;
        lt_put_u32(counter, i);
        lt_hash(hash, in, sizeof in / sizeof *in, block);
        memcpy(out, block, n);
        out += n;
        left -= (uint32_t)n;
    }
    lt_wipe(block, sizeof block);
}

static int refuse_ek(const struct lt_public *ek, struct lt_err *e)
{
    if (ek->name_alg != LT_HASH_SHA256 && ek->name_alg != LT_HASH_SHA384)
        return lt_fail(e, LT_E_UNSUPPORTED, "EK: name algorithm 0x%04x, sha256 and sha384 are known",
                       ek->name_alg);
    if (ek->sym_alg != LT_TPM_ALG_AES)
        return lt_fail(e, LT_E_UNSUPPORTED, "EK: no AES-CFB: not a storage key");
    if (ek->type == LT_TPM_ALG_RSA && ek->rsa_bits < 2048)
        return lt_fail(e, LT_E_UNSUPPORTED, "EK: RSA with %u bits < 2048", ek->rsa_bits);
    return 0;
}

/* A random seed, encrypted with OAEP (Part 1, B.10.3). */
static bool seed_rsa(const struct lt_public *ek, EVP_PKEY *pkey, uint8_t *seed, struct lt_buf *secret)
{
    const EVP_MD *md = ek->name_alg == LT_HASH_SHA384 ? EVP_sha384() : EVP_sha256();
    size_t seed_n = lt_hash_size(ek->name_alg), n = MAX_SECRET;
    uint8_t out[MAX_SECRET];
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(pkey, NULL);
    void *label = OPENSSL_memdup(LABEL, sizeof LABEL); /* with its NUL */

    lt_random(seed, seed_n);
    bool ok = c && label && EVP_PKEY_encrypt_init(c) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) == 1 &&
              EVP_PKEY_CTX_set_rsa_oaep_md(c, md) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(c, md) == 1;
    if (ok && EVP_PKEY_CTX_set0_rsa_oaep_label(c, label, sizeof LABEL) == 1)
        label = NULL; /* the context's now */
    ok = ok && !label && EVP_PKEY_encrypt(c, out, &n, seed, seed_n) == 1;
    OPENSSL_free(label);
    EVP_PKEY_CTX_free(c);
    if (ok)
        lt_buf_put(secret, out, n);
    return ok;
}

/* The seed is agreed on with an ephemeral key, whose point is the secret (Part 1, C.6.4). The x of the EK
 * goes in as its public area has it: that is what the TPM hashes. */
static bool seed_ecc(const struct lt_public *ek, EVP_PKEY *pkey, uint8_t *seed, struct lt_buf *secret)
{
    size_t size = lt_tpm_curve_size(ek->curve), z_n = 66;
    uint8_t z[66], *point = NULL;
    EVP_PKEY *own = NULL;
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new(pkey, NULL), *agree = NULL;

    bool ok = make && EVP_PKEY_keygen_init(make) == 1 && EVP_PKEY_keygen(make, &own) == 1 &&
              EVP_PKEY_get1_encoded_public_key(own, &point) == 1 + 2 * size && point[0] == 4 &&
              (agree = EVP_PKEY_CTX_new(own, NULL)) && EVP_PKEY_derive_init(agree) == 1 &&
              EVP_PKEY_derive_set_peer(agree, pkey) == 1 && EVP_PKEY_derive(agree, z, &z_n) == 1 &&
              z_n == size;
    if (ok) {
        lt_credential_kdfe(ek->name_alg, (struct lt_slice){z, size}, LABEL,
                           (struct lt_slice){point + 1, size}, ek->x,
                           8 * (uint32_t)lt_hash_size(ek->name_alg), seed);
        lt_buf_put16(secret, point + 1, size);
        lt_buf_put16(secret, point + 1 + size, size);
    }
    lt_wipe(z, sizeof z);
    OPENSSL_free(point);
    EVP_PKEY_CTX_free(agree);
    EVP_PKEY_CTX_free(make);
    EVP_PKEY_free(own);
    return ok;
}

/* AES-CFB with an IV of zeros, in place. */
static bool encrypt(const struct lt_public *ek, const uint8_t *key, uint8_t *data, size_t n)
{
    static const uint8_t iv[16];
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int got = 0;

    bool ok = c &&
              EVP_EncryptInit_ex2(c, ek->sym_bits == 256 ? EVP_aes_256_cfb128() : EVP_aes_128_cfb128(), key,
                                  iv, NULL) == 1 &&
              EVP_EncryptUpdate(c, data, &got, data, (int)n) == 1 && (size_t)got == n;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

/* TPMS_ID_OBJECT: the outer wrap (Part 1, 24.4). */
static int id_object(const struct lt_public *ek, const uint8_t *seed, struct lt_slice name,
                     const void *secret, size_t secret_n, struct lt_buf *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf identity = LT_BUF(2 + LT_MAX_DIGEST + LT_MAX_TPM_NAME);
    uint8_t sym_key[32], hmac_key[LT_MAX_DIGEST], mac[LT_MAX_DIGEST];
    size_t size = lt_hash_size(ek->name_alg);
    const struct lt_slice seed_s = {seed, size}, none = {0};

    lt_buf_put16(&identity, secret, secret_n);
    LT_TRY(lt_buf_ok(&identity, e));
    lt_credential_kdfa(ek->name_alg, seed_s, "STORAGE", name, none, ek->sym_bits, sym_key);
    bool ok = encrypt(ek, sym_key, identity.p, identity.n);
    lt_credential_kdfa(ek->name_alg, seed_s, "INTEGRITY", none, none, 8 * (uint32_t)size, hmac_key);
    size_t identity_n = identity.n;
    lt_buf_put(&identity, name.p, name.n);
    lt_hmac(ek->name_alg, hmac_key, size, identity.p, identity.n, mac);
    lt_buf_put16(out, mac, size);
    lt_buf_put(out, identity.p, identity_n);
    lt_wipe(sym_key, sizeof sym_key);
    lt_wipe(hmac_key, sizeof hmac_key);
    return ok ? lt_buf_ok(&identity, e) : lt_fail(e, LT_E_INTERNAL, "credential: AES-CFB failed");
}

int lt_credential_make(const struct lt_public *ek, const uint8_t name[LT_TPM_NAME], const void *secret,
                       size_t secret_n, struct lt_buf *out, struct lt_err *e)
{
    return lt_credential_make_for(ek, (struct lt_slice){name, LT_TPM_NAME}, secret, secret_n, out, e);
}

int lt_credential_make_for(const struct lt_public *ek, struct lt_slice name, const void *secret,
                           size_t secret_n, struct lt_buf *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf id = LT_BUF(MAX_ID_OBJECT), encrypted = LT_BUF(MAX_SECRET);
    uint8_t seed[LT_MAX_DIGEST];
    EVP_PKEY *pkey;

    LT_TRY(refuse_ek(ek, e));
    if (secret_n > lt_hash_size(ek->name_alg))
        return lt_fail(e, LT_E_TOO_LARGE, "credential: secret of %zu bytes, the EK's name digest has %zu",
                       secret_n, lt_hash_size(ek->name_alg));
    LT_TRY(lt_public_pkey(ek, &pkey, e));
    bool ok = ek->type == LT_TPM_ALG_RSA ? seed_rsa(ek, pkey, seed, &encrypted)
                                         : seed_ecc(ek, pkey, seed, &encrypted);
    EVP_PKEY_free(pkey);
    int rc = ok ? id_object(ek, seed, name, secret, secret_n, &id, e)
                : lt_fail(e, LT_E_INTERNAL, "credential: the seed could not be encrypted to the EK");
    lt_wipe(seed, sizeof seed);
    if (rc)
        return rc;
    LT_TRY(lt_buf_ok(&id, e));
    LT_TRY(lt_buf_ok(&encrypted, e));
    lt_buf_put(out, magic, sizeof magic);
    lt_buf_put16(out, id.p, id.n);
    lt_buf_put16(out, encrypted.p, encrypted.n);
    return lt_buf_ok(out, e);
}

int lt_credential_parse(const void *p, size_t n, struct lt_slice *id, struct lt_slice *secret,
                        struct lt_err *e)
{
    struct lt_reader r = lt_reader(p, n, "credential");

    *id = *secret = (struct lt_slice){0};
    int rc = lt_read_expect(&r, magic, sizeof magic, e);
    if (!rc)
        rc = lt_read_slice16(&r, MAX_ID_OBJECT, id, e);
    if (!rc)
        rc = lt_read_slice16(&r, MAX_SECRET, secret, e);
    if (!rc)
        rc = lt_reader_end(&r, e);
    if (rc)
        *id = *secret = (struct lt_slice){0};
    return rc;
}
