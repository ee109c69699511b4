/* Host quotes and proofs as they travel: JSON of the federation API and of the bundle (docs/api.md). */
#ifndef LT_RESIDENCY_PROOF_H
#define LT_RESIDENCY_PROOF_H

#include "common/json.h"
#include "residency/residency.h"
#include "tpm/pcr.h"

/* One host quote: rendered once, shared by every guest of its batch. */
struct lt_residency_host_quote {
    uint8_t header[LT_RESIDENCY_HEADER]; /* as received */
    uint8_t *attest, *signature;         /* owned */
    size_t attest_n, signature_n;
    struct lt_pcrs pcrs; /* sha256, mask LT_RESIDENCY_HOST_PCR_MASK */
};

struct lt_proof {
    struct lt_merkle_path batch;
    bool resident; /* false: the residency is null */
    struct lt_merkle_path residency;
    uint8_t record[LT_RESIDENCY_RECORD];
    size_t record_n; /* LT_RESIDENCY_RECORD_1 or LT_RESIDENCY_RECORD; 0: none */
};

void lt_residency_host_quote_free(struct lt_residency_host_quote *q);
/* {"header":b64,"attest":b64,"signature":b64,"pcrs":{"0":hex,…,"15":hex}} ; other keys are ignored. */
int lt_residency_host_quote_from_json(const json_t *j, struct lt_residency_host_quote *out,
                                      struct lt_err *e) LT_MUST_CHECK;
json_t *lt_residency_host_quote_to_json(const struct lt_residency_host_quote *q);
/* {"index":i,"path":[hex,…]} */
int lt_residency_path_from_json(const json_t *j, struct lt_merkle_path *out, struct lt_err *e) LT_MUST_CHECK;
json_t *lt_residency_path_to_json(const struct lt_merkle_path *p);
/* {"batch":{index,path},"residency":{index,path,record}|null} */
int lt_proof_from_json(const json_t *j, struct lt_proof *out, struct lt_err *e) LT_MUST_CHECK;
json_t *lt_proof_to_json(const struct lt_proof *p);
/* {"N":hex,…}: an object of PCR values of bank alg. */
int lt_residency_pcrs_from_json(const json_t *j, uint16_t alg, struct lt_pcrs *out,
                                struct lt_err *e) LT_MUST_CHECK;
json_t *lt_residency_pcrs_to_json(const struct lt_pcrs *p);
/* The bank that the length of such values says: sha256 or sha384; lt_residency_pcrs_from_json then checks
 * them. */
uint16_t lt_residency_pcrs_bank(const json_t *j);

#endif
