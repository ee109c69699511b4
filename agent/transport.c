#include "agent/transport.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/run/log.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BITS 2048
#define FILE_NAME "transport.pem"
#define FILE_MAX 16384

static EVP_PKEY *load(const char *path)
{
    uint8_t *pem = NULL;
    struct lt_err why = {0};
    size_t n;

    if (access(path, F_OK))
        return NULL;
    int rc = lt_file_read_secret(path, FILE_MAX, &pem, &n, &why);
    LT_AUTO(BIO) BIO *bio = rc ? NULL : BIO_new_mem_buf(pem, (int)n);
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
    if (pem)
        lt_wipe(pem, n);
    free(pem);
    if (key && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) == BITS)
        return lt_take(&key);
    lt_log(LT_LOG_WARNING, "transport-key", "%s: %s; a new one is made", path, rc ? why.msg : "no RSA key");
    return NULL;
}

static int save(const char *path, EVP_PKEY *key, struct lt_err *e)
{
    LT_AUTO(BIO) BIO *bio = BIO_new(BIO_s_secmem());
    char *pem;

    if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return lt_fail(e, LT_E_NO_MEMORY, "transport key: no memory");
    long n = BIO_get_mem_data(bio, &pem);
    int rc = lt_file_write(path, pem, (size_t)n, 0600, e);
    lt_wipe(pem, (size_t)n);
    return rc;
}

static int tell(struct lt_transport *t, struct lt_err *e)
{
    LT_AUTO(BIO) BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    long n = bio && PEM_write_bio_PUBKEY(bio, t->key) == 1 ? BIO_get_mem_data(bio, &p) : 0;

    t->pem = n > 0 ? strndup(p, (size_t)n) : NULL;
    if (!t->pem)
        return lt_fail(e, LT_E_NO_MEMORY, "transport key: no memory");
    lt_sha256(t->pem, (size_t)n, t->digest);
    return 0;
}

static int open_it(const char *dir, struct lt_transport *t, struct lt_err *e)
{
    LT_AUTOFREE char *path = dir ? lt_file_path(dir, FILE_NAME) : NULL;

    t->key = path ? load(path) : NULL;
    if (!t->key) {
        t->key = EVP_RSA_gen(BITS);
        if (!t->key)
            return lt_fail(e, LT_E_INTERNAL, "transport key: OpenSSL makes none");
        if (path)
            LT_TRY(save(path, t->key, e));
    }
    return tell(t, e);
}

int lt_transport_open(const char *dir, struct lt_transport *out, struct lt_err *e)
{
    *out = (struct lt_transport){0};
    int rc = open_it(dir, out, e);
    if (rc)
        lt_transport_close(out);
    return rc;
}

void lt_transport_close(struct lt_transport *t)
{
    EVP_PKEY_free(t->key);
    free(t->pem);
    *t = (struct lt_transport){0};
}
