#include "agent/certificates.h"

#include "common/run/log.h"
#include "tpm/certkey.h"
#include "tpm/certs.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#define NV_RSA_CERTIFICATE 0x01c00002u
#define NV_ECC_CERTIFICATE 0x01c0000au
#define NV_CHAIN_FIRST 0x01c00100u
#define NV_CHAIN_LAST 0x01c001ffu
#define MAX_CHAIN (LT_MAX_CERTIFICATES * LT_MAX_CERTIFICATE) /* bytes in all chain indices */

void lt_agent_ek_certificates_free(struct lt_bundle_certificates *c)
{
    for (unsigned i = 0; i < c->count; i++)
        free(c->pem[i]);
    *c = (struct lt_bundle_certificates){0};
}

static int add(void *arg, struct lt_slice der, struct lt_err *e)
{
    struct lt_bundle_certificates *out = arg;
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

int lt_agent_ek_certificates_split(struct lt_slice nv, struct lt_bundle_certificates *out, struct lt_err *e)
{
    struct lt_err why = {0};
    int rc = nv.n ? lt_certs_read(nv, LT_MAX_CERTIFICATES, add, out, &why) : 0;

    if (rc != LT_E_MALFORMED)
        return rc ? lt_fail(e, rc, "certificates in NV: %s", why.msg) : 0;
    lt_log(LT_LOG_WARNING, "ek-certificate", "the chain in NV ends at certificate %u: %s", out->count,
           why.msg);
    return 0;
}

static int take_slice(void *arg, struct lt_slice der, struct lt_err *e)
{
    (void)e;
    *(struct lt_slice *)arg = der;
    return 0;
}

/* The certificate without its padding. What cannot be read stays whole, for the verifier to name. */
static struct lt_slice trimmed(const uint8_t *p, size_t n)
{
    struct lt_slice whole = {p, n}, one;
    return lt_certs_read(whole, 1, take_slice, &one, LT_NO_ERR) ? whole : one;
}

static int leaf(struct lt_device *d, const struct lt_agent_ek *ek, bool unread,
                struct lt_bundle_certificates *out, struct lt_err *e)
{
    TPM2_HANDLE index = ek->alg == LT_TPM_ALG_RSA ? NV_RSA_CERTIFICATE : NV_ECC_CERTIFICATE;
    LT_AUTOFREE uint8_t *der = NULL;
    struct lt_err why = {0};
    size_t n;
    int rc = lt_device_nv_read(d, index, LT_MAX_CERTIFICATE, &der, &n, &why);

    if (rc) {
        if (d->lost)
            return lt_fail(e, rc, "%s", why.msg);
        lt_log(LT_LOG_WARNING, "ek-certificate", "no EK certificate: %s", why.msg);
        return 0;
    }
    struct lt_slice whole = trimmed(der, n);
    const unsigned char *at = whole.p;
    X509 *x = d2i_X509(NULL, &at, (long)whole.n);
    if (x && at != whole.p + whole.n) { /* what is behind it is no padding */
        X509_free(x);
        x = NULL;
    }
    int other =
        x ? lt_certkey_certifies(x, &ek->pub, &why) : lt_fail(&why, LT_E_MALFORMED, "it cannot be read");
    bool send = !other || (other == LT_E_MALFORMED && unread);
    X509_free(x);
    ERR_clear_error();
    if (other)
        lt_log(LT_LOG_WARNING, "ek-certificate", "the certificate in NV index 0x%x: %s%s", (unsigned)index,
               why.msg, send ? "" : ": left out");
    return send ? add(out, whole, e) : 0;
}

static int chain(struct lt_device *d, struct lt_bundle_certificates *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf all = LT_BUF(MAX_CHAIN);
    TPM2_HANDLE index[64];
    unsigned count;

    LT_TRY(lt_device_nv_list(d, NV_CHAIN_FIRST, NV_CHAIN_LAST, index, 64, &count, e));
    for (unsigned i = 0; i < count; i++) {
        LT_AUTOFREE uint8_t *p = NULL;
        size_t n;
        LT_TRY(lt_device_nv_read(d, index[i], MAX_CHAIN - all.n, &p, &n, e));
        lt_buf_put(&all, p, n); /* a certificate may go on in the next index */
    }
    LT_TRY(lt_buf_ok(&all, e));
    return lt_agent_ek_certificates_split((struct lt_slice){all.p, all.n}, out, e);
}

int lt_agent_ek_certificates(struct lt_device *d, const struct lt_agent_ek *ek, bool unread,
                             struct lt_bundle_certificates *out, struct lt_err *e)
{
    struct lt_err why = {0};

    *out = (struct lt_bundle_certificates){0};
    LT_TRY(leaf(d, ek, unread, out, e));
    int rc = out->count ? chain(d, out, &why) : 0;
    if (rc && d->lost) {
        lt_agent_ek_certificates_free(out);
        return lt_fail(e, rc, "%s", why.msg);
    }
    if (rc) /* the leaf is good without; its issuers may be given at enrolment */
        lt_log(LT_LOG_WARNING, "ek-certificate", "chain in NV: %s", why.msg);
    return 0;
}

char *lt_agent_ek_certificates_text(const struct lt_bundle_certificates *c)
{
    struct lt_buf b = LT_BUF(2 * MAX_CHAIN);

    for (unsigned i = 0; i < c->count; i++)
        lt_buf_str(&b, c->pem[i ? c->count - i : 0]);
    return b.n ? lt_buf_take_str(&b) : strdup("");
}
