/* PCR values of one bank, and the PCR blob of tpm2_quote. */
#ifndef LT_TPM_PCR_H
#define LT_TPM_PCR_H

#include "common/hash.h"
#include "common/limits.h"

struct lt_pcrs {
    uint16_t alg;
    uint32_t mask; /* bit N: PCR N is here */
    uint8_t value[LT_MAX_PCRS][LT_MAX_DIGEST];
};

/* The pcrDigest of a quote with hash alg: H(values in ascending order). */
void lt_pcrs_digest(const struct lt_pcrs *p, uint16_t hash, uint8_t *out);
/* value = H(value | digest), bank's hash. */
void lt_pcr_extend(uint16_t alg, uint8_t *value, const void *digest);

/* Lines "N HEX", as people write PCR values down: one bank, told by the values' length; each PCR once. */
int lt_pcrs_text_parse(struct lt_slice text, struct lt_pcrs *out, struct lt_err *e) LT_MUST_CHECK;

/* The blob: little-endian C struct image as tpm2_quote -o writes. One bank only. */
int lt_pcr_blob_parse(const void *p, size_t n, struct lt_pcrs *out, struct lt_err *e) LT_MUST_CHECK;
int lt_pcr_blob_write(const struct lt_pcrs *p, struct lt_buf *b, struct lt_err *e) LT_MUST_CHECK;

#endif
