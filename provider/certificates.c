#include "provider/certificates.h"

#include "common/limits.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

/* One certificate, written as we write it, so that equal ones are equal texts. */
static json_t *canonical(const json_t *item)
{
    const char *text = json_string_value(item);
    size_t n = text ? json_string_length(item) : 0;
    BIO *in = n && n <= 2 * LT_MAX_CERTIFICATE ? BIO_new_mem_buf(text, (int)n) : NULL,
        *out = BIO_new(BIO_s_mem());
    X509 *x = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
    json_t *j = NULL;
    char *pem;

    if (x && out && PEM_write_bio_X509(out, x) == 1) {
        long size = BIO_get_mem_data(out, &pem);
        j = json_stringn(pem, (size_t)size);
    }
    X509_free(x);
    BIO_free(in);
    BIO_free(out);
    ERR_clear_error();
    return j;
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

int lt_certificates_join(const json_t *agent, const json_t *given, const json_t *known, json_t **out,
                         struct lt_err *e)
{
    LT_AUTOJSON json_t *list = json_deep_copy(agent);
    json_t *item, *one;
    size_t i;

    *out = NULL;
    if (!list)
        return lt_fail(e, LT_E_NO_MEMORY, "certificates: no memory");
    if (json_array_size(given) && !json_array_size(list)) /* the first of the list is taken for the leaf */
        return lt_fail(e, LT_E_REFUSED,
                       "intermediates: the host's TPM shows no EK certificate that they could certify");
    json_array_foreach(given, i, item)
    {
        if (!(one = canonical(item)))
            return lt_fail(e, LT_E_MALFORMED,
                           "intermediates, %zu: not an X.509 certificate in PEM of at most %d bytes", i,
                           2 * LT_MAX_CERTIFICATE);
        LT_TRY(append(list, one, e));
    }
    if (!given && json_array_size(list))
        json_array_foreach(known, i, item) if (i) /* the leaf is the chip's to show */
            LT_TRY(append(list, json_incref(item), e));
    *out = lt_take(&list);
    return 0;
}
