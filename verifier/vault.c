#include "verifier/vault.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/openssl.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY 32
#define VERSION 1
#define IV 12
#define TAG 16
#define MAX_AAD 128

_Static_assert(LT_VAULT_MORE == 1 + IV + TAG, "what sealing adds");

LT_DEFINE_AUTO_OF(EVP_CIPHER_CTX, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free);

struct lt_vault {
    uint8_t key[KEY];
};

static int read_key(const char *path, uint8_t key[KEY], struct lt_err *e)
{
    uint8_t *p;
    size_t n;

    LT_TRY(lt_file_read_secret(path, KEY, &p, &n, e));
    if (n == KEY)
        memcpy(key, p, KEY);
    lt_wipe(p, n);
    free(p);
    return n == KEY ? 0 : lt_fail(e, LT_E_CONFIG, "%s: %zu bytes, a vault's key has %d", path, n, KEY);
}

static bool absent(const char *path)
{
    return access(path, F_OK) && errno == ENOENT;
}

/* The name too is to outlive a power cut: what is sealed from now on needs it. */
static int sync_parent(const char *path, struct lt_err *e)
{
    LT_AUTOFREE char *copy = lt_alloc_text(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd)
                 ? lt_fail(e, LT_E_IO, "%s: fsync of its directory: %s", path, strerror(errno))
                 : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int make_key(const char *path, struct lt_err *e)
{
    uint8_t key[KEY];

    lt_random(key, sizeof key);
    int rc = lt_file_write(path, key, sizeof key, 0600, e);
    lt_wipe(key, sizeof key);
    return rc ? rc : sync_parent(path, e);
}

int lt_vault_open(const char *key_file, struct lt_vault **out, struct lt_err *e)
{
    *out = NULL;
    if (absent(key_file))
        LT_TRY(make_key(key_file, e));
    struct lt_vault *v = lt_new(struct lt_vault);
    int rc = read_key(key_file, v->key, e);
    if (rc)
        lt_vault_free(v);
    else
        *out = v;
    return rc;
}

void lt_vault_free(struct lt_vault *v)
{
    if (v)
        lt_wipe(v, sizeof *v);
    free(v);
}

int lt_vault_check(const char *key_file, struct lt_err *e)
{
    uint8_t key[KEY];

    if (absent(key_file))
        return 0;
    int rc = read_key(key_file, key, e);
    lt_wipe(key, sizeof key);
    return rc;
}

/* "LT1:VAULT" 00 | purpose 00 | uuid: no two pairs of purpose and guest give the same bytes. */
static void put_aad(struct lt_buf *b, const char *purpose, const uint8_t uuid[LT_UUID])
{
    static const char label[] = "LT1:VAULT";

    lt_buf_put(b, label, sizeof label);
    lt_buf_put(b, purpose, strlen(purpose) + 1);
    lt_buf_put(b, uuid, LT_UUID);
}

/* A context with key, IV and AAD in it; NULL without memory. */
static EVP_CIPHER_CTX *begin(const struct lt_vault *v, bool seal, const uint8_t iv[IV],
                             const struct lt_buf *aad)
{
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n;

    if (!c || aad->failed || !EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, v->key, iv, seal) ||
        !EVP_CipherUpdate(c, NULL, &n, aad->p, (int)aad->n))
        return NULL;
    return lt_take(&c);
}

static int no_cipher(struct lt_err *e)
{
    return lt_fail(e, LT_E_NO_MEMORY, "vault: no memory for AES-256-GCM");
}

int lt_vault_seal(const struct lt_vault *v, const char *purpose, const uint8_t uuid[LT_UUID],
                  struct lt_slice secret, struct lt_buf *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf aad = LT_BUF(MAX_AAD), sealed = LT_BUF(LT_MAX_SECRET + LT_VAULT_MORE);
    static const uint8_t none[TAG];
    uint8_t iv[IV];
    int n, end;

    if (!secret.n || secret.n > LT_MAX_SECRET)
        return lt_fail(e, LT_E_MALFORMED, "%s: %zu bytes, not 1 to %u", purpose, secret.n, LT_MAX_SECRET);
    lt_random(iv, sizeof iv);
    put_aad(&aad, purpose, uuid);
    lt_buf_u8(&sealed, VERSION);
    lt_buf_put(&sealed, iv, IV);
    lt_buf_put(&sealed, secret.p, secret.n);
    lt_buf_put(&sealed, none, TAG);
    LT_TRY(lt_buf_ok(&sealed, e));
    uint8_t *text = sealed.p + 1 + IV;
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *c = begin(v, true, iv, &aad);
    if (!c || !EVP_EncryptUpdate(c, text, &n, text, (int)secret.n) ||
        !EVP_EncryptFinal_ex(c, text + n, &end) ||
        !EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, text + secret.n))
        return no_cipher(e);
    *out = sealed;
    sealed = (struct lt_buf){0};
    return 0;
}

static int not_ours(const char *purpose, struct lt_err *e)
{
    return lt_fail(
        e, LT_E_BAD_SIGNATURE,
        "%s: what is sealed cannot be opened: the vault's key, or the bytes, are not those of before",
        purpose);
}

int lt_vault_unseal(const struct lt_vault *v, const char *purpose, const uint8_t uuid[LT_UUID],
                    struct lt_slice sealed, struct lt_buf *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf aad = LT_BUF(MAX_AAD), plain = LT_BUF(LT_MAX_SECRET);
    uint8_t tag[TAG];
    int n, end;

    if (sealed.n <= LT_VAULT_MORE || sealed.n > LT_MAX_SECRET + LT_VAULT_MORE || sealed.p[0] != VERSION)
        return not_ours(purpose, e);
    size_t size = sealed.n - LT_VAULT_MORE;
    put_aad(&aad, purpose, uuid);
    memcpy(tag, sealed.p + sealed.n - TAG, TAG);
    lt_buf_put(&plain, sealed.p + 1 + IV, size);
    LT_TRY(lt_buf_ok(&plain, e));
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *c = begin(v, false, sealed.p + 1, &aad);
    if (!c || !EVP_DecryptUpdate(c, plain.p, &n, plain.p, (int)size) ||
        !EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, tag))
        return no_cipher(e);
    if (EVP_DecryptFinal_ex(c, plain.p + n, &end) <= 0)
        return not_ours(purpose, e);
    *out = plain;
    plain = (struct lt_buf){0};
    return 0;
}
