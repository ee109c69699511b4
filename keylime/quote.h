/* Keylime's quote string (keylime-api 3.4). */
#ifndef LT_KEYLIME_QUOTE_H
#define LT_KEYLIME_QUOTE_H

#include "tpm/pcr.h"

/* "r" b64(attest) ":" b64(signature) ":" b64(blob) */
struct lt_quote {
    uint8_t *attest, *signature; /* owned */
    size_t attest_n, signature_n;
    struct lt_pcrs pcrs;
};
int lt_quote_parse(const char *s, struct lt_quote *out, struct lt_err *e) LT_MUST_CHECK;
void lt_quote_free(struct lt_quote *q);
/* Caller frees. */
int lt_quote_write(const struct lt_quote *q, char **out, struct lt_err *e) LT_MUST_CHECK;

#endif
