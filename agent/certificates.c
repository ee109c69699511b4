#include "agent/certificates.h"

#include "common/log.h"
#include "tpm/certkey.h"
#include "tpm/der.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#define NV_RSA_CERTIFICATE 0x01c00002u
#define NV_ECC_CERTIFICATE 0x01c0000au
#define NV_CHAIN_FIRST 0x01c00100u
#define NV_CHAIN_LAST 0x01c001ffu
#define MAX_CHAIN (LT_MAX_CERTIFICATES * LT_MAX_CERTIFICATE) /* bytes in all chain indices */

void lt_ek_certificates_free(struct lt_certificates *c)
{
    for (unsigned i = 0; i < c->count; i++)
        free(c->pem[i]);
    *c = (struct lt_certificates){0};
}

static int add(struct lt_slice der, struct lt_certificates *out, struct lt_err *e)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p, *pem = NULL;

    if (out->count == LT_MAX_CERTIFICATES || der.n > LT_MAX_CERTIFICATE) {
        BIO_free(bio);
        return lt_fail(e, LT_E_TOO_LARGE, "EK certificate %u of %zu bytes: more than %d of %d bytes",
                       out->count, der.n, LT_MAX_CERTIFICATES, LT_MAX_CERTIFICATE);
    }
    if (bio && PEM_write_bio(bio, PEM_STRING_X509, "", der.p, (long)der.n) > 0) {
        long n = BIO_get_mem_data(bio, &p);
        pem = strndup(p, (size_t)n);
    }
    BIO_free(bio);
    if (!pem)
        return lt_fail(e, LT_E_NO_MEMORY, "EK certificate: no memory");
    out->pem[out->count++] = pem;
    return 0;
}

int lt_ek_certificates_split(struct lt_slice nv, struct lt_certificates *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(nv.p, nv.n, "certificates in NV");
    struct lt_slice inner;
    uint8_t tag;

    while (lt_reader_left(&r)) {
        size_t start = r.at;
        if (nv.p[start] == 0x00 || nv.p[start] == 0xff) {
            r.at++;
            continue;
        }
        if (nv.p[start] != LT_DER_SEQUENCE || lt_der_next(&r, &tag, &inner, NULL)) {
            lt_log(LT_LOG_WARNING, "ek-certificate", "byte %zu of the chain in NV begins no certificate",
                   start);
            return 0;
        }
        LT_TRY(add((struct lt_slice){nv.p + start, r.at - start}, out, e));
    }
    return 0;
}

/* Makers pad the index, so the certificate may be shorter. A length that is not DER's leaves everything
 * there. */
static struct lt_slice trimmed(const uint8_t *p, size_t n)
{
    struct lt_reader r = lt_reader(p, n, "certificate");
    struct lt_slice inner;
    uint8_t tag;

    return (struct lt_slice){p, lt_der_next(&r, &tag, &inner, NULL) ? n : r.at};
}

static int leaf(struct lt_dev *d, const struct lt_ek *ek, bool unread, struct lt_certificates *out,
                struct lt_err *e)
{
    TPM2_HANDLE index = ek->alg == LT_ALG_RSA ? NV_RSA_CERTIFICATE : NV_ECC_CERTIFICATE;
    LT_AUTOFREE uint8_t *der = NULL;
    struct lt_err why = {0};
    size_t n;
    int rc = lt_dev_nv_read(d, index, LT_MAX_CERTIFICATE, &der, &n, &why);

    if (rc) {
        if (d->lost)
            return lt_fail(e, rc, "%s", why.msg);
        lt_log(LT_LOG_WARNING, "ek-certificate", "no EK certificate: %s", why.msg);
        return 0;
    }
    struct lt_slice whole = trimmed(der, n);
    const unsigned char *at = whole.p;
    X509 *x = d2i_X509(NULL, &at, (long)whole.n);
    int other = x ? lt_certifies(x, &ek->pub, &why) : lt_fail(&why, LT_E_MALFORMED, "it cannot be read");
    bool send = !other || (other == LT_E_MALFORMED && unread);
    X509_free(x);
    ERR_clear_error();
    if (other)
        lt_log(LT_LOG_WARNING, "ek-certificate", "the certificate in NV index 0x%x: %s%s", (unsigned)index,
               why.msg, send ? "" : ": left out");
    return send ? add(whole, out, e) : 0;
}

static int chain(struct lt_dev *d, struct lt_certificates *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf all = LT_BUF(MAX_CHAIN);
    TPM2_HANDLE index[64];
    unsigned count;

    LT_TRY(lt_dev_nv_list(d, NV_CHAIN_FIRST, NV_CHAIN_LAST, index, 64, &count, e));
    for (unsigned i = 0; i < count; i++) {
        LT_AUTOFREE uint8_t *p = NULL;
        size_t n;
        LT_TRY(lt_dev_nv_read(d, index[i], MAX_CHAIN - all.n, &p, &n, e));
        lt_buf_put(&all, p, n); /* a certificate may go on in the next index */
    }
    LT_TRY(lt_buf_ok(&all, e));
    return lt_ek_certificates_split((struct lt_slice){all.p, all.n}, out, e);
}

int lt_ek_certificates(struct lt_dev *d, const struct lt_ek *ek, bool unread, struct lt_certificates *out,
                       struct lt_err *e)
{
    struct lt_err why = {0};

    *out = (struct lt_certificates){0};
    LT_TRY(leaf(d, ek, unread, out, e));
    int rc = out->count ? chain(d, out, &why) : 0;
    if (rc && d->lost) {
        lt_ek_certificates_free(out);
        return lt_fail(e, rc, "%s", why.msg);
    }
    if (rc) /* the leaf is good without; its issuers may be given at enrolment */
        lt_log(LT_LOG_WARNING, "ek-certificate", "chain in NV: %s", why.msg);
    return 0;
}

char *lt_ek_certificates_text(const struct lt_certificates *c)
{
    struct lt_buf b = LT_BUF(2 * MAX_CHAIN);

    for (unsigned i = 0; i < c->count; i++)
        lt_buf_str(&b, c->pem[i ? c->count - i : 0]);
    return b.n ? lt_buf_take_str(&b) : strdup("");
}
