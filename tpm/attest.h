/* TPMS_ATTEST of a quote, as a value (TPM 2.0 Part 2, 10.12). No device, no I/O. */
#ifndef LT_TPM_ATTEST_H
#define LT_TPM_ATTEST_H

#include "common/bytes.h"

#define LT_TPM_GENERATED 0xff544347u
#define LT_TPM_ST_ATTEST_QUOTE 0x8018

/* One bank of a TPML_PCR_SELECTION. */
struct lt_tpm_pcr_selection {
    uint16_t alg;
    uint8_t select_size; /* bytes, 1 to 4 */
    uint32_t mask;       /* bit N: PCR N */
};

struct lt_attest_clock_info {
    uint64_t clock_ms;
    uint32_t reset_count, restart_count;
    bool safe;
};

struct lt_attest {
    struct lt_slice qualified_signer; /* TPM2B_NAME contents */
    struct lt_slice extra_data;
    struct lt_attest_clock_info clock;
    uint64_t firmware_version;
    uint32_t bank_count; /* of the signed selection, at most 16 */
    struct lt_tpm_pcr_selection banks[16];
    struct lt_slice selection_raw; /* the TPML_PCR_SELECTION's bytes, count included */
    struct lt_slice pcr_digest;
};

/* Refuses: magic, any type but quote, lengths, more than LT_MAX_ATTEST bytes, trailing bytes. Slices point
 * into p. */
int lt_attest_parse(const void *p, size_t n, struct lt_attest *out, struct lt_err *e) LT_MUST_CHECK;
/* (reset, restart, clock) compared in that order: <0, 0, >0 like memcmp. */
int lt_tpm_clock_compare(const struct lt_attest_clock_info *a, const struct lt_attest_clock_info *b);

#endif
