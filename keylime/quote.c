#include "keylime/quote.h"

#include <stdlib.h>
#include <string.h>

static int parse_quote(const char *s, struct lt_quote *q, struct lt_err *e)
{
    static const struct {
        const char *name;
        size_t max;
        char end;
    } parts[] = {
        {"attest", LT_MAX_ATTEST, ':'}, {"signature", LT_MAX_SIGNATURE, ':'}, {"PCRs", LT_MAX_PCR_BLOB, 0}};
    LT_AUTOFREE uint8_t *blob = NULL;
    size_t blob_n = 0;
    uint8_t **out[] = {&q->attest, &q->signature, &blob};
    size_t *out_n[] = {&q->attest_n, &q->signature_n, &blob_n};

    if (!s || strnlen(s, LT_MAX_QUOTE_STRING + 1) > LT_MAX_QUOTE_STRING)
        return lt_fail(e, LT_E_TOO_LARGE, "quote: none, or more than %d characters", LT_MAX_QUOTE_STRING);
    if (*s++ != 'r')
        return lt_fail(e, LT_E_MALFORMED, "quote: does not begin with 'r'");
    for (size_t i = 0; i < 3; i++) {
        size_t n = strcspn(s, ":");
        if (s[n] != parts[i].end)
            return lt_fail(e, LT_E_MALFORMED, "quote: not three parts");
        LT_TRY_IN(lt_unbase64(s, n, parts[i].max, out[i], out_n[i], e), e, "quote, %s", parts[i].name);
        s += n + 1;
    }
    return lt_pcr_blob_parse(blob, blob_n, &q->pcrs, e);
}

int lt_quote_parse(const char *s, struct lt_quote *out, struct lt_err *e)
{
    *out = (struct lt_quote){0};
    int rc = parse_quote(s, out, e);
    if (rc)
        lt_quote_free(out);
    return rc;
}

void lt_quote_free(struct lt_quote *q)
{
    free(q->attest);
    free(q->signature);
    *q = (struct lt_quote){0};
}

int lt_quote_write(const struct lt_quote *q, char **out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf blob = LT_BUF(LT_MAX_PCR_BLOB), s = LT_BUF(LT_MAX_QUOTE_STRING);

    *out = NULL;
    if (q->attest_n > LT_MAX_ATTEST || q->signature_n > LT_MAX_SIGNATURE)
        return lt_fail(e, LT_E_TOO_LARGE, "quote: attest of %zu bytes, signature of %zu", q->attest_n,
                       q->signature_n);
    LT_TRY(lt_pcr_blob_write(&q->pcrs, &blob, e));
    const struct lt_slice parts[] = {
        {q->attest, q->attest_n}, {q->signature, q->signature_n}, {blob.p, blob.n}};
    for (size_t i = 0; i < 3; i++) {
        LT_AUTOFREE char *text = lt_base64_dup(parts[i].p, parts[i].n);
        if (!text)
            return lt_fail(e, LT_E_NO_MEMORY, "quote: no memory");
        lt_buf_str(&s, i ? ":" : "r");
        lt_buf_str(&s, text);
    }
    LT_TRY(lt_buf_ok(&s, e));
    *out = lt_buf_take_str(&s);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "quote: no memory");
}
