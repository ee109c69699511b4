#include "keylime/share.h"

#include "common/hash.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#define IV 16
#define TAG 16
#define RSA_MIN 2048
#define RSA_MAX (8 * LT_SHARE_WRAPPED)

_Static_assert(LT_SHARE_OVERHEAD == IV + TAG, "what sealing adds");

LT_DEFINE_AUTO_OF(EVP_PKEY_CTX, EVP_PKEY_CTX, EVP_PKEY_CTX_free);
LT_DEFINE_AUTO_OF(EVP_CIPHER_CTX, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free);

void lt_share_wipe(struct lt_share *s)
{
    lt_wipe(s, sizeof *s);
}

static bool size_ok(size_t n)
{
    return n == 16 || n == LT_SHARE_MAX;
}

int lt_share_from(const void *p, size_t n, struct lt_share *out, struct lt_err *e)
{
    *out = (struct lt_share){0};
    if (!size_ok(n))
        return lt_fail(e, LT_E_MALFORMED, "key share: %zu bytes, not 16 or %d", n, LT_SHARE_MAX);
    memcpy(out->p, p, n);
    out->n = n;
    return 0;
}

void lt_share_draw(struct lt_share *k, struct lt_share *u, struct lt_share *v)
{
    *k = *v = (struct lt_share){.n = LT_SHARE_MAX};
    lt_random(k->p, k->n);
    lt_random(v->p, v->n);
    (void)!lt_share_join(k, v, u);
}

bool lt_share_join(const struct lt_share *a, const struct lt_share *b, struct lt_share *out)
{
    struct lt_share joined = {.n = a->n};

    *out = (struct lt_share){0};
    if (a->n != b->n || !size_ok(a->n))
        return false;
    for (size_t i = 0; i < a->n; i++)
        joined.p[i] = a->p[i] ^ b->p[i];
    *out = joined;
    lt_share_wipe(&joined);
    return true;
}

/* ---- to the transport key and out of it ---- */

static int read_key(const char *pem, EVP_PKEY **out, struct lt_err *e)
{
    size_t n = strnlen(pem, LT_MAX_PUBKEY + 1);

    lt_openssl_begin();
    LT_AUTO(BIO) BIO *bio = n <= LT_MAX_PUBKEY ? BIO_new_mem_buf(pem, (int)n) : NULL;
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    if (!key)
        return lt_openssl_no_memory() ? lt_fail(e, LT_E_NO_MEMORY, "transport key: no memory")
                                      : lt_fail(e, LT_E_MALFORMED, "transport key: no public key in PEM");
    int bits = EVP_PKEY_get_bits(key);
    if (!EVP_PKEY_is_a(key, "RSA") || bits < RSA_MIN || bits > RSA_MAX)
        return lt_fail(e, LT_E_UNSUPPORTED, "transport key: %d bits, and not RSA of %d to %d", bits, RSA_MIN,
                       RSA_MAX);
    *out = lt_take(&key);
    return 0;
}

/* Its own defaults would do; what the wire demands is said. */
static bool oaep(EVP_PKEY_CTX *c)
{
    return EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha1()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(c, EVP_sha1()) == 1;
}

int lt_share_wrap(const struct lt_share *s, const char *pem, uint8_t out[LT_SHARE_WRAPPED], size_t *n,
                  struct lt_err *e)
{
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = NULL;

    *n = 0;
    LT_TRY(read_key(pem, &key, e));
    *n = LT_SHARE_WRAPPED;
    lt_openssl_begin();
    LT_AUTO(EVP_PKEY_CTX) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
    if (c && EVP_PKEY_encrypt_init(c) == 1 && oaep(c) && EVP_PKEY_encrypt(c, out, n, s->p, s->n) == 1)
        return 0;
    *n = 0;
    return lt_openssl_no_memory()
               ? lt_fail(e, LT_E_NO_MEMORY, "key share: no memory")
               : lt_fail(e, LT_E_UNSUPPORTED, "transport key: OpenSSL does not encrypt to it");
}

int lt_share_unwrap(EVP_PKEY *key, struct lt_slice wrapped, struct lt_share *out, struct lt_err *e)
{
    uint8_t plain[LT_SHARE_WRAPPED];
    size_t n = sizeof plain;

    *out = (struct lt_share){0};
    lt_openssl_begin();
    LT_AUTO(EVP_PKEY_CTX) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
    bool good = wrapped.n <= LT_SHARE_WRAPPED && c && EVP_PKEY_decrypt_init(c) == 1 && oaep(c) &&
                EVP_PKEY_decrypt(c, plain, &n, wrapped.p, wrapped.n) == 1 && size_ok(n);
    if (good) {
        memcpy(out->p, plain, n);
        out->n = n;
    }
    lt_wipe(plain, sizeof plain);
    bool starved = lt_openssl_no_memory();
    if (good)
        return 0;
    return starved ? lt_fail(e, LT_E_NO_MEMORY, "key share: no memory")
                   : lt_fail(e, LT_E_REFUSED, "key share: not one of 16 or %d bytes for this transport key",
                             LT_SHARE_MAX);
}

/* ---- which belong together ---- */

void lt_share_tag(const struct lt_share *k, const char *text, uint8_t out[LT_SHARE_TAG])
{
    lt_hmac(LT_HASH_SHA384, k->p, k->n, text, strlen(text), out);
}

bool lt_share_tag_is(const struct lt_share *k, const char *text, const uint8_t tag[LT_SHARE_TAG])
{
    uint8_t mine[LT_SHARE_TAG];

    lt_share_tag(k, text, mine);
    return lt_equal_ct(mine, tag, sizeof mine);
}

/* ---- the payload ---- */

/* The length of the IV is set before the key: J0 is made of it (NIST SP 800-38D 7.1). */
static bool start(EVP_CIPHER_CTX *c, const struct lt_share *k, const uint8_t *iv, int encrypt)
{
    const EVP_CIPHER *cipher = k->n == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();

    return size_ok(k->n) && EVP_CipherInit_ex(c, cipher, NULL, NULL, NULL, encrypt) == 1 &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_IVLEN, IV, NULL) == 1 &&
           EVP_CipherInit_ex(c, NULL, NULL, k->p, iv, encrypt) == 1;
}

static bool run(EVP_CIPHER_CTX *c, const uint8_t *in, size_t n, uint8_t *out)
{
    int got = 0;

    return !n || (EVP_CipherUpdate(c, out, &got, in, (int)n) == 1 && (size_t)got == n);
}

int lt_share_seal(const struct lt_share *k, struct lt_slice plain, uint8_t **out, size_t *n, struct lt_err *e)
{
    int none;

    *out = NULL;
    *n = 0;
    if (plain.n > LT_MAX_PAYLOAD - LT_SHARE_OVERHEAD)
        return lt_fail(e, LT_E_TOO_LARGE, "payload: %zu bytes > %d", plain.n,
                       LT_MAX_PAYLOAD - LT_SHARE_OVERHEAD);
    LT_AUTOFREE uint8_t *p = malloc(plain.n + LT_SHARE_OVERHEAD);
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (!p || !c)
        return lt_fail(e, LT_E_NO_MEMORY, "payload: no memory");
    uint8_t *text = p + IV, *tag = text + plain.n;
    lt_random(p, IV);
    if (!start(c, k, p, 1) || !run(c, plain.p, plain.n, text) || EVP_CipherFinal_ex(c, tag, &none) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, tag) != 1)
        return lt_fail(e, LT_E_INTERNAL, "payload: AES-GCM failed");
    *out = lt_take(&p);
    *n = plain.n + LT_SHARE_OVERHEAD;
    return 0;
}

int lt_share_open(const struct lt_share *k, struct lt_slice sealed, uint8_t **out, size_t *n,
                  struct lt_err *e)
{
    uint8_t tag[TAG];
    int none;

    *out = NULL;
    *n = 0;
    if (sealed.n > LT_MAX_PAYLOAD)
        return lt_fail(e, LT_E_TOO_LARGE, "payload: %zu bytes > %d", sealed.n, LT_MAX_PAYLOAD);
    if (sealed.n < LT_SHARE_OVERHEAD)
        return lt_fail(e, LT_E_REFUSED, "payload: %zu bytes are no IV and tag", sealed.n);
    size_t text = sealed.n - LT_SHARE_OVERHEAD;
    uint8_t *p = malloc(text + 1);
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    memcpy(tag, sealed.p + IV + text, TAG);
    lt_openssl_begin();
    bool good = p && c && start(c, k, sealed.p, 0) && run(c, sealed.p + IV, text, p) &&
                EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
                EVP_CipherFinal_ex(c, p + text, &none) == 1;
    bool starved = !p || !c || lt_openssl_no_memory();
    if (!good) {
        if (p)
            lt_wipe(p, text);
        free(p);
        return starved ? lt_fail(e, LT_E_NO_MEMORY, "payload: no memory")
                       : lt_fail(e, LT_E_REFUSED, "payload: this key does not open it");
    }
    p[text] = 0;
    *out = p;
    *n = text;
    return 0;
}
