#include "verifier/roots.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/run/expiry.h"
#include "tpm/certs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static bool counts(const char *name)
{
    static const char *const ends[] = {".pem", ".crt", ".cer", ".der"};
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (*name != '.' && n > 4 && !strcmp(name + n - 4, ends[i]))
            return true;
    return false;
}

struct roots_file {
    const char *key, *path;
};

/* Anchors run out as other certificates do. */
static int watch(void *arg, struct lt_slice der, struct lt_err *e)
{
    const struct roots_file *f = arg;
    const unsigned char *at = der.p;
    X509 *x = d2i_X509(NULL, &at, (long)der.n);

    if (x)
        lt_expiry_add_x509(f->key, f->path, x);
    X509_free(x);
    return x ? 0 : lt_fail(e, LT_E_CONFIG, "%s %s: cannot be read", f->key, f->path);
}

static int add_file(struct lt_ek_certificates_roots *r, const char *key, const char *path, struct lt_err *e)
{
    struct roots_file file = {key, path};
    LT_AUTOFREE uint8_t *bytes = NULL;
    struct lt_err why = {0};
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_ROOTS_FILE, &bytes, &n, e));
    if (lt_ek_certificates_roots_add(r, bytes, n, path, &why))
        return lt_fail(e, LT_E_CONFIG, "%s", why.msg);
    return lt_certs_read((struct lt_slice){bytes, n}, UINT_MAX, watch, &file, e);
}

static int add_dir(struct lt_ek_certificates_roots *r, DIR *d, const char *key, const char *path,
                   struct lt_err *e)
{
    for (struct dirent *f; (f = readdir(d));) {
        LT_AUTOFREE char *file = lt_file_path(path, f->d_name);
        if (counts(f->d_name))
            LT_TRY(add_file(r, key, file, e));
    }
    return lt_ek_certificates_roots_count(r)
               ? 0
               : lt_fail(e, LT_E_CONFIG, "%s %s: no *.pem, *.crt, *.cer or *.der in it", key, path);
}

int lt_roots_load(const char *key, const char *path, struct lt_ek_certificates_roots **out, struct lt_err *e)
{
    struct lt_ek_certificates_roots *r;
    DIR *d = opendir(path);

    *out = NULL;
    if (!d && errno != ENOTDIR)
        return lt_fail(e, LT_E_IO, "%s %s: %s", key, path, strerror(errno));
    int rc = lt_ek_certificates_roots_new(&r, e);
    lt_expiry_forget(key);
    if (!rc)
        rc = d ? add_dir(r, d, key, path, e) : add_file(r, key, path, e);
    if (d)
        closedir(d);
    if (rc)
        lt_ek_certificates_roots_free(r);
    else
        *out = r;
    return rc;
}
