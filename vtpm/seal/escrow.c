#include "vtpm/seal/escrow.h"

#include "common/hash.h"
#include "common/openssl.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <string.h>

#define TAG 16 /* bytes, zeros behind the text */
#define VERSION 1
#define POINT 65
#define NONCE 12
#define GCM_TAG 16
#define SALTED (TAG + 2 + LT_UUID + LT_SHA256 + POINT) /* what the key is bound to */

static const uint8_t tag_text[TAG] = "LT1:ESCROW", info_text[TAG] = "LT1:ESCROW-KEY";

LT_DEFINE_AUTO_OF(EVP_PKEY_CTX, EVP_PKEY_CTX, EVP_PKEY_CTX_free);
LT_DEFINE_AUTO_OF(EVP_CIPHER_CTX, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free);
LT_DEFINE_AUTO_OF(EVP_KDF, EVP_KDF, EVP_KDF_free);
LT_DEFINE_AUTO_OF(EVP_KDF_CTX, EVP_KDF_CTX, EVP_KDF_CTX_free);

/* Of memory, or of what is said. */
static int failed(struct lt_err *e, int code, const char *what)
{
    return lt_openssl_no_memory() ? lt_fail(e, LT_E_NO_MEMORY, "escrow: no memory")
                                  : lt_fail(e, code, "%s", what);
}

/* ---- the recovery key ---- */

static int check_curve(EVP_PKEY *key, struct lt_err *e)
{
    char group[40] = "";

    if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
        !strcmp(group, "prime256v1"))
        return 0;
    return lt_fail(
        e, LT_E_UNSUPPORTED,
        "recovery key: not on P-256: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256");
}

/* As others compute it: over the DER in the PEM text, which is therefore held to be the only one. */
static int digest_of(EVP_PKEY *key, struct lt_slice der, uint8_t out[LT_SHA256], struct lt_err *e)
{
    if (EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1)
        return failed(e, LT_E_INTERNAL, "recovery key: no form of its point");
    uint8_t *spki = NULL;
    int n = i2d_PUBKEY(key, &spki);
    if (n <= 0)
        return failed(e, LT_E_INTERNAL, "recovery key: cannot be encoded");
    bool same = !der.p || lt_slice_eq(der, (struct lt_slice){spki, (size_t)n});
    lt_sha256(spki, (size_t)n, out);
    OPENSSL_free(spki);
    return same ? 0
                : lt_fail(e, LT_E_MALFORMED,
                          "recovery key: not a named curve with an uncompressed point: openssl pkey -pubin "
                          "-ec_conv_form uncompressed");
}

static int read_public(struct lt_slice pem, EVP_PKEY **out, uint8_t digest[LT_SHA256], struct lt_err *e)
{
    char *name = NULL, *header = NULL;
    uint8_t *der = NULL;
    long n = 0;

    *out = NULL;
    if (pem.n > LT_SEAL_ESCROW_PEM_MAX)
        return lt_fail(e, LT_E_TOO_LARGE, "recovery key: %zu bytes > %d", pem.n, LT_SEAL_ESCROW_PEM_MAX);
    lt_openssl_begin();
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    bool is = b && PEM_read_bio(b, &name, &header, &der, &n) == 1 && !strcmp(name, PEM_STRING_PUBLIC);
    const uint8_t *at = der;
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = is ? d2i_PUBKEY(NULL, &at, n) : NULL;
    int rc = key ? check_curve(key, e) : failed(e, LT_E_MALFORMED, "recovery key: no public key in PEM");
    if (!rc)
        rc = digest_of(key, (struct lt_slice){der, (size_t)n}, digest, e);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    if (rc)
        return rc;
    if (lt_slice_holds((struct lt_slice){pem.p + pem.n - BIO_pending(b), (size_t)BIO_pending(b)},
                       "-----BEGIN"))
        return lt_fail(e, LT_E_MALFORMED, "recovery key: more than one object in PEM");
    *out = lt_take(&key);
    return 0;
}

static int read_private(struct lt_slice pem, EVP_PKEY **out, uint8_t digest[LT_SHA256], struct lt_err *e)
{
    *out = NULL;
    if (pem.n > LT_SEAL_ESCROW_PEM_MAX)
        return lt_fail(e, LT_E_TOO_LARGE, "recovery key: %zu bytes > %d", pem.n, LT_SEAL_ESCROW_PEM_MAX);
    lt_openssl_begin();
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, (void *)"") : NULL;
    if (!key)
        return failed(e, LT_E_MALFORMED, "recovery key: no private key in PEM, or an encrypted one");
    LT_TRY(check_curve(key, e));
    LT_TRY(digest_of(key, (struct lt_slice){0}, digest, e));
    *out = lt_take(&key);
    return 0;
}

int lt_seal_escrow_digest(struct lt_slice pem, uint8_t out[LT_SHA256], struct lt_err *e)
{
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = NULL;

    return read_public(pem, &key, out, e);
}

int lt_seal_escrow_opener(struct lt_slice pem, struct lt_openers_one *out, struct lt_err *e)
{
    *out = (struct lt_openers_one){.kind = LT_OPENERS_ESCROW};
    return lt_seal_escrow_digest(pem, out->digest, e);
}

/* ---- the key of a copy ---- */

static bool hkdf(const uint8_t *z, struct lt_slice salted, uint8_t key[LT_SHA256])
{
    uint8_t salt[LT_SHA256], ikm[32];
    LT_AUTO(EVP_KDF) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    LT_AUTO(EVP_KDF_CTX) EVP_KDF_CTX *c = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    const OSSL_PARAM p[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, ikm, sizeof ikm),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof salt),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info_text, sizeof info_text),
        OSSL_PARAM_construct_end()};

    lt_sha256(salted.p, salted.n, salt);
    memcpy(ikm, z, sizeof ikm);
    bool ok = c && EVP_KDF_derive(c, key, LT_SHA256, p) == 1;
    lt_wipe(ikm, sizeof ikm);
    return ok;
}

/* salted: ESCROW up to and with the point. */
static bool agree(EVP_PKEY *own, EVP_PKEY *peer, struct lt_slice salted, uint8_t key[LT_SHA256])
{
    uint8_t z[32];
    size_t n = sizeof z;
    LT_AUTO(EVP_PKEY_CTX) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(own, NULL);

    bool ok = c && EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_derive_set_peer(c, peer) == 1 &&
              EVP_PKEY_derive(c, z, &n) == 1 && n == sizeof z && hkdf(z, salted, key);
    lt_wipe(z, sizeof z);
    return ok;
}

/* A context with key, nonce and AAD in it; NULL: no memory. */
static EVP_CIPHER_CTX *cipher(const uint8_t key[LT_SHA256], const uint8_t *nonce, struct lt_slice aad,
                              bool seal)
{
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n;

    if (!c || EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, seal) != 1 ||
        EVP_CipherUpdate(c, NULL, &n, aad.p, (int)aad.n) != 1)
        return NULL;
    return lt_take(&c);
}

/* ---- making ---- */

static bool lists(const struct lt_openers *o, const uint8_t recovery[LT_SHA256])
{
    for (unsigned i = 0; i < o->count; i++)
        if (o->one[i].kind == LT_OPENERS_ESCROW && !o->one[i].closed &&
            !memcmp(o->one[i].digest, recovery, LT_SHA256))
            return true;
    return false;
}

/* The frame up to and with the point of a key pair made for this copy, and the copy's key. */
static int begin(const uint8_t uuid[LT_UUID], EVP_PKEY *to, const uint8_t recovery[LT_SHA256],
                 struct lt_buf *out, uint8_t key[LT_SHA256], struct lt_err *e)
{
    size_t at = out->n;
    uint8_t *point = NULL;

    lt_openssl_begin();
    LT_AUTO(EVP_PKEY) EVP_PKEY *own = EVP_EC_gen("P-256");
    if (!own || EVP_PKEY_get1_encoded_public_key(own, &point) != POINT)
        return failed(e, LT_E_INTERNAL, "escrow: no key pair could be made");
    lt_buf_put(out, tag_text, TAG);
    lt_buf_u16(out, VERSION);
    lt_buf_put(out, uuid, LT_UUID);
    lt_buf_put(out, recovery, LT_SHA256);
    lt_buf_put(out, point, POINT);
    OPENSSL_free(point);
    LT_TRY(lt_buf_ok(out, e));
    return agree(own, to, (struct lt_slice){out->p + at, SALTED}, key)
               ? 0
               : failed(e, LT_E_INTERNAL, "escrow: no key could be agreed on");
}

static int encrypt(const uint8_t key[LT_SHA256], struct lt_slice plain, struct lt_buf *out, size_t start,
                   struct lt_err *e)
{
    static const uint8_t none[GCM_TAG];
    uint8_t nonce[NONCE];
    int n, end;

    lt_random(nonce, sizeof nonce);
    lt_buf_put(out, nonce, sizeof nonce);
    lt_buf_u32(out, (uint32_t)plain.n);
    size_t text = out->n;
    lt_buf_put(out, plain.p, plain.n);
    lt_buf_put(out, none, sizeof none);
    LT_TRY(lt_buf_ok(out, e));
    uint8_t *p = out->p + text;
    LT_AUTO(EVP_CIPHER_CTX)
    EVP_CIPHER_CTX *c = cipher(key, nonce, (struct lt_slice){out->p + start, text - start}, true);
    if (c && EVP_EncryptUpdate(c, p, &n, p, (int)plain.n) == 1 && EVP_EncryptFinal_ex(c, p + n, &end) == 1 &&
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, p + plain.n) == 1)
        return 0;
    lt_wipe(p, plain.n);
    return lt_fail(e, LT_E_NO_MEMORY, "escrow: no memory for AES-256-GCM");
}

int lt_seal_escrow_make(const struct lt_seal_entry *x, struct lt_slice pem, struct lt_buf *out,
                        struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf plain = LT_BUF(LT_MAX_ESCROW);
    LT_AUTO(EVP_PKEY) EVP_PKEY *to = NULL;
    uint8_t recovery[LT_SHA256], key[LT_SHA256];
    size_t start = out->n;

    LT_TRY(read_public(pem, &to, recovery, e));
    if (!lists(&x->openers, recovery))
        return lt_fail(e, LT_E_REFUSED, "escrow: the vTPM's openers do not list this recovery key");
    lt_seal_entry_write(x, &plain);
    LT_TRY(lt_buf_ok(&plain, e));
    int rc = begin(x->uuid, to, recovery, out, key, e);
    if (!rc)
        rc = encrypt(key, (struct lt_slice){plain.p, plain.n}, out, start, e);
    lt_wipe(key, sizeof key);
    return rc;
}

/* ---- opening ---- */

struct frame {
    struct lt_seal_escrow_head head;
    struct lt_slice salted, aad, text, tag;
    const uint8_t *point, *nonce;
};

static int read_frame(struct lt_slice copy, struct frame *f, struct lt_err *e)
{
    struct lt_reader r = lt_reader(copy.p, copy.n, "escrow copy");
    struct lt_slice point, nonce;
    uint16_t version;
    uint32_t n;

    *f = (struct frame){0};
    if (copy.n > LT_MAX_ESCROW)
        return lt_fail(e, LT_E_TOO_LARGE, "escrow copy: %zu bytes > %u", copy.n, LT_MAX_ESCROW);
    LT_TRY(lt_read_expect(&r, tag_text, TAG, e));
    LT_TRY(lt_read_u16(&r, &version, e));
    if (version != VERSION)
        return lt_fail(e, LT_E_UNSUPPORTED, "escrow copy: version %u, only %d is known", version, VERSION);
    LT_TRY(lt_read_copy(&r, f->head.uuid, LT_UUID, e));
    LT_TRY(lt_read_copy(&r, f->head.recovery, LT_SHA256, e));
    LT_TRY(lt_read_slice(&r, POINT, &point, e));
    LT_TRY(lt_read_slice(&r, NONCE, &nonce, e));
    LT_TRY(lt_read_u32(&r, &n, e));
    f->aad = (struct lt_slice){copy.p, r.at};
    LT_TRY(lt_read_slice(&r, n, &f->text, e));
    LT_TRY(lt_read_slice(&r, GCM_TAG, &f->tag, e));
    f->salted = (struct lt_slice){copy.p, SALTED};
    f->point = point.p;
    f->nonce = nonce.p;
    return lt_reader_end(&r, e);
}

int lt_seal_escrow_head(struct lt_slice copy, struct lt_seal_escrow_head *out, struct lt_err *e)
{
    struct frame f;
    int rc = read_frame(copy, &f, e);

    *out = f.head;
    return rc;
}

/* OpenSSL refuses a point that is not on the curve. */
static int copy_key(const struct frame *f, EVP_PKEY *own, uint8_t key[LT_SHA256], struct lt_err *e)
{
    lt_openssl_begin();
    LT_AUTO(EVP_PKEY) EVP_PKEY *peer = EVP_PKEY_new();
    if (peer && f->point[0] == 4 && EVP_PKEY_copy_parameters(peer, own) == 1 &&
        EVP_PKEY_set1_encoded_public_key(peer, f->point, POINT) == 1 && agree(own, peer, f->salted, key))
        return 0;
    return failed(e, LT_E_REFUSED, "escrow copy: its point is none of P-256");
}

static int decrypt(const struct frame *f, const uint8_t key[LT_SHA256], struct lt_buf *plain,
                   struct lt_err *e)
{
    uint8_t tag[GCM_TAG];
    int n, end;

    memcpy(tag, f->tag.p, sizeof tag);
    lt_buf_put(plain, f->text.p, f->text.n);
    LT_TRY(lt_buf_ok(plain, e));
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *c = cipher(key, f->nonce, f->aad, false);
    if (!c)
        return lt_fail(e, LT_E_NO_MEMORY, "escrow: no memory for AES-256-GCM");
    if (EVP_DecryptUpdate(c, plain->p, &n, plain->p, (int)plain->n) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, GCM_TAG, tag) != 1 ||
        EVP_DecryptFinal_ex(c, plain->p + n, &end) != 1)
        return lt_fail(e, LT_E_REFUSED, "escrow copy: cannot be opened: it is not as it was made");
    return 0;
}

static int read_entry(const struct frame *f, const struct lt_buf *plain, struct lt_seal_entry *out,
                      struct lt_err *e)
{
    struct lt_reader r = lt_reader(plain->p, plain->n, "escrowed entry");

    LT_TRY(lt_seal_entry_read(&r, out, e));
    LT_TRY(lt_reader_end(&r, e));
    if (memcmp(out->uuid, f->head.uuid, LT_UUID))
        return lt_fail(e, LT_E_MALFORMED, "escrow copy: its entry is another vTPM's than it says");
    return 0;
}

int lt_seal_escrow_open(struct lt_slice copy, struct lt_slice private_pem, struct lt_seal_entry *out,
                        struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf plain = LT_BUF(LT_MAX_ESCROW);
    LT_AUTO(EVP_PKEY) EVP_PKEY *own = NULL;
    uint8_t recovery[LT_SHA256], key[LT_SHA256];
    struct frame f;

    *out = (struct lt_seal_entry){0};
    LT_TRY(read_frame(copy, &f, e));
    LT_TRY(read_private(private_pem, &own, recovery, e));
    if (memcmp(f.head.recovery, recovery, sizeof recovery))
        return lt_fail(e, LT_E_REFUSED, "escrow copy: made for another recovery key than this one");
    int rc = copy_key(&f, own, key, e);
    if (!rc)
        rc = decrypt(&f, key, &plain, e);
    lt_wipe(key, sizeof key);
    if (!rc)
        rc = read_entry(&f, &plain, out, e);
    if (rc)
        lt_seal_entry_free(out);
    return rc;
}
