/* The bytes of docs/protocol.md section 3: evidence digest, commitment, residency record, host-quote header.
 */
#ifndef LT_RESIDENCY_RESIDENCY_H
#define LT_RESIDENCY_RESIDENCY_H

#include "common/ids.h"
#include "merkle/merkle.h"
#include "tpm/public.h"

#define LT_RESIDENCY_NONCE 32     /* characters [A-Za-z0-9] */
#define LT_RESIDENCY_RECORD 232   /* bytes, the largest: version 2 */
#define LT_RESIDENCY_RECORD_1 200 /* bytes of version 1 */
#define LT_RESIDENCY_HEADER 168   /* bytes */
#define LT_RESIDENCY_INCARNATION 16
#define LT_RESIDENCY_HOST_ID 16
#define LT_RESIDENCY_HOST_PCR_MASK 0x0000ffffu /* PCR 0-15 of the host quote */
#define LT_RESIDENCY_AK_PCR 13                 /* names AK_h */

/* The signed TPML_PCR_SELECTION of a host quote: sha256, PCR 0-15. */
extern const uint8_t lt_residency_selection[10];

/* flags of a record */
enum {
    LT_RESIDENCY_RUNNING = 1,
    LT_RESIDENCY_PAUSED = 2,
    LT_RESIDENCY_MIGRATING_OUT = 4,
    LT_RESIDENCY_MOVED_IN = 8,
    LT_RESIDENCY_BORN = 16,
    LT_RESIDENCY_SEALED = 32,
    LT_RESIDENCY_TAINTED = 64,
    LT_RESIDENCY_RECORD_FLAGS = 127,
};
/* flags of a header */
enum { LT_RESIDENCY_EK_COLLISION = 1, LT_RESIDENCY_HEADER_FLAGS = 1 };

struct lt_residency_record {
    uint16_t version; /* 1 or 2; 0 is written as 1 */
    uint8_t guest_uuid[16], ek_digest[32], incarnation[LT_RESIDENCY_INCARNATION];
    uint32_t start_reset, start_restart;
    uint64_t start_clock_ms;
    uint8_t firmware_digest[32], domain_digest[32];
    uint32_t flags;
    uint8_t previous_host_ak_name[LT_TPM_NAME]; /* zeros: none */
    uint8_t openers_digest[32];                 /* of version 2: of a sealed vTPM's openers; zeros: none */
};

struct lt_residency_header {
    uint8_t host_id[LT_RESIDENCY_HOST_ID];
    uint64_t batch_seq;
    uint32_t n; /* leaves of the batch tree */
    uint8_t batch_root[32];
    uint64_t inventory_seq;
    uint32_t m; /* leaves of the inventory tree */
    uint8_t inventory_root[32];
    uint8_t policy_digest[32];
    uint64_t ima_count;
    uint32_t flags;
};

/* E */
void lt_residency_evidence_digest(struct lt_slice attest, struct lt_slice signature, uint8_t out[32]);
/* C */
void lt_residency_commitment(const uint8_t tenant_id[16], const uint8_t guest_uuid[16],
                             const uint8_t ek_digest[32], const uint8_t ak_name[LT_TPM_NAME],
                             const char nonce[LT_RESIDENCY_NONCE], const uint8_t evidence[32],
                             uint8_t out[32]);

/* The record's bytes: LT_RESIDENCY_RECORD_1 or LT_RESIDENCY_RECORD of them are written, and their number
 * returned. */
size_t lt_residency_record_write(const struct lt_residency_record *r, uint8_t out[LT_RESIDENCY_RECORD]);
/* Tag, version, and exactly that version's bytes; unknown flag bits are parsed and left to the check (they
 * are a verdict, not a framing error).
 */
int lt_residency_record_parse(const void *p, size_t n, struct lt_residency_record *out,
                              struct lt_err *e) LT_MUST_CHECK;
void lt_residency_header_write(const struct lt_residency_header *h, uint8_t out[LT_RESIDENCY_HEADER]);
int lt_residency_header_parse(const void *p, size_t n, struct lt_residency_header *out,
                              struct lt_err *e) LT_MUST_CHECK;

/* The tree over the records' leaf hashes; records must be strictly ascending by ek_digest. count 0 is legal.
 */
int lt_residency_inventory_tree(const struct lt_residency_record *records, uint32_t count,
                                struct lt_merkle **out, struct lt_err *e) LT_MUST_CHECK;

/* What HA extends into PCR 13, and what PCR 13 then holds. */
void lt_residency_ak_host_event(const uint8_t ak_name[LT_TPM_NAME], uint8_t out[32]);
void lt_residency_ak_host_pcr(const uint8_t ak_name[LT_TPM_NAME], uint8_t out[32]);
/* host_id: the first 16 bytes of H(SPKI of EK_h). */
int lt_residency_host_id(const struct lt_public *ek, uint8_t out[LT_RESIDENCY_HOST_ID],
                         struct lt_err *e) LT_MUST_CHECK;

#endif
