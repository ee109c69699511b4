/* lt_pki_* of common/pki/issue.h: making certificates. */
#include "common/pki/issue.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/ids.h"
#include "common/openssl.h"
#include "common/pki/peer.h"
#include "common/run/expiry.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DAYS 36500

struct pair {
    X509 *cert;
    EVP_PKEY *key;
};

static void pair_free(struct pair *p)
{
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
}
#define AUTO_PAIR __attribute__((cleanup(pair_free)))

static int openssl_fail(struct lt_err *e, const char *what)
{
    char text[160];
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    ERR_clear_error();
    return lt_fail(e, LT_E_INTERNAL, "%s: %s", what, text);
}

static int add_ext(X509 *x, X509V3_CTX *ctx, int nid, const char *value, struct lt_err *e)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    int ok = ext && X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    return ok ? 0 : openssl_fail(e, OBJ_nid2sn(nid));
}

/* ---- subject alternative names: built as values, never as OpenSSL's configuration text ---- */

static int add_name(GENERAL_NAMES *names, int type, const char *text, struct lt_err *e)
{
    GENERAL_NAME *gn = GENERAL_NAME_new();
    void *value;

    if (type == GEN_IPADD) {
        value = a2i_IPADDRESS(text);
    } else {
        value = ASN1_IA5STRING_new();
        if (value && !ASN1_STRING_set(value, text, -1)) {
            ASN1_IA5STRING_free(value);
            value = NULL;
        }
    }
    if (gn && value) {
        GENERAL_NAME_set0_value(gn, type, value);
        if (sk_GENERAL_NAME_push(names, gn))
            return 0;
    }
    GENERAL_NAME_free(gn);
    return openssl_fail(e, "subject name");
}

static int add_contact(GENERAL_NAMES *names, const char *text, struct lt_err *e)
{
    static const char dns[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*_";
    size_t n = strlen(text);
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(text);

    ERR_clear_error();
    ASN1_OCTET_STRING_free(ip);
    if (ip)
        return add_name(names, GEN_IPADD, text, e);
    if (!n || n > 253 || strspn(text, dns) != n)
        return lt_fail(e, LT_E_USAGE, "name \"%s\": neither a DNS name nor an IP address", text);
    return add_name(names, GEN_DNS, text, e);
}

static int collect_names(const struct lt_pki_subject *s, GENERAL_NAMES *names, struct lt_err *e)
{
    char text[128], value[64];
    int rc = 0;

    if (s->role) {
        if (!lt_peer_role_name(s->role))
            return lt_fail(e, LT_E_USAGE, "role: 0x%x is not one role", s->role);
        snprintf(text, sizeof text, "urn:limetree:role:%s", lt_peer_role_name(s->role));
        rc = add_name(names, GEN_URI, text, e);
    }
    if (!rc && s->tenant_id) {
        lt_uuid_format(s->tenant_id, value);
        snprintf(text, sizeof text, "urn:limetree:tenant:%s", value);
        rc = add_name(names, GEN_URI, text, e);
    }
    if (!rc && s->host_id) {
        lt_hex(s->host_id, 16, value);
        snprintf(text, sizeof text, "urn:limetree:host:%s", value);
        rc = add_name(names, GEN_URI, text, e);
    }
    if (!rc && s->uri)
        rc = add_name(names, GEN_URI, s->uri, e);
    for (const char *const *n = s->names; !rc && n && *n; n++)
        rc = add_contact(names, *n, e);
    return rc;
}

static int add_names(X509 *x, const struct lt_pki_subject *s, struct lt_err *e)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    int rc = names ? collect_names(s, names, e) : lt_fail(e, LT_E_NO_MEMORY, "subject names: no memory");
    if (!rc && sk_GENERAL_NAME_num(names) && X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0) != 1)
        rc = openssl_fail(e, "subject names");
    GENERAL_NAMES_free(names);
    return rc;
}

/* RFC 5280 section 4.2.1.13, one full name. */
static int add_crl_url(X509 *x, const char *url, struct lt_err *e)
{
    STACK_OF(DIST_POINT) *points = sk_DIST_POINT_new_null();
    DIST_POINT *p = DIST_POINT_new();
    bool ok = points && p && (p->distpoint = DIST_POINT_NAME_new()) &&
              (p->distpoint->name.fullname = GENERAL_NAMES_new());

    if (ok)
        p->distpoint->type = 0; /* a full name */
    int rc = ok ? add_name(p->distpoint->name.fullname, GEN_URI, url, e)
                : lt_fail(e, LT_E_NO_MEMORY, "distribution point: no memory");
    if (!rc && !sk_DIST_POINT_push(points, p))
        rc = lt_fail(e, LT_E_NO_MEMORY, "distribution point: no memory");
    else if (!rc)
        p = NULL; /* in the list */
    if (!rc && X509_add1_ext_i2d(x, NID_crl_distribution_points, points, 0, 0) != 1)
        rc = openssl_fail(e, "distribution point");
    DIST_POINT_free(p);
    sk_DIST_POINT_pop_free(points, DIST_POINT_free);
    return rc;
}

/* ---- certificates ---- */

static int set_serial(X509 *x)
{
    uint8_t serial[16];
    lt_random(serial, sizeof serial);
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive and always 16 bytes */
    BIGNUM *bn = BN_bin2bn(serial, sizeof serial, NULL);
    int ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));
    BN_free(bn);
    return ok;
}

/* Everything but extensions and signature. issuer NULL: itself. */
static int make_pair(const char *common_name, int days, X509 *issuer, struct pair *out, struct lt_err *e)
{
    if (days < 1 || days > MAX_DAYS)
        return lt_fail(e, LT_E_USAGE, "days %d: not from 1 to %d", days, MAX_DAYS);
    size_t n = strlen(common_name);
    if (!n || n > 64)
        return lt_fail(e, LT_E_USAGE, "common name \"%.80s\": not 1 to 64 bytes", common_name);
    X509 *x = out->cert = X509_new();
    EVP_PKEY *key = out->key = EVP_EC_gen("P-256");
    if (!x || !key || !X509_set_version(x, X509_VERSION_3) || !set_serial(x) ||
        !X509_gmtime_adj(X509_getm_notBefore(x), -LT_PKI_EARLY_S) ||
        !X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL) || !X509_set_pubkey(x, key) ||
        !X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                    (const unsigned char *)common_name, (int)n, -1, 0) ||
        !X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x)))
        return openssl_fail(e, "certificate");
    return 0;
}

static int create(const char *path, mode_t mode, const void *p, size_t n, struct lt_err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

    if (fd < 0 && errno == EEXIST)
        return lt_fail(e, LT_E_CONFLICT, "%s: exists and is not overwritten", path);
    if (fd < 0)
        return lt_fail(e, LT_E_IO, "%s: create: %s", path, strerror(errno));
    bool ok = !fchmod(fd, mode) && write(fd, p, n) == (ssize_t)n && !fsync(fd);
    int why = errno;
    close(fd);
    if (ok)
        return 0;
    unlink(path);
    return lt_fail(e, LT_E_IO, "%s: write: %s", path, strerror(why));
}

/* Both files or neither. */
int lt_pki_made_save(const struct lt_pki_made *m, const char *cert_path, const char *key_path,
                     struct lt_err *e)
{
    struct stat st;

    if (!lstat(cert_path, &st))
        return lt_fail(e, LT_E_CONFLICT, "%s: exists and is not overwritten", cert_path);
    int rc = create(key_path, 0600, m->key, m->key_n, e);
    if (!rc && (rc = create(cert_path, 0644, m->cert, strlen(m->cert), e)))
        unlink(key_path);
    return rc;
}

static char *text_of(BIO *b, size_t *n)
{
    char *p;
    long have = BIO_get_mem_data(b, &p);

    *n = have > 0 ? (size_t)have : 0;
    return strndup(p, *n);
}

void lt_pki_made_free(struct lt_pki_made *m)
{
    if (m->key)
        lt_wipe(m->key, m->key_n);
    free(m->key);
    free(m->cert);
    *m = (struct lt_pki_made){0};
}

/* Its texts alone. */
static int tell_pair(const struct pair *p, struct lt_pki_made *m, struct lt_err *e)
{
    LT_AUTO(BIO) BIO *cert = BIO_new(BIO_s_mem());
    LT_AUTO(BIO) BIO *key = BIO_new(BIO_s_secmem());
    size_t n;

    if (!cert || !key || PEM_write_bio_X509(cert, p->cert) != 1 ||
        PEM_write_bio_PrivateKey(key, p->key, NULL, NULL, 0, NULL, NULL) != 1)
        return openssl_fail(e, "PEM");
    m->cert = text_of(cert, &n);
    m->key = text_of(key, &m->key_n);
    return m->cert && m->key ? 0 : lt_fail(e, LT_E_NO_MEMORY, "certificate: no memory");
}

static int save(const struct pair *p, const char *cert_path, const char *key_path, struct lt_err *e)
{
    struct lt_pki_made m = {0};
    int rc = tell_pair(p, &m, e);

    if (!rc)
        rc = lt_pki_made_save(&m, cert_path, key_path, e);
    lt_pki_made_free(&m);
    return rc;
}

int lt_pki_make_ca(const char *cert_path, const char *key_path, const char *common_name, int days,
                   struct lt_err *e)
{
    AUTO_PAIR struct pair p = {0};
    X509V3_CTX ctx;

    LT_TRY(make_pair(common_name, days, NULL, &p, e));
    X509V3_set_ctx(&ctx, p.cert, p.cert, NULL, NULL, 0);
    int rc = add_ext(p.cert, &ctx, NID_basic_constraints, "critical,CA:TRUE,pathlen:0", e);
    if (!rc)
        rc = add_ext(p.cert, &ctx, NID_key_usage, "critical,keyCertSign,cRLSign", e);
    if (!rc)
        rc = add_ext(p.cert, &ctx, NID_subject_key_identifier, "hash", e);
    if (!rc && !X509_sign(p.cert, p.key, EVP_sha256()))
        rc = openssl_fail(e, "signature");
    return rc ? rc : save(&p, cert_path, key_path, e);
}

static int load_ca(const char *cert_path, const char *key_path, struct pair *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *cert = NULL;
    uint8_t *key = NULL;
    size_t n, key_n;

    LT_TRY(lt_file_read(cert_path, 1 << 16, &cert, &n, e));
    LT_TRY(lt_file_read_secret(key_path, 1 << 16, &key, &key_n, e));
    LT_AUTO(BIO) BIO *cb = BIO_new_mem_buf(cert, (int)n);
    LT_AUTO(BIO) BIO *kb = BIO_new_mem_buf(key, (int)key_n);
    out->cert = cb ? PEM_read_bio_X509(cb, NULL, NULL, NULL) : NULL;
    out->key = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, (void *)"") : NULL;
    lt_wipe(key, key_n);
    lt_cleanup_free(&key);
    if (out->cert && out->key && X509_check_private_key(out->cert, out->key) == 1 &&
        X509_check_ca(out->cert) == 1)
        return 0;
    ERR_clear_error();
    return lt_fail(e, LT_E_CONFIG, "%s, %s: not a CA certificate and its key", cert_path, key_path);
}

/* What we issue, our own rules must accept. */
static int check_leaf(X509 *x, struct lt_err *e)
{
    struct lt_peer peer;
    uint8_t *der = NULL;
    int n = i2d_X509(x, &der);

    if (n <= 0)
        return openssl_fail(e, "certificate");
    int rc = lt_peer_from_der(der, (size_t)n, &peer, e);
    OPENSSL_free(der);
    if (rc && e)
        e->code = rc = LT_E_USAGE;
    return rc;
}

static int add_extensions(X509 *x, X509 *issuer, bool under_ca, const struct lt_pki_subject *s,
                          struct lt_err *e)
{
    const char *usage = s->server && s->client ? "serverAuth,clientAuth"
                        : s->server            ? "serverAuth"
                                               : "clientAuth";
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    LT_TRY(add_ext(x, &ctx, NID_basic_constraints, "critical,CA:FALSE", e));
    LT_TRY(add_ext(x, &ctx, NID_key_usage, "critical,digitalSignature", e));
    if (s->server || s->client)
        LT_TRY(add_ext(x, &ctx, NID_ext_key_usage, usage, e));
    LT_TRY(add_ext(x, &ctx, NID_subject_key_identifier, "hash", e));
    if (under_ca)
        LT_TRY(add_ext(x, &ctx, NID_authority_key_identifier, "keyid:always", e));
    if (s->crl_url)
        LT_TRY(add_crl_url(x, s->crl_url, e));
    return add_names(x, s, e);
}

static int issue(const char *ca_cert, const char *ca_key, const struct lt_pki_subject *s, struct pair *p,
                 struct lt_err *e)
{
    AUTO_PAIR struct pair ca = {0};

    LT_TRY(ca_cert ? load_ca(ca_cert, ca_key, &ca, e) : 0);
    LT_TRY(make_pair(s->common_name, s->days, ca.cert, p, e));
    LT_TRY(add_extensions(p->cert, ca.cert ? ca.cert : p->cert, ca.cert, s, e));
    if (!X509_sign(p->cert, ca.key ? ca.key : p->key, EVP_sha256()))
        return openssl_fail(e, "signature");
    return check_leaf(p->cert, e);
}

int lt_pki_issue(const char *ca_cert, const char *ca_key, const struct lt_pki_subject *s,
                 const char *cert_path, const char *key_path, struct lt_err *e)
{
    AUTO_PAIR struct pair p = {0};

    LT_TRY(issue(ca_cert, ca_key, s, &p, e));
    return save(&p, cert_path, key_path, e);
}

static int take_serial(const X509 *x, uint8_t serial[LT_PKI_SERIAL], size_t *n, struct lt_err *e)
{
    BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    int bytes = bn && !BN_is_negative(bn) ? BN_num_bytes(bn) : 0;

    *n = 0;
    if (bytes > 0 && bytes <= LT_PKI_SERIAL)
        *n = (size_t)BN_bn2bin(bn, serial);
    BN_free(bn);
    return *n ? 0 : lt_fail(e, LT_E_MALFORMED, "certificate: its serial number is none");
}

int lt_pki_make(const char *ca_cert, const char *ca_key, const struct lt_pki_subject *s,
                struct lt_pki_made *out, struct lt_err *e)
{
    AUTO_PAIR struct pair p = {0};

    *out = (struct lt_pki_made){0};
    int rc = issue(ca_cert, ca_key, s, &p, e);
    if (!rc)
        rc = take_serial(p.cert, out->serial, &out->serial_n, e);
    if (!rc)
        rc = tell_pair(&p, out, e);
    if (rc)
        lt_pki_made_free(out);
    else
        out->ends = lt_expiry_seconds(X509_get0_notAfter(p.cert));
    return rc;
}

int lt_pki_serial(const char *ca_cert, const char *pem, uint8_t serial[LT_PKI_SERIAL], size_t *n,
                  struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t text_n;

    *n = 0;
    LT_TRY(lt_file_read(ca_cert, 1 << 16, &text, &text_n, e));
    LT_AUTO(BIO) BIO *cb = BIO_new_mem_buf(text, (int)text_n);
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem, -1);
    LT_AUTO(X509) X509 *ca = cb ? PEM_read_bio_X509(cb, NULL, NULL, NULL) : NULL;
    LT_AUTO(X509) X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    bool ours = ca && x && X509_check_issued(ca, x) == X509_V_OK && X509_verify(x, X509_get0_pubkey(ca)) == 1;

    ERR_clear_error();
    if (!x)
        return lt_fail(e, LT_E_MALFORMED, "not a certificate in PEM");
    return ours ? take_serial(x, serial, n, e) : lt_fail(e, LT_E_REFUSED, "not a certificate of this CA");
}
