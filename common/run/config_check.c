#include "common/run/config_check.h"

#include "common/alloc.h"
#include "common/file.h"

#include <errno.h>
#include <libgen.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_parent(const char *dir, struct lt_err *e)
{
    LT_AUTOFREE char *copy = lt_alloc_text(dir);
    const char *parent = dirname(copy);

    return access(parent, W_OK | X_OK)
               ? lt_fail(e, LT_E_IO, "state_dir = %s: cannot be made in %s: %s", dir, parent, strerror(errno))
               : 0;
}

static int check_database(const char *path, struct lt_err *e)
{
    sqlite3 *sql = NULL;

    if (access(path, F_OK))
        return errno == ENOENT ? 0 : lt_fail(e, LT_E_IO, "%s: %s", path, strerror(errno));
    if (access(path, R_OK | W_OK))
        return lt_fail(e, LT_E_IO, "%s: %s", path, strerror(errno));
    int rc = sqlite3_open_v2(path, &sql, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (!rc)
        rc = sqlite3_exec(sql, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    int bad = rc ? lt_fail(e, LT_E_CONFIG, "%s: not a database that can be read: %s", path,
                           sql ? sqlite3_errmsg(sql) : sqlite3_errstr(rc))
                 : 0;
    sqlite3_close(sql);
    return bad;
}

int lt_config_check_state(const char *dir, const char *file, struct lt_err *e)
{
    if (access(dir, F_OK))
        return errno == ENOENT ? check_parent(dir, e)
                               : lt_fail(e, LT_E_IO, "state_dir = %s: %s", dir, strerror(errno));
    LT_TRY(lt_file_dir_private(dir, e)); /* which makes nothing of what is there */
    if (access(dir, R_OK | W_OK | X_OK))
        return lt_fail(e, LT_E_IO, "state_dir = %s: %s", dir, strerror(errno));
    LT_AUTOFREE char *path = file ? lt_file_path(dir, file) : NULL;
    return path ? check_database(path, e) : 0;
}

int lt_config_check_public_key(const char *key, const char *path, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    struct lt_err why = {0};
    size_t n;

    if (lt_file_read(path, 1 << 16, &pem, &n, &why))
        return lt_fail(e, why.code, "%s = %s", key, why.msg);
    BIO *b = BIO_new_mem_buf(pem, (int)n);
    EVP_PKEY *k = b ? PEM_read_bio_PUBKEY(b, NULL, NULL, NULL) : NULL;
    bool good = k;
    EVP_PKEY_free(k);
    BIO_free(b);
    ERR_clear_error();
    return good ? 0 : lt_fail(e, LT_E_CONFIG, "%s = %s: not a public key in PEM", key, path);
}
