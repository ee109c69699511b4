#include "cli/certificate.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/openssl.h"
#include "common/run/lock.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAYS 90            /* of a guest's certificate */
#define NOTIFIER_DAYS 3650 /* nobody looks at its dates */
#define NOTIFIER "RevocationNotifier"
#define BITS 2048
#define MAX_NAMES 16
#define MAX_PEM 32768

/* ---- PEM ---- */

static int no_memory(struct lt_err *e)
{
    return lt_fail(e, LT_E_NO_MEMORY, "certificate: no memory");
}

/* What a BIO holds. */
static int taken(BIO *b, bool good, struct lt_buf *out, struct lt_err *e)
{
    char *p;
    long n = b ? BIO_get_mem_data(b, &p) : 0;

    *out = LT_BUF(MAX_PEM);
    if (!good || n <= 0)
        return no_memory(e);
    lt_buf_put(out, p, (size_t)n);
    return lt_buf_ok(out, e);
}

static int public_of(const char *key_pem, struct lt_buf *out, struct lt_err *e)
{
    LT_AUTO(BIO) BIO *in = BIO_new_mem_buf(key_pem, -1);
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
    LT_AUTO(BIO) BIO *b = BIO_new(BIO_s_mem());

    return taken(b, b && key && PEM_write_bio_PUBKEY(b, key), out, e);
}

/* ---- the notifier's pair ---- */

static X509 *self_signed(EVP_PKEY *key)
{
    LT_AUTO(X509) X509 *x = X509_new();
    X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
    uint64_t serial;

    lt_random(&serial, sizeof serial);
    bool good =
        x && X509_set_version(x, 2) && ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1 | 1) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)NOTIFIER, -1, -1, 0) &&
        X509_set_issuer_name(x, name) && X509_gmtime_adj(X509_getm_notBefore(x), -300) &&
        X509_time_adj_ex(X509_getm_notAfter(x), NOTIFIER_DAYS, 0, NULL) && X509_set_pubkey(x, key) &&
        X509_sign(x, key, EVP_sha256());
    return good ? lt_take(&x) : NULL;
}

/* The certificate first: a key that is there has one. */
static int write_notifier(const char *key_file, const char *cert_file, struct lt_err *e)
{
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = EVP_RSA_gen(BITS);
    LT_AUTO(X509) X509 *x = key ? self_signed(key) : NULL;
    LT_AUTO(BIO) BIO *cb = BIO_new(BIO_s_mem());
    LT_AUTO(BIO) BIO *kb = BIO_new(BIO_s_mem());
    LT_AUTOBUF struct lt_buf cert = {0}, pem = {0};

    LT_TRY(taken(cb, cb && x && PEM_write_bio_X509(cb, x), &cert, e));
    LT_TRY(taken(kb, kb && PEM_write_bio_PKCS8PrivateKey(kb, key, NULL, NULL, 0, NULL, NULL), &pem, e));
    LT_TRY(lt_file_write(cert_file, cert.p, cert.n, 0644, e));
    return lt_file_write(key_file, pem.p, pem.n, 0600, e);
}

static int make_notifier(const char *dir, const char *key_file, const char *cert_file, struct lt_err *e)
{
    LT_AUTOFREE char *lock = lt_file_path(dir, NOTIFIER ".lock");
    int fd;

    LT_TRY(lt_lock_take(lock, "the key of revocation messages", &fd, e));
    int rc = access(key_file, F_OK) && errno == ENOENT ? write_notifier(key_file, cert_file, e) : 0;
    lt_lock_release(&fd);
    return rc;
}

static int need_notifier(const char *dir, char **key, struct lt_buf *cert, struct lt_err *e)
{
    LT_AUTOFREE char *key_file = lt_file_path(dir, NOTIFIER "-private.pem");
    LT_AUTOFREE char *cert_file = lt_file_path(dir, NOTIFIER "-cert.crt");
    LT_AUTOFREE uint8_t *pem = NULL;
    size_t n;

    if (access(key_file, F_OK) && errno == ENOENT)
        LT_TRY(make_notifier(dir, key_file, cert_file, e));
    LT_TRY(lt_file_read_secret(key_file, MAX_PEM, (uint8_t **)key, &n, e));
    LT_TRY(lt_file_read(cert_file, MAX_PEM, &pem, &n, e));
    *cert = LT_BUF(MAX_PEM);
    lt_buf_put(cert, pem, n);
    return lt_buf_ok(cert, e);
}

/* ---- the files ---- */

static void put_text(struct lt_buf *b, const char *s)
{
    *b = LT_BUF(MAX_PEM);
    lt_buf_str(b, s);
}

static int from_ca(int (*get)(struct lt_ca *, uint8_t **, size_t *, struct lt_err *), struct lt_ca *ca,
                   struct lt_buf *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    LT_TRY(get(ca, &p, &n, e));
    *out = LT_BUF(LT_MAX_PAYLOAD);
    lt_buf_put(out, p, n);
    return lt_buf_ok(out, e);
}

static int collect(struct lt_cli_certificate *c, const char *ca_dir, const char *guest, struct lt_err *e)
{
    static const char *const suffix[] = {"-private.pem", "-public.pem", "-cert.crt"};
    static const char *const fixed[] = {"cacert.crt", "cacrl.der", NOTIFIER "-cert.crt"};

    for (int i = 0; i < 3; i++) {
        snprintf(c->name[i], sizeof c->name[i], "%s%s", guest, suffix[i]);
        snprintf(c->name[3 + i], sizeof c->name[3 + i], "%s", fixed[i]);
    }
    put_text(&c->bytes[0], c->made.key);
    LT_TRY(public_of(c->made.key, &c->bytes[1], e));
    put_text(&c->bytes[2], c->made.cert);
    LT_TRY(from_ca(lt_ca_certificate, c->ca, &c->bytes[3], e));
    LT_TRY(from_ca(lt_ca_list, c->ca, &c->bytes[4], e));
    LT_TRY(need_notifier(ca_dir, &c->revocation_key, &c->bytes[5], e));
    for (int i = 0; i < LT_CLI_CERTIFICATE_FILES; i++) {
        LT_TRY(lt_buf_ok(&c->bytes[i], e));
        c->file[i] =
            (struct lt_cli_payload_extra){c->name[i], {c->bytes[i].p, c->bytes[i].n}, i == 0 ? 0600 : 0644};
    }
    return 0;
}

static int issue(struct lt_cli_certificate *c, const char *guest, const char *names, struct lt_err *e)
{
    LT_AUTOFREE char *words = lt_alloc_text(names ? names : "");
    const char *list[MAX_NAMES + 1] = {0};
    char *save = NULL;
    size_t n = 0;

    for (char *w = strtok_r(words, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        if (n == MAX_NAMES)
            return lt_fail(e, LT_E_USAGE, "--name: more than %d names", MAX_NAMES);
        list[n++] = w;
    }
    return lt_ca_issue(c->ca, &(struct lt_ca_request){guest, list, DAYS}, &c->made, e);
}

int lt_cli_certificate_make(const char *ca_dir, const char *guest, const char *names,
                            struct lt_cli_certificate *out, struct lt_err *e)
{
    *out = (struct lt_cli_certificate){0};
    int rc = lt_ca_open(ca_dir, &out->ca, e);
    if (!rc)
        rc = issue(out, guest, names, e);
    if (!rc && (rc = collect(out, ca_dir, guest, e)))
        lt_cli_certificate_revoke(out);
    if (rc)
        lt_cli_certificate_free(out);
    return rc;
}

void lt_cli_certificate_revoke(struct lt_cli_certificate *c)
{
    struct lt_err e = {0};

    if (c->made.cert && lt_ca_tell_one(c->ca, c->made.cert, LT_CA_REVOKED, &e))
        fprintf(stderr, "the certificate that the guest did not get could not be revoked: %s\n", e.msg);
}

void lt_cli_certificate_free(struct lt_cli_certificate *c)
{
    lt_pki_made_free(&c->made);
    lt_ca_close(c->ca);
    if (c->revocation_key)
        lt_wipe(c->revocation_key, strlen(c->revocation_key));
    free(c->revocation_key);
    for (int i = 0; i < LT_CLI_CERTIFICATE_FILES; i++)
        lt_buf_free(&c->bytes[i]);
    *c = (struct lt_cli_certificate){0};
}
