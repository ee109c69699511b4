#include "residency/activation.h"

#include "common/hash.h"
#include "common/json.h"
#include "tpm/credential.h"

#include <stdlib.h>
#include <string.h>

static const char tag[16] = "LT1:ACTIVATE";

void lt_activation_proof(const uint8_t secret[32], const uint8_t host_id[LT_RESIDENCY_HOST_ID],
                         const uint8_t ak_name[LT_TPM_NAME], const uint8_t challenge[32], uint8_t out[32])
{
    uint8_t message[sizeof tag + LT_RESIDENCY_HOST_ID + LT_TPM_NAME + 32], *p = message;

    p = (uint8_t *)mempcpy(p, tag, sizeof tag);
    p = (uint8_t *)mempcpy(p, host_id, LT_RESIDENCY_HOST_ID);
    p = (uint8_t *)mempcpy(p, ak_name, LT_TPM_NAME);
    memcpy(p, challenge, 32);
    lt_hmac(LT_HASH_SHA256, secret, 32, message, sizeof message, out);
}

int lt_activation_begin(const struct lt_public *ek, const uint8_t ak_name[LT_TPM_NAME],
                        const uint8_t host_id[LT_RESIDENCY_HOST_ID], struct lt_activation *out,
                        struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf credential = LT_BUF(LT_MAX_CREDENTIAL);
    uint8_t secret[32], challenge[32];

    *out = (struct lt_activation){0};
    lt_random(secret, sizeof secret);
    lt_random(challenge, sizeof challenge);
    int rc = lt_credential_make(ek, ak_name, secret, sizeof secret, &credential, e);
    lt_activation_proof(secret, host_id, ak_name, challenge, out->proof);
    lt_wipe(secret, sizeof secret);
    LT_TRY(rc);
    LT_TRY(lt_buf_ok(&credential, e));
    LT_JSON_AUTO json_t *body =
        json_pack("{s:o, s:o}", "credential", lt_json_new_base64(credential.p, credential.n), "challenge",
                  lt_json_new_hex(challenge, sizeof challenge));
    out->body = body ? lt_json_dump(body) : NULL;
    return out->body ? 0 : lt_fail(e, LT_E_NO_MEMORY, "activation: no memory");
}

int lt_activation_check(const struct lt_activation *a, const json_t *reply, struct lt_err *e)
{
    uint8_t proof[32];

    LT_TRY(lt_json_hex(reply, "proof", proof, sizeof proof, e));
    if (!lt_equal_ct(proof, a->proof, sizeof proof))
        return lt_fail(e, LT_E_REFUSED, "the proof is not that of this EK and AK");
    return 0;
}

void lt_activation_end(struct lt_activation *a)
{
    free(a->body);
    a->body = NULL;
    lt_wipe(a->proof, sizeof a->proof);
}
