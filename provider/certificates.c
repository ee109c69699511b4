#include "provider/certificates.h"

#include "common/limits.h"
#include "tpm/certs.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

/* Appends one certificate, written as we write it, so that equal ones are equal texts. */
static int take_certificate(void *list, struct lt_slice der, struct lt_err *e)
{
    const unsigned char *at = der.p;
    BIO *out = BIO_new(BIO_s_mem());
    X509 *x = d2i_X509(NULL, &at, (long)der.n);
    bool whole = x && at == der.p + der.n;
    json_t *j = NULL;
    char *pem;

    if (whole && out && PEM_write_bio_X509(out, x) == 1) {
        long size = BIO_get_mem_data(out, &pem);
        j = json_stringn(pem, (size_t)size);
    }
    X509_free(x);
    BIO_free(out);
    ERR_clear_error();
    if (!whole)
        return lt_fail(e, LT_E_MALFORMED, "not an X.509 certificate");
    return j && !json_array_append_new(list, j) ? 0 : lt_fail(e, LT_E_NO_MEMORY, "no memory");
}

/* The certificates in one item, as a new array; NULL and *e. */
static json_t *canonical(const json_t *item, struct lt_err *e)
{
    struct lt_slice text = {(const uint8_t *)json_string_value(item), json_string_length(item)};
    LT_JSON_AUTO json_t *list = json_array();

    if (!lt_certs_is_pem(text) || text.n > 2 * LT_MAX_CERTIFICATE)
        (void)lt_fail(e, LT_E_MALFORMED, "not a PEM text of at most %d bytes", 2 * LT_MAX_CERTIFICATE);
    else if (list && !lt_certs_read(text, LT_MAX_CERTIFICATES, take_certificate, list, e))
        return lt_take(&list);
    return NULL;
}

static bool has(const json_t *list, const json_t *one)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item) if (json_equal(item, one)) return true;
    return false;
}

static int append(json_t *list, json_t *one, struct lt_err *e)
{
    int rc = 0;

    if (has(list, one))
        json_decref(one);
    else if (json_array_size(list) == LT_MAX_CERTIFICATES) {
        json_decref(one);
        rc = lt_fail(e, LT_E_TOO_LARGE, "certificates of the EK: more than %d with its issuers",
                     LT_MAX_CERTIFICATES);
    } else if (json_array_append_new(list, one)) {
        rc = lt_fail(e, LT_E_NO_MEMORY, "certificates: no memory");
    }
    return rc;
}

static int append_all(json_t *list, const json_t *more, struct lt_err *e)
{
    json_t *item;
    size_t i;

    json_array_foreach(more, i, item) LT_TRY(append(list, json_incref(item), e));
    return 0;
}

/* What cannot be read is carried as it is, for the tenants to name. */
static int append_shown(json_t *list, json_t *item, struct lt_err *e)
{
    LT_JSON_AUTO json_t *read = canonical(item, LT_NO_ERR);
    return json_array_size(read) == 1 ? append_all(list, read, e) : append(list, json_incref(item), e);
}

static int append_given(json_t *list, const json_t *item, size_t at, struct lt_err *e)
{
    struct lt_err why = {0};
    LT_JSON_AUTO json_t *read = canonical(item, &why);

    if (!read)
        return lt_fail(e, LT_E_MALFORMED, "intermediates, %zu: %s", at, why.msg);
    return append_all(list, read, e);
}

int lt_provider_certificates_join(const json_t *agent, const json_t *given, const json_t *known, json_t **out,
                                  struct lt_err *e)
{
    LT_JSON_AUTO json_t *list = json_array();
    json_t *item;
    size_t i;

    *out = NULL;
    if (!list)
        return lt_fail(e, LT_E_NO_MEMORY, "certificates: no memory");
    json_array_foreach(agent, i, item) LT_TRY(append_shown(list, item, e));
    if (json_array_size(given) && !json_array_size(list)) /* the first of the list is taken for the leaf */
        return lt_fail(e, LT_E_REFUSED,
                       "intermediates: the host's TPM shows no EK certificate that they could certify");
    json_array_foreach(given, i, item) LT_TRY(append_given(list, item, i, e));
    if (!given && json_array_size(list))
        json_array_foreach(known, i, item) if (i) /* the leaf is the chip's to show */
            LT_TRY(append(list, json_incref(item), e));
    *out = lt_take(&list);
    return 0;
}
