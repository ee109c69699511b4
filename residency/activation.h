/* Host activation (docs/protocol.md section 4, "Host identity"): only the TPM that holds EK_h and AK_h gets
 * the secret out of the credential. What whoever asks needs; and the proof, which the agent makes as well. */
#ifndef LT_RESIDENCY_ACTIVATION_H
#define LT_RESIDENCY_ACTIVATION_H

#include "residency/residency.h"

#include <jansson.h>

/* HMAC-SHA256(secret, "LT1:ACTIVATE" | host_id | ak_name_h | c). Tag padded to 16. */
void lt_activation_proof(const uint8_t secret[32], const uint8_t host_id[LT_RESIDENCY_HOST_ID],
                         const uint8_t ak_name[LT_TPM_NAME], const uint8_t challenge[32], uint8_t out[32]);

struct lt_activation {
    char *body;        /* {"credential": base64, "challenge": hex} */
    uint8_t proof[32]; /* the right answer to it */
};
/* Draws secret and challenge; the secret is not kept. lt_activation_end afterwards, also on failure. */
int lt_activation_begin(const struct lt_public *ek, const uint8_t ak_name[LT_TPM_NAME],
                        const uint8_t host_id[LT_RESIDENCY_HOST_ID], struct lt_activation *out,
                        struct lt_err *e) LT_MUST_CHECK;
/* reply: {"proof": hex}. LT_E_REFUSED: of another EK or AK. */
int lt_activation_check(const struct lt_activation *a, const json_t *reply, struct lt_err *e) LT_MUST_CHECK;
void lt_activation_end(struct lt_activation *a); /* wipes */

#endif
